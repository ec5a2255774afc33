"""The skies over the platformer's levels, and what shines in them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from headstart.suites._platformer_pixels import BAYER, Cutout, blob, colour, mix, paste, ramp, wave
from headstart.suites._platformer_themes import Theme

WIDE, HIGH = 512, 224
"""size of a sky in pixels; it repeats sideways"""

_Y, _X = np.mgrid[:HIGH, :WIDE]


def sky(theme: Theme) -> UInt8[np.ndarray, "224 512 3"]:
    """The sky in bands, with its lights."""
    stops = np.array([colour(name) for name in theme.sky], np.float64)
    bands = 22
    level = np.clip(_Y / (HIGH * 0.86), 0, 1) * bands + 0.9 * np.tile(BAYER, (HIGH // 4, WIDE // 4))
    share = np.clip(np.round(level), 0, bands) / bands * (len(stops) - 1)
    low = np.minimum(share.astype(int), len(stops) - 2)
    part = (share - low)[..., None]
    rgb = np.round(stops[low] * (1 - part) + stops[low + 1] * part).astype(np.uint8)
    dice = np.random.default_rng([*theme.sky[0].encode()])
    for kind, name in theme.lights:
        _LIGHTS[kind](rgb, colour(name), dice)
    return rgb


def _disc(rgb: np.ndarray, tint: np.ndarray, x: float, y: float, r: float, halo: float) -> None:
    far = np.hypot(_X - x, _Y - y)
    for k in range(3, 0, -1):
        ring = far < r + halo * k
        rgb[ring] = mix(rgb[ring], tint, 0.16)
    rgb[far < r] = tint


def _sun(rgb: np.ndarray, tint: np.ndarray, dice: np.random.Generator) -> None:
    _disc(rgb, tint, 240.0, 46.0 + float(dice.integers(0, 20)), 17.0, 8.0)


def _moon(rgb: np.ndarray, tint: np.ndarray, dice: np.random.Generator) -> None:
    y = 46.0 + float(dice.integers(0, 12))
    _disc(rgb, tint, 236.0, y, 19.0, 6.0)
    for dx, dy, r in ((-6, -4, 4), (5, 3, 5), (-2, 9, 3), (8, -8, 2)):
        rgb[np.hypot(_X - 236 - dx, _Y - y - dy) < r] = mix(tint, colour("405070"), 0.22)


def _stars(rgb: np.ndarray, tint: np.ndarray, dice: np.random.Generator) -> None:
    for _ in range(150):
        x, y, big = int(dice.integers(1, WIDE - 1)), int(dice.integers(1, 170)), dice.random()
        rgb[y, x] = mix(rgb[y, x], tint, 0.5 + 0.5 * big)
        if big > 0.9:
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                rgb[y + dy, x + dx] = mix(rgb[y + dy, x + dx], tint, 0.45)


def _clouds(rgb: np.ndarray, tint: np.ndarray, dice: np.random.Generator) -> None:
    shades = np.array([mix(tint, rgb[60, 0], share) for share in (0.55, 0.55, 0.4, 0.22, 0.08, 0.0)])
    for k in range(8):
        x, y, n = k * 64 + int(dice.integers(0, 30)), int(dice.integers(12, 92)), int(dice.integers(3, 6))
        discs = [
            (12.0 + 9 * i, 20 - 5 * np.sin(np.pi * (i + 0.5) / n), dice.uniform(6, 10)) for i in range(n)
        ]
        puff = blob((32, 70), discs, shades, rim=False)
        flat = Cutout(puff.rgb, puff.solid & (np.arange(32)[:, None] < 23))
        for shift in (0, -WIDE):
            paste(rgb, flat, x + shift, y)


def _rays(rgb: np.ndarray, tint: np.ndarray, dice: np.random.Generator) -> None:
    del dice
    beam = ((_X + _Y * 0.5) % 128 < 22) | ((_X + _Y * 0.5) % 128 > 96) & ((_X + _Y * 0.5) % 128 < 106)
    fade = (_Y < 150) & beam
    rgb[fade] = mix(rgb[fade], tint, 0.16)


def _aurora(rgb: np.ndarray, tint: np.ndarray, dice: np.random.Generator) -> None:
    for k in range(3):
        base = 66 + 16 * k + 16 * wave(dice, WIDE, 1, 4)
        v = (base[None] - _Y) / (44 + 14 * wave(dice, WIDE, 3, 9)[None])
        glow = np.where((v >= 0) & (v < 1), np.clip(1 - v, 0, 1) ** 1.5, 0) * (0.5 + 0.15 * np.sin(_X * 0.35))
        glow = np.round(glow * 7) / 7
        hue = mix(tint, colour("8f6fff"), 0.3 * k)
        rgb[:] = np.round(rgb * (1 - 0.62 * glow[..., None]) + hue * 0.62 * glow[..., None]).astype(np.uint8)


def _globe(rgb: np.ndarray, tint: np.ndarray, dice: np.random.Generator, ringed: bool) -> None:
    x, y, r = 250.0, 62.0, 30.0 if ringed else 34.0
    shades = ramp(bytes(tint.tolist()).hex())
    ball = blob((HIGH, WIDE), [(x, y, r)], shades, rim=False)
    rgb[ball.solid] = ball.rgb[ball.solid]
    if ringed:
        band = ball.solid & (np.sin((_Y + _X * 0.25) * 0.42) > 0.3)
        rgb[band] = mix(rgb[band], shades[2], 0.35)
        u, v = (_X - x) + 0.3 * (_Y - y), (_Y - y) - 0.3 * (_X - x)
        far = np.hypot(u / 52.0, v / 11.0)
        on = (far < 1) & (far > 0.76) & ((v > 0) | ~ball.solid)
        rgb[on] = shades[5]
        return
    land = (
        wave(dice, WIDE, 6, 30)[None] + wave(dice, HIGH, 4, 16)[:, None] + np.sin(_X * 0.16 + _Y * 0.11)
    ) > 0.55
    rgb[ball.solid & land] = mix(rgb[ball.solid & land], colour("5fc070"), 0.75)
    cloud = ball.solid & (np.sin(_Y * 0.55 + 2.2 * np.sin(_X * 0.11)) > 0.86)
    rgb[cloud] = mix(rgb[cloud], colour("ffffff"), 0.7)


_LIGHTS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], None]] = {
    "aurora": _aurora,
    "clouds": _clouds,
    "earth": lambda rgb, tint, dice: _globe(rgb, tint, dice, ringed=False),
    "moon": _moon,
    "planet": lambda rgb, tint, dice: _globe(rgb, tint, dice, ringed=True),
    "rays": _rays,
    "stars": _stars,
    "sun": _sun,
}
