"""The platformer's sprite sheet (data/sprites/platformer.txt), and the player put together from its parts."""

import re
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np

from headstart.suites._platformer_pixels import Cutout, colour, edge

_GLYPH = (5, 6)  # a letter's width, and the distance to the next, in pixels


@cache
def sheet() -> dict[str, Cutout]:
    """Every picture of the sheet by its name."""
    text = (resources.files("headstart") / "data" / "sprites" / "platformer.txt").read_text()
    head, *blocks = re.split(r"^\[(.+)\]$", text, flags=re.MULTILINE)
    palette = np.zeros((128, 3), np.uint8)
    for char, name in re.findall(r"^(\S) ([0-9a-f]{6})$", head, flags=re.MULTILINE):
        palette[ord(char)] = colour(name)
    pictures: dict[str, Cutout] = {}
    for name, body in zip(blocks[::2], blocks[1::2], strict=True):
        grid = np.array([list(row.encode()) for row in body.split()], np.uint8)
        pictures[name] = Cutout(palette[grid], grid != ord("."))
    return pictures


@cache
def glyphs() -> dict[str, np.ndarray]:
    """The font: which pixels of a 7 x 5 grid a letter fills."""
    out = {" ": np.zeros((7, _GLYPH[0]), bool)}
    for name, picture in sheet().items():
        kind, _, letters = name.partition(" ")
        if kind == "font":
            for i, letter in enumerate(letters):
                out[letter] = picture.solid[:, i * _GLYPH[1] : i * _GLYPH[1] + _GLYPH[0]]
    return out


@lru_cache(256)
def lettering(text: str, tint: str = "ffffff", size: int = 1) -> Cutout:
    """A line of capital letters with a dark outline, each pixel `size` wide."""
    wide = len(text) * _GLYPH[1] + 1
    ink = np.zeros((9, wide), bool)
    for i, letter in enumerate(text):
        x = 1 + i * _GLYPH[1]
        ink[1:8, x : x + _GLYPH[0]] = glyphs()[letter]
    ink = ink.repeat(size, 0).repeat(size, 1)
    around = ink.copy()
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1)):
        around |= np.roll(ink, (dy, dx), (0, 1))
    rgb = np.where(ink[..., None], colour(tint), colour("1b1b33"))
    return Cutout(rgb.astype(np.uint8), around)


@cache
def ring(frame: int) -> Cutout:
    """A ring turning, in four frames."""
    wide = (5.5, 4.2, 1.6, 4.2)[frame % 4]
    y, x = np.mgrid[:12, :12] + 0.5
    far = np.hypot((x - 6.0) / wide, (y - 6.0) / 5.5)
    hole = np.hypot((x - 6.0) / max(wide - 2.6, 0.1), (y - 6.0) / 2.9) < 1.0
    solid = (far <= 1.05) & ~hole
    tones = np.array([colour("7a4a12"), colour("d98a1f"), colour("ffd23f"), colour("fff6b0")])
    light = np.where(x + y < 10.5, 3, np.where(x + y < 14.5, 2, 1))
    if frame % 4 == 3:
        light = light[:, ::-1]
    return Cutout(tones[np.where(edge(solid) & ((x + y > 14) | (far > 0.98)), 0, light)], solid)


class Pose(NamedTuple):
    """What the player does at a moment, for its picture."""

    speed: float
    """pixels a frame, along the surface or sideways"""
    travelled: float
    """pixels, which turn its legs and its ball"""
    ground: bool
    curled: bool
    charging: bool
    hurt: bool
    clock: int


_STEPS = (("stride", "front"), ("pass", ""), ("stride far", "back"), ("pass far", ""))


def _stack(parts: list[tuple[str, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sprites on a canvas of 32 x 40, feet at the bottom and the middle at x = 20."""
    rgb, solid = np.zeros((32, 40, 3), np.uint8), np.zeros((32, 40), bool)
    for name, x, y in parts:
        part = sheet()[name]
        h, w = part.solid.shape
        target = (slice(y, y + h), slice(x, x + w))
        rgb[target][part.solid] = part.rgb[part.solid]
        solid[target] |= part.solid
    return rgb, solid


def _scarf(canvas: tuple[np.ndarray, np.ndarray], pose: Pose, neck: tuple[int, int], lift: float) -> None:
    """Two ends of a scarf, streaming behind the faster the longer, drawn under what is there already."""
    rgb, solid = canvas
    flow = min(abs(pose.speed) / 5.0, 1.0)
    length = round(6 + 7 * flow)
    cloth = np.zeros(solid.shape, np.int8)
    for tail in (1, 0):
        for i in range(length):
            share = i / length
            sway = np.sin(0.35 * pose.clock - 0.75 * i + 1.3 * tail) * (0.4 + 1.6 * flow) * share
            drop = (1.0 - flow) * i * 0.75 * (1.0 - lift) - lift * 0.5 * i
            x = neck[0] - round(i * (0.5 + 0.5 * flow)) - tail
            y = round(neck[1] + drop + sway + 1.6 * tail * share)
            if 1 <= x < 39 and 1 <= y < 29:
                cloth[y, x] = 2 + (tail == 0)
                cloth[y + 1, x] = np.maximum(cloth[y + 1, x], 2)
    around = cloth > 0
    rim = np.zeros_like(around)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        rim |= np.roll(around, (dy, dx), (0, 1))
    tones = np.array([colour("1b1b33"), colour("1b1b33"), colour("d4552c"), colour("ff9d3f")])
    fresh = (around | rim) & ~solid
    rgb[fresh] = tones[np.where(around, cloth, 0)][fresh]
    solid |= fresh


def player(pose: Pose) -> Cutout:
    """The player looking to the right, on 32 x 40 pixels: feet in the lowest row but three, middle at x = 20."""
    if pose.curled:
        ball = sheet()["ball"].turned(int(pose.travelled // 9.0) % 4)
        rgb, solid = np.zeros((32, 40, 3), np.uint8), np.zeros((32, 40), bool)
        rgb[13:29, 12:28][ball.solid] = ball.rgb[ball.solid]
        solid[13:29, 12:28] = ball.solid
        return Cutout(rgb, solid)
    bob, head, torso, legs = 0, "head", "torso", "legs stand"
    if pose.hurt:
        head, torso, legs = "head hurt", "torso up", "legs air"
    elif not pose.ground:
        torso, legs = "torso up", "legs air"
    elif abs(pose.speed) > 0.25:
        step, arm = _STEPS[int(pose.travelled // 9.0) % 4]
        legs, torso = f"legs {step}", f"torso {arm}".strip()
        bob = int(step.startswith("pass"))
    else:
        bob = int(pose.clock % 48 >= 24)
        head = "head blink" if pose.clock % 180 < 8 else "head"
    lean = 1 if pose.ground and abs(pose.speed) > 3.5 else 0
    down = bob if legs == "legs stand" else -bob
    canvas = _stack([(legs, 12, 21), (torso, 14 + lean, 14 + down), (head, 13 + 2 * lean, 1 + down + lean)])
    lift = 0.0 if pose.ground else 0.9
    _scarf(canvas, pose, (15 + lean, 15 + down), lift)
    return Cutout(*canvas)
