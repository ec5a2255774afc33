"""Levels as a machine reads them: a table of bits, built once, that every lane looks things up in.

Copying whole levels into lanes would cost more than the physics, so the environment holds the table and a task names its
level's row in it, beside the numbers that differ from level to level.

A column of tiles is five words of 32 bits, one bit a row from the top: bit k of word b is bit b of the tile's code. A few
logical operations on these words answer a question for a whole column at once. Codes (b4 b3 b2 b1 b0, platformer_level.py):

    00 001 ground          01 0 0 d slope, steep             10 000 ledge       11 000 ring     11 100 spring up
    00 010 smashable       01 0 1 d slope, gentle, lower     10 001 plank       11 001 spikes   11 101 spring right
    00 1cc gate of cc      01 1 0 d slope, gentle, upper     10 1cc switch      11 010 goal     11 110 spring left

with d = 1 where the slope falls to the right, and cc = 01, 10, 11 the colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, UInt32

from headstart.envs.platformer_level import CODES, COLUMNS, MOST, NEAR, TILE, Level, Mover, around
from headstart.envs.platformer_zones import SUB, ZONES, Numbers, Physics

PAD = 16
"""columns of ground on either side of a level, so that nothing looks beyond the table"""
STEP = 12
PIXEL, UNIT = SUB, TILE * SUB
"""a pixel and a tile, in subpixels; the latter is 2 to the power of `STEP`"""

_SHIFTS = {"rings": 0, "smash": 7, "plank": 12, "enemy": 17, "platform": 23}
_WIDTHS = {"rings": 7, "smash": 5, "plank": 5, "enemy": 6, "platform": 5}
_BIAS = 256  # keeps a packed mover's place positive, in pixels
_NOWHERE = 8191 - _BIAS


class PlatformerTask(NamedTuple):
    """One level: its row in the environment's table, and what differs from level to level; int32, places in subpixels."""

    level: Numbers
    digest: Int[Array | np.ndarray, "*m 2"]
    """a name made from the level's content, so that equal levels are known in any table"""
    start: Int[Array | np.ndarray, "*m 2"]
    """where the player begins: x of its middle, y of its feet"""
    goal: Numbers
    """x that ends the level"""
    width: Numbers
    bottom: Numbers
    """y below which there is only the pit"""
    physics: Physics


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Levels:
    """`M` levels' tables; a pytree, and hashable by identity so that an environment may hold it."""

    columns: UInt32[Array | np.ndarray, "M 6 C"]
    """for each column five words of code bits and one of numbers (`number`), with `PAD` columns of ground at either end"""
    enemies: UInt32[Array | np.ndarray, "M E 2"]
    platforms: UInt32[Array | np.ndarray, "M P 2"]
    """what moves, packed, from left to right, then entries that are nowhere"""
    zones: Int[Array | np.ndarray, " M"]
    """each level's zone, by its place in `ZONES`: what it looks like; no part of the task, since it plays the same"""


def number(column: UInt32[Array, "*n"], what: str) -> Int[Array, "*n"]:
    """One of the numbers in a column's sixth word.

    "rings": rings in the columns before; "smash", "plank": the number of its wall or plank; "enemy", "platform": the first
    that may come into sight from here.
    """
    return ((column >> _SHIFTS[what]) & ((1 << _WIDTHS[what]) - 1)).astype(np.int32)


def _numbers(level: Level) -> UInt32[np.ndarray, " 400"]:
    """The sixth words of a level's columns."""

    def before(tile: str, each: bool) -> np.ndarray:
        count = (level.tiles == CODES[tile]).sum(0)
        count = count if each else np.minimum(count, 1)
        return np.cumsum(count) - count

    parts = {
        "rings": before("o", each=True),
        "smash": before("%", each=False),
        "plank": before("b", each=False),
        "enemy": around(level.enemies)[0],
        "platform": around(level.platforms)[0],
    }
    word = np.zeros(COLUMNS, np.uint32)
    for what, value in parts.items():
        low = np.minimum(value, (1 << _WIDTHS[what]) - 1).astype(
            np.uint32
        )  # reached only past the last of its kind
        word |= low << np.uint32(_SHIFTS[what])
    return word


def _columns(level: Level) -> UInt32[np.ndarray, "6 C"]:
    """The words of a level's columns, with ground around."""
    table = np.zeros((6, COLUMNS + 2 * PAD), np.uint32)
    table[0, :PAD] = table[0, PAD + level.columns :] = 0xFFFFFFFF
    rows = np.uint32(1) << np.arange(len(level.tiles), dtype=np.uint32)
    inside = slice(PAD, PAD + level.columns)
    for b in range(5):
        bits = ((level.tiles >> b) & 1).astype(np.uint32)
        table[b, inside] = (bits * rows[:, None]).sum(0, dtype=np.uint32)[: level.columns]
    table[5] = np.pad(_numbers(level), PAD, mode="edge")
    return table


def _movers(movers: tuple[Mover, ...], size: int) -> UInt32[np.ndarray, "size 2"]:
    """Two words each: x (13 bits), y (10), vertical (1); span (9), rate (14), phase in 256ths (8)."""
    nowhere = Mover(_NOWHERE, 0, 0, False, 0, 0)
    words = np.zeros((size, 2), np.uint32)
    for i in range(size):
        m = movers[i] if i < len(movers) else nowhere
        words[i, 0] = (m.x + _BIAS) | (m.y + _BIAS) << 13 | int(m.vertical) << 23
        words[i, 1] = m.span | m.rate << 9 | (m.phase >> 8) << 23
    return words


def unpack(words: UInt32[Array, "*n 2"]) -> tuple[Int[Array, "*n"], ...]:
    """A mover's x and y in pixels, whether it is vertical (0 or 1), span, rate and phase, int32."""
    a, b = words[..., 0], words[..., 1]
    fields = (
        (a & 0x1FFF).astype(np.int32) - _BIAS,
        ((a >> 13) & 0x3FF).astype(np.int32) - _BIAS,
        ((a >> 23) & 1).astype(np.int32),
        (b & 0x1FF).astype(np.int32),
        ((b >> 9) & 0x3FFF).astype(np.int32),
        (b >> 23 << 8).astype(np.int32),
    )
    return fields


def stack(levels: Sequence[Level]) -> Levels:
    """The table of some levels, for `Platformer`."""
    return Levels(
        columns=np.stack([_columns(level) for level in levels]),
        enemies=np.stack([_movers(level.enemies, MOST["enemies"] + NEAR["enemies"]) for level in levels]),
        platforms=np.stack(
            [_movers(level.platforms, MOST["platforms"] + NEAR["platforms"]) for level in levels]
        ),
        zones=np.array([list(ZONES).index(level.zone) for level in levels], np.int32),
    )


def task_of(level: Level, row: int = 0) -> PlatformerTask:
    """The task of playing a level that lies in row `row` of the environment's table."""
    r, c = level.start
    return PlatformerTask(
        level=np.array(row, np.int32),
        digest=np.frombuffer(level.digest, np.int32).copy(),
        start=np.array([c * UNIT + UNIT // 2, (r + 1) * UNIT], np.int32),
        goal=np.array(level.goal * UNIT, np.int32),
        width=np.array(level.columns * UNIT, np.int32),
        bottom=np.array(level.rows * UNIT, np.int32),
        physics=ZONES[level.zone].physics,
    )


def tasks_of(levels: Sequence[Level], first: int = 0) -> PlatformerTask:
    """The table `[M, ...]` of the tasks of levels that lie in rows `first`, `first + 1`, ... of the environment's table."""
    rows = [task_of(level, row) for row, level in enumerate(levels, first)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
