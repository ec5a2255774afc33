"""What moves or changes in a platformer level, drawn where it is at a moment: rings, enemies, platforms, gates and so on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from headstart.envs.platformer import FALLS, RETURNS
from headstart.envs.platformer_level import CODES, TILE, Level, Mover
from headstart.suites._platformer_moments import Moment
from headstart.suites._platformer_pixels import Cutout, colour, edge, hashed, mix, paste, ramp
from headstart.suites._platformer_sprites import ring, sheet
from headstart.suites._platformer_terrain import ledge
from headstart.suites._platformer_themes import Theme

COLOURS = ("ff5f7f", "4fb8ff", "ffd24f")
"""of switches p, q, r and their gates"""

_SPARK = 14  # frames that what bursts is seen


def position(mover: Mover, clock: float) -> tuple[float, float]:
    """Where a mover is at a frame, in pixels."""
    u = (mover.rate * clock + mover.phase) % 65536
    off = mover.span * min(u, 65536 - u) / 32768
    return (float(mover.x), mover.y + off) if mover.vertical else (mover.x + off, float(mover.y))


@dataclass(frozen=True, eq=False)
class Objects:
    """A level's objects by where they are; draws those in view."""

    level: Level
    theme: Theme

    def _at(self, tile: str) -> list[tuple[int, int]]:
        """Columns and rows of a kind of tile, column by column from the top, as the engine numbers them."""
        tiles = self.level.tiles[: self.level.rows, : self.level.columns]
        return [(int(c), int(r)) for c, r in np.argwhere(CODES[tile] == tiles.T)]

    @cached_property
    def places(self) -> dict[str, list[tuple[int, int]]]:
        return {tile: self._at(tile) for tile in "o%b^Y}{GpqrPQR"}

    def draw(self, canvas: np.ndarray, camera: tuple[int, int], story: Sequence[Moment]) -> None:
        """Draw all that is in view; `story` ends with the moment to be drawn and may begin some steps before."""
        now = story[-1]
        left, top = camera
        view = (left - 3 * TILE, left + canvas.shape[1] + 2 * TILE)
        for tile, places in self.places.items():
            for number, (c, r) in enumerate(places):
                if view[0] < c * TILE < view[1]:
                    self._tile(canvas, tile, number, (c, r), (c * TILE - left, r * TILE - top), story)
        for mover in self.level.platforms:
            x, y = position(mover, now.clock)
            board = moving_platform(*self.theme.ledge)
            paste(canvas, board, round(x) - 24 - left, round(y) - top)
        for number, mover in enumerate(self.level.enemies):
            self._enemy(canvas, camera, number, mover, story)

    def _tile(
        self,
        canvas: np.ndarray,
        tile: str,
        number: int,
        place: tuple[int, int],
        at: tuple[int, int],
        story: Sequence[Moment],
    ) -> None:
        """One tile's object, its upper left corner at `at` on the canvas."""
        now, (x, y) = story[-1], at
        if tile == "o":
            if not now.taken >> number & 1:
                paste(canvas, ring(int(now.clock // 8) + place[0]), x + 2, y + 2)
            else:
                age = _age(story, lambda m: m.taken >> number & 1)
                _burst(canvas, x + 8, y + 8, age, "fff6b0", 7.0)
        elif tile == "%":
            gone = _column(self.places["%"], number)
            if not now.smashed >> gone & 1:
                paste(canvas, cracked(*self.theme.stone, place[1] % 2), x, y)
            else:
                age = _age(story, lambda m: m.smashed >> gone & 1)
                _debris(canvas, x + 8, y + 8, age, ramp(self.theme.stone[1]), number)
        elif tile == "b":
            self._plank(canvas, at, now, number)
        elif tile == "^":
            paste(canvas, sheet()["spikes"], x, y + 4)
        elif tile == "Y":
            _spring(canvas, at, place, now)
        elif tile in "}{":
            pad = sheet()["spring"].turned(1 if tile == "}" else 3)
            paste(canvas, pad, x if tile == "}" else x + 5, y)
        elif tile == "G":
            flag(canvas, at, now.clock, now.finished)
        elif tile in "pqr":
            down = bool(now.pressed >> "pqr".index(tile) & 1)
            paste(canvas, _switch("pqr".index(tile), down), x, y + 9)
        elif not now.pressed >> "PQR".index(tile) & 1:
            paste(canvas, gate("PQR".index(tile), int(now.clock // 6) % 4), x, y)
        else:
            age = _age(story, lambda m: m.pressed >> "PQR".index(tile) & 1)
            _burst(canvas, x + 8, y + 8, age, COLOURS["PQR".index(tile)], 9.0)

    def _plank(self, canvas: np.ndarray, at: tuple[int, int], now: Moment, number: int) -> None:
        """A plank trembles when stepped on, falls, and is back later."""
        x, y = at
        ago = now.clock - float(now.stepped[number])
        if 0 <= ago < FALLS:
            paste(canvas, sheet()["plank"], x + int(ago) // 3 % 2, y + 1)
        elif FALLS <= ago < RETURNS:
            paste(canvas, sheet()["plank"], x, y + round(0.11 * (ago - FALLS) ** 2))
        else:
            paste(canvas, sheet()["plank"], x, y)

    def _enemy(
        self, canvas: np.ndarray, camera: tuple[int, int], number: int, mover: Mover, story: Sequence[Moment]
    ) -> None:
        now = story[-1]
        x, y = position(mover, now.clock)
        if not -40 < x - camera[0] < canvas.shape[1] + 40:
            return
        px, py = round(x) - camera[0], round(y) - camera[1]
        if now.dead >> number & 1:
            _burst(canvas, px, py - 8, _age(story, lambda m: m.dead >> number & 1), "ffffff", 14.0)
            return
        frame = int(now.clock // 10) % 2
        if mover.vertical:
            picture = sheet()[f"flyer {int(now.clock // 6) % 2}"]
            paste(canvas, picture if now.x > x else picture.mirrored(), px - 10, py - 16)
            return
        picture = sheet()[f"walker {frame}"]
        ahead = position(mover, now.clock + 1)[0] >= x
        paste(canvas, picture if ahead else picture.mirrored(), px - 9, py - 16)


def _age(story: Sequence[Moment], changed: Callable[[Moment], int]) -> float:
    """Frames since something changed, as far as the story tells; else many."""
    now = story[-1]
    for moment in reversed(story):
        if moment.clock > now.clock:
            break
        if not changed(moment):
            return now.clock - moment.clock
    return 1e9


def _column(places: list[tuple[int, int]], number: int) -> int:
    """The number, among the columns that have such tiles, of the column of the given one."""
    return len({c for c, _ in places[: number + 1]}) - 1


def _burst(canvas: np.ndarray, x: int, y: int, age: float, name: str, size: float) -> None:
    """A star of sparks that fly apart."""
    if age > _SPARK:
        return
    share = age / _SPARK
    tint = colour(name)
    for k in range(8):
        angle = k * np.pi / 4 + 0.3
        far = size * (0.35 + 0.75 * share)
        px, py = round(x + far * np.cos(angle)), round(y + far * np.sin(angle))
        big = 1 if share > 0.55 else 2
        spot = canvas[max(py - 1, 0) : max(py - 1 + big, 0), max(px - 1, 0) : max(px - 1 + big, 0)]
        spot[:] = tint


def _debris(canvas: np.ndarray, x: int, y: int, age: float, shades: np.ndarray, seed: int) -> None:
    """Pieces of a wall that fly off and fall."""
    if age > 3 * _SPARK:
        return
    for k in range(4):
        vx, vy = (hashed(seed, k) - 0.35) * 5.0, -1.5 - 3.0 * hashed(seed, k, 1)
        px, py = round(x + vx * age), round(y + vy * age + 0.11 * age * age)
        spot = canvas[max(py, 0) : max(py + 4, 0), max(px, 0) : max(px + 4, 0)]
        spot[:] = shades[3]
        spot[:1] = shades[5]
        spot[3:] = shades[0]


@cache
def moving_platform(kind: str, name: str) -> Cutout:
    """A moving platform: a ledge with a jet under it."""
    board = ledge(kind, name, 48, 10)
    rgb, solid = np.zeros((15, 48, 3), np.uint8), np.zeros((15, 48), bool)
    jet = Cutout(np.broadcast_to(ramp("5f6880")[2], (4, 12, 3)).copy(), np.ones((4, 12), bool))
    paste(rgb, jet, 18, 9, solid)
    rgb[12:14, 20:28] = colour("8fe8ff")
    solid[12:14, 20:28] = True
    paste(rgb, board, 0, 0, solid)
    for x in (4, 42):
        rgb[3:5, x : x + 2] = colour("fff6b0")
    return Cutout(rgb, solid)


@cache
def cracked(kind: str, name: str, odd: int) -> Cutout:
    """A block of wall that looks as if it would not stand a blow."""
    del kind
    shades = np.stack([mix(shade, colour("e8dcc0"), 0.28) for shade in ramp(name)])
    y, x = np.mgrid[:TILE, :TILE]
    index = np.where((x == 1) | (y == 1), 5, np.where((x == 14) | (y == 14), 2, 4))
    index = np.where((x == 0) | (y == 0) | (x == 15) | (y == 15), 0, index)
    crack = np.abs(x - 8 - 3 * np.sin(y * 0.9 + 2 * odd)) < 0.9
    branch = (np.abs(y - 6 - 4 * odd - 0.6 * (x - 8)) < 0.8) & ((x > 8) ^ bool(odd))
    index = np.where((crack | branch) & (y > 0) & (y < 15) & (x > 0) & (x < 15), 0, index)
    lit = np.roll(crack, 1, 1) & ~crack & (index > 1)
    return Cutout(shades[np.where(lit, 5, index)], np.ones((TILE, TILE), bool))


def _spring(canvas: np.ndarray, at: tuple[int, int], place: tuple[int, int], now: Moment) -> None:
    """A spring, stretched while it has just thrown the player."""
    above = (place[1] + 1) * TILE - now.y
    thrown = abs(now.x - place[0] * TILE - 8) < 16 and 2 < above < 110 and now.vy < -4 and not now.jumping
    picture = sheet()["spring out" if thrown else "spring"]
    paste(canvas, picture, at[0], at[1] + TILE - len(picture.solid))


@cache
def _switch(number: int, down: bool) -> Cutout:
    shades = ramp(COLOURS[number])
    y, x = np.mgrid[:7, :TILE]
    base = (y >= 5) & (x >= 1) & (x < 15)
    knob = (abs(x - 7.5) < 5) & (y >= (4 if down else 1)) & (y < 5)
    knob &= ~((abs(x - 7.5) > 4) & (y == (4 if down else 1)))
    solid = base | knob
    rgb = np.where(knob[..., None], shades[np.where(y <= 2, 5, np.where(x < 9, 4, 3))], ramp("6a7088")[3])
    rim = edge(solid) & ~(knob & ((y == 1) | down))
    rgb = np.where(rim[..., None], colour("1b1b33"), rgb)
    return Cutout(rgb.astype(np.uint8), solid)


@cache
def gate(number: int, phase: int) -> Cutout:
    """Three bars of light that run upwards."""
    shades = ramp(COLOURS[number])
    y, x = np.mgrid[:TILE, :TILE]
    bar = (x % 5 >= 1) & (x % 5 < 4)
    pulse = (y + 4 * phase) % 16
    index = np.where(x % 5 == 2, 5, 3) - (pulse > 11)
    return Cutout(shades[np.where(bar, index, 0)], np.ones((TILE, TILE), bool))


def flag(canvas: np.ndarray, at: tuple[int, int], clock: float, finished: bool) -> None:
    """A tall post with a chequered flag in the wind, golden once it has been reached."""
    x, foot = at[0] + 1, at[1] + TILE
    top = foot - 62
    iron = ramp("c8d0e0")
    for k, shade in enumerate((0, 5, 4, 2, 0)):
        _strip(canvas, x + k, top, foot, iron[shade])
    for k in range(34):
        wave = round(2.2 * np.sin(clock / 7.0 - k / 5.0) * min(k / 8.0, 1.0))
        for j in range(22):
            dark = (k // 6 + j // 6) % 2 == 0
            tint = colour("ff8f3f") if dark else colour("fff7e2")
            if finished:
                tint = colour("ffd23f") if dark else colour("fff7e2")
            tint = mix(tint, colour("1b1b33"), 1.0 if j in (0, 21) or k == 33 else 0.18 * (k // 4 % 3 == 1))
            _strip(canvas, x + 5 + k, top + 3 + j + wave, top + 4 + j + wave, tint)
    paste(canvas, _knob(), x - 2, top - 8)
    _strip(canvas, x - 3, foot - 3, foot, iron[1])
    for k in range(-4, 9):
        _strip(canvas, x + k, foot - 4, foot, iron[0 if k in (-4, 8) else 2])


@cache
def _knob() -> Cutout:
    y, x = np.mgrid[:9, :9]
    solid = np.hypot(x - 4, y - 4) < 4.6
    index = np.where(x + y < 6, 5, np.where(x + y < 10, 4, 3))
    return Cutout(ramp("ffc83f")[np.where(edge(solid), 0, index)], solid)


def _strip(canvas: np.ndarray, x: int, top: int, bottom: int, tint: np.ndarray) -> None:
    """A piece of a column of pixels, as far as it is on the canvas."""
    if 0 <= x < canvas.shape[1]:
        canvas[max(top, 0) : max(bottom, 0), x] = tint
