"""Finishing a level by search, and checking that a level is legal and can be finished.

A simplified Go-Explore (Ecoffet et al. 2021, arXiv:2004.12919) with the real engine as its model, sticky skip off:

    archive ← {cell of the start}
    repeat:
        draw N cells, rarely visited ones and those far to the right more often
        from each cell's state, play T steps of random actions, each held for a while
        for every state on the way: keep it where its cell is new, or was reached later before
    until the goal was reached; then some more rounds from cells along the way there, to shorten it

A cell is a tile of the player's place, its speed in five classes, whether it stands, and the gates opened so far. The
same seed finds the same tape.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PyTree, UInt8

from headstart.envs.platformer import FRAMES, HORIZON, Platformer, PlatformerState
from headstart.envs.platformer_body import FINISHED, PLAYING
from headstart.envs.platformer_level import CODES, COLUMNS, ROWS, Level, parse
from headstart.envs.platformer_table import UNIT, Levels, PlatformerTask, stack, task_of
from headstart.envs.platformer_zones import SUB

_SHARES = np.array([0.05, 0.16, 0.36, 0.03, 0.12, 0.02, 0.04, 0.22])
"""how often each of the eight actions is drawn"""
_HOLDS = (2, 14)  # steps an action is held, the second excluded
_SPEEDS = np.array([-3.5, -0.5, 0.5, 3.5]) * SUB  # bounds of the classes of speed
_ABOVE = 16  # rows above the level that cells tell apart
_SHAPE = (COLUMNS, ROWS + _ABOVE, len(_SPEEDS) + 1, 2, 8)
_NEVER = 1 << 30
_SHELF = 1 << 14  # states the archive makes room for at a time


@dataclass(frozen=True)
class SearchConfig:
    """How hard to look for a way."""

    lanes: int = 512
    """cells a round starts from"""
    steps: int = 24
    """steps played from each"""
    rounds: int = 400
    """rounds after which the search gives up"""
    polish: int = 40
    """further rounds, to shorten the way found"""
    seed: int = 0
    """another seed looks elsewhere"""


class _Trace(NamedTuple):
    """What became of `N` lanes in `T` steps: `[T, N]`, states with leaves `[T, N, ...]`."""

    states: PyTree
    cell: Int[Array | np.ndarray, "T N"]
    frame: Int[Array | np.ndarray, "T N"]
    status: Int[Array | np.ndarray, "T N"]


def _cell(state: PlatformerState) -> Int[Array, ""]:
    """The number of the cell a state lies in."""
    body = state.body
    row = jnp.clip(body.y // UNIT + _ABOVE, 0, _SHAPE[1] - 1)
    speed = jnp.sum(body.vx > jnp.asarray(_SPEEDS, jnp.int32), dtype=jnp.int32)
    gates = state.world.pressed.astype(jnp.int32) & 7
    index = (jnp.clip(body.x // UNIT, 0, COLUMNS - 1), row, speed, body.ground.astype(jnp.int32), gates)
    return jnp.ravel_multi_index(index, _SHAPE, mode="wrap").astype(jnp.int32)


@jax.jit
def _play(levels: Levels, task: PlatformerTask, states: PyTree, actions: Array) -> _Trace:
    """Play actions `[T, N]` from `N` states of one task, without sticky skip."""
    env, key = Platformer(levels, sticky=0.0), jr.key(0)

    def step(states: PyTree, action: Array) -> tuple[PyTree, _Trace]:
        states, _ = jax.vmap(env.step, (None, 0, 0, None))(task, states, action.astype(jnp.int32), key)
        return states, _Trace(states, jax.vmap(_cell)(states), states.clock, states.body.status)

    return jax.lax.scan(step, states, actions)[1]


class _Archive:
    """The earliest state known in each cell, how it was reached, and how often a round began there."""

    def __init__(self, state: PyTree, cell: int) -> None:
        self.slot = np.full(int(np.prod(_SHAPE)), -1, np.int32)
        self.size = 0
        self.states = jax.tree.map(lambda leaf: np.zeros((_SHELF, *np.shape(leaf)), leaf.dtype), state)
        self.cell, self.frame, self.visits, self.node = (np.zeros(_SHELF, np.int64) for _ in range(4))
        self.rounds: list[tuple[UInt8[np.ndarray, "T N"], Int[np.ndarray, "T N"]]] = []
        self.origins: list[np.ndarray] = []
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[None], state)
        self._keep(first, np.array([cell]), np.array([0]), np.array([-1]))

    def _keep(self, states: PyTree, cell: np.ndarray, frame: np.ndarray, node: np.ndarray) -> None:
        """Store states of distinct cells over whatever was there."""
        fresh = self.slot[cell] < 0
        self.slot[cell[fresh]] = self.size + np.arange(fresh.sum())
        self.size += int(fresh.sum())
        while self.size > len(self.cell):
            self.states = jax.tree.map(lambda a: np.concatenate([a, np.zeros_like(a[:_SHELF])]), self.states)
            for name in ("cell", "frame", "visits", "node"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros(_SHELF, np.int64)]))
        slot = self.slot[cell]
        jax.tree.map(lambda shelf, new: shelf.__setitem__(slot, new), self.states, states)
        self.cell[slot], self.frame[slot], self.node[slot] = cell, frame, node
        self.visits[slot] //= 2

    def add(self, chosen: np.ndarray, actions: UInt8[np.ndarray, "T N"], trace: _Trace) -> None:
        """Learn from a round that began in the slots `chosen`: a node is (round, step, lane) in one number."""
        base = len(self.rounds) * actions.size
        self.origins.append(self.node[chosen].copy())
        cells, frames, status = (np.asarray(leaf) for leaf in (trace.cell, trace.frame, trace.status))
        self.rounds.append((actions, cells))
        cell, frame = cells.ravel(), frames.ravel()
        slot = self.slot[cell]
        known = np.where(slot < 0, 1 << 30, self.frame[np.maximum(slot, 0)])
        better = np.flatnonzero((status.ravel() == PLAYING) & (frame < known))
        order = better[np.argsort(frame[better], kind="stable")]
        _, first = np.unique(cell[order], return_index=True)
        kept = order[first]
        t, n = np.unravel_index(kept, cells.shape)
        states = jax.tree.map(lambda leaf: leaf[t, n], trace.states)
        self._keep(states, cell[kept], frame[kept], base + kept)

    def reached(self) -> tuple[int, int]:
        """The last column of tiles that was reached, counted from 0, and the switches pressed on the way, a bit each."""
        cell = self.cell[: self.size]
        return int(cell.max()) // int(np.prod(_SHAPE[1:])), int(np.bitwise_or.reduce(cell % _SHAPE[-1]))

    def way(self, node: int) -> tuple[UInt8[np.ndarray, " steps"], Int[np.ndarray, " steps"]]:
        """The actions that led from the start to a node, and the cells they led through."""
        actions, cells = [np.zeros(0, np.uint8)], [np.zeros(0, np.int32)]
        while node >= 0:
            played, seen = self.rounds[node // self.rounds[0][0].size]
            t, lane = divmod(node % played.size, played.shape[1])
            actions.append(played[: t + 1, lane])
            cells.append(seen[: t + 1, lane])
            node = int(self.origins[node // played.size][lane])
        return np.concatenate(actions[::-1]), np.concatenate(cells[::-1])

    def choose(self, dice: np.random.Generator, n: int, way: np.ndarray | None) -> np.ndarray:
        """`n` slots to begin a round from: seldom visited, far to the right, gates open; or, given cells, among those."""
        cell = self.cell[: self.size]
        x, gates = cell // int(np.prod(_SHAPE[1:])), cell % _SHAPE[-1]
        weight = 1.0 / (1.0 + self.visits[: self.size])
        if way is None:
            weight *= 2.0 ** np.bitwise_count(gates) * (0.05 + np.exp((x - x.max()) / 25.0))
        else:
            weight *= np.where(np.isin(cell // _SHAPE[-1] // 2, way // _SHAPE[-1] // 2), 1.0, 0.02)
        chosen = np.argsort(dice.exponential(size=self.size) / weight)[:n]
        np.add.at(self.visits, chosen, 1)
        return np.resize(chosen, n)


def _random_actions(dice: np.random.Generator, steps: int, lanes: int) -> UInt8[np.ndarray, "T N"]:
    """Actions each held for a while."""
    drawn = dice.choice(len(_SHARES), size=(steps, lanes), p=_SHARES).astype(np.uint8)
    holds = dice.integers(*_HOLDS, size=(steps, lanes))
    row = np.arange(lanes)
    actions, at, left = np.empty((steps, lanes), np.uint8), np.zeros(lanes, int), holds[0].copy()
    for t in range(steps):
        actions[t] = drawn[at, row]
        left -= 1
        at += left == 0
        left = np.where(left == 0, holds[np.minimum(at, steps - 1), row], left)
    return actions


def solve(level: Level, config: SearchConfig | None = None) -> UInt8[np.ndarray, " steps"] | None:
    """Look for a tape of actions, one a step, that finishes a level when no action is late.

    Returns:
      The tape, or None where none was found; the same level and config give the same tape.
    """
    return _explore(level, config or SearchConfig())[0]


def _explore(level: Level, config: SearchConfig) -> tuple[UInt8[np.ndarray, " steps"] | None, _Archive]:
    """The tape, and all that is known after the search."""
    levels, task, start = _single(level)
    dice = np.random.default_rng(config.seed)
    archive = _Archive(start, int(_cell(start)))
    tape, way, soonest, left = None, None, _NEVER, config.rounds
    while left > 0:
        left -= 1
        chosen = archive.choose(dice, config.lanes, way)
        actions = _random_actions(dice, config.steps, config.lanes)
        states = jax.tree.map(lambda leaf, at=chosen: leaf[at], archive.states)
        trace = jax.device_get(_play(levels, task, states, actions))
        archive.add(chosen, actions, trace)
        ends = np.where(trace.status == FINISHED, trace.frame, _NEVER)
        if ends.min() < soonest:
            left = config.polish if tape is None else left
            soonest = int(ends.min())
            tape, way = archive.way((len(archive.rounds) - 1) * actions.size + int(ends.argmin()))
    return tape, archive


def _single(level: Level) -> tuple[Levels, PlatformerTask, PlatformerState]:
    """A table of one level, its task and the state at its start."""
    levels, task = stack([level]), task_of(level)
    return levels, task, jax.device_get(Platformer(levels).reset(task, jr.key(0)))


def follow(
    level: Level, tape: UInt8[np.ndarray, " steps"], config: SearchConfig | None = None
) -> tuple[Int[np.ndarray, "steps 2"], int]:
    """Play a tape with no action late; shares the compiled program of a search of the same config.

    Returns:
      x and y of the player's feet after each step, in subpixels, as far as the tape was played; and the status at the end:
      PLAYING, FINISHED or LOST.
    """
    config = config or SearchConfig()
    levels, task, start = _single(level)
    states = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], config.lanes, 0), start)
    places, status = [np.zeros((0, 2), np.int32)], PLAYING
    for first in range(0, min(len(tape), HORIZON), config.steps):
        part = tape[first : first + config.steps]
        piece = np.zeros((config.steps, config.lanes), np.uint8)
        piece[: len(part)] = part[:, None]
        trace = jax.device_get(_play(levels, task, states, piece))
        body = trace.states.body
        places.append(np.stack([body.x, body.y], -1)[: len(part), 0])
        status = int(trace.status[len(part) - 1, 0])
        states = jax.tree.map(lambda leaf: leaf[-1], trace.states)
        if status != PLAYING:
            break
    return np.concatenate(places), status


def finishes(level: Level, tape: UInt8[np.ndarray, " steps"], config: SearchConfig | None = None) -> bool:
    """Whether a tape finishes a level when no action is late."""
    return follow(level, tape, config)[1] == FINISHED


class Report(NamedTuple):
    """What `check` found."""

    level: Level
    tape: UInt8[np.ndarray, " steps"] | None
    """a way to finish the level; None if none is known"""
    stored: bool
    """whether that is the tape that was given, not one found by search"""
    column: int | None = None
    """the last column the search came to, counted from 1; None where a stored tape made it needless"""
    closed: tuple[str, ...] = ()
    """gates whose switch it never stepped on"""

    @property
    def seconds(self) -> float | None:
        """The time the tape needs, at 60 frames a second."""
        return None if self.tape is None else len(self.tape) * FRAMES / 60.0

    @property
    def obstacle(self) -> str:
        """How far the search came, for one who has to change the level."""
        said = f"the search came to column {self.column} of {self.level.goal + 1}, where the goal is"
        for gate in self.closed:
            r, c = (int(place) + 1 for place in np.argwhere(self.level.tiles == CODES[gate])[0])
            said += f"; it never stepped on a switch '{gate.lower()}' for the gate in row {r}, column {c}"
        return said


def check(
    text: str,
    tape: UInt8[np.ndarray, " steps"] | None = None,
    name: str = "the level",
    config: SearchConfig | None = None,
) -> Report:
    """Whether a level is legal and can be finished, by its stored tape or else by search.

    Args:
      text: the level, as in its file.
      tape: the stored solution, if there is one.
      name: what errors call the level.
      config: how hard to search.

    Raises:
      UsageError: in one sentence, where the text is no legal level.
    """
    level = parse(text, name)
    if tape is not None and finishes(level, tape, config):
        return Report(level, tape, True)
    found, archive = _explore(level, config or SearchConfig())
    column, pressed = archive.reached()
    gates = [gate for k, gate in enumerate("PQR") if CODES[gate] in level.tiles and not pressed >> k & 1]
    return Report(level, found, False, column + 1, tuple(gates))
