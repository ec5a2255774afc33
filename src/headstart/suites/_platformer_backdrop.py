"""What lies behind the platformer's levels: layers of scenery that pass by at different speeds."""

from collections.abc import Callable

import numpy as np

from headstart.suites import _platformer_built as built
from headstart.suites._platformer_built import Brush, layer
from headstart.suites._platformer_pixels import (
    Cutout,
    blob,
    colour,
    mix,
    paste,
    ramp,
    wave,
)
from headstart.suites._platformer_sky import HIGH, WIDE
from headstart.suites._platformer_themes import Theme

SPEEDS = (0.1, 0.22, 0.4)
"""how fast the layers pass, as shares of the ground's speed"""

_Y, _X = np.mgrid[:HIGH, :WIDE]


def _ridge(b: Brush, snow: bool = False) -> Cutout:
    """Mountains with a sunny and a shady side."""
    top = np.full(WIDE, 10_000.0)
    lit = np.zeros(WIDE, bool)
    x = np.arange(WIDE)
    for _ in range(13):
        cx, peak = b.dice.uniform(0, WIDE), b.base - b.dice.uniform(-14, 34)
        steep = b.dice.uniform(0.65, 1.05)
        off = (x - cx + WIDE / 2) % WIDE - WIDE / 2
        flank = peak + abs(off) * steep + 2.0 * np.abs((x * 0.21 + peak) % 2 - 1)
        lit = np.where(flank < top, off < 2.5 * np.sin(flank / 4.0), lit)
        top = np.minimum(top, flank)
    depth = _Y - top
    shade = np.where(lit, 4, 2)
    crag = np.sin(depth / 5.0 + _X * 0.35) + np.sin(_X * 0.13 - depth / 9.0)
    shade = np.where(crag > 1.0, shade - 1, shade)
    if snow:
        drip = 13 + 6 * np.sin(_X * 0.8) * np.sin(_X * 0.23) + 3 * ((_X // 2) % 3)
        shade = np.where(depth < drip + (b.base - top) * 0.25, np.where(lit, 6, 5), shade)
    out = np.where(depth >= 0, np.minimum(shade, 5), -1)
    picture = layer(b, out)
    if snow:
        picture.rgb[(shade == 6) & (depth >= 0)] = mix(b.shades[5], colour("ffffff"), 0.75)
    return picture


def _hills(b: Brush) -> Cutout:
    """Rolling hills, one behind the other, with bands and bushes."""
    out = np.full((HIGH, WIDE), -1)
    for k in range(3):
        top = b.base + 20 * k - 8 + 13 * wave(b.dice, WIDE, 1, 4)
        depth = _Y - top
        body = np.where(
            depth < 2, 5 - k, np.where((depth + 4 * wave(b.dice, WIDE, 2, 5)) % 26 < 13, 4 - k, 3 - k)
        )
        out = np.where(depth >= 0, body, out)
    return layer(b, out)


def _crowns(b: Brush, discs: list[tuple[float, float, float]]) -> Cutout:
    """Round things that repeat sideways."""
    every = [(x + d, y, r) for x, y, r in discs for d in (-WIDE, 0, WIDE) if -r < x + d < WIDE + r]
    return blob((HIGH, WIDE), every, b.shades[[1, 1, 2, 3, 4, 4]], rim=False)


def _forest(b: Brush) -> Cutout:
    """Round tree tops over trunks and undergrowth."""
    line = b.base + 14 + 8 * wave(b.dice, WIDE, 1, 3)
    picture = layer(b, np.where(line[None] + 34 < _Y, np.where((_X // 3 + _Y // 5) % 7 < 2, 1, 2), -1))
    for x in range(6, WIDE, 22):
        trunk = (abs(_X - x - 4) < 3) & (line[x] + 8 < _Y) & (line[x] + 50 > _Y)
        picture.rgb[trunk] = b.shades[1]
        picture.solid[trunk] = True
    for row in range(3):
        discs = [
            (x + b.dice.uniform(-6, 6), line[x] + 12 * row + b.dice.uniform(-9, 5), b.dice.uniform(9, 15))
            for x in range(0, WIDE, 17)
        ]
        paste(picture.rgb, _crowns(b, discs), 0, 0, picture.solid)
    return picture


def _pines(b: Brush) -> Cutout:
    line = b.base + 16 + 8 * wave(b.dice, WIDE, 1, 3)
    out = np.where(line[None] + 30 < _Y, 1, -1)
    for row in range(2):
        for x0 in range(0, WIDE, 15):
            x0 = x0 + int(b.dice.integers(-4, 5))
            off = (_X - x0 + WIDE // 2) % WIDE - WIDE // 2
            top, tall = line[x0 % WIDE] + 14 * row + b.dice.uniform(-14, 6), b.dice.uniform(34, 46)
            share = (_Y - top) / tall
            wide = 12.0 * share * (0.72 + 0.28 * ((share * 4.0) % 1.0))
            on = (abs(off) < wide) & (share >= 0) & (share < 1)
            out = np.where(on, np.where(off < 0, 3 + (share * 4 % 1 < 0.3), 2) - (1 - row), out)
    return layer(b, out)


def _cave(b: Brush) -> Cutout:
    """Stalactites above, stalagmites below."""
    out = np.full((HIGH, WIDE), -1)
    for sign in (1, -1):
        line = 26 + 9 * wave(b.dice, WIDE, 1, 4)
        for _ in range(11):
            cx, n, w = b.dice.uniform(0, WIDE), b.dice.uniform(24, 74), b.dice.uniform(9, 17)
            off = abs((np.arange(WIDE) - cx + WIDE / 2) % WIDE - WIDE / 2)
            line = np.maximum(line, 26 + n * np.clip(1 - off / w, 0, 1) ** 1.6)
        depth = line[None] - (_Y if sign > 0 else HIGH - 1 - _Y + (b.base - 108))
        slope = np.gradient(line)[None]
        body = np.where(slope > 0.4, 4, np.where(slope < -0.4, 2, 3)) - (depth > 26) - (depth > 46)
        out = np.where(depth >= 0, np.where(depth < 1.2, 4, np.clip(body, 1, 5)), out)
    return layer(b, out)


def _facets(b: Brush, kind: str) -> Cutout:
    """Crystals, icebergs: pointed, of light and dark faces."""
    out = np.full((HIGH, WIDE), -1)
    n, spread = (22, (5, 10)) if kind == "crystals" else (9, (26, 46))
    for _ in range(n):
        cx, tall = b.dice.uniform(0, WIDE), b.dice.uniform(30, 88) * (1.0 if kind == "crystals" else 0.7)
        half, lean = b.dice.uniform(*spread), b.dice.uniform(-0.25, 0.25)
        v = HIGH - 1 - _Y - (HIGH - b.base - 84)
        off = (_X - cx - lean * v + WIDE / 2) % WIDE - WIDE / 2
        sharp = np.minimum(half, (tall - v) * (0.5 if kind == "crystals" else 1.3) + 2 * np.sin(_Y * 0.5))
        on = (abs(off) < sharp) & (v < tall)
        ridge = 2.0 * np.sin(v * 0.2 + cx)
        body = np.where(off < -half * 0.4 + ridge, 5, np.where(off < half * 0.3 + ridge, 4, 2))
        body = body - (v < tall * 0.3) - (v < -8)
        out = np.where(on, np.clip(body, 1, 5), out)
    if kind == "bergs":
        sea = b.base + 74 < _Y
        glint = (np.sin(_X * 0.22 + _Y * 1.7) > 0.82) & (_Y % 3 == 0)
        out = np.where(sea, np.where(glint, 4, 1), out)
    return layer(b, out)


def _kelp(b: Brush) -> Cutout:
    out = np.full((HIGH, WIDE), -1)
    for _ in range(30):
        cx, tall = b.dice.uniform(0, WIDE), b.dice.uniform(60, 150)
        v = HIGH - _Y
        off = (_X - cx - 5 * np.sin(v / 14.0 + cx) + WIDE / 2) % WIDE - WIDE / 2
        leaf = 2.2 + 2.6 * np.abs(np.sin(v / 6.0))
        out = np.where((abs(off) < leaf) & (v < tall), np.where(off < 0, 3, 2) + (v > tall - 14), out)
    return layer(b, out)


def _dunes(b: Brush) -> Cutout:
    out = np.full((HIGH, WIDE), -1)
    for k in range(3):
        phase = b.dice.uniform(0, 1)
        share = (_X / WIDE * (2 + k) + phase) % 1.0
        crest = np.where(share < 0.68, (share / 0.68) ** 1.5, ((1 - share) / 0.32) ** 1.2)
        depth = _Y - (b.base + 24 + 24 * k - 30 * crest)
        lit = (share < 0.68) | (depth > 260.0 * (1.0 - share))
        ripple = (depth + 3 * np.sin(_X / 11.0)) % 9 < 2
        body = np.where(lit, np.where(ripple & (depth > 4), 3, 4), 2)
        out = np.where(depth >= 0, np.where((depth < 1.5) & lit, 5, body), out)
    return layer(b, out)


def _cloudbank(b: Brush) -> Cutout:
    discs = [
        (x + b.dice.uniform(-8, 8), b.base + 22 + 22 * row + b.dice.uniform(-12, 6), b.dice.uniform(13, 24))
        for row in range(5)
        for x in range(0, WIDE, 24)
    ]
    every = [(x + d, y, r) for x, y, r in discs for d in (-WIDE, 0, WIDE) if -r < x + d < WIDE + r]
    return blob((HIGH, WIDE), every, b.shades[[2, 3, 3, 4, 4, 5]], rim=False)


def _islands(b: Brush, grassy: bool = True) -> Cutout:
    """Rocks afloat, some with grass on top."""
    out = np.full((HIGH, WIDE), -1)
    for k in range(9):
        cx, cy = (k + b.dice.uniform(0, 0.8)) * WIDE / 9, b.base + b.dice.uniform(-40, 70)
        half = b.dice.uniform(13, 32)
        off = ((_X - cx + WIDE / 2) % WIDE - WIDE / 2) / half
        top = cy + 1.5 * np.sin(_X * 0.3) if grassy else cy - half * 0.5 * np.sqrt(np.clip(1 - off**2, 0, 1))
        low = cy + half * 0.9 * np.clip(1 - np.abs(off) ** 1.4, 0, 1) + 2.0 * np.sin(_X * 0.9)
        on = (abs(off) < 1) & (top <= _Y) & (low > _Y)
        body = np.where(off < -0.25, 4, np.where(off < 0.35, 3, 2)) - ((_X // 4 + _Y // 6) % 5 == 0)
        body = np.where((_Y - top < 4) & grassy, 5, body)
        if not grassy:
            body = np.where(np.hypot(off * half - 4, _Y - cy) < half * 0.22, 2, body)
        out = np.where(on, np.clip(body, 1, 5), out)
    return layer(b, out)


def _craters(b: Brush) -> Cutout:
    top = b.base + 30 + 14 * wave(b.dice, WIDE, 1, 4)
    depth = _Y - top
    out = np.where(depth >= 0, np.where(depth < 2, 5, np.where(depth < 30, 4, 3)), -1)
    for _ in range(16):
        cx, cy, r = b.dice.uniform(0, WIDE), b.dice.uniform(b.base + 46, HIGH), b.dice.uniform(6, 17)
        far = np.hypot(((_X - cx + WIDE / 2) % WIDE - WIDE / 2) / r, (_Y - cy) / (r * 0.4))
        out = np.where((far < 1) & (out >= 0), np.where(far > 0.75, 5, np.where(cy > _Y, 2, 3)), out)
    return layer(b, out)


def _volcano(b: Brush) -> Cutout:
    picture = _ridge(b)
    for cx in (130, 390):
        off, v = _X - cx - 2 * np.sin(_Y / 5.0), _Y - (b.base - 30)
        on = (abs(off) < 12 + v * 0.75) & (v >= 0)
        body = np.where(off < -4, 3, 2) - ((v + _X) % 11 < 2)
        picture.rgb[on] = b.shades[np.clip(body, 1, 5)][on]
        picture.solid[on] = True
        flow = on & (abs(off - 5 * np.sin(v / 11.0)) < 2.4 - v * 0.012) & (v < 90)
        picture.rgb[flow] = np.where((v[flow] % 9 < 4)[:, None], colour("ffb04a"), colour("ff6a30"))
        crater = on & (v < 4)
        picture.rgb[crater] = colour("ffd070")
    return picture


def _candy(b: Brush) -> Cutout:
    out = np.full((HIGH, WIDE), -1)
    for k in range(9):
        cx, cy, r = (
            (k + b.dice.uniform(0, 0.6)) * WIDE / 9,
            b.base + b.dice.uniform(56, 80),
            b.dice.uniform(34, 60),
        )
        dx, dy = (_X - cx + WIDE / 2) % WIDE - WIDE / 2, _Y - cy
        far = np.hypot(dx, np.minimum(dy, 0))
        band = ((dy + 0.25 * dx + 500) % 22) < 11
        body = np.where(dx + dy < -r * 0.7, 5, np.where(band, 4, 3))
        out = np.where(far < r, np.where(far > r - 1.5, 5, body), out)
    return layer(b, out)


_KINDS: dict[str, Callable[[Brush], Cutout]] = {
    "arches": built.arches,
    "asteroids": lambda b: _islands(b, grassy=False),
    "bergs": lambda b: _facets(b, "bergs"),
    "candy": _candy,
    "cave": _cave,
    "city": built.city,
    "city lit": lambda b: built.city(b, lit=True),
    "cloudbank": _cloudbank,
    "craters": _craters,
    "crystals": lambda b: _facets(b, "crystals"),
    "derricks": built.derricks,
    "domes": built.domes,
    "dunes": _dunes,
    "factory": built.factory,
    "forest": _forest,
    "gears": built.gears,
    "hills": _hills,
    "islands": _islands,
    "kelp": _kelp,
    "pines": _pines,
    "pylons": built.pylons,
    "ridge": _ridge,
    "ridge snow": lambda b: _ridge(b, snow=True),
    "ships": built.ships,
    "volcano": _volcano,
}


def layers(theme: Theme) -> list[Cutout]:
    """The layers, the farthest first, each further layer lower and less hazy."""
    out = []
    for k, (kind, name) in enumerate(theme.layers):
        dice = np.random.default_rng([k, *kind.encode(), *name.encode()])
        shades = ramp(name)
        air = colour(theme.sky[min(2, len(theme.sky) - 1)])
        shades = np.stack([mix(shade, air, (0.5, 0.34, 0.18)[k]) for shade in shades])
        out.append(_KINDS[kind](Brush(dice, shades, (92, 108, 126)[k])))
    return out
