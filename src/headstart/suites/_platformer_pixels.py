"""What the platformer's pictures are painted with: ramps of colour, periodic noise, shaded blobs, and cut-outs to paste."""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

Rgb = UInt8[np.ndarray, "*n 3"]
Ramp = UInt8[np.ndarray, "k 3"]
"""shades of one material, darkest first"""

BAYER = (
    np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float64) + 0.5
) / 16.0 - 0.5
"""thresholds of ordered dithering, -0.5 to 0.5"""


class Cutout(NamedTuple):
    """A picture with holes."""

    rgb: UInt8[np.ndarray, "h w 3"]
    solid: Bool[np.ndarray, "h w"]

    def mirrored(self) -> "Cutout":
        return Cutout(self.rgb[:, ::-1], self.solid[:, ::-1])

    def turned(self, quarters: int) -> "Cutout":
        """Turned clockwise by quarters."""
        return Cutout(np.rot90(self.rgb, -quarters), np.rot90(self.solid, -quarters))


def colour(name: str) -> UInt8[np.ndarray, " 3"]:
    """Red, green and blue of "rrggbb"."""
    return np.frombuffer(bytes.fromhex(name), np.uint8).copy()


def mix(a: np.ndarray, b: np.ndarray, share: float) -> UInt8[np.ndarray, "*n 3"]:
    """A colour between two others, `share` of the way to `b`."""
    return np.round(a * (1.0 - share) + b * share).astype(np.uint8)


def ramp(name: str, shades: int = 6) -> Ramp:
    """Shades of a colour, itself the last but one: the dark ones lean to violet, the light one to yellow."""
    red, green, blue = colour(name) / 255.0
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    out = []
    for i in range(shades):
        light = (i - (shades - 2)) / (shades - 2)  # -1 darkest, 0 the colour itself
        toward = 0.70 if light < 0 else 0.14
        turn = (toward - hue + 0.5) % 1.0 - 0.5
        h = (hue + turn * min(abs(light) * 0.22, 0.22)) % 1.0
        s = np.clip(saturation * (1.0 - 0.12 * light if light < 0 else 1.0 - 1.6 * light), 0.0, 1.0)
        v = np.clip(
            value * (1.0 + 0.74 * light) if light < 0 else value + (1.0 - value) * 2.4 * light, 0.0, 1.0
        )
        out.append(colorsys.hsv_to_rgb(h, float(s), float(v)))
    return np.round(np.array(out) * 255.0).astype(np.uint8)


def hashed(*numbers: int) -> float:
    """A number from 0 to 1 that depends on some whole numbers alone."""
    x = 0x9E3779B9
    for n in numbers:
        x = ((x ^ (n & 0xFFFFFFFF)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ x >> 15) * 0x846CA68B) & 0xFFFFFFFF
        x ^= x >> 16
    return x / 2**32


def wave(dice: np.random.Generator, n: int, low: int, high: int) -> Float[np.ndarray, " n"]:
    """A smooth periodic line of `n` values, -1 to 1, of frequencies from `low` to `high` a period."""
    t = np.arange(n) * (2.0 * np.pi / n)
    line = np.zeros(n)
    for frequency in range(low, high + 1):
        line += dice.normal() * np.cos(frequency * t + dice.uniform(0.0, 2.0 * np.pi)) / frequency**0.8
    return line / max(float(np.abs(line).max()), 1e-9)


def noise(dice: np.random.Generator, size: int, cell: int) -> Float[np.ndarray, "size size"]:
    """Smooth periodic noise, 0 to 1, whose bumps are about `cell` wide."""
    m = size // cell
    grid = dice.uniform(size=(m, m))
    at = np.arange(size) / cell
    i, f = at.astype(int) % m, at % 1.0
    f = f * f * (3.0 - 2.0 * f)
    j = (i + 1) % m
    rows = grid[i] * (1.0 - f)[:, None] + grid[j] * f[:, None]
    return rows[:, i] * (1.0 - f) + rows[:, j] * f


def cells(
    dice: np.random.Generator, size: int, cell: int, tall: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A periodic pattern of stones: of each pixel `[size, size]` the stone's number, the distance to its rim in
    pixels, and the place relative to the stone's middle. Stones are `tall` times as high as wide.
    """
    m, rows = size // cell, max(round(size / cell / tall), 1)
    step = size / rows
    gx, gy = np.meshgrid(np.arange(m), np.arange(rows))
    px = (gx + 0.5 * (gy % 2) + dice.uniform(0.1, 0.7, gx.shape)).ravel() * cell
    py = (gy + dice.uniform(0.1, 0.9, gx.shape)).ravel() * step
    y, x = np.mgrid[:size, :size]
    dx = (x[..., None] - px + size / 2) % size - size / 2
    dy = (y[..., None] - py + size / 2) % size - size / 2
    far = np.hypot(dx, dy / tall)
    order = np.argsort(far, axis=-1)[..., :2]
    first = np.take_along_axis(far, order[..., :1], -1)[..., 0]
    second = np.take_along_axis(far, order[..., 1:], -1)[..., 0]
    which = order[..., 0]
    near = (
        np.take_along_axis(dx, order[..., :1], -1)[..., 0],
        np.take_along_axis(dy, order[..., :1], -1)[..., 0],
    )
    return which, (second - first) / 2.0, near[0], near[1]


def dithered(levels: np.ndarray) -> np.ndarray:
    """Whole numbers near real ones `[h, w]`, by ordered dithering."""
    h, w = levels.shape
    pattern = np.tile(BAYER, (-(-h // 4), -(-w // 4)))[:h, :w]
    return np.round(levels + 0.8 * pattern).astype(int)


def blob(
    size: tuple[int, int], discs: Sequence[tuple[float, float, float]], shades: Ramp, rim: bool = True
) -> Cutout:
    """Round things lit from the upper left: `discs` of (x, y, radius), the later in front, on a canvas (height, width)."""
    y, x = np.mgrid[: size[0], : size[1]]
    level = np.full(size, -1.0)
    top = len(shades) - 1
    for cx, cy, r in discs:
        dx, dy = (x + 0.5 - cx) / r, (y + 0.5 - cy) / r
        inside = dx * dx + dy * dy < 1.0
        light = np.clip(0.52 - 0.42 * dx - 0.62 * dy, 0.0, 1.0)
        level = np.where(inside, 1.0 + light * (top - 1), level)
    solid = level >= 0
    index = np.clip(dithered(level), 1, top)
    if rim:
        index = np.where(edge(solid), 0, index)
    return Cutout(shades[np.where(solid, index, 0)], solid)


def edge(solid: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """The pixels of a shape that have a neighbour outside it."""
    padded = np.pad(solid, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return solid & ~inner


def paste(canvas: np.ndarray, what: Cutout, x: int, y: int, mask: np.ndarray | None = None) -> None:
    """Put a cut-out onto a canvas `[H, W, 3]`, its upper left corner at (x, y); `mask` `[H, W]` is filled where it lands."""
    h, w = what.solid.shape
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + h, canvas.shape[0]), min(x + w, canvas.shape[1])
    if bottom <= top or right <= left:
        return
    part = (slice(top - y, bottom - y), slice(left - x, right - x))
    solid = what.solid[part]
    canvas[top:bottom, left:right][solid] = what.rgb[part][solid]
    if mask is not None:
        mask[top:bottom, left:right] |= solid


def shade(canvas: np.ndarray, where: np.ndarray, tint: np.ndarray, share: float) -> None:
    """Mix a colour into the canvas where a mask says."""
    canvas[where] = mix(canvas[where], tint, share)
