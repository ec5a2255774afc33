"""Mazes as tasks: walls as bits, and the randomised depth-first search that digs them.

A maze has n x n unit cells; x grows to the right, y downwards, cell (x, y) is number y n + x. Walls are thin
and lie on the grid lines, a line's walls being the bits of one integer:

    vertical[k],   bit y:  a wall on the line x = k, between the cells (k-1, y) and (k, y)
    horizontal[k], bit x:  a wall on the line y = k, between the cells (x, k-1) and (x, k)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, Int8, Int16, Int32, PRNGKeyArray, UInt8

TURNS = 12
"""headings an agent can have: multiples of 30 degrees, clockwise on the map from facing right"""

_FAR = 255  # farther than any path


class MazeTask(NamedTuple):
    """A maze, where an episode starts, where the target stands, and what the walls look like."""

    vertical: Int16[Array, " lines"]
    horizontal: Int16[Array, " lines"]
    start: Int8[Array, "3"]
    """cell x, cell y, heading in units of 30 degrees"""
    target: Int8[Array, "2"]
    """cell x, cell y"""
    texture: Int32[Array, ""]
    """seed of the walls' looks"""
    distance: UInt8[Array, "n n"]
    """steps between cells on the way to the target, `[y, x]`"""


def _dig(key: PRNGKeyArray, n: int) -> Int[Array, " cells"]:
    """A random spanning tree of the grid by randomised depth-first search: every cell's parent, the root
    being its own.

    The search enters and leaves every cell but the root once, so 2 n² rounds always suffice.
    """
    k_root, k_turns = jr.split(key)
    cells = jnp.arange(n * n)
    root = jr.randint(k_root, (), 0, n * n)
    luck = jr.bits(k_turns, (2 * n * n,))
    offset = jnp.array([1, -1, n, -n])

    def visit(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        here, parent = carry
        x, y = here % n, here // n
        inside = jnp.stack([x < n - 1, x > 0, y < n - 1, y > 0])
        near = jnp.clip(here + offset, 0, n * n - 1)
        free = inside & (parent[near] < 0)
        count = free.sum(dtype=jnp.uint32)
        chosen = free & (jnp.cumsum(free, dtype=jnp.uint32) == 1 + luck[i] % jnp.maximum(count, 1))
        there = jnp.where(chosen, near, 0).sum()
        parent = jnp.where((cells == there) & (count > 0), here, parent)
        return jnp.where(count > 0, there, parent[here]), parent

    parent = jnp.where(cells == root, root, -1)
    return jax.lax.fori_loop(0, 2 * n * n, visit, (root, parent))[1]


def _passages(parent: Int[Array, " cells"], n: int) -> tuple[Bool[Array, "n m"], Bool[Array, "m n"]]:
    """Where neighbours are joined: `[y, x]` to the cell on the right, `[y, x]` to the cell below."""
    cell = jnp.arange(n * n).reshape(n, n)
    parent = parent.reshape(n, n)
    right = (parent[:, :-1] == cell[:, 1:]) | (parent[:, 1:] == cell[:, :-1])
    down = (parent[:-1] == cell[1:]) | (parent[1:] == cell[:-1])
    return right, down


def _walk(
    right: Bool[Array, "n m"], down: Bool[Array, "m n"], target: Int[Array, "2"]
) -> UInt8[Array, "n n"]:
    """Every cell's distance to the target, by relaxation until nothing changes."""
    n = right.shape[0]
    cell = jnp.arange(n)
    home = (cell[None, :] == target[0]) & (cell[:, None] == target[1])

    def relax(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        old, _ = carry
        new = old
        new = new.at[:, :-1].min(jnp.where(right, old[:, 1:] + 1, _FAR))
        new = new.at[:, 1:].min(jnp.where(right, old[:, :-1] + 1, _FAR))
        new = new.at[:-1].min(jnp.where(down, old[1:] + 1, _FAR))
        new = new.at[1:].min(jnp.where(down, old[:-1] + 1, _FAR))
        return new, (new != old).any()

    start = (jnp.where(home, 0, _FAR), jnp.bool_(True))
    return jax.lax.while_loop(lambda carry: carry[1], relax, start)[0].astype(jnp.uint8)


def _lines(passage: Bool[Array, "m n"]) -> Int16[Array, " lines"]:
    """The walls of all parallel lines `[line, along]`, the two outer ones closed."""
    n = passage.shape[1]
    inner = jnp.where(passage, 0, 1 << jnp.arange(n)[None, :]).sum(axis=1)
    border = jnp.array([(1 << n) - 1])
    return jnp.concatenate([border, inner, border]).astype(jnp.int16)


def sample_maze(key: PRNGKeyArray, n: int) -> MazeTask:
    """A perfect maze of n x n cells, start and target in any two cells, any heading, any looks."""
    k_dig, k_start, k_target, k_heading, k_texture = jr.split(key, 5)
    right, down = _passages(_dig(k_dig, n), n)
    start = jr.randint(k_start, (), 0, n * n)
    target = (start + jr.randint(k_target, (), 1, n * n)) % (n * n)
    goal = jnp.stack([target % n, target // n])
    heading = jr.randint(k_heading, (), 0, TURNS)
    return MazeTask(
        vertical=_lines(right.T),
        horizontal=_lines(down),
        start=jnp.stack([start % n, start // n, heading]).astype(jnp.int8),
        target=goal.astype(jnp.int8),
        texture=jr.randint(k_texture, (), 0, jnp.iinfo(jnp.int32).max),
        distance=_walk(right, down, goal),
    )
