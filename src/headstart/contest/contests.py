"""A contest as data: a TOML file says what is played, how long, when, and what is shown.

title = "Retro contest"
suite = "platformer-v0:levels=practice"
budget = 1_000_000                  # steps an evaluation
seeds = 3                           # runs a level; or a list of seeds
wall_clock = 7200.0                 # seconds an evaluation
opens = 2026-11-01T00:00:00Z
closes = 2026-12-01T00:00:00Z
tries_a_day = 5
counts = "best"                     # or "last": which of a contestant's submissions stands on the board

[public]
levels = ["practice-1", "practice-2"]
[final]
folder = "hidden"                   # level files beside this one; they go into the server's database only

[[reference]]                       # a row of a constant, with its source
name = "Human"
score = 7438.2
source = "Nichol et al. 2018"
"""

import datetime
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from headstart.errors import UsageError

Board = Literal["public", "final"]
BOARDS: tuple[Board, ...] = get_args(Board)

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TEXT = 20_000
_LEVELS = 200
_LEVEL_BYTES = 1 << 20
_STATES = ("scheduled", "open", "closed")


@dataclass(frozen=True)
class Level:
    """What one job plays."""

    label: str
    """what the board calls it"""
    content: str
    """a stored task's name, or a level's text"""


@dataclass(frozen=True)
class Reference:
    """A row of the board that nobody sent in."""

    name: str
    score: float
    """mean return"""
    error: float | None
    """standard error; None where it is not known"""
    source: str
    """where the number comes from"""


@dataclass(frozen=True)
class Contest:
    """Everything an organiser decides."""

    slug: str
    """its name in addresses"""
    title: str
    suite: str
    """the suite's name, with options"""
    budget: int
    """steps an evaluation"""
    seeds: tuple[int, ...]
    """one run a level and seed"""
    wall_clock: float
    """seconds an evaluation"""
    public: tuple[Level, ...]
    """levels every submission is scored on at once"""
    final: tuple[Level, ...] = ()
    """levels that decide at the end"""
    about: str = ""
    """paragraphs for the contest's page, separated by empty lines"""
    opens: float | None = None
    """seconds since 1970; None: it is open at once"""
    closes: float | None = None
    """seconds since 1970; None: it stays open"""
    tries_a_day: int = 5
    """submissions of one contestant in any 24 hours"""
    counts: Literal["best", "last"] = "best"
    """which of a contestant's scored submissions stands on the board"""
    references: tuple[Reference, ...] = ()
    state: str = "scheduled"
    """scheduled (the dates decide), open or closed (an organiser has decided)"""
    final_shown: bool = False
    """whether the final board is public"""
    version: int = 0
    """grows with everything that happens"""

    def is_open(self, now: float) -> bool:
        """Whether submissions are taken at a time."""
        if self.state != "scheduled":
            return self.state == "open"
        return (self.opens or now) <= now < (self.closes or now + 1)

    def levels(self, board: Board) -> tuple[Level, ...]:
        """The levels of a board."""
        return self.public if board == "public" else self.final


def _wrong(where: str, what: str) -> UsageError:
    return UsageError(f"the contest {where}: {what}.")


def _number(
    data: Mapping[str, Any], key: str, where: str, default: float | int | None, low: float | int
) -> float | int:
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < 1e12:
        raise _wrong(where, f"{key} is a number of at least {low:g}, not {value!r}")
    return value


def _text(data: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str) or len(value) > _TEXT or (default is None and not value):
        raise _wrong(where, f"{key} is a text of at most {_TEXT} characters, not {str(value)[:40]!r}")
    return value


def _time(data: Mapping[str, Any], key: str, where: str) -> float | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        raise _wrong(where, f"{key} is a date and time with its zone, such as 2026-11-01T00:00:00Z")
    return value.timestamp()


def _seeds(data: Mapping[str, Any], where: str) -> tuple[int, ...]:
    value = data.get("seeds", 3)
    seeds = list(range(value)) if isinstance(value, int) else value
    good = isinstance(seeds, list) and 0 < len(seeds) <= 100 and len(set(seeds)) == len(seeds)
    if not good or not all(isinstance(s, int) and 0 <= s < 1 << 31 for s in seeds):
        raise _wrong(where, "seeds is how many (at most 100), or a list of different ones")
    return tuple(seeds)


def _folder(path: Path, where: str) -> tuple[Level, ...]:
    """The level files of a folder, in the order of their names."""
    files = sorted(path.glob("*.txt"))
    if not files:
        raise _wrong(where, f"there are no level files (*.txt) in {path}")
    return tuple(Level(file.stem, _level(file, where)) for file in files)


def _level(file: Path, where: str) -> str:
    try:
        if file.stat().st_size > _LEVEL_BYTES:
            raise _wrong(where, f"{file.name} is larger than a level can be")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(where, f"the level file {file} cannot be read: {error}") from None


def _levels(data: Mapping[str, Any], board: str, beside: Path, where: str) -> tuple[Level, ...]:
    table = data.get(board, {})
    if not isinstance(table, dict) or set(table) - {"levels", "folder"} or len(table) > 1:
        raise _wrong(where, f"[{board}] holds either levels, a list of names, or folder, one of level files")
    if "folder" in table:
        levels = _folder(beside / str(table["folder"]), where)
    else:
        names = table.get("levels", [])
        if not isinstance(names, list) or not all(isinstance(n, str) and n and "\n" not in n for n in names):
            raise _wrong(where, f"[{board}] levels is a list of names")
        levels = tuple(Level(name, name) for name in names)
    labels = [level.label for level in levels]
    if len(levels) > _LEVELS or len(set(labels)) < len(labels) or any(len(n) > 60 for n in labels):
        raise _wrong(
            where, f"[{board}] has more than {_LEVELS} levels, one twice, or a name that is too long"
        )
    return levels


def _reference(row: Any, where: str) -> Reference:
    if not isinstance(row, dict):
        raise _wrong(where, "a [[reference]] has a name, a score and a source")
    score = _number(row, "score", where, None, -1e9)
    error = float(_number(row, "error", where, None, 0.0)) if "error" in row else None
    return Reference(_text(row, "name", where)[:40], float(score), error, _text(row, "source", where)[:200])


_KEYS = {
    "title",
    "about",
    "suite",
    "budget",
    "seeds",
    "wall_clock",
    "opens",
    "closes",
    "tries_a_day",
    "counts",
}
_TABLES = {"public", "final", "reference"}


def from_data(slug: str, data: Mapping[str, Any], beside: Path, where: str) -> Contest:
    """A contest from a TOML file's tables; folders of levels are looked for in `beside`.

    Raises:
      UsageError: for the first thing that cannot be understood.
    """
    if not _SLUG.fullmatch(slug) or len(slug) > 40:
        raise _wrong(where, f"its name is lower-case letters, digits and hyphens, not {slug[:50]!r}")
    known = _KEYS | _TABLES
    unknown = sorted(set(data) - known)
    if unknown:
        raise _wrong(where, f"there is no setting {unknown[0]}; known are {', '.join(sorted(known))}")
    public, final = (_levels(data, board, beside, where) for board in BOARDS)
    if not public:
        raise _wrong(where, "[public] needs at least one level")
    counts = _text(data, "counts", where, "best")
    if counts not in ("best", "last"):
        raise _wrong(where, f"counts is best or last, not {counts!r}")
    rows = data.get("reference", [])
    return Contest(
        slug=slug,
        title=_text(data, "title", where)[:120],
        suite=_text(data, "suite", where),
        budget=int(_number(data, "budget", where, None, 1)),
        seeds=_seeds(data, where),
        wall_clock=float(_number(data, "wall_clock", where, 7200.0, 1)),
        public=public,
        final=final,
        about=_text(data, "about", where, ""),
        opens=_time(data, "opens", where),
        closes=_time(data, "closes", where),
        tries_a_day=int(_number(data, "tries_a_day", where, 5, 1)),
        counts="best" if counts == "best" else "last",
        references=tuple(_reference(row, where) for row in (rows if isinstance(rows, list) else [rows])),
    )


def read(path: Path) -> Contest:
    """A contest from its TOML file, whose stem is its name in addresses.

    Raises:
      UsageError: if it cannot be read or understood.
    """
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"the contest {path} cannot be read: {' '.join(str(error).split())}.") from None
    return from_data(path.stem, data, path.parent, str(path))


def check_playable(contest: Contest, where: str) -> None:
    """Set up every level of a contest as an evaluation does, so that no submission fails for what its organiser wrote.

    Raises:
      UsageError: for the first that cannot be played.
    """
    from headstart.contest.environment import Game  # loads JAX, which nobody else here needs

    for board in BOARDS:
        for level in contest.levels(board):
            try:
                Game(contest.suite, level.content, 0, 1)
            except UsageError as error:
                why = str(error).rstrip(".")
                raise _wrong(where, f"{level.label} of [{board}] cannot be played, since {why}") from None


def settings(contest: Contest) -> dict[str, Any]:
    """What the database keeps of a contest beside its levels, state and version: plain JSON values."""
    names = ["title", "suite", "budget", "wall_clock", "about", "opens", "closes", "tries_a_day", "counts"]
    rows = [
        {"name": r.name, "score": r.score, "error": r.error, "source": r.source} for r in contest.references
    ]
    kept = {name: getattr(contest, name) for name in names}
    return kept | {"seeds": list(contest.seeds), "references": rows}


def check_state(state: str) -> str:
    """A contest's state, or a refusal."""
    if state not in _STATES:
        raise UsageError(f"a contest is {', '.join(_STATES[:-1])} or {_STATES[-1]}, not {state}.")
    return state


__all__ = [
    "BOARDS",
    "Board",
    "Contest",
    "Level",
    "Reference",
    "check_playable",
    "check_state",
    "from_data",
    "read",
    "settings",
]
