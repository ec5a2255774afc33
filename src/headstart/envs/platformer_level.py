"""Levels of the platformer as people read and draw them: a header, a line `---`, and rows of tiles.

    zone: fern-hill
    act: 1
    par: 40
    ---
    ........................
    .....oo.................
    ..S.....^...e.....f...G.
    ########################

A tile is 16 x 16 pixels. `parse` turns the text into a `Level` or says what is wrong with it, naming line and column.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from headstart.envs.platformer_zones import ZONES
from headstart.errors import UsageError, unknown

ROWS, COLUMNS = 32, 400
"""the largest level, in tiles"""
TILE = 16
"""pixels a tile"""

CODES: dict[str, int] = {
    tile: upper << 3 | lower
    for upper, tiles in enumerate((".#%__PQR", "/\\1423__", "=b___pqr", "o^G_Y}{_"))
    for lower, tile in enumerate(tiles)
    if tile != "_"
}
"""what a tile is, in five bits: the upper two say solid, slope, thin or thing (see platformer_table.py)"""
MARKS = " Sefmw"
"""tiles that are air to walk through: a space, the start, and what moves"""

MOST = {"o": 128, "%": 32, "b": 32, "enemies": 32, "platforms": 16}
"""how many of each there may be: rings, smashable walls and planks (counted by columns), what moves"""
NEAR = {"enemies": 8, "platforms": 6}
"""how many moving things there may be around any place, as far as a player sees"""
SIGHT = (7, 12)
"""columns behind and ahead that count as around"""

_LOOKUP = np.array([CODES.get(chr(i), 0) for i in range(128)], np.uint8)
_STRIDE = 6  # tiles an enemy walks at most to each side of where it is drawn
_NAMES = {
    "%": "pieces of smashable wall",
    "o": "rings",
    "b": "bridge planks",
    "enemies": "enemies",
    "platforms": "platforms",
}


class Mover(NamedTuple):
    """What goes to and fro on a straight path: x = x0 + span tri(u), u = (rate frame + phase) mod 2^16, or so for y.

    `x`, `y` are pixels at the left or upper end of the path, of an enemy's feet or the middle of a platform's top;
    `span` is the path's length in pixels, up to 511; tri rises from 0 to 1 and falls again while u goes round once.
    """

    x: int
    y: int
    span: int
    vertical: bool
    rate: int
    phase: int

    @property
    def columns(self) -> tuple[int, int]:
        """The first and last column of tiles it can be in, whatever its width up to three tiles."""
        end = self.x if self.vertical else self.x + self.span
        return self.x // TILE - 1, end // TILE + 1


@dataclass(frozen=True, eq=False)
class Level:
    """One level: its header, its tiles and what moves in it."""

    zone: str
    act: int
    par: float
    """seconds a good player needs"""
    title: str
    tiles: UInt8[np.ndarray, "32 400"]
    """codes (`CODES`), air beyond `rows` and `columns`"""
    rows: int
    columns: int
    start: tuple[int, int]
    """row and column of the tile the player starts in"""
    goal: int
    """column that ends the level"""
    enemies: tuple[Mover, ...]
    """walking ones and (`vertical`) flying ones, from left to right"""
    platforms: tuple[Mover, ...]

    @property
    def digest(self) -> bytes:
        """Eight bytes naming what can be played in this level: all but its act, par time and title."""
        text = (
            f"{self.zone}|{self.rows}|{self.columns}|{self.start}|{self.goal}|{self.enemies}|{self.platforms}"
        )
        return hashlib.sha256(text.encode() + self.tiles.tobytes()).digest()[:8]


class _Place(NamedTuple):
    """Where in the text the rows begin, so that an error can name line and column."""

    name: str
    line: int

    def error(self, row: int, column: int, what: str) -> UsageError:
        return UsageError(f"{self.name}, line {self.line + row}, column {column + 1}: {what}")


def _header(lines: list[str], name: str) -> dict[str, str]:
    """The `key: value` lines up to `---`, checked."""
    fields: dict[str, str] = {}
    known = ("zone", "act", "par", "title")
    for number, line in enumerate(lines, 1):
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not colon or key not in known:
            raise UsageError(
                f"{name}, line {number}, column 1: the header has lines 'key: value' with a key of "
                f"{', '.join(known)}, then a line '---'; this is '{line.strip()[:40]}'."
            )
        if key in fields:
            raise UsageError(f"{name}, line {number}, column 1: '{key}' is given twice.")
        place = f"{name}, line {number}, column {line.index(':') + 2}"
        if key == "zone" and value not in ZONES:
            raise UsageError(f"{place}: {unknown('zone', value, ZONES)}")
        if key in ("act", "par") and not _positive(value, whole=key == "act"):
            raise UsageError(
                f"{place}: '{key}' is a positive {'whole number' if key == 'act' else 'number of seconds'}, "
                f"not '{value}'."
            )
        fields[key] = value
    for key in known[:3]:
        if key not in fields:
            raise UsageError(f"{name}, line 1, column 1: the header lacks '{key}: ...'.")
    return fields


def _positive(text: str, whole: bool) -> bool:
    """Whether this is a positive number, not too large."""
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        return False
    return 0 < value < 1e6


def _grid(rows: list[str], place: _Place) -> np.ndarray:
    """Characters `[32, 400]`, air where nothing is drawn; refuses what is no tile."""
    if not rows:
        raise UsageError(
            f"{place.name}, line {place.line}, column 1: there are no rows of tiles after '---'."
        )
    if len(rows) > ROWS:
        raise place.error(ROWS, 0, f"a level has at most {ROWS} rows of tiles.")
    grid = np.full((ROWS, COLUMNS), ".", "<U1")
    for r, row in enumerate(rows):
        if len(row) > COLUMNS:
            raise place.error(r, COLUMNS, f"a row has at most {COLUMNS} tiles.")
        for c, tile in enumerate(row):
            if tile not in CODES and tile not in MARKS:
                allowed = "".join(CODES) + MARKS.strip()
                raise place.error(r, c, f"'{tile}' is no tile; there are a space and {allowed} .")
        grid[r, : len(row)] = list(row)
    return grid


def _the_one(grid: np.ndarray, tile: str, what: str, place: _Place) -> tuple[int, int]:
    """Row and column of a tile that is there exactly once."""
    found = np.argwhere(grid == tile)
    if not len(found):
        raise UsageError(f"{place.name} has no {what}; draw one '{tile}'.")
    if len(found) > 1:
        raise place.error(
            int(found[1][0]), int(found[1][1]), f"there is a second {what} '{tile}'; a level has one."
        )
    return int(found[0][0]), int(found[0][1])


def _find(grid: np.ndarray, tiles: str) -> Iterator[tuple[int, int, str]]:
    """Rows, columns and kinds of some tiles, column by column."""
    for c, r in np.argwhere(np.isin(grid, list(tiles)).T):
        yield int(r), int(c), str(grid[r, c])


def _enemy(grid: np.ndarray, r: int, c: int, kind: str, place: _Place) -> Mover:
    """A flying enemy bobs; a walking one goes to and fro where there is level ground under it and nothing in its way."""
    x, y = c * TILE + TILE // 2, (r + 1) * TILE
    phase = (c * 37 + r * 11) % 256 << 8
    if kind == "f":
        return Mover(x, y - 24, 48, True, 512, phase)

    def walks(column: int) -> bool:
        if not 0 <= column < COLUMNS or r + 1 >= ROWS:
            return False
        return grid[r + 1, column] in "#%=PQR" and grid[r, column] not in "#%PQR/\\1234^Y}{"

    if not walks(c):
        raise place.error(r, c, "a walking enemy 'e' needs level ground right below it.")
    left = right = c
    while left > c - _STRIDE and walks(left - 1):
        left -= 1
    while right < c + _STRIDE and walks(right + 1):
        right += 1
    span = (right - left) * TILE
    return Mover(
        left * TILE + TILE // 2, y, span, False, round(16384 / span) if span else 0, phase
    )  # half a pixel a frame


def _platform(r: int, c: int, kind: str) -> Mover:
    """Four tiles to either side, a pixel a frame, from the middle at frame 0."""
    x, y = c * TILE + TILE // 2, r * TILE
    if kind == "w":
        return Mover(x, y - 4 * TILE, 8 * TILE, True, 256, 0x4000)
    return Mover(x - 4 * TILE, y, 8 * TILE, False, 256, 0x4000)


def _check_counts(grid: np.ndarray, enemies: list[Mover], platforms: list[Mover], place: _Place) -> None:
    """No more of anything than the tables hold, and nothing that a table's row cannot tell apart."""
    planks, walls = grid == "b", grid == "%"
    counts = {
        "o": int((grid == "o").sum()),
        "%": int(walls.any(0).sum()),
        "b": int(planks.any(0).sum()),
        "enemies": len(enemies),
        "platforms": len(platforms),
    }
    for kind, count in counts.items():
        if count > MOST[kind]:
            raise UsageError(f"{place.name} has {count} {_NAMES[kind]}; a level has at most {MOST[kind]}.")
    runs = (walls & ~np.vstack([np.zeros((1, COLUMNS), bool), walls[:-1]])).cumsum(0)
    for much, what in (
        (walls & (runs > 1), "one smashable wall '%', not two above each other"),
        (planks & (planks.cumsum(0) > 1), "one bridge plank 'b', not two above each other"),
        ((grid == "o") & ((grid == "o").cumsum(0) > 6), "at most six rings 'o'"),
    ):
        for c, r in np.argwhere(much.T)[:1]:
            raise place.error(int(r), int(c), f"a column has {what}.")
    for kind, movers in (("enemies", enemies), ("platforms", platforms)):
        first, last = around(movers)
        c = int(np.argmax(last - first))
        if last[c] - first[c] > NEAR[kind]:
            raise UsageError(
                f"{place.name} has {last[c] - first[c]} {kind} around column {c + 1}; at most {NEAR[kind]} may be "
                f"within {SIGHT[0]} columns behind and {SIGHT[1]} ahead of any place."
            )


def around(movers: Sequence[Mover]) -> tuple[Int[np.ndarray, " 400"], Int[np.ndarray, " 400"]]:
    """For every column the range (first, last + 1) of movers, sorted by their left ends, with all that can come into sight
    from there; (0, 0) where none can.
    """
    if not movers:
        return np.zeros(COLUMNS, int), np.zeros(COLUMNS, int)
    left, right = np.array([mover.columns for mover in movers]).T
    c = np.arange(COLUMNS)[:, None]
    seen = (right >= c - SIGHT[0]) & (left <= c + SIGHT[1])
    last = len(movers) - np.argmax(seen[:, ::-1], axis=1)
    return np.where(seen.any(1), np.argmax(seen, axis=1), 0), np.where(seen.any(1), last, 0)


def parse(text: str, name: str = "the level") -> Level:
    """A level from its text.

    Args:
      text: header, `---` and rows of tiles, see this file's head; shorter rows are filled up with air.
      name: what errors call it, such as the file's name.

    Raises:
      UsageError: in one sentence, with line and column where there is one.
    """
    lines = text.removeprefix("\ufeff").expandtabs(1).splitlines()  # some editors begin a file with a mark
    bars = [i for i, line in enumerate(lines) if line.strip() == "---"]
    if not bars:
        raise UsageError(
            f"{name}, line 1, column 1: there is no line '---' between the header and the tiles."
        )
    header = _header(lines[: bars[0]], name)
    rows = lines[bars[0] + 1 :]
    while rows and not rows[-1].strip():
        rows.pop()
    place = _Place(name, bars[0] + 2)
    grid = _grid(rows, place)
    start, goal = _the_one(grid, "S", "start", place), _the_one(grid, "G", "goal", place)
    if goal[1] <= start[1]:
        raise place.error(*goal, "the goal 'G' lies to the right of the start 'S'.")
    for r, c, gate in _find(grid, "PQR"):
        if gate.lower() not in grid:
            raise place.error(r, c, f"a gate '{gate}' needs a switch '{gate.lower()}' somewhere.")
    enemies = sorted(_enemy(grid, r, c, kind, place) for r, c, kind in _find(grid, "ef"))
    platforms = sorted(_platform(r, c, kind) for r, c, kind in _find(grid, "mw"))
    _check_counts(grid, enemies, platforms, place)
    return Level(
        zone=header["zone"],
        act=int(header["act"]),
        par=float(header["par"]),
        title=header.get("title", ""),
        tiles=_LOOKUP[grid.view(np.uint32)],
        rows=len(rows),
        columns=max(len(row) for row in rows),
        start=start,
        goal=goal[1],
        enemies=tuple(enemies),
        platforms=tuple(platforms),
    )
