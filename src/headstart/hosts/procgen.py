"""Procgen's games (Cobbe et al. 2020, arXiv:1912.01588) through EnvPool: all lanes in threads of this process.

EnvPool's Procgen needs Qt 5, which a distribution usually supplies; here it comes from the Python package PyQt5-Qt5, whose
libraries are loaded before EnvPool looks for them.

A level is a number; equal numbers are equal levels, of the same game and mode. EnvPool draws the levels of a contiguous
range; where a table leaves some of a range out, episodes that begin on those are begun again.
"""

import ctypes
import importlib.util
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from headstart.errors import RunError, UsageError
from headstart.types import Box, Discrete, Spec, TimeStep

HORIZONS: dict[str, int] = {
    "bigfish": 6000,
    "bossfight": 4000,
    "caveflyer": 1000,
    "chaser": 1000,
    "climber": 1000,
    "coinrun": 1000,
    "dodgeball": 1000,
    "fruitbot": 1000,
    "heist": 1000,
    "jumper": 1000,
    "leaper": 500,
    "maze": 500,
    "miner": 1000,
    "ninja": 1000,
    "plunder": 4000,
    "starpilot": 1000,
}
"""the 16 games, and the steps after which an episode of each is cut off"""
MODES: dict[str, str] = {"easy": "Easy", "hard": "Hard"}
ACTIONS = 15
"""eight directions, standing still, and six buttons of which a game uses what it knows"""

DRAWN_BY = "EnvPool, but in trials of episodes=2 or more"
"""levels"""

_QT = ("libQt5Core.so.5", "libQt5Gui.so.5")
_WASTE = 4
"""levels of a range, for each one of the table, that an episode may begin on to be begun again"""
_PLAIN = {
    "use_backgrounds": False,
    "use_monochrome_assets": True,
    "restrict_themes": True,
    "center_agent": False,
}
"""draws the whole level, what is where and nothing else: levels of one layout look the same whatever they are dressed in"""
_TRIES = 5000
"""resets after which a level that never comes up counts as missing"""


class Levels(NamedTuple):
    """Procgen's task: a level's number; tables have a leading axis `[M]`."""

    level: Int[np.ndarray, "*m"]


class Game(NamedTuple):
    """One of the games in one of its modes."""

    name: str
    mode: str

    @property
    def spec(self) -> Spec:
        """64 x 64 colour pictures, 15 actions."""
        pixels = Box((64, 64, 3), 0.0, 255.0, np.uint8)
        return Spec(pixels, Discrete(ACTIONS), HORIZONS[self.name], truncates=True)


@cache
def require() -> None:
    """Load Qt and EnvPool's Procgen.

    Raises:
      UsageError: if the extra is not installed, or its libraries do not load.
    """
    if not all(importlib.util.find_spec(name) for name in ("envpool", "PyQt5")):
        raise UsageError("Procgen needs the extra `procgen`: pip install 'headstart[procgen]'.")
    found = importlib.util.find_spec("PyQt5")
    folders = [Path(place) / "Qt5" / "lib" for place in (found and found.submodule_search_locations) or ()]
    try:
        for name in _QT:  # in this order: the second needs the first
            paths = [folder / name for folder in folders if (folder / name).exists()]
            ctypes.CDLL(str(paths[0]) if paths else name, mode=ctypes.RTLD_GLOBAL)
        importlib.import_module("envpool.procgen")
    except (OSError, ImportError) as error:
        what = " ".join(str(error).split())
        raise UsageError(
            f"Procgen's libraries do not load ({what}); install the system's package for the one that is missing."
        ) from error


def _pool(game: Game, n: int, seed: int, start: int, levels: int, threads: int, plain: bool = False) -> Any:
    require()
    registration = importlib.import_module("envpool.registration")
    importlib.import_module("envpool.procgen.registration")
    return registration.make_gymnasium(
        f"{game.name.capitalize()}{MODES[game.mode]}-v0",
        num_envs=n,
        num_threads=threads,
        seed=seed,
        start_level=start,
        num_levels=levels,
        channel_first=False,
        **(_PLAIN if plain else {}),
    )


class _Group:
    """Lanes that share a pool: it draws from a range of levels, of which only some may be allowed."""

    def __init__(
        self, game: Game, lanes: Sequence[int], levels: Int[np.ndarray, " m"], seed: int, threads: int
    ):
        low, high = int(levels.min()), int(levels.max()) + 1
        self.lanes = list(lanes)
        self._allowed = frozenset(levels.tolist()) if high - low > len(levels) else None
        self._pool = _pool(game, len(self.lanes), seed, low, high - low, threads)
        self.level = np.zeros(len(self.lanes), np.int32)

    def begin(self, which: Int[np.ndarray, " k"]) -> UInt8[np.ndarray, "k 64 64 3"]:
        """First observations of new episodes in some of the group's lanes, in rising order."""
        obs = np.zeros((len(which), 64, 64, 3), np.uint8)
        left = np.arange(len(which))
        while left.size:
            seen, info = self._pool.reset(which[left].astype(np.int32))
            order = np.argsort(info["env_id"])  # as `which` is
            obs[left], level = np.asarray(seen)[order], np.asarray(info["level_seed"])[order]
            self.level[which[left]] = level
            wrong = [self._allowed is not None and int(one) not in self._allowed for one in level]
            left = left[np.array(wrong, bool)]
        return obs

    def send(self, action: np.ndarray) -> None:
        """Hand actions over; the pool's threads begin to simulate."""
        self._pool.send(action[self.lanes].astype(np.int32))

    def receive(self) -> tuple[Any, ...]:
        """Observation, reward, terminated, truncated of the group's lanes, in their order."""
        obs, reward, terminated, truncated, info = self._pool.recv()
        order = np.argsort(info["env_id"])
        return tuple(np.asarray(x)[order] for x in (obs, reward, terminated, truncated))

    def close(self) -> None:
        self._pool.close()


class ProcgenLanes:
    """`n` lanes of a game on a table of levels.

    Args:
      game: which, and in which mode.
      tasks: the levels `[M]`.
      n: how many lanes.
      first: the name of the first, from which the others count.
      pinned: whether lane i keeps level i mod M; else each episode draws one.
      threads: of the simulator; 0 for as many as there are cores.
      episodes: of a lane before it draws another level.

    Raises:
      UsageError: if Procgen is not installed, or the levels are too far apart to be drawn from.
    """

    def __init__(
        self,
        game: Game,
        tasks: Levels,
        n: int,
        first: int,
        pinned: bool,
        threads: int = 0,
        episodes: int = 1,
    ) -> None:
        require()
        self._game, self._levels = game, np.asarray(tasks.level, np.int64)
        self._n, self._first, self._threads = n, first, threads
        own = (first + np.arange(n)) % len(self._levels)
        self._pinned = pinned and len(self._levels) > 1
        self._episodes = episodes
        self._held = episodes > 1 and not pinned and len(self._levels) > 1
        self._chances: Float[np.ndarray, " M"] | None = None
        spread = int(self._levels.max() - self._levels.min()) + 1
        if not (self._pinned or self._held) and spread > _WASTE * len(self._levels):
            raise UsageError(
                f"{len(self._levels)} levels of {game.name} lie {spread} apart, too far to draw from; take neighbours."
            )
        self._own = self._levels[own]
        self._groups: list[_Group] = []
        self._row = {int(level): row for row, level in enumerate(self._levels)}
        self.deaths, self.busy = 0, 0.0
        self._episode = np.zeros(n, np.int32)

    @property
    def episode(self) -> Int[np.ndarray, " N"]:
        """Which of its level's episodes each lane plays, from 0."""
        return self._episode.copy()

    @property
    def spec(self) -> Spec:
        """What the lanes show and take."""
        return self._game.spec

    @property
    def rows(self) -> Int[np.ndarray, " N"]:
        """The row of the table that each lane plays."""
        found = np.zeros(self._n, np.int32)
        for group in self._groups:
            found[group.lanes] = [self._row[int(level)] for level in group.level]
        return found

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode in every lane; the same seed begins the same ones, whatever was played before."""
        self.close()
        begun = time.perf_counter()
        word = int(np.random.SeedSequence([seed, self._first]).generate_state(1)[0]) & 0x3FFFFFFF
        self._chances = None
        self._random, self._episode = np.random.default_rng([seed, self._first]), np.zeros(self._n, np.int32)
        if self._held:
            parts = [(np.array([lane]), self._drawn()) for lane in range(self._n)]
        elif self._pinned:
            every = np.unique(self._own)
            parts = [(np.flatnonzero(self._own == level), np.array([level])) for level in every]
        else:
            parts = [(np.arange(self._n), self._levels)]
        threads = self._threads if len(parts) == 1 else 1
        for lanes, levels in parts:
            group = _Group(self._game, lanes.tolist(), levels, word + int(lanes[0]), threads)
            self._groups.append(group)
        obs = np.zeros((self._n, 64, 64, 3), np.uint8)
        for group in self._groups:
            obs[group.lanes] = group.begin(np.arange(len(group.lanes)))
        n = self._n
        self.busy += time.perf_counter() - begun
        return TimeStep(obs, np.zeros(n, np.float32), np.ones(n, np.float32), np.ones(n, bool), obs)  # pyright: ignore[reportArgumentType]

    def _drawn(self) -> Int[np.ndarray, "1"]:
        """A level for a trial."""
        return self._random.choice(self._levels, 1, p=self._chances)

    def choose(self, chances: Float[np.ndarray, " M"]) -> None:
        """Draw the levels of trials to come with these chances, until the next reset or choice.

        Raises:
          UsageError: if the lanes play no trials, whose levels EnvPool draws.
        """
        if not self._held and len(self._levels) > 1:
            raise UsageError(f"levels of {self._game.name} are drawn by {DRAWN_BY}.")
        self._chances = chances / chances.sum(dtype=np.float64)

    def _after(self, i: int, last: Int[np.ndarray, " k"]) -> UInt8[np.ndarray, "k 64 64 3"]:
        """What is seen first of the episodes after those that ended in some of group i's lanes; a new trial of a lane that
        has its levels to itself is played in a pool of its own.
        """
        group = self._groups[i]
        lanes = np.array(group.lanes)[last]
        self._episode[lanes] = (self._episode[lanes] + 1) % self._episodes
        if self._held and not self._episode[lanes].any():
            group.close()
            word = int(self._random.integers(2**30))
            group = self._groups[i] = _Group(self._game, group.lanes, self._drawn(), word, 1)
        return group.begin(last)

    def step(self, action: np.ndarray) -> TimeStep:
        """Play one action in every lane; an episode that ends is followed by the next one's beginning."""
        begun = time.perf_counter()
        reward, first = np.zeros(self._n, np.float32), np.zeros(self._n, bool)
        discount, final = np.ones(self._n, np.float32), np.zeros((self._n, 64, 64, 3), np.uint8)
        fresh: list[tuple[np.ndarray, np.ndarray]] = []
        for group in self._groups:
            group.send(action)
        for i, group in enumerate(self._groups):
            lanes = np.array(group.lanes)
            seen, reward[lanes], terminated, truncated = group.receive()
            last = terminated | truncated
            first[lanes], discount[lanes] = last, 1.0 - terminated.astype(np.float32)
            final[lanes] = seen
            if last.any():
                fresh.append((lanes[last], self._after(i, np.flatnonzero(last))))
        obs = final.copy() if fresh else final
        for lanes, seen in fresh:
            obs[lanes] = seen
        self.busy += time.perf_counter() - begun
        return TimeStep(obs, reward, discount, first, final)  # pyright: ignore[reportArgumentType]

    def close(self) -> None:
        """End the simulators."""
        for group in self._groups:
            group.close()
        self._groups = []


def first_frames(game: Game, levels: Sequence[int], plain: bool = False) -> dict[int, bytes]:
    """What is seen first of each level.

    Args:
      levels: neighbours.
      plain: the whole level, without backgrounds and themes, so that levels of the same layout look the same.

    Raises:
      UsageError: if Procgen is not installed.
      RunError: if a level never comes up.
    """
    low, high = min(levels), max(levels) + 1
    wanted, found = set(levels), dict[int, bytes]()
    pool = _pool(game, 16, 0, low, high - low, 1, plain)
    for _ in range(_TRIES):
        obs, info = pool.reset()
        for frame, level in zip(np.asarray(obs), info["level_seed"].tolist(), strict=True):
            found.setdefault(level, frame.tobytes())
        if wanted <= found.keys():
            break
    pool.close()
    if missing := wanted - found.keys():
        raise RunError(f"{len(missing)} levels of {game.name} never came up in {_TRIES} resets of 16 lanes.")
    return {level: found[level] for level in sorted(wanted)}
