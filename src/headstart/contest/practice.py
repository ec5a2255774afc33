"""The practice levels, for looking at: read and painted from their text, without loading the game."""

import os
import threading
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from headstart.errors import UsageError

_PIXELS = 4  # a tile
_SKY = ((126, 188, 232), (214, 236, 246))
_TILES = {
    "#": (118, 84, 56),
    "%": (158, 120, 84),
    "=": (150, 104, 60),
    "b": (166, 118, 66),
    "o": (250, 200, 40),
    "^": (206, 52, 60),
    "e": (196, 44, 120),
    "f": (150, 60, 190),
    "m": (70, 92, 150),
    "w": (70, 92, 150),
    "S": (30, 110, 220),
    "G": (240, 250, 255),
    "Y": (230, 80, 40),
    "}": (220, 50, 90),
    "{": (220, 50, 90),
}
_GRASS, _OTHER = (86, 168, 70), (90, 110, 130)
_SLOPES = "/\\1423"


class PracticeLevel(NamedTuple):
    """A practice level as its file has it."""

    name: str
    title: str
    zone: str
    par: str
    """seconds a good player needs"""
    rows: tuple[str, ...]


@cache
def _every() -> dict[str, PracticeLevel]:
    folder = resources.files("headstart") / "data" / "levels"
    lines = [line.split() for line in (folder / "index.txt").read_text().splitlines() if line.strip()]
    found: dict[str, PracticeLevel] = {}
    for name in (name for which, name in lines if which == "practice"):
        head, _, rows = (folder / f"{name}.txt").read_text().partition("---\n")
        about = {key: value.strip() for key, _, value in (line.partition(":") for line in head.splitlines())}
        zone = about["zone"].replace("-", " ").capitalize()
        found[name] = PracticeLevel(
            name, about.get("title", name), zone, about["par"], tuple(rows.splitlines())
        )
    return found


def levels(suite: str) -> list[PracticeLevel]:
    """The practice levels of a contest's suite; none where it has none."""
    return list(_every().values()) if suite.startswith("platformer") else []


def paint(rows: Sequence[str]) -> UInt8[np.ndarray, "H W 3"]:
    """A level's tiles as a picture: sky, ground with grass on it, and what lies, waits and moves."""
    wide = max(map(len, rows))
    high = len(rows)
    shade = np.linspace(0.0, 1.0, high * _PIXELS)[:, None]
    sky = (1 - shade) * np.array(_SKY[0]) + shade * np.array(_SKY[1])
    picture = np.repeat(sky[:, None, :], wide * _PIXELS, axis=1)
    for r, row in enumerate(rows):
        for k, tile in enumerate(row):
            if tile not in ". ":
                _tile(picture, r, k, tile, r > 0 and k < len(rows[r - 1]) and rows[r - 1][k] in "#%")
    return picture.astype(np.uint8)


def _tile(picture: np.ndarray, r: int, k: int, tile: str, covered: bool) -> None:
    """Paint one tile in place."""
    block = picture[r * _PIXELS : (r + 1) * _PIXELS, k * _PIXELS : (k + 1) * _PIXELS]
    if tile == "#" and not covered:
        block[:] = _TILES["#"]
        block[:2] = _GRASS
    elif tile in _SLOPES:
        below = np.arange(_PIXELS)[:, None] >= np.arange(_PIXELS)[None, :]
        block[below if tile in "\\42" else below[:, ::-1]] = _GRASS
    elif tile in "oefS^":
        block[1:, 1:] = _TILES[tile]
    elif tile in "=bmw":
        block[:2] = _TILES[tile]
    elif tile == "G":
        block[:, 1:3] = _TILES["G"]
        picture[max(0, (r - 4) * _PIXELS) : r * _PIXELS, k * _PIXELS + 1 : k * _PIXELS + 2] = (60, 60, 70)
    else:
        block[:] = _TILES.get(tile, _OTHER)


_PAINTING = threading.Lock()


def picture(name: str, folder: Path) -> Path:
    """A picture of a practice level, painted into `folder` on first use.

    Raises:
      UsageError: if there is no such level.
    """
    if name not in _every():
        raise UsageError(f"there is no practice level {name[:40]!r}.")
    path = folder / f"{name}.png"
    with _PAINTING:
        if not path.is_file():
            folder.mkdir(exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            Image.fromarray(paint(_every()[name].rows)).save(part, format="png", optimize=True)
            part.replace(path)
    return path


__all__ = ["PracticeLevel", "levels", "paint", "picture"]
