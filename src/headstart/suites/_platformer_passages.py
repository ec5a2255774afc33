"""Passages: stretches of a level that can be run through by one who looks ahead.

Each draws from the cursor on and leaves it behind what it drew. `Piece` says how much room it needs.
"""

from collections.abc import Callable
from typing import NamedTuple

from headstart.suites._platformer_canvas import ROWS, Canvas, Reach


class Piece(NamedTuple):
    """A stretch of level: `draw(canvas)`, its greatest width, and the rows it needs above and below the cursor's ground."""

    draw: Callable[[Canvas], None]
    width: int
    above: int
    below: int
    over_jump: int = 0
    """rows it needs above in any case, counted from the height of a jump"""

    def room_above(self, reach: Reach) -> int:
        return max(self.above, reach.jump + self.over_jump)


def _hills(c: Canvas) -> None:
    """Rolling ground with rings over the crests."""
    for _ in range(c.pick(2, 4)):
        c.flat(c.pick(2, 5))
        up = c.chance(0.5) if 13 < c.y < 25 else c.y > 18
        (c.rise if up else c.fall)(c.pick(1, 4))
        if c.chance(0.4):
            crest = c.flat(c.pick(5, 7))
            c.rings(crest, c.y - 2, 3)
    c.flat(3)


def _dip(c: Canvas) -> None:
    """A valley with an enemy at its bottom and a ledge across it."""
    deep = c.pick(2, 4)
    mouth = c.flat(3)
    c.fall(deep)
    bottom = c.flat(c.pick(8, 12))
    c.put(bottom + 4, c.y - 1, "e")
    end = c.x
    c.rise(deep)
    c.flat(3)
    if c.chance(0.6) and end - bottom >= 8:
        c.row(bottom + 1, c.y - 4, 5, "=")
        c.rings(bottom + 1, c.y - 6, 3)
    c.rings(mouth, c.y - 2, 2)


def _gap(c: Canvas) -> None:
    """A pit to leap."""
    c.flat(c.pick(5, 8))
    wide = min(c.graded(3, c.reach.leap), c.reach.leap)
    if c.chance(0.5):
        c.arc(c.x - 1, c.y, wide + 2)
    c.gap(wide)
    c.y += c.pick(-1, 2)
    c.flat(c.pick(5, 7))


def _thorn_pit(c: Canvas) -> None:
    """A ditch floored with spikes, and sometimes a pillar to step on."""
    c.flat(c.pick(5, 7))
    wide = min(c.graded(4, 9), c.reach.leap + 2)
    ditch, ground = c.x, c.y
    c.y += 3
    c.flat(wide)
    c.row(ditch, c.y - 1, wide, "^")
    if wide > 6:
        c.box(ditch + wide // 2 - 1, ground, ditch + wide // 2 + 1, ROWS)
    else:
        c.arc(ditch - 1, ground, wide + 2)
    c.y = ground
    c.flat(c.pick(4, 6))


def _thorns(c: Canvas) -> None:
    """Level ground with tufts of spikes."""
    c.flat(5)
    for _ in range(c.graded(1, 3)):
        tuft = c.flat(c.graded(1, 3))
        c.row(tuft, c.y - 1, c.x - tuft, "^")
        clear = c.flat(c.pick(7, 9))
        if c.chance(0.5):
            c.rings(clear + 2, c.y - 2, 2)


def _stones(c: Canvas) -> None:
    """Pillars in a wide pit."""
    c.flat(5)
    high = c.y
    for _ in range(c.graded(1, 4)):
        c.gap(min(c.graded(3, 5), c.reach.leap - 2))
        c.y = min(max(high + c.pick(-2, 2), c.y - c.reach.step + 1), 27)
        stone = c.flat(c.graded(5, 3))
        if c.chance(0.5):
            c.put(stone + 1, c.y - 3, "o")
    c.gap(3)
    c.y = high
    c.flat(5)


def _bridge(c: Canvas) -> None:
    """Planks over a pit, which give way behind a runner and under a dawdler."""
    c.flat(4)
    wide = min(c.graded(5, 10), c.left("b"))
    if wide >= 4:
        c.row(c.gap(wide), c.y, wide, "b")
        c.rings(c.x - wide + 1, c.y - 2, wide // 2)
    c.flat(5)


def _ferry(c: Canvas) -> None:
    """Platforms moving to and fro over a wide pit."""
    c.flat(5)
    for _ in range(1 + int(c.chance(c.hard) and c.left("m") > 1)):
        if c.left("m"):
            pit = c.gap(12)
            c.put(pit + 6, c.y, "m")
            if c.chance(0.5):
                c.rings(pit + 4, c.y - 3, 3)
            c.flat(4)
    c.flat(2)


def _gauntlet(c: Canvas) -> None:
    """Enemies on open ground."""
    start = c.flat(c.pick(14, 20))
    for i in range(c.graded(1, 3)):
        c.put(start + 6 + 5 * i, c.y - 1, "e")
    if c.chance(0.6):
        c.put(start + 8, c.y - 5, "f")
    c.rings(start + 1, c.y - 2, 2)


def _canopy(c: Canvas) -> None:
    """Ledges in two heights over the ground; the upper way is quicker and holds the rings."""
    high = min(c.reach.step, 4)
    start = c.flat(4)
    c.row(start + 1, c.y - 3, 3, "=")
    x, top = c.x, c.y
    for i in range(c.pick(2, 4)):
        n = c.pick(4, 6)
        c.row(x, top - high - 2 - (i % 2), n, "=")
        c.rings(x, top - high - 4 - (i % 2), n // 2)
        x += n + c.pick(2, 4)
    while c.x < x:
        n = c.pick(5, 7)
        if c.y == top and c.chance(0.35 + 0.3 * c.hard):
            c.gap(c.graded(2, 4))
        elif c.chance(0.5):
            spot = c.flat(n)
            c.put(spot + 3, c.y - 1, "e" if c.chance(0.6) else "^")
        elif c.y == top and c.y < 26:
            c.fall(2)
        else:
            c.flat(n)
    c.flat(3)


def _terraces(c: Canvas) -> None:
    """Great steps, up or down."""
    for _ in range(c.pick(3, 5)):
        up = c.y > 21 or (c.y > 14 and c.chance(0.5))
        c.y += -c.pick(2, min(c.reach.step, 4)) if up else c.pick(2, 4)
        tread = c.flat(c.pick(4, 7))
        if c.chance(0.3):
            c.put(tread + 2, c.y - 2, "o")
    c.flat(3)


def _tunnel(c: Canvas) -> None:
    """A low passage with something flying in it; the roof carries a second way with rings."""
    c.flat(6)
    length = c.pick(12, 18)
    start = c.flat(length)
    c.box(start, c.y - 7, c.x, c.y - 5)
    c.put(start + length // 2, c.y - 3, "f")
    if c.chance(0.5):
        c.put(start + length - 4, c.y - 1, "e")
    c.row(start - 4, c.y - 4, 3, "=")
    c.rings(start + 2, c.y - 9, length // 3)
    c.flat(4)


def _boost(c: Canvas) -> None:
    """A spring that throws forward, up a long slope."""
    start = c.flat(8)
    c.put(start + 5, c.y - 1, "}")
    c.rings(start + 7, c.y - 2, 3)
    c.flat(4)
    c.rise(min(5, c.y - 11))
    c.flat(c.pick(6, 9))
    c.fall(4)
    c.flat(5)


def _fork(c: Canvas) -> None:
    """Three ways: ledges above, a roof with holes, a tunnel below with enemies; they meet again at the end."""
    c.flat(4)
    start, roof = c.x, c.y
    floor = roof + 8
    length = 8 * c.pick(3, 5)
    c.y = floor
    c.flat(length + 4)
    c.box(start, roof, start + length, roof + 3)
    c.box(start, roof, start + 2, floor)
    hole = start + c.pick(6, 10)
    while hole < start + length - 5:
        wide = c.graded(2, 4)
        c.box(hole, roof, hole + wide, roof + 3, ".")
        if c.chance(0.5):
            c.row(hole, roof, wide, "=" if c.chance(0.5) or c.left("b") < wide else "b")
        hole += wide + c.pick(7, 10)
    for at in range(start + 8, start + length - 4, 9):
        c.put(at, floor - 1, "e" if c.chance(0.6) else "^")
        c.rings(at + 2, floor - 2, 2)
    _upper_way(c, start + 3, start + length, roof)
    for up in (4, 8):
        c.y = floor - up
        c.flat(3)
    c.y = roof
    c.flat(4)


def _upper_way(c: Canvas, start: int, end: int, roof: int) -> None:
    """Ledges high over the roof of a fork, up to which a small one leads."""
    c.row(start, roof - 4, 3, "=")
    x, level = start + 5, roof - 7
    while x < end - 4:
        n = c.pick(4, 8)
        c.row(x, level, n, "=")
        c.rings(x + 1, level - 2, n // 2)
        if c.chance(0.25):
            c.put(x + n // 2, level - 3, "f")
        x += n + c.pick(3, 5)


def _islands(c: Canvas) -> None:
    """Ledges in the air over a pit, with a second row above."""
    c.flat(5)
    base = c.y
    end = c.x + c.pick(18, 26)
    x, level = c.x + 2, base - 1
    while x < end - 3:
        n = c.graded(5, 3)
        c.row(x, level, n, "=")
        if c.chance(0.6):
            c.rings(x, level - 2, 2)
        if c.chance(0.4):
            c.row(x + n - 1, level - 4, 4, "=")
            c.put(x + n, level - 5, "o")
        x += n + c.pick(2, 4)
        level = min(max(level + c.pick(-2, 2), base - 4), base + 2)
    c.gap(x - c.x)
    c.y = base
    c.flat(5)


PASSAGES: dict[str, Piece] = {
    "hills": Piece(_hills, 60, 8, 1),
    "dip": Piece(_dip, 36, 7, 4),
    "gap": Piece(_gap, 26, 6, 2),
    "thorn pit": Piece(_thorn_pit, 24, 6, 4),
    "thorns": Piece(_thorns, 44, 5, 1),
    "stones": Piece(_stones, 48, 7, 2),
    "bridge": Piece(_bridge, 22, 5, 1),
    "ferry": Piece(_ferry, 42, 6, 1),
    "gauntlet": Piece(_gauntlet, 20, 7, 1),
    "canopy": Piece(_canopy, 62, 12, 3),
    "terraces": Piece(_terraces, 42, 8, 1),
    "tunnel": Piece(_tunnel, 30, 12, 1),
    "boost": Piece(_boost, 52, 11, 1),
    "fork": Piece(_fork, 62, 12, 9),
    "islands": Piece(_islands, 42, 9, 2),
}
