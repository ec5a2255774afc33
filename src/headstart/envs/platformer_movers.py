"""What moves by itself in the platformer: enemies and platforms, whose places are a function of the frame alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from headstart.envs.platformer_level import NEAR
from headstart.envs.platformer_table import PAD, PIXEL, STEP, Levels, number, unpack
from headstart.envs.platformer_zones import Numbers


class Near(NamedTuple):
    """The moving things around one place, `[n]` each, in the order of the level's table."""

    first: Int[Array, ""]
    """the number of the first"""
    path: tuple[Int[Array, " n"], ...]

    def places(self, frame: Int[Array, ""]) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
        """x and y at a frame, in subpixels: x0 + span tri(u), u = (rate frame + phase) mod 2^16."""
        x, y, vertical, span, rate, phase = self.path
        u = (rate * frame + phase) & 0xFFFF
        tri = jnp.minimum(u, 0x10000 - u)
        off = (span * 16 * tri >> 15) * (PIXEL // 16)
        return x * PIXEL + (1 - vertical) * off, y * PIXEL + vertical * off

    def __len__(self) -> int:
        return self.path[0].shape[0]


def _near(table: UInt32[Array, "M m 2"], level: Numbers, first: Int[Array, ""], n: int) -> Near:
    words = jax.lax.dynamic_slice(table, (level, first, 0), (1, n, 2))[0]
    return Near(first, unpack(words))


def around(levels: Levels, level: Numbers, x: Int[Array, ""]) -> tuple[Near, Near]:
    """The enemies and the platforms in sight from `x`, in subpixels."""
    word = jnp.asarray(levels.columns)[level, 5, (x >> STEP) + PAD]
    enemies = _near(jnp.asarray(levels.enemies), level, number(word, "enemy"), NEAR["enemies"])
    platforms = _near(jnp.asarray(levels.platforms), level, number(word, "platform"), NEAR["platforms"])
    return enemies, platforms
