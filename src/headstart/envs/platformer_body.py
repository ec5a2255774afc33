"""The platformer's player and what play has changed: everything that is different from one frame to the next.

Places and speeds are whole subpixels (1/256 pixel), speeds a frame; x grows to the right, y downwards.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from headstart.envs.platformer_movers import Near
from headstart.envs.platformer_table import PIXEL, UNIT

HALF = 7 * PIXEL
"""half the body's width"""
TALL, BALL = 28 * PIXEL, 14 * PIXEL
"""the body's height, standing and curled up"""
FASTEST = UNIT - 1
"""the most that anything moves along an axis in a frame"""
ROLL = PIXEL // 2
"""speed below which nobody rolls"""
SMASH = 3 * PIXEL
"""speed from which a roller smashes walls"""
CHARGE, FULL = 2 * PIXEL, 8 * PIXEL
"""what each press adds to a charge, and the most it can be; half of it is added to the top speed"""
MERCY = 120
"""frames for which nothing hurts after a hit"""
SNAP = 14 * PIXEL
"""the farthest down that feet follow the ground in a frame"""
DECK = 24 * PIXEL
"""half a platform's width"""

PLAYING, FINISHED, LOST = 0, 1, 2


class Buttons(NamedTuple):
    """What is held in a frame."""

    way: Int[Array, ""]
    """1 for right, -1 for left, 0"""
    down: Bool[Array, ""]
    jump: Bool[Array, ""]


class Body(NamedTuple):
    """The player. On the ground `vx` is the speed along the surface and `vy` zero."""

    x: Int[Array, ""]
    """its middle, in subpixels from the left"""
    y: Int[Array, ""]
    """its feet, in subpixels from the top"""
    vx: Int[Array, ""]
    vy: Int[Array, ""]
    ground: Bool[Array, ""]
    slope: Int[Array, ""]
    """of the surface it stands on: 2 or 1 rises to the right, steeply or gently; -2 or -1 falls; 0 level"""
    rolling: Bool[Array, ""]
    jumping: Bool[Array, ""]
    held: Bool[Array, ""]
    """whether the jump button was down in the frame before"""
    facing: Int[Array, ""]
    charge: Int[Array, ""]
    mercy: Int[Array, ""]
    """frames left in which nothing hurts"""
    rings: Int[Array, ""]
    status: Int[Array, ""]
    """PLAYING, FINISHED or LOST"""

    @property
    def curled(self) -> Bool[Array, ""]:
        return self.rolling | self.jumping | (self.charge > 0)

    @property
    def height(self) -> Int[Array, ""]:
        return jnp.where(self.rolling | self.jumping, BALL, TALL)


class World(NamedTuple):
    """What play has changed in the level, a bit each."""

    dead: UInt32[Array, ""]
    """enemies"""
    taken: UInt32[Array, "4"]
    """rings"""
    smashed: UInt32[Array, ""]
    """smashable columns"""
    pressed: UInt32[Array, ""]
    """switch colours"""
    trodden: UInt32[Array, ""]
    """planks stepped on in this step"""


class Scene(NamedTuple):
    """What stays the same for all frames of a step."""

    enemies: Near
    platforms: Near
    fallen: UInt32[Array, ""]
    """planks that are not there, a bit each"""


class Under(NamedTuple):
    """The tiles in the columns of the body's left and right corner and of its middle: words of the level's table."""

    left: UInt32[Array, "6"]
    right: UInt32[Array, "6"]
    middle: UInt32[Array, "6"]
