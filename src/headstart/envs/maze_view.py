"""What an eye in a maze sees: exact ray casting against thin walls, as arithmetic on bits.

A ray (x, y) + t (u, v) meets the line x = k at t = (k - x) / u, in row ⌊y + t v⌋: there is a wall if that bit
of the line is set. All lines are tried and the nearest wall ahead wins: no loop over cells, no gather, one
fused vector kernel.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from headstart.envs.maze_map import MazeTask

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


def cast(task: MazeTask, eye: Float[Array, "2"], u: Float[Array, " r"], v: Float[Array, " r"]) -> Hit:
    """Follow rays from `eye` in the unit directions (u, v) to the first wall."""
    n = task.vertical.shape[0] - 1
    hit = Hit(jnp.full_like(u, 4.0 * n), jnp.zeros(u.shape, jnp.int32), jnp.zeros(u.shape, jnp.int32))
    for axis, lines in enumerate((task.vertical, task.horizontal)):
        a, b = (u, v) if axis == 0 else (v, u)
        rate = 1.0 / _ahead(a)
        slope = b * rate
        base = eye[1 - axis] - eye[axis] * slope
        for k in range(n + 1):
            t = (k - eye[axis]) * rate
            place = jnp.clip(base + k * slope, 0.0, n - 1.0).astype(jnp.int32)
            wall = (lines[k].astype(jnp.int32) >> place) & 1
            nearer = (t > 0.0) & (t < hit.distance) & (wall == 1)
            hit = Hit(
                jnp.where(nearer, t, hit.distance),
                jnp.where(nearer, axis * (n + 1) + k, hit.line),
                jnp.where(nearer, place, hit.place),
            )
    return hit


def looks(
    task: MazeTask, line: Int[Array, " r"], place: Int[Array, " r"]
) -> tuple[Int[Array, " r"], Int[Array, " r"]]:
    """The hue and the pattern, each one of four, of walls: hues come in districts of 2 x 2 walls, patterns
    wall by wall.
    """
    seed = task.texture.astype(jnp.uint32)

    def four(a: Int[Array, " r"], b: Int[Array, " r"], salt: int) -> Int[Array, " r"]:
        word = (a * 16 + b + salt * 1024).astype(jnp.uint32) * jnp.uint32(0x9E3779B1) ^ seed
        word = (word ^ (word >> 15)) * jnp.uint32(0x2C1B3C6D)
        word = (word ^ (word >> 12)) * jnp.uint32(0x297A2D39)
        return (word >> 30).astype(jnp.int32)

    n = task.vertical.shape[0] - 1
    return four((line % (n + 1)) >> 1, place >> 1, 0), four(line, place, 1)
