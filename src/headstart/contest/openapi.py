"""The JSON API described for programs: OpenAPI 3.1, made from the same table as the routes."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response


class Operation(NamedTuple):
    """One line of the API: what is asked, by whom, and what is answered."""

    method: str
    path: str
    handler: Any
    """`handler(request, body) -> Response`, called in a thread"""
    summary: str
    role: str = ""
    """"" for everybody; "user", "worker" or "organiser" need a token"""
    query: Sequence[str] = ()
    """names in the query; those that end with "?" may be left out"""
    takes: str = ""
    """media type of the body"""
    body: str = ""
    """schema of the body"""
    gives: str = "application/json"
    """media type of the answer"""
    answer: str = ""
    """schema of the answer"""
    status: int = 200
    limit: int = 1 << 16
    """bytes of the body at most"""

    def call(self, request: Request, body: bytes) -> Response:
        """Carry it out."""
        return self.handler(request, body)


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(fields), "properties": fields}


def _maybe(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


_TEXT, _WHOLE, _NUMBER, _TRUTH = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _schemas() -> dict[str, dict[str, Any]]:
    episode = {"type": "array", "prefixItems": [_NUMBER, _WHOLE, _TRUTH], "minItems": 3, "maxItems": 3}
    contest = {"slug": _TEXT, "title": _TEXT, "suite": _TEXT, "budget": _WHOLE, "seeds": _list(_WHOLE)}
    contest |= {"wall_clock": _NUMBER, "opens": _maybe("number"), "closes": _maybe("number"), "open": _TRUTH}
    contest |= {"levels": _list(_TEXT), "tries_a_day": _WHOLE, "final_shown": _TRUTH, "version": _WHOLE}
    contest["upload"] = _WHOLE
    row = {"rank": _maybe("integer"), "name": _TEXT, "submission": _TEXT, "title": _TEXT, "score": _NUMBER}
    row |= {"error": _maybe("number"), "low": _maybe("number"), "high": _maybe("number"), "tries": _WHOLE}
    row |= {
        "levels": {"type": "object", "additionalProperties": _maybe("number")},
        "curve": _list(_maybe("number")),
    }
    job = {"id": _WHOLE, "board": _TEXT, "level": _TEXT, "seed": _WHOLE, "state": _TEXT, "verdict": _TEXT}
    job |= {"score": _maybe("number"), "spent": _WHOLE, "attempts": _WHOLE, "message": _maybe("string")}
    submission = {
        "id": _TEXT,
        "contest": _TEXT,
        "author": _TEXT,
        "number": _WHOLE,
        "name": _TEXT,
        "created": _NUMBER,
    }
    submission |= {"state": _TEXT, "reason": _maybe("string"), "spent": _WHOLE, "budget": _WHOLE}
    submission["url"] = _TEXT
    submission |= {"score": _maybe("number"), "error": _maybe("number"), "jobs": _list(_object(**job))}
    lease = {
        "job": _WHOLE,
        "lease": _TEXT,
        "submission": _TEXT,
        "suite": _TEXT,
        "label": _TEXT,
        "level": _TEXT,
    }
    lease |= {"seed": _WHOLE, "budget": _WHOLE, "wall_clock": _NUMBER, "until": _NUMBER, "noise": _WHOLE}
    lease["upload"] = _WHOLE
    verdict = {"lease": _TEXT, "verdict": _TEXT, "score": _maybe("number"), "spent": _WHOLE, "message": _TEXT}
    verdict |= {"episodes": _list(episode), "log": _TEXT}

    return {
        "Board": _object(
            contest=_TEXT,
            board=_TEXT,
            suite=_TEXT,
            budget=_WHOLE,
            levels=_list(_TEXT),
            rows=_list(_object(**row)),
        ),
        "Contest": _object(**contest),
        "Contests": _object(contests=_list({"$ref": "#/components/schemas/Contest"})),
        "Counted": _object(counted=_TRUTH),
        "Error": _object(error=_object(code=_TEXT, message=_TEXT)),
        "Heartbeat": _object(lease=_TEXT, spent=_WHOLE),
        "Held": _object(held=_TRUTH),
        "Lease": _object(**lease),
        "Submission": _object(**submission),
        "Verdict": _object(**verdict),
        "Worker": _object(worker=_TEXT),
    }


SCHEMAS = _schemas()


def _described(operation: Operation) -> dict[str, Any]:
    """One operation of the document."""
    names = [("path", name, True) for name in re.findall(r"{(\w+)}", operation.path)]
    names += [("query", name.rstrip("?"), not name.endswith("?")) for name in operation.query]
    schema = {"$ref": f"#/components/schemas/{operation.answer}"} if operation.answer else {"type": "string"}
    good = {"description": operation.summary, "content": {operation.gives: {"schema": schema}}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.handler.__name__,
        "parameters": [
            {"name": n, "in": place, "required": must, "schema": {"type": "string"}}
            for place, n, must in names
        ],
        "responses": {
            str(operation.status): good,
            "default": {"description": "a refusal, with a sentence", "content": error},
        },
    }
    if operation.role:
        found["security"] = [{"token": []}]
        found["description"] = f"For a {operation.role}'s token."
    if operation.takes:
        body = {"$ref": f"#/components/schemas/{operation.body}"} if operation.body else {"type": "string"}
        found["requestBody"] = {"required": True, "content": {operation.takes: {"schema": body}}}
    return found


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI document of some operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    token = {"type": "http", "scheme": "bearer", "description": "a token from the organiser: hs_ID_SECRET"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "headstart contest", "version": version},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": token}},
    }


__all__ = ["SCHEMAS", "Operation", "document"]
