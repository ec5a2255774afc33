"""What is written over the platformer's pictures: time, rings, progress, the zone's name and how the run ended."""

import numpy as np

from headstart.envs.platformer_level import TILE, Level
from headstart.envs.platformer_zones import ZONES
from headstart.suites._platformer_moments import Moment
from headstart.suites._platformer_pixels import Cutout, colour, mix, paste
from headstart.suites._platformer_sprites import glyphs, lettering, ring, sheet

_BAR = (204, 11, 104)  # the progress bar's left end, its upper edge and its length
_CARD = 100  # frames the zone's name is shown


def _spelled(text: str) -> str:
    """A text in the letters the font has."""
    return "".join(letter if letter in glyphs() else " " for letter in text.upper())


def _clock(frames: float) -> str:
    hundredths = int(frames * 100 / 60)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def hud(canvas: np.ndarray, level: Level, now: Moment) -> None:
    """Time and rings on the left, progress on the right."""
    paste(canvas, lettering(_clock(now.clock), "ffffff"), 9, 8)
    paste(canvas, ring(0), 9, 20)
    tint = "ffffff" if now.rings or int(now.clock) // 16 % 2 else "ff8f7f"
    paste(canvas, lettering(str(now.rings), tint), 24, 22)
    if now.episode:
        paste(canvas, lettering(f"EPISODE {now.episode + 1}", "ffe066"), 9, 36)
    _progress(canvas, level, now)


def _progress(canvas: np.ndarray, level: Level, now: Moment) -> None:
    x, y, length = _BAR
    start, goal = level.start[1] * TILE + TILE // 2, level.goal * TILE
    share = float(np.clip((now.x - start) / (goal - start), 0.0, 1.0))
    canvas[y - 1 : y + 5, x - 1 : x + length + 1] = colour("1b1b33")
    bar = canvas[y : y + 4, x : x + length]
    bar[:] = mix(bar, colour("3a3f66"), 0.8)
    filled = round(share * length)
    canvas[y : y + 4, x : x + filled] = colour("2fb3a3")
    canvas[y, x : x + filled] = colour("8ff0d4")
    paste(canvas, sheet()["flag icon"], x + length - 2, y - 7)
    paste(canvas, sheet()["head icon"], x + filled - 5, y - 3)


def _banner(canvas: np.ndarray, y: int, height: int, share: float) -> None:
    """A dark band across the picture that opens from its middle."""
    half = round(height / 2 * share)
    band = canvas[y - half : y + half]
    band[:] = mix(band, colour("1b1b33"), 0.72)
    if half > 2:
        for row in (y - half + 1, y + half - 2):
            canvas[row] = mix(canvas[row], colour("ff9d3f"), 0.9)


def _middle(canvas: np.ndarray, text: Cutout, y: int, shift: int = 0) -> None:
    paste(canvas, text, (canvas.shape[1] - text.solid.shape[1]) // 2 + shift, y)


def card(canvas: np.ndarray, level: Level, now: Moment) -> None:
    """The zone's name as the run begins; how it ended, when it has."""
    if now.finished or now.lost:
        _banner(canvas, 66, 46, 1.0)
        word, tint = ("GOAL!", "ffe066") if now.finished else ("LIFE LOST", "ff8f7f")
        _middle(canvas, lettering(word, tint, 2), 49)
        _middle(canvas, lettering(_clock(now.clock), "ffffff"), 73)
        return
    if now.clock > _CARD or now.episode:
        return
    opening = min(now.clock / 12.0, 1.0, (_CARD - now.clock) / 12.0)
    _banner(canvas, 66, 46, opening)
    if opening >= 1.0:
        slide = round(max(0.0, 36.0 - now.clock) ** 1.6 * 0.8)
        _middle(canvas, lettering(_spelled(ZONES[level.zone].title), "ffffff", 2), 49, -slide)
        _middle(canvas, lettering(f"ACT {level.act}", "ffe066"), 73, slide)


__all__ = ["card", "hud"]
