"""What the platformer's ground is made of: periodic textures of 128 x 128 pixels in shades from 0 (dark) to 5 (light)."""

from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float

from headstart.suites._platformer_pixels import cells, noise

SIZE = 128
"""the period of a texture, in pixels"""

Texture = Float[np.ndarray, "128 128"]


def _grid() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:SIZE, :SIZE]
    return y, x


def _courses(dice: np.random.Generator, wide: int, high: int, gloss: float) -> Texture:
    """Blocks laid in courses, each a little different, lit at the upper and left rim."""
    y, x = _grid()
    row = y // high
    x = x + (row % 2) * (wide // 2)
    column = (x % SIZE) // wide
    tone = dice.uniform(-0.45, 0.45, (SIZE // high, SIZE // wide))[row, column]
    u, v = x % wide, y % high
    level = 3.3 + tone + gloss * (noise(dice, SIZE, 4) - 0.5)
    level = np.where((u == 1) | (v == 1), level + 0.9, level)
    level = np.where((u == wide - 1) | (v == high - 1), level - 0.9, level)
    corner = ((u <= 1) | (u == wide - 1)) & ((v <= 1) | (v == high - 1))
    return np.where((u == 0) | (v == 0) | corner, 1.0, level)


def _soil(dice: np.random.Generator) -> Texture:
    """Earth in two tones, with pebbles."""
    level = (
        3.2
        + np.where(noise(dice, SIZE, 8) > 0.56, 0.7, 0.0)
        - np.where(noise(dice, SIZE, 16) < 0.4, 0.6, 0.0)
    )
    y, x = _grid()
    for _ in range(26):
        cx, cy = dice.uniform(0, SIZE, 2)
        rx, ry = dice.uniform(2.0, 4.6), dice.uniform(1.5, 3.2)
        dx = ((x - cx + SIZE / 2) % SIZE - SIZE / 2) / rx
        dy = ((y - cy + SIZE / 2) % SIZE - SIZE / 2) / ry
        far = dx * dx + dy * dy
        level = np.where(far < 1.7, 1.8, level)
        level = np.where(far < 1.0, np.where(dx + 1.6 * dy < -0.35, 5.0, 4.0), level)
    return level


def _cobble(dice: np.random.Generator, cell: int = 16, tall: float = 0.8) -> Texture:
    """Stones of all shapes, rounded by light."""
    which, rim, dx, dy = cells(dice, SIZE, cell, tall)
    tone = dice.uniform(-0.5, 0.5, int(which.max()) + 1)[which]
    light = np.clip(-(dx + 1.4 * dy) / cell, -0.8, 0.8)
    return np.where(rim < 1.1, 1.0, 3.2 + tone + 1.5 * light)


def _crystal(dice: np.random.Generator) -> Texture:
    """Facets, each of one tone, with bright edges here and there."""
    which, rim, dx, dy = cells(dice, SIZE, 21, 1.3)
    tone = dice.uniform(1.9, 4.0, int(which.max()) + 1)[which]
    facet = np.where(dx * 0.8 + dy > 0, -0.7, 0.3)
    level = np.where(rim < 0.8, np.where(dx + dy < 0, 5.0, 1.2), tone + facet)
    return level


def _plates(dice: np.random.Generator) -> Texture:
    """Sheets of metal with rivets."""
    y, x = _grid()
    u, v = x % 32, (y + 16 * (x // 32 % 2)) % 32
    tone = dice.uniform(-0.3, 0.3, (4, 4))[(y + 16 * (x // 32 % 2)) % SIZE // 32, x // 32]
    level = 3.4 + tone + np.where(noise(dice, SIZE, 4) > 0.72, -0.5, 0.0)
    level = np.where((u == 1) | (v == 1), 4.6, level)
    level = np.where((u == 31) | (v == 31), 2.3, level)
    a, b = np.minimum(u, 31 - u), np.minimum(v, 31 - v)
    rivet = (abs(a - 4) <= 1) & (abs(b - 4) <= 1)
    level = np.where(rivet, np.where((u % 16 < 5) & (v % 16 < 5), 5.0, 2.4), level)
    return np.where((u == 0) | (v == 0), 1.0, level)


def _strata(dice: np.random.Generator) -> Texture:
    """Wavy bands, one above the other."""
    y, x = _grid()
    bend = (
        3.0 * np.sin(2 * np.pi * x / SIZE + 1.0)
        + 1.6 * np.sin(6 * np.pi * x / SIZE)
        + 2.5 * noise(dice, SIZE, 16)
    )
    at = (y + bend) % SIZE
    bounds = np.cumsum(dice.choice([5, 7, 9, 12], 40))
    bounds = np.append(bounds[bounds < SIZE - 4], SIZE)
    band = np.searchsorted(bounds, at, side="right")
    tone = np.resize(np.array([3.4, 2.8, 3.9, 3.1, 2.5, 3.6]), len(bounds) + 1)[band]
    start = np.concatenate([[0], bounds])[band]
    speck = np.where(noise(dice, SIZE, 4) > 0.78, -0.8, 0.0)
    return np.where(at - start < 1.0, 1.7, np.where(at - start < 2.0, tone + 0.9, tone + speck))


def _ice(dice: np.random.Generator) -> Texture:
    """Clear blocks with slanting gleams."""
    y, x = _grid()
    which, rim, dx, dy = cells(dice, SIZE, 26, 1.0)
    tone = dice.uniform(-0.4, 0.4, int(which.max()) + 1)[which]
    gleam = ((x + y) % 32 < 4) | ((x + y) % 32 == 6)
    level = 3.2 + tone + np.where(gleam & (dx + dy > -8) & (rim > 3), 0.9, 0.0)
    return np.where(rim < 0.9, np.where(dx + dy > 0, 4.8, 2.0), level)


def _cloud(dice: np.random.Generator) -> Texture:
    """Soft heaps."""
    which, rim, dx, dy = cells(dice, SIZE, 18, 0.8)
    del which
    puff = 4.1 - 0.055 * (dx + 1.9 * dy) - np.where(rim < 1.5, 0.6, 0.0)
    return np.clip(puff, 2.7, 5.0)


def _tech(dice: np.random.Generator) -> Texture:
    """Panels with grooves and small lights."""
    y, x = _grid()
    u, v = x % 32, y % 32
    level = np.full((SIZE, SIZE), 2.6) + dice.uniform(-0.35, 0.35, (4, 4))[y // 32, x // 32]
    level = np.where((u == 1) | (v == 1), 3.6, np.where((u == 31) | (v == 31), 1.7, level))
    level = np.where((u == 0) | (v == 0), 0.8, level)
    for _ in range(14):
        cx, cy = dice.integers(0, 16, 2) * 8 + 4
        n, down = int(dice.integers(1, 4)) * 8, int(dice.choice([-1, 1])) * 6
        level[cy, np.arange(cx, cx + n) % SIZE] = 1.4
        level[np.arange(cy, cy + down, int(np.sign(down))) % SIZE, (cx + n) % SIZE] = 1.4
        level[cy - 1 : cy + 1, cx - 1 : cx + 1] = 5.0
    return level


def _candy(dice: np.random.Generator) -> Texture:
    """Slanting stripes of sponge and cream."""
    y, x = _grid()
    at = (x + y + 3 * np.sin(2 * np.pi * (x - y) / 64)) % 32
    level = np.where(at < 14, 3.7, 2.9) + np.where(noise(dice, SIZE, 4) > 0.76, 0.6, 0.0)
    return np.where((at < 2) | ((at > 14) & (at < 16)), 4.7, level)


def _planks(dice: np.random.Generator) -> Texture:
    """Boards, nailed."""
    y, x = _grid()
    row = y // 10
    y = np.minimum(y, 119) + 0 * x
    shift = dice.integers(0, SIZE, 14)[row]
    u, v = (x + shift) % 64, y % 10
    tone = dice.uniform(-0.5, 0.4, (14, 2))[row, (x + shift) % SIZE // 64]
    grain = np.where((np.sin(x / 5.0 + 9 * noise(dice, SIZE, 16) + v * 2.1) > 0.86), -0.7, 0.0)
    level = np.where(v == 1, 4.4, 3.3 + tone + grain)
    nail = ((u == 4) | (u == 60)) & ((v == 3) | (v == 7))
    return np.where((v == 0) | (u == 0), 1.0, np.where(nail, 1.4, level))


_KINDS: dict[str, Callable[[np.random.Generator], Texture]] = {
    "blocks": lambda dice: _courses(dice, 32, 16, 1.0),
    "bricks": lambda dice: _courses(dice, 16, 8, 0.4),
    "candy": _candy,
    "cloud": _cloud,
    "cobble": _cobble,
    "crystal": _crystal,
    "ice": _ice,
    "planks": _planks,
    "plates": _plates,
    "soil": _soil,
    "strata": _strata,
    "tech": _tech,
}


@cache
def texture(kind: str, name: str) -> Texture:
    """A texture by its kind; those of two colours differ."""
    return _KINDS[kind](np.random.default_rng([*name.encode()]))


__all__ = ["SIZE", "Texture", "texture"]
