"""`headstart contest`: make an agent, score it on the practice levels, send it in; or hold a contest."""

import dataclasses
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from headstart import _console
from headstart._registry import resolve
from headstart.cli import parse
from headstart.commands.contest_server import Sandbox
from headstart.errors import RunError, UsageError, unknown

SUITE = "platformer:levels=practice"

COMMANDS: dict[str, tuple[str, str]] = {
    "admin": ("headstart.commands.contest_admin:admin", "users, contests, re-runs, exports"),
    "init": ("headstart.commands.contest:init", "a folder with a working agent"),
    "score": (
        "headstart.commands.contest:score",
        "score an agent on the practice levels, as the server would",
    ),
    "serve": ("headstart.commands.contest_server:serve", "hold contests: pages, queue, evaluations"),
    "submit": ("headstart.commands.contest_server:submit", "send an agent in and follow its evaluation"),
    "worker": ("headstart.commands.contest_server:worker", "evaluate for a server on another machine"),
}


@dataclass(frozen=True)
class InitOptions:
    """Write a folder with a working agent, its submission.toml and a test."""

    folder: Annotated[Path, tyro.conf.Positional]
    """the new folder; its name is the agent's"""
    template: str = "random"
    """random, jerk, ppo, ppo-finetuned or rainbow"""


@dataclass(frozen=True)
class ScoreOptions:
    """Score an agent on the practice levels exactly as the server would."""

    folder: Annotated[Path, tyro.conf.Positional]
    """the agent's folder, with submission.toml"""
    levels: tuple[str, ...] = ()
    """names of levels, or level files; none is all practice levels"""
    suite: str = SUITE
    """the suite the levels belong to"""
    budget: int = 1_000_000
    """steps on each level, over all lanes"""
    seeds: int = 1
    """evaluations of each level: seeds 0, 1, ..."""
    wall_clock: float = 12 * 3600.0
    """seconds an evaluation may last"""
    memory: float = 4.0
    """GiB the agent may use"""
    sandbox: Sandbox = "auto"
    """where the agent runs; auto is the first that works here, and none if none does"""
    images: tuple[str, ...] = ()
    """of containers: those a submission may name; the first is for one that names none"""
    films: bool = True
    """film the first, the best and the last episode"""
    out: Path | None = None
    """folder for scores, logs and films; none is FOLDER-scores beside the agent's"""
    json: bool = False
    """print as JSON"""


class _Row(NamedTuple):
    """One evaluation, as it is kept and shown."""

    level: str
    seed: int
    score: float
    status: str
    episodes: int
    spent: int
    message: str
    seconds: float
    log: str


def init(args: list[str]) -> None:
    """Write a new submission."""
    from headstart.contest import starting

    options: InitOptions = parse(InitOptions, args, "contest init")
    for path in starting.write(options.folder, options.template):
        print(path)
    print(f"score it: headstart contest score {options.folder} --budget 10000")


def _levels(options: ScoreOptions) -> dict[str, str]:
    """What is played: a name for people, and the text or the task's name."""
    from headstart import suites

    if not options.levels:
        return {label: label for label in suites.suite(options.suite).split("test").labels or ("task-0",)}
    found: dict[str, str] = {}
    for name in options.levels:
        path = Path(name)
        try:
            found[path.stem if path.is_file() else name] = path.read_text() if path.is_file() else name
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read as a level ({error}).") from None
    return found


def _follow(what: str, budget: int, quiet: bool) -> Callable[[int], bool]:
    """A heartbeat that says how far it is: on one line of a terminal, else every half minute."""
    live, said, begun = sys.stderr.isatty(), [time.monotonic()], time.monotonic()

    def beat(spent: int) -> bool:
        now = time.monotonic()
        if not quiet and (live or now - said[0] > 30):
            said[0] = now
            speed = spent / max(now - begun, 1e-9)
            line = f"{what}  {spent:,}/{budget:,} steps  {speed:,.0f} steps/s"
            print(f"\r{line}   " if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
        return True

    return beat


@contextmanager
def _as_sent(folder: Path) -> Generator[tuple[Path, str]]:
    """The folder as a server would unpack it, and its archive's digest; what is not sent is not there either."""
    from headstart.contest import archive, leftovers

    data = archive.pack(folder)
    place = leftovers.folder("job")
    try:
        archive.unpack(data, place / folder.resolve().name)
        yield place / folder.resolve().name, hashlib.sha256(data).hexdigest()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def score(args: list[str]) -> None:
    """Score an agent, a line an evaluation, then a table."""
    from headstart.budget import Budget
    from headstart.contest import chance, manifest, sandbox
    from headstart.contest.environment import keep_to_one_thread
    from headstart.contest.evaluation import Job

    keep_to_one_thread()
    options: ScoreOptions = parse(ScoreOptions, args, "contest score")
    Budget(options.budget, options.wall_clock)
    if options.seeds < 1 or not options.memory > 0:
        raise UsageError("there is at least one seed, and more than no memory.")
    about = manifest.read(options.folder)
    kind = sandbox.choose(options.sandbox, trusted=True, images=options.images)
    if kind == "none":
        print("your agent is not isolated here, as it will be on a server.", file=sys.stderr, flush=True)
    out = options.out or options.folder.resolve().with_name(options.folder.resolve().name + "-scores")
    rows: list[_Row] = []
    with _as_sent(options.folder) as (folder, digest):
        for name, level in _levels(options).items():
            for seed in range(options.seeds):
                noise = chance.noise(chance.PRACTICE, name, seed, digest)
                job = Job(options.suite, level, seed, options.budget, options.wall_clock, kind, noise)
                rows.append(_evaluate(options, folder, name, job, out / f"{name}-{seed}"))
                text = json.dumps([row._asdict() for row in rows], indent=1)
                (out / "scores.json").write_text(text + "\n")
    if options.json:
        print(json.dumps([row._asdict() for row in rows]))
    else:
        _show(about.name, rows, out)
    if all(row.status in ("crashed", "refused", "memory", "processes", "cpu-time") for row in rows):
        raise RunError(f"{about.name} played nothing to the end ({rows[-1].message}); see {rows[-1].log}.")


def _evaluate(options: ScoreOptions, folder: Path, name: str, job: Any, out: Path) -> _Row:
    from headstart.contest.evaluation import evaluate_submission
    from headstart.contest.sandbox import Limits

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror}.") from None
    begun = time.monotonic()
    beat = _follow(f"{name}  seed {job.seed}", job.budget, options.json)
    limits = dataclasses.replace(Limits(), memory=int(options.memory * (1 << 30)))
    verdict = evaluate_submission(
        folder, job, out, beat, limits=limits, films=options.films, images=options.images
    )
    finished = sum(episode.finished for episode in verdict.episodes)
    seconds = round(time.monotonic() - begun, 1)
    row = _Row(
        name,
        job.seed,
        verdict.score,
        verdict.status,
        finished,
        verdict.spent,
        verdict.message,
        seconds,
        str(verdict.log),
    )
    if not options.json:
        end = "\r" if sys.stderr.isatty() else ""
        print(
            f"{end}{name}  seed {job.seed}  {verdict.score:.1f}  {verdict.message}",
            file=sys.stderr,
            flush=True,
        )
    return row


def _show(agent: str, rows: list[_Row], out: Path) -> None:
    from headstart.contest import scoring

    cells = [[r.level, r.seed, f"{r.score:.1f}", r.episodes, f"{r.spent:,}", r.status] for r in rows]
    _console.table(agent, ["level", "seed", "score", "episodes", "steps", "ended by"], cells)
    levels: dict[str, list[float]] = {}
    for row in rows:
        levels.setdefault(row.level, []).append(row.score)
    found = scoring.score(list(levels.values()))
    error = "" if found.error is None else f" ± {found.error:.1f}"
    print(f"score {found.score:.1f}{error}; logs and films are in {out}")


def contest(args: list[str]) -> None:
    """One of the contest's commands."""
    if not args or args[0] in ("-h", "--help"):
        print("usage: headstart contest COMMAND [options]\n")
        print("\n".join(f"  {name:<8}{what}" for name, (_, what) in COMMANDS.items()))
        return
    if args[0] not in COMMANDS:
        raise unknown("contest command", args[0], COMMANDS)
    try:
        resolve("command", {name: where for name, (where, _) in COMMANDS.items()}, args[0])(args[1:])
    except ModuleNotFoundError as error:  # commands import what they need when they run
        raise UsageError(
            f"headstart contest {args[0]} needs {error.name}: install headstart with its extra, '.[contest]'."
        ) from None


__all__ = ["COMMANDS", "contest", "init", "score"]
