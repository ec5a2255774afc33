"""The JSON API: contests and boards for everybody, submissions for their authors, jobs for workers.

Only a token in the Authorization header opens anything here, never a cookie, so that no other site can make a browser ask.
"""

import math
import re
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from headstart.contest import archive, board
from headstart.contest.contests import BOARDS, Contest
from headstart.contest.openapi import Operation, document
from headstart.contest.queue import Outcome
from headstart.contest.store import Submission
from headstart.contest.users import User
from headstart.contest.web import RefusedError, Site, bearer, body, json_body, json_refusal, site_of
from headstart.errors import UsageError

FILM_KINDS = {"gif": b"GIF8", "mp4": b"\0\0\0", "webm": b"\x1aE\xdf\xa3"}
"""films by their ending, and how each begins"""
_JSON, _ZIP = "application/json", "application/zip"
_KEY = re.compile(r"[\w-]{0,64}", re.ASCII)
_NEVER = {"cancelled", "disqualified"}


def _user(request: Request) -> User:
    user: User | None = request.state.user
    if user is None:
        raise RefusedError(401, "no-token", "this needs a token: Authorization: Bearer hs_…")
    return user


def _public(site: Site, contest: Contest) -> dict[str, Any]:
    names = (
        "slug",
        "title",
        "suite",
        "budget",
        "wall_clock",
        "opens",
        "closes",
        "tries_a_day",
        "final_shown",
        "version",
    )
    found = {name: getattr(contest, name) for name in names}
    labels = [level.label for level in contest.public]
    found |= {"seeds": list(contest.seeds), "open": contest.is_open(site.store.database.clock())}
    return found | {"levels": labels, "upload": site.config.limits.packed}


def may_see(user: User | None, one: Submission) -> bool:
    """Whether a submission's code, logs and messages are a user's to see."""
    return user is not None and (user.organises or user.id == one.user)


def list_contests(request: Request, _: bytes) -> Response:
    """All contests."""
    site = site_of(request)
    every = [_public(site, site.store.contest(slug)) for slug in site.store.contests()]
    return JSONResponse({"contests": every})


def show_contest(request: Request, _: bytes) -> Response:
    """One contest."""
    site = site_of(request)
    return JSONResponse(_public(site, site.store.contest(request.path_params["slug"])))


def standing_for(request: Request, user: User | None, which: str) -> board.Standing:
    """A board of the contest that a request is about.

    Raises:
      RefusedError: if the final board is not public yet.
    """
    if which not in BOARDS:
        raise RefusedError(404, "no-board", "a contest has a public and a final board.")
    found = board.standing(site_of(request).store, request.path_params["slug"], which)
    if which == "final" and not (found.contest.final_shown or (user is not None and user.organises)):
        raise RefusedError(403, "not-yet", "the final board is not public yet.")
    return found


def show_board(request: Request, _: bytes) -> Response:
    """A board."""
    return JSONResponse(
        board.to_json(standing_for(request, request.state.user, request.path_params["board"]))
    )


def export_board(request: Request, _: bytes) -> Response:
    """A board as CSV."""
    text = board.to_csv(standing_for(request, request.state.user, request.path_params["board"]))
    name = f'attachment; filename="{request.path_params["slug"]}.csv"'
    return Response(text, media_type="text/csv", headers={"content-disposition": name})


def take_in(request: Request, user: User, slug: str, name: str, data: bytes, key: str = "") -> Submission:
    """Check an archive and queue it; `key` as in `Store.submit`.

    Raises:
      RefusedError: if uploads come too fast.
      UsageError: if the archive is refused, or the contest takes nothing.
    """
    site = site_of(request)
    contest = site.store.contest(slug)
    if not site.sent.allow(str(user.id)):
        raise RefusedError(429, "too-many-uploads", "uploads come too fast; wait a minute.")
    archive.check(data, site.config.limits)
    return site.store.submit(contest, user, name, data, key)


def send_submission(request: Request, data: bytes) -> Response:
    """Send an agent in: a ZIP archive; sent again under the same key, it is one submission."""
    user, key = _user(request), request.query_params.get("key", "")
    if user.role == "worker":
        raise RefusedError(403, "not-yours", "a worker's token sends nothing in.")
    if not _KEY.fullmatch(key):
        raise RefusedError(400, "bad-field", "a key is at most 64 letters, digits, - and _.")
    name = request.query_params.get("name", "")
    one = take_in(request, user, request.path_params["slug"], name, data, key)
    return JSONResponse(_about(request, one), 201, headers={"location": f"/api/v1/submissions/{one.id}"})


def _about(request: Request, one: Submission) -> dict[str, Any]:
    """A submission as this user may see it."""
    store, user = site_of(request).store, request.state.user
    contest, mine = store.contest(one.contest), may_see(user, one)
    jobs = [job for job in board.jobs(store, one.id) if job.board == "public" or contest.final_shown]
    told = [
        {
            "id": j.id,
            "board": j.board,
            "level": j.label,
            "seed": j.seed,
            "state": j.state,
            "verdict": j.verdict,
        }
        | {"score": j.score, "spent": j.spent, "attempts": j.attempts, "message": j.message if mine else None}
        for j in jobs
    ]
    score, error = store.score(one.id, "public")
    plain = {
        "id": one.id,
        "contest": one.contest,
        "author": one.author,
        "number": one.number,
        "name": one.name,
    }
    plain |= {"created": one.created, "state": one.state, "reason": one.reason if mine else None}
    public = [j for j in jobs if j.board == "public"]
    plain |= {"spent": sum(j.spent for j in public), "budget": contest.budget * len(public)}
    return plain | {"score": score, "error": error, "url": f"/s/{one.id}", "jobs": told}


def _submission(request: Request, private: bool = False) -> Submission:
    one = site_of(request).store.submission(request.path_params["id"])
    if private and not may_see(_user(request), one):
        raise RefusedError(403, "not-yours", "this belongs to somebody else.")
    return one


def show_submission(request: Request, _: bytes) -> Response:
    """A submission; messages only for its author."""
    return JSONResponse(_about(request, _submission(request)))


def cancel_submission(request: Request, _: bytes) -> Response:
    """Take a submission back."""
    one = _submission(request, private=True)
    if one.state in _NEVER:
        raise RefusedError(409, "over", f"the submission is {one.state} already.")
    site_of(request).store.withdraw(one.id, "cancelled", "taken back by its author")
    return JSONResponse(_about(request, _submission(request)))


def fetch_archive(request: Request, _: bytes) -> Response:
    """A submission's archive, for its author."""
    one = _submission(request, private=True)
    return FileResponse(site_of(request).store.archive(one.id), media_type=_ZIP, filename=f"{one.id}.zip")


def log_of(request: Request, user: User | None) -> str:
    """What an evaluation's agent has printed, for its author; of the final board once that is public."""
    store = site_of(request).store
    one, key = store.submission(request.path_params["id"]), request.path_params["job"]
    job = next((j for j in board.jobs(store, one.id) if str(j.id) == key), None)
    if not may_see(user, one) or job is None:
        raise RefusedError(403, "not-yours", "this log belongs to somebody else.")
    if job.board == "final" and not (store.contest(one.contest).final_shown or (user and user.organises)):
        raise RefusedError(403, "not-yet", "logs of the final are shown with its board.")
    return store.queue.log(job.id)


def fetch_log(request: Request, _: bytes) -> Response:
    """What an evaluation's agent has printed, for its author."""
    return Response(log_of(request, _user(request)), media_type="text/plain; charset=utf-8")


# workers


def _string(data: dict[str, Any], name: str, limit: int = 1000) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        raise RefusedError(400, "bad-field", f"{name} is a text.")
    return value[:limit]


def _count(data: dict[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 60:
        raise RefusedError(400, "bad-field", f"{name} is a whole number.")
    return value


def _job(request: Request) -> int:
    text = request.path_params["job"]
    if not text.isdecimal() or len(text) > 15:
        raise RefusedError(404, "no-job", "there is no such job.")
    return int(text)


def lease_job(request: Request, data: bytes) -> Response:
    """Take the oldest job that waits; 204 if there is none."""
    site = site_of(request)
    lease = site.store.queue.lease(_string(json_body(data), "worker", 60))
    if lease is None:
        return Response(status_code=204)
    return JSONResponse(lease._asdict() | {"upload": site.config.limits.packed})


def beat_job(request: Request, data: bytes) -> Response:
    """Say that a job goes on; whether it is still held."""
    found = json_body(data)
    held = site_of(request).store.queue.beat(_job(request), _string(found, "lease"), _count(found, "spent"))
    return JSONResponse({"held": held})


def fetch_job_archive(request: Request, _: bytes) -> Response:
    """The archive of a job that is held."""
    store = site_of(request).store
    submission = store.queue.owner(_job(request), request.query_params.get("lease", ""))
    if submission is None:
        raise RefusedError(409, "not-held", "this job is not held under this lease.")
    return FileResponse(store.archive(submission), media_type=_ZIP)


def send_film(request: Request, data: bytes) -> Response:
    """A film of a job that is held."""
    name, _, kind = request.path_params["name"].rpartition(".")
    if kind not in FILM_KINDS or not data.startswith(FILM_KINDS[kind]) or not name.isascii():
        raise RefusedError(
            400, "no-film", f"a film is called NAME.{' or NAME.'.join(FILM_KINDS)} and is one."
        )
    lease = request.query_params.get("lease", "")
    held = site_of(request).store.queue.keep_film(_job(request), lease, name[:40], kind, data)
    return JSONResponse({"held": held})


def _episode(value: Any) -> tuple[float, int, bool]:
    match value:
        case [int() | float() as reward, int() as length, bool() as finished] if math.isfinite(reward):
            return float(reward), length, finished
        case _:
            raise RefusedError(400, "bad-field", "an episode is [return, length, finished].")


def finish_job(request: Request, data: bytes) -> Response:
    """How a job ended; whether that was counted."""
    found = json_body(data)
    episodes, score = found.get("episodes", []), found.get("score")
    number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    if not isinstance(episodes, list) or not (score is None or number):
        raise RefusedError(400, "bad-field", "score is a number or null, episodes is a list.")
    outcome = Outcome(
        _string(found, "verdict", 20) or "unknown",
        None if score is None else float(score),
        _count(found, "spent"),
        _string(found, "message"),
        [_episode(e) for e in episodes],
        _string(found, "log", 1 << 20),
    )
    return JSONResponse(
        {"counted": site_of(request).store.queue.finish(_job(request), _string(found, "lease"), outcome)}
    )


def show_document(_: Request, __: bytes) -> Response:
    """This document."""
    return JSONResponse(document(OPERATIONS, version("headstart")))


def _operations() -> tuple[Operation, ...]:
    def line(method: str, path: str, handler: Any, **more: Any) -> Operation:
        return Operation(
            method, f"/api/v1{path}", handler, (handler.__doc__ or "").partition("\n")[0], **more
        )

    one, job, cup = "/submissions/{id}", "/worker/jobs/{job}", "/contests/{slug}"
    by = {"role": "worker"}
    return (
        line("GET", "/openapi.json", show_document),
        line("GET", "/contests", list_contests, answer="Contests"),
        line("GET", cup, show_contest, answer="Contest"),
        line("GET", cup + "/boards/{board}", show_board, answer="Board"),
        line("GET", cup + "/boards/{board}.csv", export_board, gives="text/csv"),
        line(
            *("POST", cup + "/submissions", send_submission),
            role="user",
            query=("name?", "key?"),
            takes=_ZIP,
            answer="Submission",
            status=201,
            limit=-1,
        ),
        line("GET", one, show_submission, answer="Submission"),
        line("POST", one + "/cancel", cancel_submission, role="user", answer="Submission"),
        line("GET", one + "/archive", fetch_archive, role="user", gives=_ZIP),
        line("GET", one + "/jobs/{job}/log", fetch_log, role="user", gives="text/plain"),
        line("POST", "/worker/lease", lease_job, **by, takes=_JSON, body="Worker", answer="Lease"),
        line("GET", job + "/archive", fetch_job_archive, **by, query=("lease",), gives=_ZIP),
        line("POST", job + "/heartbeat", beat_job, **by, takes=_JSON, body="Heartbeat", answer="Held"),
        line(
            *("PUT", job + "/films/{name}", send_film),
            **by | {"query": ("lease",), "takes": "video/*", "answer": "Held", "limit": -2},
        ),
        line(
            *("POST", job + "/verdict", finish_job),
            **by | {"takes": _JSON, "body": "Verdict", "answer": "Counted", "limit": 16 << 20},
        ),
    )


OPERATIONS = _operations()


def _allowed(operation: Operation, user: User | None) -> bool:
    if operation.role in ("", "user"):
        return True
    return user is not None and (user.role == operation.role or user.organises)


def _endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """The route's function: who asks, may they, then the body, then the answer."""

    def answer(request: Request, data: bytes) -> Response:
        try:
            return operation.call(request, data)
        except UsageError as error:
            missing = str(error).startswith("there is no")
            refusal = (
                RefusedError(404, "not-found", str(error))
                if missing
                else RefusedError(422, "refused", str(error))
            )
            return json_refusal(refusal)

    async def endpoint(request: Request) -> Response:
        config = site_of(request).config
        limits = {-1: config.limits.packed, -2: config.film}
        try:
            request.state.user = await run_in_threadpool(bearer, request)
            if operation.role:
                _user(request)
            if not _allowed(operation, request.state.user):
                raise RefusedError(403, "not-yours", f"this needs a {operation.role}'s token.")
            data = await body(request, limits.get(operation.limit, operation.limit))
            return await run_in_threadpool(answer, request, data)
        except RefusedError as refusal:
            return json_refusal(refusal)

    return endpoint


def routes() -> list[Route]:
    """The API's routes."""
    csv_first = sorted(OPERATIONS, key=lambda o: "." not in o.path.rpartition("/")[2])
    return [Route(o.path, _endpoint(o), methods=[o.method]) for o in csv_first]


__all__ = ["FILM_KINDS", "OPERATIONS", "log_of", "may_see", "routes", "standing_for", "take_in"]
