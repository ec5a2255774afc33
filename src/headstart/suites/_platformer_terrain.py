"""A platformer level's standing scenery, painted once: ground, its cover, ledges, and what grows or stands on it.

The level is painted in stretches, each with enough around it that stretches fit together without a seam.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy import ndimage

from headstart.envs.platformer_level import CODES, TILE, Level
from headstart.suites._platformer_decor import decor
from headstart.suites._platformer_pixels import (
    BAYER,
    Cutout,
    Ramp,
    colour,
    edge,
    hashed,
    mix,
    paste,
    ramp,
)
from headstart.suites._platformer_textures import SIZE, Texture, texture
from headstart.suites._platformer_themes import Theme

STRETCH = 16
"""columns of tiles painted at once"""

_MARGIN = 8  # columns around them that they depend on
_SLOPES = {"/": (0, 1), "\\": (15, -1), "1": (0, 0.5), "2": (8, 0.5), "3": (15, -0.5), "4": (7, -0.5)}
"""of each slope: the height of its surface in the leftmost column of pixels, and what it gains a column"""


def _slope_mask(tile: str) -> Bool[np.ndarray, "16 16"]:
    """The pixels below a slope's surface."""
    first, gain = _SLOPES[tile]
    height = np.floor(first + gain * np.arange(TILE)).astype(int) + 1
    return np.arange(TILE)[:, None] >= TILE - height


def ground_mask(level: Level) -> Bool[np.ndarray, "h w"]:
    """Which pixels of a level are ground."""
    tiles = level.tiles[: level.rows, : level.columns]
    solid = np.kron(tiles == CODES["#"], np.ones((TILE, TILE), bool))
    for tile in _SLOPES:
        mask = _slope_mask(tile)
        for r, c in np.argwhere(tiles == CODES[tile]):
            solid[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE] = mask
    return solid


def _below_surface(solid: np.ndarray) -> Int[np.ndarray, "h w"]:
    """How many pixels of ground there are above each, up to the air."""
    rows = np.arange(len(solid))[:, None]
    last_air = np.maximum.accumulate(np.where(solid, -1, rows), axis=0)
    return np.where(last_air < 0, 10_000, rows - last_air - 1)


def _body(solid: np.ndarray, texture: Texture, theme: Theme, first: int) -> UInt8[np.ndarray, "h w 3"]:
    """The ground's texture from column `first` of pixels on, lit from the upper left and darker the deeper inside."""
    h, w = solid.shape
    rows, columns = np.arange(h) % SIZE, (np.arange(w) + first) % SIZE
    level = texture[np.ix_(rows, columns)].astype(np.float32)
    deeper = np.pad(solid, ((0, 64), (0, 0)), mode="edge")
    depth = np.asarray(ndimage.distance_transform_edt(deeper), np.float32)[:h]
    level -= np.clip((depth - 26.0) / 24.0, 0.0, 1.8)
    around = np.pad(solid, 4, mode="edge")
    level += 0.8 * (solid & ~around[4:-4, 2:-6])
    level -= 0.8 * (solid & ~around[4:-4, 7:-1])
    level -= solid & ~around[8:, 4:-4]
    rim = edge(np.pad(solid, 1, mode="edge"))[1:-1, 1:-1]
    dither = np.tile(BAYER, (-(-h // 4), -(-w // 4)))[:h, :w]
    index = np.clip(np.round(level + 0.55 * dither * (depth > 24)), 1, 5).astype(np.int8)
    shades = ramp(theme.stone[1])
    rgb = shades[np.where(rim, 0, index)]
    haze = mix(shades[0], colour(theme.sky[0]), 0.25)
    deep = np.round(np.clip((depth - 50.0) / 60.0, 0.0, 0.45) * 12) / 12
    inside = deep > 0
    rgb[inside] = np.round(rgb[inside] * (1 - deep[inside, None]) + haze * deep[inside, None]).astype(
        np.uint8
    )
    return rgb


class _Cover(NamedTuple):
    """How thick a cover is, and what rises above it."""

    thick: int
    ragged: int
    """by how much its lower rim varies"""
    blades: int
    """height of the tallest blades above, in pixels"""


_COVERS = {
    "grass": _Cover(5, 4, 3),
    "moss": _Cover(3, 5, 1),
    "snow": _Cover(6, 3, 1),
    "icing": _Cover(5, 7, 0),
    "sand": _Cover(4, 2, 0),
    "dust": _Cover(3, 2, 0),
    "tar": _Cover(3, 7, 0),
    "crust": _Cover(3, 4, 0),
    "rail": _Cover(5, 0, 0),
    "trim": _Cover(6, 0, 0),
    "hazard": _Cover(5, 0, 0),
    "neon": _Cover(3, 0, 0),
}


def _rim(kind: str, first: int, width: int) -> Int[np.ndarray, " w"]:
    """The cover's thickness in each column of pixels."""
    cover = _COVERS[kind]
    thick = np.full(width, cover.thick)
    if not cover.ragged:
        return thick
    x = np.arange(first, first + width)
    if kind in ("icing", "tar", "snow", "sand"):  # round drips
        drip = np.array([hashed(k, 5) for k in range(x[0] // 8, x[-1] // 8 + 1)])[x // 8 - x[0] // 8]
        return thick + np.round(cover.ragged * drip * np.sin(np.pi * (x % 8 + 0.5) / 8.0)).astype(int)
    tooth = np.array([hashed(k, 9) for k in range(x[0] // 3, x[-1] // 3 + 1)])[x // 3 - x[0] // 3]
    return thick + np.round(cover.ragged * tooth * (1.0 - np.abs(x % 3 - 1) * 0.45)).astype(int)


def _pattern(
    kind: str, v: np.ndarray, x: np.ndarray, thick: np.ndarray, shades: Ramp
) -> UInt8[np.ndarray, "n 3"]:
    """Colours of a cover's pixels, `v` below the surface at column `x`."""
    share = v / np.maximum(thick - 1, 1)
    index = np.where(v == 0, 5, np.where(share < 0.55, 4, np.where(share < 0.85, 3, 2)))
    if kind in ("rail", "trim", "hazard"):
        index = np.where(v == 0, 5, np.where(v == thick - 1, 0, np.where(v == 1, 4, 3)))
        if kind == "trim":
            index = np.where((v >= 2) & (v <= 4) & ((x + (v == 3)) % 8 < 3), 1, index)
        if kind == "rail":
            index = np.where((v == 3) & (x % 8 == 3), 1, index)
    rgb = shades[index]
    if kind == "hazard":
        black = ((x + v) % 16 < 8) & (v > 0) & (v < thick - 1)
        rgb = np.where(black[..., None], colour("22202c"), rgb)
    if kind == "neon":
        rgb = np.where(
            (v == 1)[..., None], mix(shades[5], colour("ffffff"), 0.7), shades[np.where(v == 0, 4, 3)]
        )
    if kind == "crust":
        rgb = np.where(((v > 0) & (v < 2))[..., None], mix(shades[5], colour("fff2a0"), 0.5), rgb)
    return rgb.astype(np.uint8)


def _cover(rgb: np.ndarray, mask: np.ndarray, solid: np.ndarray, theme: Theme, first: int) -> None:
    """Lay the cover upon every surface, with blades that rise above it."""
    kind, name = theme.cap
    shades, cover = ramp(name), _COVERS[kind]
    depth = _below_surface(solid)
    h, w = solid.shape
    thick = np.broadcast_to(_rim(kind, first, w), (h, w))
    dark = solid & (depth >= thick) & (depth < thick + 2)
    rgb[dark] = mix(rgb[dark], colour("120e1e"), 0.45)
    here = solid & (depth < thick)
    y, x = np.nonzero(here)
    rgb[here] = _pattern(kind, depth[here], x + first, thick[here], shades)
    if not cover.blades:
        return
    tops = np.argwhere(solid & (depth == 0))
    for y, x in tops:
        tall = int(hashed(int(x) + first, 3) * (cover.blades + 1.5)) - 1 + (kind == "snow")
        for k in range(1, min(tall, cover.blades) + 1):
            if y - k >= 0 and not solid[y - k, x]:
                rgb[y - k, x] = shades[5 if k == tall or kind == "snow" else 4]
                mask[y - k, x] = True


@cache
def ledge(kind: str, name: str, width: int, tall: int = 9) -> Cutout:
    """A ledge, or a platform, `width` pixels long."""
    shades = ramp(name)
    y, x = np.mgrid[:tall, :width]
    solid = np.ones((tall, width), bool)
    index = np.where(y == 0, 5, np.where(y == 1, 4, np.where(y < tall - 3, 3, 2)))
    if kind == "wood":
        index = np.where((x % 16 == 0) & (y > 0), 1, index)
        index = np.where((y == 3) & ((x * 7 // 5) % 9 < 5), 2, index)
    elif kind == "slab":
        index = np.where((x % 16 == 0) & (y > 1), 1, np.where((x % 16 == 1) & (y > 1), 4, index))
    elif kind == "grate":
        holes = (y > 2) & (y < tall - 2) & ((x + y) % 6 < 2)
        index = np.where(holes, 1, index)
    elif kind == "ice":
        index = np.where((x + y) % 12 < 2, 5, index)
        drop = np.array([hashed(int(k), 4) for k in range(width // 4 + 1)])[x // 4]
        solid &= y < tall - 4 + np.round(4 * drop * (1.0 - np.abs(x % 4 - 1.5) * 0.4))
    elif kind == "neon":
        index = np.where((y >= 3) & (y <= 4), 5, np.where(y < 2, 4, 1))
    elif kind == "cloud":
        bump = np.abs(np.sin(np.pi * (x + 0.5) / 12.0))
        solid &= y < tall - 4 + np.round(4 * bump)
        index = np.where(y < 2, 5, np.where(y < 3 + 2 * bump, 4, 2))
    for a, b in ((0, 0), (0, width - 1), (tall - 1, 0), (tall - 1, width - 1)):
        solid[a, b] = False
    if kind not in ("cloud", "ice"):
        solid[tall - 2 :, :2] = solid[tall - 2 :, -2:] = False
    rim = edge(solid) & (y > 0)
    return Cutout(shades[np.where(rim & (kind != "cloud"), 0, index)], solid)


def _runs(row: np.ndarray) -> list[tuple[int, int]]:
    """Beginnings and ends of the stretches of a row that are True."""
    change = np.flatnonzero(np.diff(np.pad(row, 1).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(change[::2], change[1::2], strict=True)]


def _ledges(level: Level, theme: Theme, rgb: np.ndarray, mask: np.ndarray, begin: int) -> None:
    """Draw the ledges; the canvas begins at column `begin` of tiles."""
    tiles = level.tiles[: level.rows, : level.columns]
    for r, row in enumerate(tiles == CODES["="]):
        for a, b in _runs(row):
            x, y = (a - begin) * TILE, r * TILE
            if x > rgb.shape[1] or (b - begin) * TILE < 0:
                continue
            if theme.ledge[0] in ("wood", "grate", "slab"):
                for foot in (x + 5, (b - begin) * TILE - 9):
                    paste(rgb, ledge(*theme.ledge, 4, 5), foot, y + 8, mask)
            paste(rgb, ledge(*theme.ledge, (b - a) * TILE), x, y, mask)


class _Growth(NamedTuple):
    """A thing that stands about, and its upper left corner in pixels."""

    thing: Cutout
    x: int
    y: int


def _growths(level: Level, theme: Theme) -> list[_Growth]:
    """What stands on level ground where there is room, every few tiles."""
    tiles = level.tiles[: level.rows, : level.columns]
    bare = np.isin(tiles, [0, CODES["o"]])
    floor = (tiles[1:] == CODES["#"]) & bare[:-1]
    out, skip = list[_Growth](), 0
    for c, r in np.argwhere(floor.T):
        c, r = int(c), int(r) + 1
        if hashed(c, r, 1) > 0.4 or c < skip:
            continue
        kind, name = theme.decor[int(len(theme.decor) * hashed(c, r, 2) ** 1.4)]
        thing = decor(kind, name, int(hashed(c, r, 3) * 4))
        h, w = thing.solid.shape
        foot = 6 if kind in ("tree", "pine", "lollipop", "mast", "sign", "antenna") else w // 2 - 2
        middle = c * TILE + TILE // 2
        left, right = (middle - foot) // TILE, (middle + foot) // TILE
        head = r - -(-(h - 6) // TILE)
        if left < 0 or head < 0 or not floor[r - 1, left : right + 1].all() or not bare[head:r, c].all():
            continue
        out.append(_Growth(thing, middle - w // 2, r * TILE - h + 1))
        skip = c + 1 + (w + 8) // TILE
    return out


class Scenery:
    """Everything in a level that never changes, painted stretch by stretch when it is asked for."""

    def __init__(self, level: Level, theme: Theme) -> None:
        self._level, self._theme = level, theme
        self._texture = texture(*theme.stone)
        self._solid = ground_mask(level)
        self._growths = _growths(level, theme)
        self._painted: dict[int, Cutout] = {}

    def stretch(self, number: int) -> Cutout:
        """The columns of tiles from `number * STRETCH` on, at 16 pixels a tile."""
        if number not in self._painted:
            self._painted[number] = self._paint(number)
        return self._painted[number]

    def _paint(self, number: int) -> Cutout:
        first, last = number * STRETCH, min((number + 1) * STRETCH, self._level.columns)
        begin, end = max(first - _MARGIN, 0), min(last + _MARGIN, self._level.columns)
        solid = self._solid[:, begin * TILE : end * TILE]
        body = _body(solid, self._texture, self._theme, begin * TILE)
        rgb, mask = np.zeros_like(body), np.zeros_like(solid)
        for thing, x, y in self._growths:
            paste(rgb, thing, x - begin * TILE, y, mask)
        _ledges(self._level, self._theme, rgb, mask, begin)
        rgb[solid] = body[solid]
        mask |= solid
        _cover(rgb, mask, solid, self._theme, begin * TILE)
        inner = slice((first - begin) * TILE, (last - begin) * TILE)
        return Cutout(rgb[:, inner], mask[:, inner])
