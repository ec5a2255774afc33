"""The levels that ship with the platformer, their stored solutions, and endless generated ones.

data/levels/index.txt       one level a line: its set (train, test, contest, practice) and its name
data/levels/NAME.txt        the level
data/levels/NAME.tape       actions that finish it when none is late: ACTIONxSTEPS, separated by blanks
"""

from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from headstart.envs.platformer_level import Level, parse
from headstart.envs.platformer_zones import ZONES
from headstart.errors import UsageError
from headstart.suites._platformer_generator import generate
from headstart.tasks import Role

LevelSet = Literal["train", "test", "contest", "practice"]

_OF_ROLE = {
    "test": (0, 1),
    "valid": (1, 2),
    "train": (2, 8),
}  # eighths of the hash space, as in headstart.tasks
_ACTIONS = 8


def folder() -> Path:
    """Where the levels lie."""
    return Path(str(resources.files("headstart") / "data" / "levels"))


@cache
def index() -> dict[str, str]:
    """The set of every shipped level by its name, in playing order."""
    lines = (folder() / "index.txt").read_text().splitlines()
    return {name: which for which, name in (line.split() for line in lines if line.strip())}


def text(name: str) -> str:
    """A shipped level as its file has it."""
    return (folder() / f"{name}.txt").read_text()


@cache
def shipped(which: LevelSet) -> tuple[tuple[str, ...], tuple[Level, ...]]:
    """Names and levels of a set, in playing order."""
    names = tuple(name for name, of in index().items() if of == which)
    return names, tuple(parse(text(name), f"{name}.txt") for name in names)


def tape(name: str) -> UInt8[np.ndarray, " steps"]:
    """The stored solution of a shipped level: one action a step."""
    return read_tape((folder() / f"{name}.tape").read_text(), f"{name}.tape")


def read_tape(written: str, name: str = "the tape") -> UInt8[np.ndarray, " steps"]:
    """Actions from their text.

    Raises:
      UsageError: where a word is not of the form ACTIONxSTEPS.
    """
    actions: list[int] = []
    for number, word in enumerate(written.split(), 1):
        action, _, steps = word.partition("x")
        if not (
            action.isdecimal() and steps.isdecimal() and int(action) < _ACTIONS and 0 < int(steps) < 10_000
        ):
            raise UsageError(
                f"{name}, word {number}: a tape holds words like 2x13, action 2 for 13 steps, not '{word}'."
            )
        actions += [int(action)] * int(steps)
    return np.array(actions, np.uint8)


def write_tape(actions: UInt8[np.ndarray, " steps"]) -> str:
    """The text of a tape, twenty words a line."""
    words = [f"{action}x{sum(1 for _ in run)}" for action, run in groupby(actions.tolist())]
    return "\n".join(" ".join(words[i : i + 20]) for i in range(0, len(words), 20)) + "\n"


@cache
def generated(role: Role, n: int, first: int = 0) -> tuple[tuple[str, ...], tuple[Level, ...]]:
    """`n` generated levels of a role, labelled ZONE@SEED; the role is a hash of the level's content.

    Zones of the three worlds take turns and difficulties are mixed. About ten milliseconds a level tried; of eight tried,
    six are for training, one each is valid and test. The levels are not searched for a way: nearly all have one.

    Args:
      role: "train", "valid" or "test".
      n: how many.
      first: the first seed tried; sets of the same first seed are nested.
    """
    zones = [zone.name for zone in ZONES.values() if zone.world != "Contest"]
    low, high = _OF_ROLE[role]
    labels, levels, seed = list[str](), list[Level](), first
    while len(levels) < n:
        zone, difficulty = zones[seed % len(zones)], (seed * 0.618034) % 1.0
        level = parse(generate(seed, zone, round(difficulty, 3)))
        if low <= level.digest[0] >> 5 < high:
            labels.append(f"{zone}@{seed}")
            levels.append(level)
        seed += 1
    return tuple(labels), tuple(levels)


__all__ = ["LevelSet", "folder", "generated", "index", "read_tape", "shipped", "tape", "text", "write_tape"]
