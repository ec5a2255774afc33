"""The sheet of small pictures that agents' pixels are drawn from: data/sprites/pixels.png, made by painting with the
large pictures' painters and shrinking to a quarter of the width and three eighths of the height.

    python -m benchmarks.platformer_sheet        paints the sheet again

For each zone there are 84 rows: its backdrop, 128 columns wide; beside it four rows of tiles, a row each variant, tiles in
the order of their kinds; below these its platform. Under all zones lie the things that are the same everywhere.
"""

from functools import cache
from importlib import resources
from io import BytesIO

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt32
from PIL import Image

from headstart.envs.platformer_level import CODES, TILE, parse
from headstart.envs.platformer_pixels import (
    BOARD,
    BOX,
    HIGH,
    KINDS,
    POSES,
    ROUND,
    SIDE,
    VARIANTS,
    WIDE,
    Atlas,
)
from headstart.envs.platformer_zones import ZONES
from headstart.suites._platformer_backdrop import layers
from headstart.suites._platformer_objects import COLOURS, cracked, flag, gate, moving_platform
from headstart.suites._platformer_pixels import Cutout, colour, mix, paste, ramp
from headstart.suites._platformer_sky import sky
from headstart.suites._platformer_sprites import Pose, player, ring, sheet
from headstart.suites._platformer_terrain import Scenery, ledge
from headstart.suites._platformer_themes import THEMES, Theme

Sheet = UInt8[np.ndarray, "h w 4"]

_SHAPE = (len(ZONES) * SIDE + 2 * BOX[0], ROUND + KINDS * WIDE)
_SOLID = 0.4  # share of a pixel that has to be covered
_INK = colour("1b1b33")  # of outlines, which shrunk as everything else would make small things black
_FAINT = 0.3
_FADED = 0.2  # how far the backdrop is mixed with its mean colour
_BRIGHT = 1.25  # how much brighter things are than the large ones, so that they stand out in grey, too
_GREY = np.array([0.299, 0.587, 0.114])
_SPECIMEN = """zone: {}
act: 1
par: 1
---
................................
................................
................................
................................
................................
.....................12####34...
S........##########./######/#..G
################################
################################
################################
################################
"""
"""a level with the ground's tiles in it, falling slopes but for the gentle ones apart"""
_TOPS = {(0, 0): (6, 14), (0, 1): (6, 15), (1, 0): (7, 4), (1, 1): (7, 5)}
"""row and column in it of the ground's surface, by parity of row and column"""
_SLOPES = {"/": (6, 20), "1": (5, 21), "2": (5, 22), "3": (5, 27), "4": (5, 28)}


def small(rgb: UInt8[np.ndarray, "h w 3"], solid: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "u v 4"]:
    """A picture shrunk to a quarter of its width and three eighths of its height; holes stay holes, outlines are faint."""
    h, w = solid.shape
    rows = _shares(h, 3 * h // 8)
    columns = _shares(w, w // 4)
    cover = rows @ solid @ columns.T
    weight = np.where((rgb == _INK).all(-1), _FAINT, 1.0) * solid
    full = rgb * weight[..., None]
    summed = np.stack([rows @ full[..., k] @ columns.T for k in range(3)], -1)
    mean = summed / np.maximum(rows @ weight @ columns.T, 1e-9)[..., None]
    alpha = np.where(cover >= _SOLID, 255, 0)[..., None]
    return np.concatenate([np.where(alpha > 0, np.round(mean), 0), alpha], -1).astype(np.uint8)


def _shares(n: int, m: int) -> Float[np.ndarray, "m n"]:
    """How much of each of `n` pixels goes into each of `m`, as shares of the latter."""
    ends = np.arange(m + 1)[:, None] * n / m
    filled = np.clip(ends - np.arange(n), 0.0, 1.0)
    return np.diff(filled, axis=0) * m / n


def _cut(what: Cutout, size: tuple[int, int], x: int, y: int) -> UInt8[np.ndarray, "u v 4"]:
    """A cut-out at a place on a canvas of some height and width, small."""
    rgb, solid = np.zeros((*size, 3), np.uint8), np.zeros(size, bool)
    paste(rgb, what, x, y, solid)
    return small(rgb, solid)


def _backdrop(theme: Theme) -> UInt8[np.ndarray, "84 128 4"]:
    """Sky and layers in one, a little faded."""
    rgb = sky(theme).copy()
    for layer in layers(theme):
        rgb[layer.solid] = layer.rgb[layer.solid]
    out = small(rgb, np.ones(rgb.shape[:2], bool))
    out[..., :3] = mix(out[..., :3], rgb.mean((0, 1)), _FADED)
    return out


def _ground(zone: str) -> dict[str, UInt8[np.ndarray, "4 6 4 4"]]:
    """Ground, slopes and surface, each as its four variants."""
    scenery = Scenery(parse(_SPECIMEN.format(zone)), THEMES[zone])
    painted = [scenery.stretch(number) for number in range(2)]
    whole = Cutout(np.concatenate([p.rgb for p in painted], 1), np.concatenate([p.solid for p in painted], 1))

    def tile(row: int, column: int) -> np.ndarray:
        part = (slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE))
        return small(whole.rgb[part], whole.solid[part])

    variants = sorted(_TOPS)
    out = {name: np.stack([tile(*place)] * VARIANTS) for name, place in _SLOPES.items()}
    out["\\"] = out["/"][:, :, ::-1]
    out["surface"] = np.stack([tile(*_TOPS[v]) for v in variants])
    inside = np.stack([tile(8 + r, 6 + c) for r, c in variants])
    inside[..., :3] = mix(inside[..., :3], inside[..., :3].mean((0, 1, 2)), 0.5)  # repeated as it is
    out["#"] = inside
    return out


def _pit(theme: Theme, odd: int) -> UInt8[np.ndarray, "6 4 4"]:
    """What lies at the bottom: darker downwards, with a light upper edge."""
    kind, name = theme.pit
    shades = ramp(name)
    light = {"mist": 3, "dark": 1}.get(kind, 4)
    rows = np.stack([shades[max(light - k // 2, 0)] for k in range(HIGH)])
    out = np.repeat(rows[:, None], WIDE, 1)
    out[0] = mix(shades[min(light + 1, 5)], colour("ffffff"), 0.0 if kind == "dark" else 0.35)
    if odd and kind not in ("mist", "dark"):
        out[1, ::2] = out[0, 0]
    return np.concatenate([out, np.full((HIGH, WIDE, 1), 255, np.uint8)], -1)


def _switch(number: int, high: int) -> UInt8[np.ndarray, "6 4 4"]:
    """A knob some pixels high on its base; drawn by hand, since the large one would be two grey rows."""
    out = np.zeros((HIGH, WIDE, 4), np.uint8)
    shades = ramp(COLOURS[number])
    out[HIGH - 1 - high : HIGH - 1] = [*shades[4], 255]
    out[HIGH - 1 - high, 1:-1] = [*shades[5], 255]
    out[HIGH - 1] = [*ramp("6a7088")[3], 255]
    return out


def _tiles(zone: str) -> UInt8[np.ndarray, "4 64 6 4 4"]:
    """All kinds of tiles in their variants."""
    theme, out = THEMES[zone], np.zeros((VARIANTS, KINDS, HIGH, WIDE, 4), np.uint8)
    size = (TILE, TILE)
    for name, picture in _ground(zone).items():
        out[:, CODES["#"] + 32 if name == "surface" else CODES[name]] = picture
    shelf = ledge(*theme.ledge, 3 * TILE)
    out[:, CODES["="]] = _cut(Cutout(shelf.rgb[:, TILE:-TILE], shelf.solid[:, TILE:-TILE]), size, 0, 0)
    for odd in range(2):
        out[odd * 2 : odd * 2 + 2, CODES["%"]] = _cut(cracked(*theme.stone, odd), size, 0, 0)
        out[odd::2, 32] = _pit(theme, odd)
    for k in range(3):
        out[:, CODES["PQR"[k]]] = _cut(gate(k, 0), size, 0, 0)
        out[:, CODES["pqr"[k]]] = _switch(k, 3)
        out[:, CODES["pqr"[k]] + 32] = _switch(k, 1)
    out[:, CODES["b"]] = _cut(sheet()["plank"], size, 0, 0)
    out[:, CODES["o"]] = _cut(ring(0), size, 2, 2)
    out[:, CODES["^"]] = _cut(sheet()["spikes"], size, 0, 4)
    spring = sheet()["spring"]
    out[:, CODES["Y"]] = _cut(spring, size, 0, TILE - len(spring.solid))
    out[:, CODES["}"]] = _cut(spring.turned(1), size, 0, 0)
    out[:, CODES["{"]] = _cut(spring.turned(3), size, 5, 0)
    return out


def _pose(name: str) -> Pose:
    """The player as it is when it looks like this."""
    steps = {"stride": 0.0, "pass": 9.0, "stride far": 18.0, "pass far": 27.0, "ball turned": 9.0}
    ball = name.startswith("ball")
    return Pose(
        speed=3.0 if name in steps else 0.0,
        travelled=steps.get(name, 0.0),
        ground=name not in ("air", "hurt"),
        curled=ball,
        charging=False,
        hurt=name == "hurt",
        clock=20,
    )


def _things() -> list[UInt8[np.ndarray, "u v 4"]]:
    """Things that are the same in every zone, in the order of their numbers from 1 on."""
    out = list[UInt8[np.ndarray, "u v 4"]]()
    for mirrored in (False, True):
        for name in POSES:
            hero = player(_pose(name))
            out.append(_cut(hero.mirrored() if mirrored else hero, (32, 40), 0, 3))
    for kind, left in (("walker", 3), ("flyer", 2)):
        for mirrored in (False, True):
            for k in range(2):
                foe = sheet()[f"{kind} {k}"]
                out.append(_cut(foe.mirrored() if mirrored else foe, (16, 24), left, 0))
    rgb, solid = np.zeros((72, 48, 3), np.uint8), np.zeros((72, 48), bool)
    flag(rgb, (4, 56), 0.0, False)
    solid |= rgb.any(-1)
    for one in out:
        one[..., :3] = np.minimum(one[..., :3] * _BRIGHT, 255.0)
    return [*out, small(rgb, solid), _cut(ring(0), (TILE, TILE), 2, 2)]


def painted() -> Sheet:
    """The whole sheet, painted anew."""
    out = np.zeros((*_SHAPE, 4), np.uint8)
    for z, zone in enumerate(ZONES):
        part = out[z * SIDE : (z + 1) * SIDE]
        part[:] = strip(zone)
    for number, thing in enumerate(_things(), 1):
        row, column = _place(number)
        out[row : row + thing.shape[0], column : column + thing.shape[1]] = thing
    return out


def strip(zone: str) -> UInt8[np.ndarray, "84 w 4"]:
    """A zone's part of the sheet, painted anew."""
    out = np.zeros((SIDE, _SHAPE[1], 4), np.uint8)
    out[:, :ROUND] = _backdrop(THEMES[zone])
    tiles = _tiles(zone).transpose(0, 2, 1, 3, 4).reshape(VARIANTS * HIGH, KINDS * WIDE, 4)
    out[: VARIANTS * HIGH, ROUND:] = tiles
    board = _cut(moving_platform(*THEMES[zone].ledge), (TILE, 3 * TILE), 0, 0)
    out[VARIANTS * HIGH : (VARIANTS + 1) * HIGH, ROUND : ROUND + 3 * WIDE] = board
    return out


def _place(number: int) -> tuple[int, int]:
    """Row and column of a thing on the sheet."""
    many = _SHAPE[1] // BOX[1]
    return len(ZONES) * SIDE + number // many * BOX[0], number % many * BOX[1]


@cache
def stored() -> Sheet:
    """The sheet as it ships with the package."""
    data = (resources.files("headstart") / "data" / "sprites" / "pixels.png").read_bytes()
    return np.asarray(Image.open(BytesIO(data)).convert("RGBA"))


def _channels(rgba: Sheet, grey: bool) -> UInt8[np.ndarray, "c h w"]:
    """Planes of a picture, holes zero and nothing else."""
    rgb = rgba[..., :3].astype(np.float64)
    planes = np.round(rgb @ _GREY)[None] if grey else np.moveaxis(rgb, -1, 0)
    return np.where(rgba[None, ..., 3] > 0, np.maximum(planes, 1), 0).astype(np.uint8)


def _words(pictures: UInt8[np.ndarray, "*n"]) -> UInt32[np.ndarray, "c m"]:
    """Bytes to words of four, flattened but for the channels."""
    return np.ascontiguousarray(pictures).view("<u4").reshape(len(pictures), -1).astype(np.uint32)


@cache
def atlas(grey: bool) -> Atlas:
    """The sheet as the environment needs it; one object each, so that environments are equal."""
    planes = _channels(stored(), grey)
    c, zones = len(planes), len(ZONES)
    strips = planes[:, : zones * SIDE].reshape(c, zones, SIDE, _SHAPE[1])
    tiles = strips[:, :, : VARIANTS * HIGH, ROUND:].reshape(c, zones, VARIANTS, HIGH, KINDS, WIDE)
    things = np.zeros((c, BOARD + zones, 4, *BOX), np.uint8)
    for number in range(1, BOARD + zones):
        if number < BOARD:
            row, column = _place(number)
            box = planes[:, row : row + BOX[0], column : column + BOX[1]]
        else:
            box = np.zeros((c, *BOX), np.uint8)
            board = strips[:, number - BOARD, VARIANTS * HIGH : (VARIANTS + 1) * HIGH, ROUND : ROUND + BOX[1]]
            box[:, :HIGH] = board
        for by in range(4):
            things[:, number, by, :, by:] = box[:, :, : BOX[1] - by]
    return Atlas(_words(tiles.swapaxes(3, 4)), _words(strips[:, :, :, :ROUND]), _words(things))


__all__ = ["Sheet", "atlas", "painted", "small", "stored", "strip"]
