"""The contest's server: API, pages and live news in one process, with evaluation workers as processes of their own.

`make_app` is the application; `serve` runs it with uvicorn on a data folder and keeps its local workers alive. Local
workers speak the same API as remote ones, under a token that is made afresh at every start.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from headstart.contest import api, forms, pages
from headstart.contest.pulse import Pulse, Topic, versions
from headstart.contest.store import Store
from headstart.contest.users import User
from headstart.contest.web import Guard, ServerConfig, Site, site_of
from headstart.errors import UsageError

TOKEN = "HEADSTART_TOKEN"
"""environment variable a token is read from"""
NICE = 5
"""how much local workers and their agents stand back for the pages"""
_LOCAL = "local workers"


async def _health(request: Request) -> Response:
    """Whether the server and its database answer, and how long the queue is."""
    return JSONResponse({"ok": True, "queue": await run_in_threadpool(site_of(request).store.queue.waiting)})


async def _events(request: Request) -> Response:
    """News of a contest or a submission as server-sent events."""
    pulse: Pulse = request.app.state.pulse
    topic = Topic(request.path_params["kind"], request.path_params["key"])
    if topic.kind not in ("contest", "submission"):
        return Response(status_code=404)
    if pulse.full:
        return Response(status_code=503, headers={"retry-after": "10"})
    if not await run_in_threadpool(versions, site_of(request).store, [topic]):
        return Response(status_code=404)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no", "content-encoding": "identity"}
    return StreamingResponse(pulse.stream(topic), media_type="text/event-stream", headers=headers)


def make_app(store: Store, config: ServerConfig | None = None) -> Starlette:
    """The application, for any ASGI server.

    Args:
      store: the contest's memory.
      config: how the server behaves.
    """
    site = Site(store, config or ServerConfig())
    pulse = Pulse(store, site.config.streams)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        task = asyncio.create_task(pulse.run())
        yield
        pulse.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    live = [Route("/events/{kind}/{key}", _events), Route("/healthz", _health)]
    app = Starlette(
        routes=[*api.routes(), *live, *pages.routes(), *forms.routes()],
        middleware=[
            Middleware(Guard, site=site),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5),
        ],
        exception_handlers={404: pages.not_found},
        lifespan=lifespan,
    )
    app.state.site, app.state.pulse = site, pulse
    return app


@dataclass(frozen=True)
class ServeConfig:
    """Where and with what `serve` runs."""

    host: str = "127.0.0.1"
    """address to listen on"""
    port: int = 8000
    """port to listen on"""
    workers: int = 1
    """evaluation workers on this machine; 0 for none"""
    sandbox: tuple[str, ...] = ()
    """what the workers' command line says of the sandbox"""
    proxy: bool = False
    """whether a reverse proxy on this machine is believed about clients' addresses"""
    lease: float = 60.0
    """seconds without a heartbeat after which a job is given to another worker"""

    @property
    def url(self) -> str:
        """The address as a browser wants it: IPv6 in brackets (RFC 3986, section 3.2.2)."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def local_url(self) -> str:
        """The address for this machine's workers, where `host` may stand for all of its addresses."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return replace(self, host=host).url


class LocalWorkers:
    """Worker processes on this machine, started again when they end."""

    def __init__(self, command: Sequence[str], count: int, environment: dict[str, str]) -> None:
        self.command, self.count, self.environment = list(command), count, environment
        self._running: list[subprocess.Popen[bytes]] = []

    async def keep(self, seconds: float = 2.0) -> None:
        """See every now and then that all of them run; end them when cancelled."""
        try:
            while True:
                self._running = [w for w in self._running if w.poll() is None]
                for _ in range(self.count - len(self._running)):
                    self._running.append(subprocess.Popen(self.command, env=self.environment))
                await asyncio.sleep(seconds)
        finally:
            for worker in self._running:
                worker.terminate()
            for worker in self._running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(5.0)


def _local_token(store: Store) -> str:
    """A token for this machine's workers, in place of those of earlier starts."""
    try:
        user: User = store.users.named(_LOCAL)
    except UsageError:
        user = store.users.add(_LOCAL, "worker")
    store.users.revoke_tokens(user)
    return store.users.new_token(user)


class _Server(uvicorn.Server):
    """uvicorn, which ends live streams before it waits for connections to end."""

    pulse: Pulse

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say good-bye to who is watching, then to the others."""
        self.pulse.close()
        await super().shutdown(sockets)  # pyright: ignore[reportArgumentType]


async def _serve(app: Starlette, config: ServeConfig, workers: LocalWorkers) -> None:
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=config.proxy,
        forwarded_allow_ips="127.0.0.1",
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=1 << 16,
        limit_concurrency=2000,
    )
    server = _Server(settings)
    server.pulse = app.state.pulse
    keeping = asyncio.create_task(workers.keep())
    try:
        await server.serve()
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


def serve(folder: Path, url: str, config: ServeConfig, server: ServerConfig | None = None) -> None:
    """Run until interrupted.

    Args:
      folder: the data folder.
      url: SQLAlchemy's address of a database; empty for SQLite in the folder.
      config: where and with what.
      server: how the server behaves.

    Raises:
      RunError: if the folder or the database cannot be used.
    """
    store = Store(folder, url, lease=config.lease)
    words = ("contest", "worker", "--server", config.local_url, "--with-parent", "--nice", str(NICE))
    command = [
        sys.executable,
        "-m",
        "headstart.cli",
        *words,
        *config.sandbox,
    ]
    environment = os.environ | ({TOKEN: _local_token(store)} if config.workers else {})
    try:
        asyncio.run(
            _serve(make_app(store, server), config, LocalWorkers(command, config.workers, environment))
        )
    finally:
        store.close()


__all__ = ["NICE", "TOKEN", "LocalWorkers", "ServeConfig", "make_app", "serve"]
