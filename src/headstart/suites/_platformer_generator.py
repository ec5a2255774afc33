"""Levels of the platformer, composed from passages and barriers in the style of a zone: host-side, seeded, text out.

    text = generate(seed, "fern-hill", difficulty=0.4)

A level opens gently, then alternates passages with barriers, at which holding right leads nowhere; how many and which is
the zone's style. Everything is drawn in whole tiles with what a player of that zone's physics reaches easily, so that
nearly every level can be finished (docs/suites/platformer-levels.md has the measured share).
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from headstart.envs.platformer_zones import SUB, ZONES, Physics
from headstart.errors import UsageError, unknown
from headstart.suites._platformer_barriers import BARRIERS, SWITCHES
from headstart.suites._platformer_canvas import COLUMNS, HIGHEST, LOWEST, ROWS, Canvas, Reach
from headstart.suites._platformer_passages import PASSAGES, Piece
from headstart.suites._platformer_styles import STYLES, Style

_TILE = 16.0
_FIRST = (0.15, 0.45)  # where the first barrier stands, as a share of the width
_OPENING = 0.12  # share of the width in which nothing kills
_MILD = ("hills", "dip", "canopy", "terraces", "tunnel", "boost")


def reach(physics: Physics) -> Reach:
    """What a player gets over in these physics, by v²/2g and the time of a jump after a run-up of five tiles."""
    gravity, jump, spring = (float(v) / SUB for v in (physics.gravity, physics.jump, physics.spring))
    run = math.sqrt(2 * float(physics.accelerate) / SUB * 5 * _TILE)
    leap = 0.8 * run * 2 * jump / gravity / _TILE
    return Reach(
        jump=int(jump**2 / (2 * gravity) / _TILE + 0.1),
        spring=int(spring**2 / (2 * gravity) / _TILE - 0.3),
        leap=int(np.clip(leap, 5, 9)),
    )


def generate(
    seed: int, zone: str, difficulty: float = 0.5, act: int = 1, title: str = "", pieces: Sequence[str] = ()
) -> str:
    """Compose a level.

    Args:
      seed: the same seed, zone and difficulty give the same level.
      zone: a name in `ZONES`; its style and its physics decide what the level is made of.
      difficulty: from 0 to 1: longer levels, wider pits, more enemies, more barriers.
      act: goes into the header, and so does `title`.
      pieces: stretches drawn by hand, rows of tiles, to be built in at even distances.

    Returns:
      The level as text: header, `---`, rows.

    Raises:
      UsageError: for an unknown zone or a difficulty out of range.
    """
    if zone not in ZONES:
        raise unknown("zone", zone, ZONES)
    if not 0.0 <= difficulty <= 1.0:
        raise UsageError(f"a level's difficulty lies between 0 and 1, not at {difficulty}.")
    style = STYLES[zone]
    digest = hashlib.sha256(f"{zone}|{seed}|{difficulty:.3f}".encode()).digest()
    dice = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    canvas = Canvas(dice, reach(ZONES[zone].physics), style.stairs, style.gentle, difficulty)
    width = int(np.clip(210 + 150 * difficulty + dice.integers(-10, 31), 200, COLUMNS))
    _compose(canvas, style, width, list(pieces))
    if style.floating:
        _hollow(canvas)
    if style.ceiling:
        _roof(canvas)
    return _text(canvas, zone, act, title)


def _compose(c: Canvas, style: Style, width: int, pieces: list[str]) -> None:
    """Draw start, passages and barriers in turn, and the goal."""
    c.y = c.pick(17, 22)
    start = c.flat(9)
    c.tiles[c.y - 1, start + 3] = "S"
    c.rings(start + 6, c.y - 1, 2)
    barriers = max(c.graded(2, 5) - len(pieces), 1)
    first = c.dice.uniform(*_FIRST) * width
    places = list(first + (width - 40 - first) * np.arange(barriers) / barriers)
    every = width / (len(pieces) + 1)
    stretch, roads, recent = c.x, list[tuple[int, int]](), list[str]()
    while c.x < width - 22:
        if pieces and c.x >= width - every * (len(pieces) + 0.3):
            roads.append((stretch, c.x - 12))
            c.flat(3)
            c.paste(pieces.pop(0))
            c.flat(3)
            stretch = c.x
            continue
        barrier = bool(places) and c.x >= places[0]
        table, names = (BARRIERS, style.barrier_names()) if barrier else (PASSAGES, style.passage_names())
        if c.x < _OPENING * width:
            names = [n for n in names if n in _MILD] or list(_MILD[:2])
        names = [n for n in names if n not in recent and (c.colours or n not in SWITCHES)]
        names = [n for n in names if c.x + table[n].width <= width - 10]
        if barrier:
            places = places[1:]
        if not names:
            c.flat(min(6, width - 14 - c.x))
            recent = []
            continue
        name = names[int(c.dice.integers(len(names)))]
        if barrier:
            roads.append((stretch, c.x))
        _draw(c, table[name])
        recent = [*recent[-2:], name]
        stretch = c.x if barrier else stretch
    roads.append((stretch, c.x))
    _finish(c)
    for begin, end in roads:
        if c.chance(0.65):
            _high_road(c, begin + 3, end + 12)


def _high_road(c: Canvas, begin: int, end: int) -> None:
    """A way of ledges high above the ground: hard to get onto, quick to run along, often past the next barrier."""
    ladder = next((x for x in range(begin, end - 24) if _clearing(c, x)), None)
    if ladder is None:
        return
    ground = c.top(ladder)
    c.row(ladder, ground - 4, 3, "=")
    c.row(ladder + 5, ground - 8, 4, "=")
    x, level, gap = ladder + 11, ground - 9, 0
    while x < min(end, c.tiles.shape[1] - 16):
        n = c.pick(4, 8)
        if level >= 4 and c.free(x - 1, level - 4, x + n + 1, level + 4):
            solid = not c.stairs and n > 5 and c.chance(0.4)
            c.row(x, level, n, "#" if solid else "=")
            if solid:
                c.row(x + 1, level + 1, n - 2, "#")
            c.rings(x + 1, level - 2, n // 2)
            x, gap = x + n, 0
        space = c.pick(2, 4)
        x, gap = x + space, gap + space
        if gap > 8:
            return
        level = int(np.clip(level + c.pick(-2, 2), 5, ground - 7))


def _clearing(c: Canvas, x: int) -> bool:
    """Whether a ladder of ledges may stand on level ground at column x."""
    ground = c.top(x)
    return 15 <= ground < LOWEST and c.tiles[ground, x] == "#" and c.free(x - 1, ground - 13, x + 14, ground)


def _draw(c: Canvas, piece: Piece) -> None:
    """Bring the ground to where the piece has room, then draw it."""
    low = max(piece.room_above(c.reach), HIGHEST)
    high = LOWEST - piece.below
    c.level_to(low, max(low, high))
    piece.draw(c)


def _finish(c: Canvas) -> None:
    """The last stretch, with the goal before its end."""
    c.flat(14)
    c.rings(c.x - 12, c.y - 2, 3)
    c.tiles[c.y - 1, c.x - 4] = "G"
    c.tiles = c.tiles[:, : c.x]


def _hollow(c: Canvas) -> None:
    """Take away the ground's underside, though nowhere higher than the neighbours' surface."""
    solid = np.isin(c.tiles, list("#/\\1234%"))
    tops = np.array(
        [0 if column.all() else ROWS - int(np.argmin(column[::-1])) for column in solid.T]
    )  # where the solid that reaches the bottom begins; 32 over a pit
    depth = 4
    for x in np.flatnonzero(tops < ROWS):
        near = tops[max(x - 2, 0) : x + 3]
        if c.chance(0.4):
            depth = int(np.clip(depth + c.pick(-1, 1), 3, 6))
        c.tiles[int(near[near < ROWS].max()) + depth :, x] = "."


def _roof(c: Canvas) -> None:
    """Rock above, at least a jump over whatever one may stand on, and clear of springs."""
    busy = np.array([c.top(x) for x in range(c.tiles.shape[1])])
    for floor, x in np.argwhere(c.tiles == "Y"):
        busy[x : x + 12] = np.minimum(busy[x : x + 12], floor - c.reach.spring)
    thick = 3
    for x in range(c.tiles.shape[1]):
        near = int(busy[max(x - 4, 0) : x + 5].min())
        if c.chance(0.4):
            thick = int(np.clip(thick + c.pick(-1, 1), 1, 7))
        rows = max(min(thick, near - c.reach.jump - 2), 1)  # a gap would be a way out, over the whole level
        c.tiles[:rows, x] = "#"


def _text(c: Canvas, zone: str, act: int, title: str) -> str:
    """Header and rows; par is the time at a comfortable pace, in seconds."""
    par = round(c.tiles.shape[1] * _TILE / 2.5 / 60.0)
    header = [f"zone: {zone}", f"act: {act}", f"par: {par}"] + ([f"title: {title}"] if title else [])
    return "\n".join([*header, "---", *("".join(row) for row in c.tiles)]) + "\n"
