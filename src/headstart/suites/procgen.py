"""Procgen (Cobbe et al. 2020, arXiv:1912.01588): 16 games whose levels are drawn by a program, `procgen:coinrun`.

The standard setting trains on 200 levels (easy mode; 500 in hard) and tests on levels never seen. Level numbers do not keep
the two apart: in several games different numbers draw the same level, differently dressed. So a valid or test level whose
first picture, drawn plain, is that of a training level (or of another valid or test level) is passed over for the next. In
the games whose first picture is bare because things appear later on, pictures are compared as agents see them.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from headstart.errors import UsageError, unknown
from headstart.hosts import procgen as host
from headstart.hosts.env import HostEnv, Simulators
from headstart.hosts.procgen import Game, Levels, ProcgenLanes
from headstart.hosts.trials import in_trials
from headstart.tasks import Role, Scale, Suite, Table

_AT: dict[Role, int] = {"train": 0, "valid": 1 << 20, "test": 1 << 21}
"""the first level of each role; which valid and test levels are passed over depends on the roles before them"""
_STANDARD = {"easy": 200, "hard": 500}
"""training levels of the paper"""
_VALID = 32
_MOST = 2000
"""training levels whose first pictures are looked at in reasonable time"""
_BARE = ("bigfish", "bossfight", "leaper", "plunder", "starpilot")
"""games whose first picture, drawn plain, says nothing of the level"""
_BLOCKS = 16
"""how many times as many levels are looked at, at most, as are wanted"""


RANGES: dict[str, dict[str, Scale]] = {
    "bigfish": {"hard": Scale(0.0, 40.0), "easy": Scale(1.0, 40.0)},
    "bossfight": {"hard": Scale(0.5, 13.0), "easy": Scale(0.5, 13.0)},
    "caveflyer": {"hard": Scale(2.0, 13.4), "easy": Scale(3.5, 12.0)},
    "chaser": {"hard": Scale(0.5, 14.2), "easy": Scale(0.5, 13.0)},
    "climber": {"hard": Scale(1.0, 12.6), "easy": Scale(2.0, 12.6)},
    "coinrun": {"hard": Scale(5.0, 10.0), "easy": Scale(5.0, 10.0)},
    "dodgeball": {"hard": Scale(1.5, 19.0), "easy": Scale(1.5, 19.0)},
    "fruitbot": {"hard": Scale(-0.5, 27.2), "easy": Scale(-1.5, 32.4)},
    "heist": {"hard": Scale(2.0, 10.0), "easy": Scale(3.5, 10.0)},
    "jumper": {"hard": Scale(1.0, 10.0), "easy": Scale(3.0, 10.0)},
    "leaper": {"hard": Scale(1.5, 10.0), "easy": Scale(3.0, 10.0)},
    "maze": {"hard": Scale(4.0, 10.0), "easy": Scale(5.0, 10.0)},
    "miner": {"hard": Scale(1.5, 20.0), "easy": Scale(1.5, 13.0)},
    "ninja": {"hard": Scale(2.0, 10.0), "easy": Scale(3.5, 10.0)},
    "plunder": {"hard": Scale(3.0, 30.0), "easy": Scale(4.5, 30.0)},
    "starpilot": {"hard": Scale(1.5, 35.0), "easy": Scale(2.5, 64.0)},
}
"""the paper's constants: what an agent that sees nothing gets, and the most there is or an agent got"""


def normalised(score: float, game: str, mode: str = "easy") -> float:
    """(score - low) / (high - low) with the paper's constants (appendix C).

    Examples:
      >>> normalised(7.5, "coinrun")
      0.5
    """
    if game not in RANGES:
        raise unknown("game of Procgen", game, RANGES)
    return RANGES[game][mode].place(score)


def fresh(frames: dict[int, bytes], known: set[bytes]) -> list[int]:
    """The levels that look like nothing known at first sight, nor like one before them; `known` grows.

    Examples:
      >>> fresh({7: b"a", 8: b"b", 9: b"c", 10: b"c"}, {b"a"})
      [8, 9]
    """
    kept: list[int] = []
    for level, frame in sorted(frames.items()):
        if frame not in known:
            kept.append(level)
            known.add(frame)
    return kept


def shows_layout(game: Game) -> bool:
    """Whether a level's first picture, drawn plain, tells the level from others."""
    return game.name not in _BARE


def _unlike(game: Game, at: int, size: int, known: set[bytes]) -> list[int]:
    """The first `size` levels from `at` on that look like nothing known; `known` grows.

    Raises:
      UsageError: if there are not so many among sixteen times as many.
    """
    kept: list[int] = []
    for block in range(_BLOCKS):
        low = at + block * size
        kept += fresh(host.first_frames(game, range(low, low + size), shows_layout(game)), known)
        if len(kept) >= size:
            return kept[:size]
    raise UsageError(
        f"only {len(kept)} of {_BLOCKS * size} levels of {game.name} look new at first sight; ask for fewer than {size}."
    )


@cache
def _tables(game: Game, start: int, train: int, test: int) -> dict[Role, Table]:
    """The levels of every role."""
    numbers = range(start, start + train)
    known = set(host.first_frames(game, numbers, shows_layout(game)).values())
    levels: dict[Role, list[int]] = {"train": list(numbers)}
    wanted: tuple[tuple[Role, int], ...] = (("valid", _VALID), ("test", test))
    for role, size in wanted:
        levels[role] = _unlike(game, _AT[role], size, known)
    return {
        role: Table(tuple(f"level-{n}" for n in found), Levels(np.array(found, np.int32)))
        for role, found in levels.items()
    }


def procgen(
    game: str = "coinrun",
    mode: str = "easy",
    num_levels: int = 0,
    start_level: int = 0,
    test_levels: int = 100,
    threads: int = 0,
    halves: int = 1,
    stale: int = 0,
    episodes: int = 0,
) -> Suite:
    """A game of Procgen; score: mean return of an episode; `facts["normalised"]` is that on the paper's scale.

    Args:
      game: one of the 16.
      mode: "easy" or "hard".
      num_levels: how many training levels there are; 0 for the paper's: 200 (easy), 500 (hard).
      start_level: the first of them.
      test_levels: how many test levels there are.
      threads: of the simulator; 0 for as many as there are cores.
      halves: parts of the lanes that take turns; 2 computes the actions of one while the other is simulated.
      stale: updates that the acting weights may be behind; 1 simulates while the agent learns.
      episodes: 0 for single episodes; more for trials of so many episodes of one level (RL²).

    Raises:
      UsageError: for an unknown game or mode, numbers out of range, or where the extra `procgen` is not installed.
    """
    if game not in RANGES:
        raise unknown("game of Procgen", game, RANGES)
    if mode not in host.MODES:
        raise UsageError(f"Procgen has the modes easy and hard, not '{mode}'.")
    num_levels = num_levels or _STANDARD[mode]
    for name, value in (("num_levels", num_levels), ("test_levels", test_levels)):
        if not 1 <= value <= _MOST:
            raise UsageError(f"{name} of suite procgen is between 1 and {_MOST}, not {value}.")
    if not 0 <= start_level <= _AT["valid"] - num_levels:
        raise UsageError(f"training levels lie between 0 and {_AT['valid']}; choose another start_level.")
    if threads < 0:
        raise UsageError(f"a simulator has no {threads} threads; 0 is for as many as there are cores.")
    host.require()
    which = Game(game, mode)
    tables = _tables(which, start_level, num_levels, test_levels)

    def opened(tasks: PyTree, n: int, first: int, pinned: bool) -> Simulators:
        return ProcgenLanes(which, tasks, n, first, pinned, threads, max(episodes, 1))

    train = tables["train"].tasks

    def sample(key: PRNGKeyArray) -> Levels:
        row = jr.randint(key, (), 0, num_levels)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[row], train)

    low, high = RANGES[game][mode]
    about = (
        f"Procgen's {game} ({mode}); score: mean return of an episode ({low:g} is chance, {high:g} the most)"
    )
    drawn_by = "" if episodes > 1 else host.DRAWN_BY
    env: Any = HostEnv(f"procgen {game}", which.spec, opened, halves, stale, width=32, drawn_by=drawn_by)
    env = in_trials(env, episodes) if episodes else env
    return Suite("procgen", env, sample, about=about, tables=tables, scale=RANGES[game][mode])
