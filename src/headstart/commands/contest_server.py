"""`headstart contest serve | worker | submit`: hold a contest, help to evaluate, send an agent in."""

import json
import math
import os
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from headstart.cli import parse
from headstart.errors import RunError, UsageError

Sandbox = Literal["auto", "bubblewrap", "docker", "podman", "none"]
_DATABASE = "HEADSTART_DATABASE"  # a database's address may hold a password: no process list should show it


@dataclass(frozen=True)
class ServeOptions:
    """Hold contests: web pages, JSON API and evaluation workers, in one command."""

    data: Path
    """the data folder: archives, films, keys, and SQLite's file; made if need be"""
    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 for everybody who reaches this machine"""
    port: int = 8000
    """port to listen on"""
    workers: int = 1
    """evaluation workers on this machine; 0 where they run elsewhere"""
    database: str = ""
    """SQLAlchemy's address of a database, or in $HEADSTART_DATABASE; empty for SQLite in the data folder"""
    lease: float = 60.0
    """seconds without a heartbeat after which a job is given to another worker"""
    upload: int = 64
    """mebibytes an archive may have"""
    rate: float = 100.0
    """requests a second of one address, four times as many at once; pages that are the same for all count a twentieth"""
    behind_proxy: bool = False
    """a reverse proxy on this machine ends https: believe it about addresses, and mark cookies as secure"""
    sandbox: Sandbox = "auto"
    """where submissions run; auto is the first that works here"""
    images: tuple[str, ...] = ()
    """of containers: those that submissions may name; the first is for one that names none"""
    trust_submissions: bool = False
    """let submissions run without a sandbox: only for code that you trust"""


@dataclass(frozen=True)
class WorkerOptions:
    """Evaluate submissions for a server; the token comes from $HEADSTART_TOKEN or a private file."""

    server: str
    """the server's address: http://HOST:PORT"""
    token_file: Path | None = None
    """a file that only you can read, with a worker's token"""
    once: bool = False
    """end when there is nothing to do"""
    with_parent: bool = False
    """end when the process that started this one does"""
    nice: int = 0
    """how much to stand back for other work on the machine, from 0 to 19"""
    sandbox: Sandbox = "auto"
    """where submissions run; auto is the first that works here"""
    images: tuple[str, ...] = ()
    """of containers: those that submissions may name; the first is for one that names none"""
    trust_submissions: bool = False
    """let submissions run without a sandbox: only for code that you trust"""


@dataclass(frozen=True)
class SubmitOptions:
    """Send an agent in, and follow its evaluation; the token comes from $HEADSTART_TOKEN or a private file."""

    folder: Annotated[Path, tyro.conf.Positional]
    """the agent's folder, with its submission.toml"""
    server: str
    """the server's address: http://HOST:PORT"""
    contest: str = ""
    """which contest; may be left out where there is one"""
    name: str = ""
    """what the board calls this agent; the folder's name if left out"""
    token_file: Path | None = None
    """a file that only you can read, with your token"""
    follow: bool = True
    """wait for the score"""
    json: bool = False
    """print the submission as JSON when it is over"""


def token(file: Path | None) -> str:
    """A token from a private file, or from the environment.

    Raises:
      UsageError: if the file cannot be read, or others can read it.
    """
    if file is None:
        return os.environ.get("HEADSTART_TOKEN", "").strip()
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise UsageError(f"{file} can be read by others; make it private with chmod 600 {file}.")
        return file.read_text().strip()
    except OSError as error:
        raise UsageError(f"the token file {file} cannot be read ({error.strerror}).") from None


def serve(args: list[str]) -> None:
    """Hold contests until interrupted."""
    options: ServeOptions = parse(ServeOptions, args, "contest serve")
    from headstart.contest import sandbox
    from headstart.contest.archive import Limits
    from headstart.contest.server import ServeConfig
    from headstart.contest.server import serve as run
    from headstart.contest.web import ServerConfig

    if not 0 < options.port < 65_536:
        raise UsageError(f"a port is between 1 and 65535, not {options.port}.")
    if not options.rate > 0.0:
        raise UsageError(f"--rate is a number of requests a second above 0, not {options.rate:g}.")
    if options.upload < 1:
        raise UsageError(f"an archive may have at least 1 MiB, not {options.upload}.")
    kind = options.sandbox
    if options.workers > 0:
        kind = sandbox.choose(options.sandbox, options.trust_submissions, options.images)
        print(f"submissions run in: {kind}", flush=True)
    config = ServeConfig(
        options.host,
        options.port,
        options.workers,
        (
            *("--sandbox", kind, *(["--images", *options.images] if options.images else [])),
            *(["--trust-submissions"] if options.trust_submissions else []),
        ),
        options.behind_proxy,
        options.lease,
    )
    limits = Limits.of(options.upload << 20)
    print(f"{config.url}  (data in {options.data}; Ctrl-C ends it)", flush=True)
    serving = ServerConfig(limits, options.rate, 4.0 * options.rate, secure=options.behind_proxy)
    run(options.data, database_url(options.database), config, serving)


def worker(args: list[str]) -> None:
    """Evaluate submissions until interrupted."""
    options: WorkerOptions = parse(WorkerOptions, args, "contest worker")
    from headstart.contest import sandbox
    from headstart.contest.environment import keep_to_one_thread
    from headstart.contest.evaluation import evaluate_submission
    from headstart.contest.remote import Remote
    from headstart.contest.worker import work, work_once

    keep_to_one_thread()
    if not 0 <= options.nice <= 19:
        raise UsageError(f"a worker is nice from 0 to 19, not {options.nice}.")
    kind = sandbox.choose(options.sandbox, options.trust_submissions, options.images)
    evaluate, parent = partial(evaluate_submission, images=options.images), os.getppid()
    os.nice(options.nice)
    # a local worker must end where the server that started it is gone for good; any other is glad when it is back
    patience = 600.0 if options.with_parent else math.inf
    with closing(Remote(options.server, token(options.token_file), patience=patience)) as remote:
        if options.once:
            while work_once(remote, evaluate, kind):
                pass
            return
        work(remote, evaluate, kind, lambda: not options.with_parent or os.getppid() == parent)


@contextmanager
def _bar(title: str) -> Generator[Callable[[dict[str, Any]], None]]:
    """Shows what the server says about a submission: a bar on a terminal, lines elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            line = bar.add_task(title, total=None)

            def show(found: dict[str, Any]) -> None:
                bar.update(
                    line, total=found["budget"], completed=found["spent"], description=_told(title, found)
                )

            yield show
        return
    last = [""]

    def tell(found: dict[str, Any]) -> None:
        text = _told(title, found)
        if text != last[0]:
            print(text, file=sys.stderr, flush=True)
        last[0] = text

    yield tell


def _told(title: str, found: dict[str, Any]) -> str:
    public = [job for job in found["jobs"] if job["board"] == "public"]
    ended = sum(job["state"] == "ended" for job in public)
    return f"{title}: {found['state']}, {ended} of {len(public)} evaluations"


def submit(args: list[str]) -> None:
    """Send an agent in; ends with its score and a link."""
    options: SubmitOptions = parse(SubmitOptions, args, "contest submit")
    from urllib.parse import quote, urlencode

    from headstart.contest import archive, auth
    from headstart.contest.remote import Remote

    with closing(Remote(options.server, token(options.token_file))) as remote:
        slug = options.contest or _only_contest(remote)
        contest = remote.insist("GET", f"/contests/{quote(slug, safe='')}", seconds=30.0).json()
        data = archive.pack(options.folder, archive.Limits.of(contest["upload"]))
        title = options.name or options.folder.resolve().name
        query = urlencode({"name": title, "key": auth.name(32)})
        sent = remote.insist(
            "POST", f"/contests/{contest['slug']}/submissions?{query}", data, seconds=30.0
        ).json()
        link = remote.url + sent["url"]
        print(f"sent as {sent['id']}: {link}", file=sys.stderr, flush=True)
        found = sent
        if options.follow:
            with _bar(title) as tell:
                found = remote.follow(sent["id"], tell)
    if options.json:
        print(json.dumps(found))
    if options.follow and found["state"] != "scored":
        raise RunError(f"the submission is {found['state']} ({found['reason']}); its logs are at {link}.")
    if options.follow and not options.json:
        error = "" if found["error"] is None else f" ± {found['error']:.1f}"
        print(f"score {found['score']:.1f}{error}  {link}")


def _only_contest(remote: Any) -> str:
    """The one contest there is."""
    found = [
        contest["slug"] for contest in remote.insist("GET", "/contests", seconds=30.0).json()["contests"]
    ]
    if len(found) != 1:
        raise UsageError(f"name the contest with --contest: {', '.join(found) or 'the server has none'}.")
    return found[0]


def database_url(given: str) -> str:
    """The database that was named, or that of the environment; empty for SQLite in the data folder."""
    return given or os.environ.get(_DATABASE, "")


__all__ = [
    "ServeOptions",
    "SubmitOptions",
    "WorkerOptions",
    "database_url",
    "serve",
    "submit",
    "token",
    "worker",
]
