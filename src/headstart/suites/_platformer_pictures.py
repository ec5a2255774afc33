"""Pictures of the platformer for people, in the manner of the 16-bit games: 320 x 224 pixels, shown twice as large.

camera ← follows the player, looking ahead
sky; backdrop's layers, each slower than the one before it; the pit
scenery that never changes (painted once, stretch by stretch, as it comes into view)
objects; the player with its scarf, dust and traces of speed; weather
time, rings, progress; the zone's name
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8

from headstart.envs.platformer import FRAMES
from headstart.envs.platformer_body import MERCY
from headstart.envs.platformer_level import TILE, Level
from headstart.envs.platformer_table import PlatformerTask
from headstart.suites._platformer_backdrop import SPEEDS, layers
from headstart.suites._platformer_hud import card, hud
from headstart.suites._platformer_moments import Moment, moments
from headstart.suites._platformer_objects import Objects
from headstart.suites._platformer_pixels import Cutout, colour, hashed, mix, paste
from headstart.suites._platformer_sky import HIGH, WIDE, sky
from headstart.suites._platformer_sprites import Pose, player, ring
from headstart.suites._platformer_terrain import STRETCH, Scenery
from headstart.suites._platformer_themes import THEMES
from headstart.suites._platformer_weather import drift, pit

VIEW = (HIGH, 320)
"""height and width of a picture, in pixels"""
MEMORY = 12
"""moments before the present one that a picture may depend on: what bursts is seen for a while"""

_LONG = 900  # frames from which on a film is not enlarged, to fit into memory
_AHEAD = 9.0  # frames the camera looks ahead
_EYE = 138  # row of the picture the player's feet tend to

Picture = UInt8[np.ndarray, "H W 3"]
Film = UInt8[np.ndarray, "T H W 3"]


@dataclass(frozen=True)
class Camera:
    """The picture's upper left corner, in pixels of the level."""

    x: float
    y: float

    @classmethod
    def at(cls, level: Level, now: Moment) -> "Camera":
        """Where it would come to rest."""
        return cls(*_bounded(level, now.x - VIEW[1] / 2, now.y - _EYE))

    def follow(self, level: Level, now: Moment) -> "Camera":
        """A step later: smoothly toward a place ahead of the player, who never leaves the picture's middle."""
        speed = now.vx if abs(now.vx) > 0.5 else 0.0
        goal = now.x + float(np.clip(_AHEAD * speed, -56, 56)) - VIEW[1] / 2
        moved = self.x + FRAMES * now.vx
        x = moved + 0.16 * (goal - moved)
        x = float(np.clip(x, now.x - 0.62 * VIEW[1], now.x - 0.34 * VIEW[1]))
        drop = now.y - _EYE - self.y
        slack = 0.0 if now.ground else 26.0
        y = self.y + 0.34 * float(np.sign(drop)) * max(abs(drop) - slack, 0.0)
        y = float(np.clip(y, now.y - 186, now.y - 70))
        return Camera(*_bounded(level, x, y))


def _bounded(level: Level, x: float, y: float) -> tuple[float, float]:
    low = level.rows * TILE - VIEW[0]
    right = max(level.columns * TILE - VIEW[1], 0)
    return float(np.clip(x, 0, right)), float(np.clip(y, min(-48, low), low))


class Painter:
    """Paints the moments of one level."""

    def __init__(self, level: Level) -> None:
        self.level, self.theme = level, THEMES[level.zone]
        self.sky, self.layers = sky(self.theme), layers(self.theme)
        self.scenery = Scenery(level, self.theme)
        self.objects = Objects(level, self.theme)

    def paint(self, story: Sequence[Moment], camera: Camera) -> Picture:
        """The picture `[224, 320, 3]` of the story's last moment."""
        now, corner = story[-1], (round(camera.x), round(camera.y))
        canvas = self._background(corner)
        bottom = self.level.rows * TILE
        pit(canvas, self.theme, corner, bottom, now.clock)
        self._ground(canvas, corner)
        self.objects.draw(canvas, corner, story)
        _hero(canvas, corner, story)
        drift(canvas, self.theme, corner, now.clock)
        hud(canvas, self.level, now)
        card(canvas, self.level, now)
        return canvas

    def _background(self, corner: tuple[int, int]) -> Picture:
        across = np.arange(VIEW[1])
        canvas = self.sky[:, (across + round(corner[0] * 0.03)) % WIDE].copy()
        low = self.level.rows * TILE - VIEW[0]
        for speed, layer in zip(SPEEDS, self.layers, strict=True):
            columns = (across + round(corner[0] * speed)) % WIDE
            rows = np.clip(np.arange(HIGH) - round((low - corner[1]) * speed * 0.35), 0, HIGH - 1)
            there = layer.solid[np.ix_(rows, columns)]
            canvas[there] = layer.rgb[np.ix_(rows, columns)][there]
        return canvas

    def _ground(self, canvas: Picture, corner: tuple[int, int]) -> None:
        wide = STRETCH * TILE
        for number in range(corner[0] // wide, (corner[0] + VIEW[1] - 1) // wide + 1):
            paste(canvas, self.scenery.stretch(number), number * wide - corner[0], -corner[1])


def _pose(story: Sequence[Moment]) -> Pose:
    now = story[-1]
    return Pose(
        speed=now.vx,
        travelled=now.clock * 4.0
        if now.charging
        else now.x * now.facing + now.clock * 0.6 * (not now.ground),
        ground=now.ground,
        curled=now.curled,
        charging=now.charging,
        hurt=now.lost or (not now.ground and now.mercy > MERCY - 40),
        clock=int(now.clock),
    )


def _place(canvas: np.ndarray, corner: tuple[int, int], now: Moment, picture: Cutout) -> None:
    """Put the player where it is; on a slope its feet sink to the ground under its middle."""
    sink = {2: 5, 1: 3}.get(abs(now.slope), 0) if now.ground else 0
    picture = picture if now.facing > 0 else picture.mirrored()
    off = 20 if now.facing > 0 else 19
    paste(canvas, picture, round(now.x) - off - corner[0], round(now.y) - 29 + sink - corner[1])


def _hero(canvas: np.ndarray, corner: tuple[int, int], story: Sequence[Moment]) -> None:
    """The player, and what its speed leaves behind."""
    now = story[-1]
    picture = player(_pose(story))
    if np.hypot(now.vx, now.vy) > 5.5:
        _traces(canvas, corner, story, picture)
    _dust(canvas, corner, story)
    _scattered(canvas, corner, story)
    if now.mercy and not now.lost and int(now.clock) // 4 % 2:
        return
    _place(canvas, corner, now, picture)


def _traces(canvas: np.ndarray, corner: tuple[int, int], story: Sequence[Moment], picture: Cutout) -> None:
    """Two fading copies along the way just gone."""
    now = story[-1]
    for back, share in ((7.0, 0.22), (3.5, 0.4)):
        ghost = np.zeros_like(canvas)
        where = np.zeros(canvas.shape[:2], bool)
        sink = {2: 5, 1: 3}.get(abs(now.slope), 0) if now.ground else 0
        along = now.vx * 0.7 * np.sign(now.slope) if now.ground and now.slope else -now.vy
        x, y = now.x - now.vx * back * 0.6, now.y + along * back * 0.6
        shape = picture if now.facing > 0 else picture.mirrored()
        paste(ghost, shape, round(x) - 20 - corner[0], round(y) - 29 + sink - corner[1], where)
        canvas[where] = mix(canvas[where], mix(ghost[where], colour("8ff0d4"), 0.45), share)


def _dust(canvas: np.ndarray, corner: tuple[int, int], story: Sequence[Moment]) -> None:
    """Puffs where the player rolls, charges, brakes or lands."""
    now = story[-1]
    for before, after in itertools.pairwise(story):
        age = now.clock - after.clock
        if not 0 <= age < 18 or not after.ground:
            continue
        brakes = abs(after.vx) < abs(before.vx) - 0.9 and abs(before.vx) > 2
        if not (after.charging or brakes or not before.ground or (after.rolling and abs(after.vx) > 3)):
            continue
        for k in range(3):
            drift = (hashed(int(after.clock), k) - 0.5) * 12 - after.facing * (4 + age * 0.5)
            px = round(after.x + drift) - corner[0]
            py = round(after.y - 1 - age * (0.2 + 0.3 * hashed(int(after.clock), k, 2))) - corner[1]
            r = 2 if age < 8 else 1
            spot = canvas[max(py - r, 0) : max(py + 1, 0), max(px - r, 0) : max(px + 1, 0)]
            spot[:] = mix(spot, colour("fff7e2"), 0.75 - 0.03 * age)


def _scattered(canvas: np.ndarray, corner: tuple[int, int], story: Sequence[Moment]) -> None:
    """The rings that a hit has cost, flying apart."""
    now = story[-1]
    age = MERCY - now.mercy
    if not now.mercy or age > 44:
        return
    hit = next((m for m in story if m.mercy), now)
    for k in range(8):
        angle = np.pi * (k + 0.5) / 8
        x = hit.x + 2.6 * np.cos(angle) * age
        y = hit.y - 14 - 4.2 * np.sin(angle) * age + 0.11 * age * age
        if age < 30 or k % 2 == age // 2 % 2:
            paste(canvas, ring(k + age // 4), round(x) - 6 - corner[0], round(y) - 6 - corner[1])


@lru_cache(maxsize=4)
def painter(level: Level) -> Painter:
    """The painter of a level, kept for the levels seen last."""
    return Painter(level)


def film(level: Level, story: Sequence[Moment]) -> Iterator[Picture]:
    """Pictures `[224, 320, 3]` of the moments of a level, one after another."""
    brush, camera = painter(level), Camera.at(level, story[0])
    for t, now in enumerate(story):
        begins = t == 0 or now.clock < story[t - 1].clock
        camera = Camera.at(level, now) if begins else camera.follow(level, now)
        yield brush.paint(story[max(0, t - MEMORY) : t + 1], camera)


def enlarged(picture: Picture, scale: int) -> UInt8[np.ndarray, "h w 3"]:
    """Every pixel as a square."""
    return picture.repeat(scale, 0).repeat(scale, 1)


def pictures(levels: Sequence[Level]) -> Callable[[PlatformerTask, Any], Film]:
    """`render` for a suite on a table of levels.

    Args:
      levels: the levels in the order of the environment's table.

    Returns:
      render(task, states) -> `[T, 448, 640, 3]`: a picture of each state (leaves `[T, ...]`, of an episode or a
      trial) of one level. Films of 900 pictures and more are half as large, `[T, 224, 320, 3]`.
    """

    def render(task: PlatformerTask, states: Any) -> Film:
        story = moments(states)
        scale = 2 if len(story) < _LONG else 1
        out = np.empty((len(story), VIEW[0] * scale, VIEW[1] * scale, 3), np.uint8)
        for t, picture in enumerate(film(levels[int(task.level)], story)):
            out[t] = enlarged(picture, scale)
        return out

    return render


__all__ = ["Camera", "Painter", "enlarged", "film", "painter", "pictures"]
