"""Questions to the platformer's tiles, answered for whole columns at once by logic on words of 32 bits (a bit a row)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from headstart.envs.platformer_table import PAD, STEP, UNIT, Levels, number
from headstart.envs.platformer_zones import Numbers

Word = UInt32[Array, "*n"]
"""a bit for every row of a column, row 0 lowest"""

RING_COLUMN = 6
"""most rings in a column"""
NO_FLOOR = 1 << 24
"""the height, in subpixels, of a floor that is not there"""


class Changes(NamedTuple):
    """What play has changed in the level's tiles."""

    smashed: UInt32[Array, ""]
    """a bit for each smashable column"""
    fallen: UInt32[Array, ""]
    """a bit for each plank"""
    pressed: UInt32[Array, ""]
    """a bit for each switch colour"""


class Columns(NamedTuple):
    """What there is in some columns, each field a word a column."""

    ground: Word
    gate: Word
    """closed gates"""
    smash: Word
    """smashable walls that stand"""
    slope: Word
    falls: Word
    """slopes that fall to the right"""
    lower: Word
    upper: Word
    """lower and upper halves of gentle slopes; steep ones are neither"""
    ledge: Word
    plank: Word
    switch: tuple[Word, Word]
    """low and high bit of a switch's colour"""
    ring: Word
    spike: Word
    goal: Word
    up: Word
    right: Word
    left: Word
    numbers: Word

    @property
    def solid(self) -> Word:
        return self.ground | self.gate | self.smash

    @property
    def thin(self) -> Word:
        """What can be stood on and jumped through."""
        return self.ledge | self.plank


def _one_bit(mask: UInt32[Array, ""], index: Int[Array, "*n"]) -> Word:
    """All ones where a bit of the mask is set, else all zeros."""
    return -((mask >> index.astype(jnp.uint32)) & 1)


def raw(levels: Levels, level: Numbers, first: Int[Array, ""], n: int) -> UInt32[Array, "6 n"]:
    """The words of `n` columns of a level from `first` on."""
    return jax.lax.dynamic_slice(jnp.asarray(levels.columns), (level, 0, first + PAD), (1, 6, n))[0]


def pick(three: UInt32[Array, "6 3"], index: Int[Array, ""]) -> UInt32[Array, "6"]:
    """The words of one of three columns."""
    return jnp.where(index == 0, three[:, 0], jnp.where(index == 1, three[:, 1], three[:, 2]))


def columns(words: UInt32[Array, "6 *n"], changes: Changes) -> Columns:
    """What the words of columns say, as play has changed it."""
    b0, b1, b2, b3, b4, numbers = words
    solids, slope, thin, thing = ~b4 & ~b3, ~b4 & b3, b4 & ~b3, b4 & b3
    p, q, r = (_one_bit(changes.pressed, jnp.int32(colour)) for colour in range(3))
    passed = (b0 & ~b1 & p) | (~b0 & b1 & q) | (b0 & b1 & r)
    smashed = _one_bit(changes.smashed, number(numbers, "smash"))
    fallen = _one_bit(changes.fallen, number(numbers, "plank"))
    return Columns(
        ground=solids & ~b2 & b0,
        gate=solids & b2 & ~passed,
        smash=solids & ~b2 & b1 & ~smashed,
        slope=slope,
        falls=slope & b0,
        lower=slope & b1,
        upper=slope & b2,
        ledge=thin & ~b2 & ~b0,
        plank=thin & ~b2 & b0 & ~fallen,
        switch=(thin & b2 & b0, thin & b2 & b1),
        ring=thing & ~b2 & ~b1 & ~b0,
        spike=thing & ~b2 & b0,
        goal=thing & ~b2 & b1,
        up=thing & b2 & ~b1 & ~b0,
        right=thing & b2 & b0,
        left=thing & b2 & b1,
        numbers=numbers,
    )


def flag(index: Int[Array, "*n"]) -> Word:
    """A word with one bit set."""
    return jnp.uint32(1) << index.astype(jnp.uint32)


def at(word: Word, row: Int[Array, ""]) -> Word:
    """The word with a row's bit first; rows above and below the level are empty."""
    down = row.astype(jnp.uint32)
    up = (-row).astype(jnp.uint32)
    return jnp.where(row >= 0, word >> down, word << up)


def bit(word: Word, row: Int[Array, ""]) -> Bool[Array, "*n"]:
    """Whether a row's bit is set."""
    return (at(word, row) & 1) == 1


def rows(top: Int[Array, ""], bottom: Int[Array, ""]) -> UInt32[Array, ""]:
    """The word of the rows that a body touches whose upper and lower ends lie at these heights, in subpixels."""

    def above(row: Int[Array, ""]) -> UInt32[Array, ""]:
        return (jnp.uint32(1) << jnp.clip(row, 0, 32).astype(jnp.uint32)) - 1

    return above((bottom - 1 >> STEP) + 1) & ~above(top >> STEP)


class Floor(NamedTuple):
    """What holds a corner of the body up."""

    height: Int[Array, ""]
    """y of the surface, in subpixels; `NO_FLOOR` if there is none in reach"""
    slope: Int[Array, ""]
    """2 or 1 where it rises to the right, steeply or gently, -2 or -1 where it falls, 0 where it is level"""
    inside: Bool[Array, ""]
    """whether it belongs to the row the feet are in, so that whatever the body does it must be above it"""


def floor(column: Columns, feet: Int[Array, ""], x: Int[Array, ""]) -> Floor:
    """The surface at `x` of the column that holds up a body whose feet are at height `feet`: at most a tile below it.

    In the row of the feet itself lie slopes and, where a slope has led into it, ground; that ground is
    either level or has the slope's continuation above it.
    """
    row = feet - 1 >> STEP
    slopes = at(column.slope, row - 1)
    inside_ground = bit(column.solid, row)
    here = (slopes & 2) != 0
    below = jnp.where(inside_ground, 0, jnp.where(here, 1, 2))
    sloping = ((slopes >> below.astype(jnp.uint32)) & 1) == 1

    surface_row = row - 1 + below
    offset = x & (UNIT - 1)
    rise = jnp.where(bit(column.falls, surface_row), UNIT - 1 - offset, offset)
    upper, lower = bit(column.upper, surface_row), bit(column.lower, surface_row)
    gentle = upper | lower
    rise = jnp.where(gentle, (rise >> 1) + jnp.where(upper, UNIT // 2, 0), rise)
    slope = jnp.where(gentle, 1, 2)
    slope = jnp.where(bit(column.falls, surface_row), -slope, slope)

    level = jnp.where(
        inside_ground,
        row * UNIT,
        jnp.where(bit(column.solid | column.thin, row + 1), (row + 1) * UNIT, NO_FLOOR),
    )
    return Floor(
        jnp.where(sloping, (surface_row + 1) * UNIT - rise, level),
        jnp.where(sloping, slope, 0),
        inside_ground | here,
    )


def walls(ahead: Columns, behind: Columns, rightward: Bool[Array, ""]) -> UInt32[Array, ""]:
    """Rows in which entering the column `ahead` from `behind` runs into something.

    The faces of solid tiles and the high ends of slopes, but for those that a slope in `behind` leads onto.
    """
    top = ~ahead.lower & ahead.slope
    face = ahead.solid | (top & jnp.where(rightward, ahead.falls, ~ahead.falls))
    leads = behind.slope & ~behind.lower & jnp.where(rightward, ~behind.falls, behind.falls)
    return face & ~(leads & ~(ahead.solid << 1))


def ceiling(column: Columns) -> UInt32[Array, ""]:
    """Rows that a head runs into: solid tiles, and slopes with nothing below them."""
    return column.solid | (column.slope & ~(column.solid >> 1))


def rings_taken(column: Columns, taken: UInt32[Array, "4"], touched: UInt32[Array, ""]) -> tuple[Word, Word]:
    """Which of a column's rings are taken: (the word of rows, the taken bits of its rings from the top).

    Rings are numbered column by column from the top, so that the bits of `taken` from the column's number on are its own;
    rings in `touched` rows count as taken.
    """
    first = number(column.numbers, "rings")
    word, shift = first >> 5, (first & 31).astype(jnp.uint32)
    low = jnp.where(
        word == 0, taken[0], jnp.where(word == 1, taken[1], jnp.where(word == 2, taken[2], taken[3]))
    )
    high = jnp.where(word == 0, taken[1], jnp.where(word == 1, taken[2], jnp.where(word == 2, taken[3], 0)))
    bits = (low >> shift) | (high << (32 - shift))
    left, gone, now = column.ring, jnp.zeros_like(column.ring), jnp.zeros_like(column.ring)
    for k in range(RING_COLUMN):
        lowest = left & -left
        is_taken = (((bits >> k) & 1) == 1) | ((lowest & touched) != 0)
        gone |= jnp.where(is_taken, lowest, 0)
        now |= jnp.where(is_taken & (lowest != 0), jnp.uint32(1 << k), 0)
        left ^= lowest
    return gone, now
