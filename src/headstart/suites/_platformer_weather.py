"""What drifts through the platformer's air, and what lies at the bottom of its pits."""

from dataclasses import dataclass

import numpy as np

from headstart.suites._platformer_pixels import BAYER, colour, mix, ramp
from headstart.suites._platformer_themes import Theme


@dataclass(frozen=True)
class _Drift:
    """Particles: how many, their speed in pixels a frame, how far they sway, how long their streak is, how strong."""

    count: int
    vx: float
    vy: float
    sway: float
    streak: int
    strength: float
    colours: tuple[str, ...]
    size: int = 1


_KINDS = {
    "bubbles": _Drift(16, 0.0, -0.7, 3.0, 1, 0.6, ("c8fff4", "8fe8e8"), 2),
    "comets": _Drift(5, -3.4, 1.7, 0.0, 26, 0.75, ("ffffff", "ffd88f", "bfe8ff"), 1),
    "embers": _Drift(34, 0.35, -1.1, 4.0, 1, 0.95, ("ffd25f", "ff8f3f", "ff5f3f")),
    "leaves": _Drift(16, -1.1, 0.8, 7.0, 1, 1.0, ("ffb03f", "e0602f", "ffe06f"), 2),
    "motes": _Drift(24, 0.12, -0.16, 6.0, 1, 0.6, ("fff6c8", "ffffff")),
    "petals": _Drift(16, -0.8, 0.6, 6.0, 1, 0.95, ("ff9fc8", "ffd0e4", "ffffff"), 2),
    "rain": _Drift(80, -2.6, 8.5, 0.0, 8, 0.5, ("c0d4f0", "90a8d0")),
    "rain thin": _Drift(34, -0.8, 7.5, 0.0, 6, 0.4, ("9fb8ff", "ff9fe0")),
    "snow": _Drift(60, -0.5, 1.0, 5.0, 1, 0.95, ("ffffff", "dcecff"), 1),
    "sparks": _Drift(14, 1.6, 1.0, 1.0, 4, 0.9, ("fff0a0", "ffc04f")),
    "steam": _Drift(9, 0.25, -0.6, 8.0, 1, 0.16, ("ffffff",), 13),
    "wind": _Drift(11, 6.5, 0.4, 2.0, 16, 0.4, ("ffffff",)),
}


def drift(canvas: np.ndarray, theme: Theme, camera: tuple[int, int], clock: float) -> None:
    """Let it snow, rain, or whatever the zone has."""
    if theme.weather == "mist":
        _mist(canvas, camera, clock)
    kind = _KINDS.get(theme.weather)
    if kind is None:
        return
    h, w = canvas.shape[:2]
    margin = 30
    dice = np.random.default_rng(7)
    at = dice.uniform(size=(kind.count, 4))
    near = 0.6 + 0.6 * at[:, 2]
    x = (
        at[:, 0] * 997
        + kind.vx * near * clock
        - camera[0] * near
        + kind.sway * np.sin(clock * 0.05 + 6.3 * at[:, 3])
    )
    y = at[:, 1] * 991 + kind.vy * near * clock - camera[1] * near
    x = x % (w + 2 * margin) - margin
    y = y % (h + 2 * margin) - margin
    speed = max(float(np.hypot(kind.vx, kind.vy)), 1e-6)
    for k in range(kind.count):
        tint = colour(kind.colours[k % len(kind.colours)])
        if kind.size > 4:
            _puff(canvas, (x[k], y[k]), kind.size * near[k], tint, kind.strength)
            continue
        twinkle = 0.6 + 0.4 * np.sin(clock * 0.11 + 9.0 * at[k, 3]) if kind.streak == 1 else 1.0
        size = kind.size + int(near[k] > 1.05 and kind.streak == 1)
        for i in range(kind.streak):
            px, py = int(x[k] - kind.vx / speed * i), int(y[k] - kind.vy / speed * i)
            spot = canvas[max(py, 0) : max(py + size, 0), max(px, 0) : max(px + size, 0)]
            spot[:] = mix(spot, tint, kind.strength * twinkle * (1.0 - i / kind.streak))


def _puff(canvas: np.ndarray, at: tuple[float, float], r: float, tint: np.ndarray, share: float) -> None:
    """A soft round cloud."""
    x0, y0, n = int(at[0] - r), int(at[1] - r), int(2 * r) + 1
    left, top = max(x0, 0), max(y0, 0)
    view = canvas[top : max(y0 + n, 0), left : max(x0 + n, 0)]
    y, x = np.mgrid[top : top + view.shape[0], left : left + view.shape[1]]
    far = np.hypot(x - at[0], y - at[1]) / r
    for reach in (1.0, 0.66):
        inside = far < reach
        view[inside] = mix(view[inside], tint, share)


def _mist(canvas: np.ndarray, camera: tuple[int, int], clock: float) -> None:
    """Veils that drift over the lower half."""
    h, w = canvas.shape[:2]
    y, x = np.mgrid[:h, :w]
    for k, (level, pace) in enumerate(((150, 0.2), (184, 0.35))):
        wavy = (
            level
            + 7 * np.sin((x + camera[0] * (0.6 + 0.3 * k) + pace * clock) / 37.0)
            + 4 * np.sin(x / 17.0 + k)
        )
        for inner in (0, 9):
            veil = (y > wavy + inner) & (y < wavy + 26 - inner)
            canvas[veil] = mix(canvas[veil], colour("dfe8da"), 0.13)


def pit(canvas: np.ndarray, theme: Theme, camera: tuple[int, int], bottom: int, clock: float) -> None:
    """Fill the lowest stretch of the level, where whoever falls is lost; `bottom` is the level's lower end in pixels."""
    kind, name = theme.pit
    h, w = canvas.shape[:2]
    surface = bottom - 15 - camera[1]
    if surface - 44 >= h:
        return
    y, x = np.mgrid[:h, :w]
    tint, shades = colour(name), ramp(name)
    grain = np.tile(BAYER, (h // 4, w // 4))
    if kind in ("mist", "dark"):
        share = np.clip((y - surface + 34) / 46.0, 0.0, 1.0)
        share = np.round(share * 6 + 0.9 * grain) / 6.0 * 0.9
        canvas[:] = np.round(canvas * (1 - share[..., None]) + tint * share[..., None]).astype(np.uint8)
        return
    u = x + camera[0]
    crest = surface + np.round(1.4 * np.sin(u / 8.0 + clock / 11.0) + 0.9 * np.sin(u / 3.7 - clock / 17.0))
    if kind == "lava":
        glow = np.clip(0.42 * (1.0 - (crest - y) / 40.0) + 0.12 * grain, 0.0, 0.5) * (y < crest)
        canvas[:] = np.round(canvas * (1 - glow[..., None]) + tint * glow[..., None]).astype(np.uint8)
    flow = np.sin(u / 6.0 + (y - surface) * 0.9 + clock / 14.0 * (1 if kind != "sand" else 0))
    index = np.where(flow > 0.7, 4, np.where(flow > -0.4, 3, 2)) + (2 if kind == "lava" else 1) * (
        y < crest + 3
    )
    inside = y >= crest
    body = shades[np.clip(index, 0, 5)]
    solid = 0.9 if kind in ("lava", "oil", "sand") else 0.72
    canvas[inside] = mix(canvas[inside], body[inside], solid)
    foam = (y == crest) | ((y == crest + 1) & (flow > 0.5))
    canvas[foam] = mix(shades[5], colour("ffffff"), 0.4)


__all__ = ["drift", "pit"]
