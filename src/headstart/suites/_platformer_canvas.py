"""The canvas a platformer level is drawn on from left to right, and how far a player gets in a zone's physics.

Rows count from the top (0 to 31), columns from the left. The cursor is the next free column `x` and the row `y` of the
ground there: everything from row y down is solid.
"""

from dataclasses import dataclass

import numpy as np

ROWS, COLUMNS = 32, 400
HIGHEST, LOWEST = 10, 28
"""rows between which the ground may lie"""

_LIMITS = {"o": 100, "e": 16, "f": 10, "m": 8, "w": 6, "b": 30, "%": 20}


@dataclass(frozen=True)
class Reach:
    """How far a player gets, in whole tiles, on the safe side."""

    jump: int = 6
    """height of a standing jump"""
    spring: int = 14
    """height a spring throws"""
    leap: int = 8
    """length of a jump over level ground after a short run"""

    @property
    def step(self) -> int:
        """A step that is jumped onto without thought."""
        return max(self.jump - 2, 2)

    @property
    def wall(self) -> int:
        """A wall that no jump clears, not even one from a slope."""
        return self.jump + 3


class Canvas:
    """Tiles `[32, 400]` under the brush, a cursor, and the dice."""

    def __init__(
        self, dice: np.random.Generator, reach: Reach, stairs: bool, gentle: float, hard: float
    ) -> None:
        self.tiles = np.full((ROWS, COLUMNS), ".", "<U1")
        self.dice, self.reach, self.stairs, self.gentle, self.hard = dice, reach, stairs, gentle, hard
        self.x, self.y = 0, 20
        self.colours = list("pqr")
        self.count: dict[str, int] = {}

    # dice

    def pick(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.dice.integers(low, high + 1))

    def chance(self, p: float) -> bool:
        return bool(self.dice.random() < p)

    def graded(self, easy: int, hard: int) -> int:
        """A number between what suits an easy level and what suits a hard one, give or take."""
        middle = easy + (hard - easy) * self.hard
        return max(round(middle + self.dice.uniform(-1.0, 1.0)), min(easy, hard))

    # single tiles

    def left(self, kind: str) -> int:
        """How many more objects of this kind the level may hold."""
        return _LIMITS[kind] - self.count.get(kind, 0)

    def put(self, x: int, y: int, kind: str) -> None:
        """Place a tile, unless it lies outside, has no footing or the level holds enough of its kind."""
        if not (0 <= x < COLUMNS and 0 <= y < ROWS - 1):
            return
        if kind == "e" and (self.tiles[y + 1, x] not in "#=" or self.tiles[y, x] != "."):
            return
        if kind in _LIMITS:
            if self.left(kind) <= 0:
                return
            self.count[kind] = self.count.get(kind, 0) + 1
        self.tiles[y, x] = kind

    def box(self, x0: int, y0: int, x1: int, y1: int, kind: str = "#") -> None:
        """Fill columns x0 to x1 - 1 and rows y0 to y1 - 1."""
        self.tiles[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = kind

    def free(self, x0: int, y0: int, x1: int, y1: int) -> bool:
        """Whether columns x0 to x1 - 1 hold nothing but air and rings in rows y0 to y1 - 1."""
        return bool(np.isin(self.tiles[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)], [".", "o"]).all())

    def top(self, x: int) -> int:
        """The highest row of column x that is neither air nor a ring; 32 if there is none."""
        busy = ~np.isin(self.tiles[:, x], [".", "o"])
        return int(np.argmax(busy)) if busy.any() else ROWS

    def row(self, x: int, y: int, n: int, kind: str) -> None:
        for i in range(n):
            self.put(x + i, y, kind)

    def rings(self, x: int, y: int, n: int) -> None:
        """A row of rings with air between them, wherever nothing else is."""
        for i in range(n):
            at = x + 2 * i
            if y >= 0 and at < COLUMNS and self.tiles[y, at] == ".":
                self.put(at, y, "o")

    def arc(self, x: int, y: int, width: int) -> None:
        """Rings along a jump over `width` columns that starts on ground row y."""
        for i in range(1, width, 2):
            share = i / width
            at, height = x + i, y - 2 - round(3 * 4 * share * (1 - share))
            if at < COLUMNS and height >= 0 and self.tiles[height, at] == ".":
                self.put(at, height, "o")

    # terrain at the cursor

    def flat(self, n: int) -> int:
        """`n` columns of level ground; returns the first of them."""
        start = self.x
        self.box(start, self.y, start + n, ROWS)
        self.x += n
        return start

    def gap(self, n: int) -> int:
        """`n` columns of nothing, down to the pit; returns the first of them."""
        self.x += n
        return self.x - n

    def paste(self, art: str) -> None:
        """A piece drawn by hand: rows of equal length, whose first and last columns' ground join what is around.

        Columns whose last row is ground go on down to the bottom. The piece's switch and gate take the next colour.
        """
        grid = np.array([list(row) for row in art.splitlines()])
        entry, leave = (int(np.argmax(grid[:, side] == "#")) for side in (0, -1))
        self.level_to(entry, ROWS - (len(grid) - entry))
        for old in np.intersect1d(np.unique(grid), list("pqr")):
            colour, self.colours = self.colours[0], self.colours[1:]
            grid = np.where(grid == old, colour, np.where(grid == old.upper(), colour.upper(), grid))
        top, width = self.y - entry, grid.shape[1]
        self.tiles[top : top + len(grid), self.x : self.x + width] = grid
        self.tiles[top + len(grid) :, self.x : self.x + width] = np.where(grid[-1] == "#", "#", ".")
        for kind in _LIMITS:
            self.count[kind] = self.count.get(kind, 0) + int((grid == kind).sum())
        self.x, self.y = self.x + width, top + leave

    def rise(self, n: int) -> None:
        """Go up `n` rows by slopes, or by steps where the zone is built of blocks."""
        while n > 0:
            if self.stairs:
                high = min(n, self.pick(1, 3))
                self.y -= high
                self.flat(self.pick(2, 4))
                n -= high
                continue
            if self.chance(self.gentle):
                self._slope("12", up=True)
                n -= 1
                continue
            for _ in range(min(n, 4)):
                self._slope("/", up=True)
            n -= min(n, 4)
            if n > 0:
                self.flat(self.pick(2, 4))

    def fall(self, n: int) -> None:
        """Go down `n` rows by slopes or steps."""
        while n > 0:
            if self.stairs:
                deep = min(n, self.pick(1, 4))
                self.y += deep
                self.flat(self.pick(2, 4))
                n -= deep
                continue
            if self.chance(self.gentle):
                self._slope("34", up=False)
                n -= 1
                continue
            for _ in range(min(n, 6)):
                self._slope("\\", up=False)
            n -= min(n, 6)

    def steep(self, up: bool) -> None:
        """One column of 45 degrees, in whatever style the zone is built."""
        self._slope("/" if up else "\\", up)

    def _slope(self, kinds: str, up: bool) -> None:
        """One row up or down over as many columns as there are kinds."""
        row = self.y - 1 if up else self.y
        for kind in kinds:
            self.box(self.x, row + 1, self.x + 1, ROWS)
            self.tiles[row, self.x] = kind
            self.x += 1
        self.y = row if up else row + 1

    def level_to(self, low: int, high: int) -> None:
        """Bring the ground between rows `low` (the higher one) and `high`."""
        if self.y < low:
            self.fall(low - self.y)
        elif self.y > high:
            self.rise(self.y - high)
