"""What people have built behind the platformer's levels: towns, works, ruins, ships."""

from typing import NamedTuple

import numpy as np

from headstart.suites._platformer_pixels import Cutout, Ramp, colour, edge, mix, wave
from headstart.suites._platformer_sky import HIGH, WIDE

_Y, _X = np.mgrid[:HIGH, :WIDE]


class Brush(NamedTuple):
    """What a painter of layers gets."""

    dice: np.random.Generator
    shades: Ramp
    base: int
    """row around which the layer's upper rim lies"""


def layer(b: Brush, index: np.ndarray) -> Cutout:
    """A layer from its shades, -1 where there is nothing."""
    return Cutout(b.shades[np.clip(index, 0, 5)], index >= 0)


def city(b: Brush, lit: bool = False) -> Cutout:
    """Blocks of flats, with lights on or off."""
    out = np.full((HIGH, WIDE), -1)
    x, glow = 0, np.zeros((HIGH, WIDE), bool)
    while x < WIDE:
        wide = min(int(b.dice.choice([20, 26, 32, 40])), WIDE - x)
        top = b.base + int(b.dice.integers(-36, 36))
        on = (x <= _X) & (x + wide > _X) & (top <= _Y)
        body = np.where(x == _X, 4, np.where(_X - x > wide - 5, 1, 2))
        window = (
            ((_X - x) % 6 >= 3)
            & ((_X - x) < wide - 4)
            & ((_X - x) > 2)
            & ((_Y - top) % 8 >= 4)
            & (_Y - top > 4)
        )
        switched = ((_X // 6 * 7 + (_Y - top) // 8 * 13 + x) * 2654435761 % 97) < (38 if lit else 0)
        body = np.where(window, np.where(switched, 5, 1 if lit else 3), body)
        out = np.where(on, np.where(top == _Y, 4, body), out)
        glow |= on & window & switched
        if b.dice.random() < 0.4:
            out = np.where((abs(_X - x - wide // 2) < 1) & (top > _Y) & (top - 14 < _Y), 2, out)
        x += wide + int(b.dice.choice([0, 0, 4]))
    picture = layer(b, out)
    if lit:
        tones = np.array([colour("ffd27a"), colour("ff7fc8"), colour("7fe8ff")])
        picture.rgb[glow] = mix(tones[(_X // 30 % 3)[glow]], b.shades[3], 0.35)
    return picture


def factory(b: Brush) -> Cutout:
    """Halls with saw-tooth roofs, chimneys and pipes."""
    out = np.where(b.base + 44 + 0 * _X < _Y, 2, -1)
    for x in range(0, WIDE, 64):
        top, wide = b.base + int(b.dice.integers(8, 34)), int(b.dice.choice([40, 52]))
        saw = top + ((_X - x) % 20) * 0.6
        on = (x <= _X) & (x + wide > _X) & (saw <= _Y)
        window = ((_X - x) % 10 > 5) & ((_Y - top) % 16 > 9) & (top + 16 < _Y)
        out = np.where(on, np.where(window, 4, np.where(_Y - saw < 2, 4, 2)), out)
        for k in range(2):
            cx, peak = x + wide + 4 + 10 * k - 8, b.base - int(b.dice.integers(8, 46))
            off = (_X - cx) % WIDE
            stack = (off < 7) & (peak <= _Y)
            body = np.where(off < 2, 4, np.where(off < 5, 3, 1))
            body = np.where((_Y - peak < 3) | ((_Y - peak) % 24 == 10), 1, body)
            out = np.where(stack, body, out)
    for y in (b.base + 50, b.base + 72):
        on = (y <= _Y) & (y + 6 > _Y)
        out = np.where(on, np.where(_X % 32 < 3, 5, np.where(_Y - y < 2, 4, np.where(_Y - y < 4, 3, 1))), out)
    return layer(b, out)


def derricks(b: Brush) -> Cutout:
    """Towers of iron over a plain."""
    out = np.where(b.base + 40 + 6 * wave(b.dice, WIDE, 1, 3)[None] < _Y, 2, -1)
    for x in range(20, WIDE, 72):
        top = b.base - int(b.dice.integers(0, 26))
        v = _Y - top
        half = 3 + v * 0.16
        frame = (
            (abs(abs(_X - x) - half) < 1.2)
            | ((abs((v % 18) / 9.0 - 1.0) * half - abs(_X - x)) ** 2 < 1.4)
            | (v % 18 == 0)
        )
        on = frame & (v >= 0) & (abs(_X - x) <= half + 1) & (v < 90)
        out = np.where(on, 2, out)
        out = np.where((abs(_X - x) < 6) & (v < 2) & (v > -5), 3, out)
    return layer(b, out)


def pylons(b: Brush) -> Cutout:
    """Towers of iron with cables between them."""
    picture = derricks(b)
    for k, x in enumerate(range(20, WIDE, 72)):
        sag = b.base + 2 + 16 * (((_X - x) % 72 / 36.0 - 1.0) ** 2 * -1 + 1) + 6 * (k % 2)
        on = (abs(_Y - sag) < 0.7) & ((_X - x) % WIDE < 72)
        picture.rgb[on] = b.shades[2]
        picture.solid[on] = True
    return picture


def arches(b: Brush) -> Cutout:
    """A colonnade in front of a darker wall."""
    u = _X % 64
    top = b.base - 6
    v = _Y - top
    far = np.hypot(u - 32, np.minimum(v - 44, 0) * 1.1)
    opening = (far < 21) & (v > 8)
    course = (v % 12 == 0) | ((_X + (v // 12 % 2) * 10) % 20 == 0)
    body = np.where(course, 2, 3)
    body = np.where((far >= 21) & (far < 25) & (v > 8), 4, body)
    body = np.where(v < 8, np.where(v < 2, 5, np.where(v > 5, 1, 4)), body)
    pillar = (u < 6) | (u >= 58)
    body = np.where(pillar & (v > 44), np.where((u + 6) % 64 < 4, 4, np.where((u + 6) % 64 > 8, 2, 3)), body)
    keep = np.repeat(b.dice.random(8) < 0.72, 64)[None] | (v > 44 + 6 * np.sin(_X / 3.0))
    out = np.where((v >= 0) & keep, body, -1)
    out = np.where(opening & (out >= 0), np.where(v > 96, 1, -1), out)
    return layer(b, out)


def gears(b: Brush) -> Cutout:
    """Wheels of a large clock."""
    out = np.full((HIGH, WIDE), -1)
    for _ in range(11):
        cx, cy, r = b.dice.uniform(0, WIDE), b.dice.uniform(b.base - 40, HIGH), b.dice.uniform(18, 44)
        dx, dy = (_X - cx + WIDE / 2) % WIDE - WIDE / 2, _Y - cy
        far, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        teeth = np.where(np.cos(angle * round(r / 2.4)) > 0, r, r - 5)
        on = (
            (far < teeth)
            & ~((far > r * 0.35) & (far < r * 0.7) & (np.cos(angle * 6) < 0.6))
            & (far > r * 0.12)
        )
        body = np.where(dx + dy < -r * 0.35, 4, np.where(dx + dy < r * 0.5, 3, 2))
        body = np.where((abs(far - r * 0.75) < 1.3) | (abs(far - r * 0.3) < 1.2), body - 1, body)
        out = np.where(on, np.where(edge(on), 1, body), out)
    return layer(b, out)


def domes(b: Brush) -> Cutout:
    """Houses of glass, and masts."""
    out = np.where(b.base + 66 + 0 * _X < _Y, 2, -1)
    for x in range(30, WIDE, 86):
        r = b.dice.uniform(22, 36)
        dx, dy = _X - x, _Y - (b.base + 68)
        on = (np.hypot(dx, dy) < r) & (dy <= 0)
        rib = (
            (abs(abs(dx) - r * 0.5 * np.sqrt(np.clip(1 - (dy / r) ** 2, 0, 1))) < 1)
            | (abs(dx) < 1)
            | (dy % 10 == 0)
        )
        out = np.where(on, np.where(rib, 4, np.where(dx + dy < -r * 0.7, 5, 3)), out)
        out = np.where((abs(dx - r - 10) < 3) & (dy <= 0) & (dy > -44), np.where(dy % 9 < 3, 5, 2), out)
    return layer(b, out)


def ships(b: Brush) -> Cutout:
    """Old ships on a dark sea."""
    out = np.where(
        b.base + 70 + 0 * _X < _Y, np.where((_Y % 4 == 0) & (np.sin(_X * 0.2 + _Y) > 0.5), 3, 1), -1
    )
    for x in range(50, WIDE, 118):
        x = x + int(b.dice.integers(-14, 15))
        v = b.base + 74 - _Y
        hull = (abs(_X - x) < 26 + v * 0.5) & (v > 0) & (v < 15 + abs(_X - x) * 0.12)
        out = np.where(hull, np.where(v > 11, 4, 2), out)
        for mast, tall in ((-14, 62), (4, 78), (20, 54)):
            out = np.where((abs(_X - x - mast) < 1.5) & (v > 12) & (v < tall), 2, out)
            for k in range(3):
                low = 22 + k * 17
                sail = (
                    (abs(_X - x - mast - 2 * np.sin((v - low) / 5)) < 8 - k)
                    & (v > low)
                    & (v < min(low + 13, tall - 4))
                )
                out = np.where(sail & ((_X * 7 + k * 5 + x) % 23 > 1), np.where(_X - x - mast < 0, 4, 3), out)
    return layer(b, out)
