"""What an eye in a maze sees: exact ray casting against thin walls, as arithmetic on bits, and pictures.

A ray (x, y) + t (u, v) meets the line x = k at t = (k - x) / u, in row ⌊y + t v⌋: there is a wall if that bit
of the line is set. All lines are tried and the nearest wall ahead wins: no loop over cells, no gather, one
fused vector kernel.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from headstart.envs.maze_map import MazeTask

WALL = 0.8
"""height of the walls, in cells; the eye is half-way up"""
BALL = 0.25
"""radius of the target's ball, which floats at the height of the eye, in cells"""
PALETTE = np.array(
    [
        [88, 134, 196],
        [214, 164, 74],
        [104, 168, 98],
        [166, 112, 186],
        [122, 112, 104],
        [196, 208, 220],
        [226, 38, 34],
    ],
    np.float32,
)
"""red, green and blue of the four hues of walls, of the floor, of the ceiling and of the target, 0 to 255"""

_PARALLEL = 1e-6  # a direction's smallest component, so that no ray divides by zero


class Hit(NamedTuple):
    """Where rays end: the distance in cells, and the wall's line (horizontal lines count on from n+1) and
    place on it.
    """

    distance: Float[Array, " r"]
    line: Int[Array, " r"]
    place: Int[Array, " r"]


def _ahead(x: Float[Array, " r"]) -> Float[Array, " r"]:
    return jnp.where(jnp.abs(x) < _PARALLEL, _PARALLEL, x)


def _once(x: Float[Array, " r"]) -> Float[Array, " r"]:
    """`x`, computed once: XLA repeats cheap arithmetic in everything that reads it, but never a product of matrices."""
    return jnp.matmul(x, jnp.eye(x.shape[0]), precision="highest")


def cast(task: MazeTask, eye: Float[Array, "2"], u: Float[Array, " r"], v: Float[Array, " r"]) -> Hit:
    """Follow rays from `eye` in the unit directions (u, v) to the first wall.

    What is carried from line to line is the nearest wall's distance, and which wall it is in one number: 16 times its line
    plus its place on it, -1 for none.
    """
    n = task.vertical.shape[0] - 1
    far = jnp.float32(4.0 * n)
    rate = [1.0 / _ahead(u), 1.0 / _ahead(v)]
    nearest, code = jnp.full_like(u, far), jnp.full_like(u, -1.0)
    for axis, lines in enumerate((task.vertical, task.horizontal)):
        slope = (v, u)[axis] * rate[axis]
        base = eye[1 - axis] - eye[axis] * slope
        for k in range(n + 1):
            t = (k - eye[axis]) * rate[axis]
            place = jnp.clip(base + k * slope, 0.0, n - 1.0).astype(jnp.int32)
            wall = (lines[k].astype(jnp.int32) >> place) & 1
            nearer = (t > 0.0) & (t < nearest) & (wall == 1)
            nearest = jnp.where(nearer, t, nearest)
            code = jnp.where(nearer, ((axis * (n + 1) + k) * 16 + place).astype(jnp.float32), code)
    code = _once(code)
    found = jnp.maximum(code, 0.0).astype(jnp.int32)
    line, place = found >> 4, found & 15
    across = line > n
    k = (line - jnp.where(across, n + 1, 0)).astype(jnp.float32)
    distance = jnp.where(across, (k - eye[1]) * rate[1], (k - eye[0]) * rate[0])
    return Hit(jnp.where(code < 0.0, far, distance), line, place)


def looks(task: MazeTask, line: Int[Array, " r"], place: Int[Array, " r"]) -> tuple[Array, Array]:
    """The hue and the pattern of walls, each 0 to 3: hues come in districts, patterns wall by wall."""
    seed = task.texture.astype(jnp.uint32)

    def four(a: Int[Array, " r"], b: Int[Array, " r"], salt: int) -> Int[Array, " r"]:
        word = (a * 16 + b + salt * 1024).astype(jnp.uint32) * jnp.uint32(0x9E3779B1) ^ seed
        word = (word ^ (word >> 15)) * jnp.uint32(0x2C1B3C6D)
        word = (word ^ (word >> 12)) * jnp.uint32(0x297A2D39)
        return (word >> 30).astype(jnp.int32)

    n = task.vertical.shape[0] - 1
    return four((line % (n + 1)) >> 1, place >> 1, 0), four(line, place, 1)


def _odd(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """1 where ⌊x⌋ is odd, else 0."""
    return jnp.floor(x) - 2.0 * jnp.floor(0.5 * x)


def _part(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return x - jnp.floor(x)


def _pattern(
    pattern: Int[Array, " w"], along: Float[Array, " w"], up: Float[Array, "h w"]
) -> Float[Array, "h w"]:
    """Brightness of a wall at a place along it and up it, both 0 to 1: bricks, planks, tiles or a band."""
    along, pattern = along[None, :], pattern[None, :]
    course = 3.0 * along + 0.5 * _odd(6.0 * up)
    bricks = jnp.where((_part(course) < 0.09) | (_part(6.0 * up) < 0.16), 0.68, 0.98 - 0.12 * _odd(course))
    planks = jnp.where(_part(5.0 * along) < 0.13, 0.62, 0.98 - 0.14 * _odd(5.0 * along))
    tiles = 1.0 - 0.28 * jnp.abs(_odd(4.0 * along) - _odd(4.0 * up))
    band = jnp.where(jnp.abs(up - 0.5) < 0.16, 1.15, 0.84)
    look = jnp.where(
        pattern < 2, jnp.where(pattern == 0, bricks, planks), jnp.where(pattern == 2, tiles, band)
    )
    return look * jnp.where(up < 0.07, 0.6, 1.0)


def _light(depth: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """How much brightness is left at a distance, in cells."""
    return 0.3 + 0.7 / (1.0 + 0.09 * depth * depth)


def picture(
    task: MazeTask, eye: Float[Array, "2"], ahead: Float[Array, "2"], height: int = 30, width: int = 40
) -> UInt8[Array, "{height} {width} 3"]:
    """The view from `eye` along the unit vector `ahead`, 90 degrees wide.

    The column at `a` in (-1, 1) looks along ahead + a right, so that the cast's distance is already the depth
    z, and what is at height y over the eye is seen in the row y / z above the middle.
    """
    columns, rows = jnp.arange(width, dtype=jnp.float32), jnp.arange(height, dtype=jnp.float32)
    a = (columns + 0.5) * (2.0 / width) - 1.0
    rise = ((0.5 * height - 0.5 - rows) * (2.0 / width))[:, None]
    u, v = ahead[0] - a * ahead[1], ahead[1] + a * ahead[0]
    hit = cast(task, eye, u, v)
    depth = hit.distance
    hue, pattern = looks(task, hit.line, hit.place)
    upright = hit.line <= task.vertical.shape[0] - 1
    along = _part(jnp.where(upright, eye[1] + depth * v, eye[0] + depth * u))
    up = rise * (depth / WALL)[None, :] + 0.5
    side = jnp.where(upright, 1.0, 0.82) * _light(depth)
    shade = _pattern(pattern, along, up) * side[None, :]
    material = jnp.broadcast_to(hue[None, :], up.shape)

    # Floor and ceiling: a row's depth follows from its height alone, and the column then gives the place.
    z = 0.5 * WALL / jnp.maximum(jnp.abs(rise), 1e-3)
    x, y = eye[0] + z * u[None, :], eye[1] + z * v[None, :]
    goal = task.target.astype(jnp.float32) + 0.5
    shadow = jnp.square(x - goal[0]) + jnp.square(y - goal[1]) < 0.05
    slabs = jnp.where(shadow, 0.45, 0.78 + 0.22 * jnp.abs(_odd(2.0 * x) - _odd(2.0 * y)))
    shade = jnp.where(up < 0.0, slabs * _light(z), jnp.where(up > 1.0, 0.9 * _light(z), shade))
    material = jnp.where(up < 0.0, 4, jnp.where(up > 1.0, 5, material))

    # The target's ball, lit from above on the left.
    gap = goal - eye
    far, right = gap[0] * ahead[0] + gap[1] * ahead[1], gap[1] * ahead[0] - gap[0] * ahead[1]
    p, q = (a * far - right)[None, :] / BALL, rise * far / BALL
    bulge = 1.0 - p * p - q * q
    seen = (bulge > 0.0) & (far > 0.1) & (far < depth)[None, :]
    glow = 0.62 + 0.5 * jnp.maximum(0.0, 0.6 * q - 0.4 * p + 0.69 * jnp.sqrt(jnp.maximum(bulge, 0.0)))
    shade = jnp.where(seen, glow * (0.5 + 0.5 * _light(far)), shade)
    material = jnp.where(seen, 6, material)
    return jnp.clip(jnp.asarray(PALETTE)[material] * shade[:, :, None], 0.0, 255.0).astype(jnp.uint8)
