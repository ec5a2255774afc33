"""What API and pages share: the site, who asks, refusals, limits on bodies and rates, and headers of every answer."""

import asyncio
import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headstart.contest.archive import Limits
from headstart.contest.auth import Limiter
from headstart.contest.store import Store
from headstart.contest.users import User

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_FORM = 1 << 16  # bytes of a form or a JSON body without a file
_SAME = re.compile(r"/|/c/[^/]+|/static/[^/]+")  # pages that are made once for everybody, or are files
_COST = 1 / 20  # of one of those, in requests


class RefusedError(Exception):
    """A request that is not carried out: an HTTP status, a name for programs and a sentence for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class ServerConfig:
    """How the server behaves."""

    limits: Limits = field(default_factory=Limits)
    """of archives"""
    rate: float = 100.0
    """requests a second of one address, on average; of pages that are the same for everybody twenty times as many"""
    burst: float = 400.0
    """requests of one address at once, counted alike"""
    failures: float = 10.0
    """wrong tokens of one address that are answered at once; one a minute comes back, right ones always open"""
    film: int = 32 << 20
    """bytes of a film at most"""
    secure: bool = False
    """whether browsers reach the server by https only, so that cookies may say so"""
    streams: int = 600
    """live streams at once; whoever comes later asks every few seconds instead"""


class Cached(NamedTuple):
    """An answer and when it was made."""

    body: bytes
    tag: str
    time: float


class Cache:
    """Answers that are the same for everybody, made once a second at most, by one thread a name.

    Who asks first for a new one waits for it; meanwhile the others get the one before, up to ten seconds old.
    """

    def __init__(self, seconds: float = 1.0, stale: float = 10.0) -> None:
        self.seconds, self.stale = seconds, stale
        self._kept: dict[str, Cached] = {}
        self._making: dict[str, asyncio.Task[Cached]] = {}

    async def get(self, name: str, make: Callable[[], bytes]) -> Cached:
        """The answer called `name`, by `make` if it is too old."""
        now, kept = time.monotonic(), self._kept.get(name)
        if kept is not None and now - kept.time < self.seconds:
            return kept
        task = self._making.get(name)
        if task is None:
            kept = None
            task = self._making[name] = asyncio.create_task(self._make(name, make))
            task.add_done_callback(lambda t: None if t.cancelled() else t.exception())
        if kept is not None and now - kept.time < self.stale:
            return kept
        return await asyncio.shield(task)

    async def _make(self, name: str, make: Callable[[], bytes]) -> Cached:
        try:
            body = await run_in_threadpool(make)
            made = Cached(body, f'"{hashlib.sha256(body).hexdigest()[:20]}"', time.monotonic())
            if len(self._kept) > 1000:
                self._kept.clear()
            self._kept[name] = made
            return made
        finally:
            self._making.pop(name, None)


class Site:
    """Everything a request may need."""

    def __init__(self, store: Store, config: ServerConfig) -> None:
        self.store, self.config = store, config
        self.cache = Cache()
        self.asked = Limiter(config.rate, config.burst)
        self.failed = Limiter(1 / 60, config.failures)
        self.sent = Limiter(1 / 10, 10.0)
        self.started = time.time()


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    return request.app.state.site


def address(request: Request) -> str:
    """Whose limits a request counts against: the address, of IPv6 the network."""
    host = request.client.host if request.client else ""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False).network_address)


async def body(request: Request, limit: int = _FORM) -> bytes:
    """The body of a request.

    Raises:
      RefusedError: as soon as it is larger than `limit` bytes.
    """
    claimed = request.headers.get("content-length", "0")
    parts, size = list[bytes](), int(claimed) if claimed.isdecimal() else 0
    got = 0
    if size <= limit:
        try:
            async for part in request.stream():
                got += len(part)
                if got > limit:
                    break
                parts.append(part)
        except ClientDisconnect:
            raise RefusedError(400, "disconnected", "the connection ended before the request did.") from None
    if max(size, got) > limit:
        raise RefusedError(413, "too-large", f"the request is larger than {limit} bytes.")
    return b"".join(parts)


def bearer(request: Request) -> User | None:
    """The user of a request's token; None without one.

    Raises:
      RefusedError: for a token that is not known.
    """
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token_user(request, text.strip())


def token_user(request: Request, text: str) -> User:
    """The user of a token's text.

    Wrong ones are counted against the address, but never shut right ones out: a class may share one address, and 256 bits
    are not guessed at any rate.

    Raises:
      RefusedError: if it is not known; with 429 where the address has tried too many.
    """
    site = site_of(request)
    user = site.store.users.by_token(text)
    if user is not None:
        return user
    if not site.failed.allow(address(request)):
        raise RefusedError(429, "too-many-failures", "too many wrong tokens came from here; wait a minute.")
    raise RefusedError(401, "wrong-token", "this token is not known, has expired or was revoked.")


def same_origin(request: Request) -> bool:
    """Whether a browser says that a form came from this site (old browsers say nothing: the form's proof decides)."""
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def cached(request: Request, found: Cached, kind: str) -> Response:
    """A cached answer, or 304 where the client has it already."""
    headers = {"etag": found.tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=kind, headers=headers)


def json_refusal(refusal: RefusedError) -> JSONResponse:
    """A refusal for programs."""
    found = {"error": {"code": refusal.code, "message": refusal.message}}
    headers = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
    headers |= {"retry-after": "60"} if refusal.status == 429 else {}
    return JSONResponse(found, refusal.status, headers=headers)


def json_body(data: bytes) -> dict[str, Any]:
    """A JSON object from a body.

    Raises:
      RefusedError: if it is none.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RefusedError(400, "bad-json", "the body is no JSON object.")
    return found


class Guard:
    """Around everything: the rate limit of an address, and the headers every answer has."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app, self.site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        answer = self.app
        same = request.method in ("GET", "HEAD") and _SAME.fullmatch(request.url.path)
        if not self.site.asked.allow(address(request), _COST if same else 1.0):
            refusal = RefusedError(
                429, "too-many-requests", "too many requests came from here; wait a little."
            )
            answer = json_refusal(refusal)
        await answer(scope, receive, self._with_headers(send, request.url.path))

    def _with_headers(self, send: Send, path: str) -> Callable[[Message], Awaitable[None]]:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not path.startswith("/static/"):
                    headers.setdefault("cache-control", "no-store")
                if self.site.config.secure:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        return sending
