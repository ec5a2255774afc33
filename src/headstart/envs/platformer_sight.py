"""What an agent sees of the platformer as `tiles`: semantic planes around the player, and what its body feels."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8, UInt32

from headstart.envs.platformer_body import DECK, FASTEST, FULL, MERCY, Body, World
from headstart.envs.platformer_movers import Near, around
from headstart.envs.platformer_stages import stage, turns
from headstart.envs.platformer_table import PIXEL, STEP, UNIT, Levels, PlatformerTask
from headstart.envs.platformer_tiles import Changes, Columns, columns, flag, raw, rings_taken
from headstart.types import Box

BEHIND, AHEAD, ABOVE, BELOW = 5, 10, 6, 4
"""tiles in the window to the left and right of the player's own, above and below its feet"""
WINDOW = (ABOVE + 1 + BELOW, 5, BEHIND + 1 + AHEAD)
"""rows, planes, columns"""
BODY = 17
"""numbers in `TilesObs.body`"""


class TilesObs(NamedTuple):
    """The window, and the body's own state.

    Each row of `window` has five planes side by side, `[rows, planes * columns]`; its entries are 0, 85, 170 or 255:

        plane        85               170               255
        solid        smashable wall   closed gate       ground
        standing     falling slope    rising slope      ledge, plank, platform
        danger                        enemy             spikes
        things       ring             switch            goal
        springs      to the left      to the right      up
    """

    window: UInt8[Array, "r pc"]
    body: Float[Array, " b"]


SPACE = TilesObs(Box((WINDOW[0], WINDOW[1] * WINDOW[2]), 0.0, 255.0, np.uint8), Box((BODY,), -1.0, 1.0))  # pyright: ignore[reportArgumentType]


def _places(near: Near, clock: Int[Array, ""], half: int, lift: int) -> list[tuple[Array, Array, Array]]:
    """Of each thing near: its first and last column of tiles, and its row, as tiles; `lift` pixels above its y."""
    x, y = near.places(clock)
    first, row = x - half >> STEP, y - lift * PIXEL >> STEP
    last = jnp.maximum(x + half - 1 >> STEP, first)
    return [(first[i], last[i], row[i]) for i in range(len(near))]


def _drawn(things: list[tuple[Array, Array, Array]], column: Int[Array, " c"]) -> UInt32[Array, " c"]:
    """A word a column with the rows these things are in."""
    word = jnp.zeros(column.shape, jnp.uint32)
    for first, last, row in things:
        inside = (column >= first) & (column <= last) & (row >= 0) & (row < 32)
        word |= jnp.where(inside, flag(row & 31), 0)
    return word


def _things(
    near: tuple[Near, Near], dead: UInt32[Array, ""], clock: Int[Array, ""], column: Int[Array, " c"]
) -> tuple[Array, Array]:
    """Words with the rows that enemies and platforms are in."""
    enemies, platforms = near
    number = (enemies.first + jnp.arange(len(enemies))).astype(jnp.uint32)
    alive = ((dead >> number) & 1) == 0
    foes = [
        (jnp.where(alive[i], first, 1), jnp.where(alive[i], last, 0), row)
        for i, (first, last, row) in enumerate(_places(enemies, clock, 0, 8))
    ]
    return _drawn(foes, column), _drawn(_places(platforms, clock, DECK, 0), column)


def _words(
    seen: Columns, taken: UInt32[Array, "4"], foe: Array, deck: Array
) -> tuple[UInt32[Array, " pc"], UInt32[Array, " pc"]]:
    """The low and the high bits of the planes' entries, a word a column."""
    gone, _ = rings_taken(seen, taken, jnp.uint32(0))
    stand = seen.thin | deck
    filled = seen.ground | seen.smash
    switch = seen.switch[0] | seen.switch[1]
    low = (filled, stand | seen.falls, seen.spike, (seen.ring & ~gone) | seen.goal, seen.up | seen.left)
    high = (
        seen.ground | seen.gate,
        stand | (seen.slope & ~seen.falls),
        seen.spike | foe,
        switch | seen.goal,
        seen.up | seen.right,
    )
    return jnp.concatenate(low), jnp.concatenate(high)


def window(
    levels: Levels,
    task: PlatformerTask,
    body: Body,
    world: World,
    fallen: UInt32[Array, ""],
    clock: Int[Array, ""],
) -> UInt8[Array, "r pc"]:
    """The planes around the player."""
    left = (body.x >> STEP) - BEHIND
    column = left + jnp.arange(WINDOW[2])
    changes = Changes(world.smashed, fallen, world.pressed)

    def words(turn: Int[Array, ""]) -> tuple[UInt32[Array, " pc"], UInt32[Array, " pc"]]:
        seen = columns(stage(turn, lambda: raw(levels, task.level, left, WINDOW[2])), changes)
        near = stage(turn, lambda: around(levels, task.level, body.x))
        things = stage(turn, _things, near, world.dead, clock, column)
        return stage(turn, _words, seen, world.taken, *things)

    row = (body.y - 1 >> STEP) - ABOVE + jnp.arange(WINDOW[0])
    shift = jnp.clip(row, -1, 32).astype(jnp.uint32)[
        :, None
    ]  # the word ends below and, as -1 wraps round, above
    low, high = (word[None, :] for word in turns(words))
    entry = ((low >> shift) & 1) + 2 * ((high >> shift) & 1)
    return (85 * entry).astype(
        jnp.uint8
    )  # not flattened: the compiler would divide for every entry to find its place


def feelings(body: Body, world: World, left: Float[Array, ""]) -> Float[Array, " b"]:
    """The body's speeds, posture and luck, the part of a tile it has gone into, switches pressed; `left` of the time."""
    numbers = [
        (body.vx, FASTEST),
        (body.vy, FASTEST),
        (body.slope, 2),
        (body.facing, 1),
        (body.charge, FULL),
        (body.mercy, MERCY),
        (body.x & (UNIT - 1), UNIT),
        (body.y & (UNIT - 1), UNIT),
    ]
    flags = [body.ground, body.rolling, body.jumping, body.held, body.rings > 0]
    flags += [((world.pressed >> colour) & 1) == 1 for colour in range(3)]
    scaled = [number.astype(jnp.float32) / size for number, size in numbers]
    return jnp.stack([*scaled, *(flag.astype(jnp.float32) for flag in flags), left])
