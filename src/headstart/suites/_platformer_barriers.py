"""Barriers: places where holding right leads nowhere. One has to turn back, climb, roll, wait or take a run-up.

Each draws from the cursor on and leaves it behind what it drew, as passages do.
"""

from headstart.suites._platformer_canvas import Canvas
from headstart.suites._platformer_passages import Piece


def _well(c: Canvas) -> None:
    """A drop before a wall; the spring that clears it lies at the foot of the drop, behind whoever ran over the edge."""
    c.flat(6)
    edge = c.y
    deep = max(min(c.pick(4, 6), c.reach.spring - c.reach.jump - 2), 2)
    c.y = edge + deep
    well = c.flat(c.pick(8, 9))
    c.put(well, c.y - 1, "Y")
    c.rings(well + 4, c.y - 2, 2)
    c.y = edge - c.reach.jump - 1
    c.flat(6)


def _gatehouse(c: Canvas, top: int) -> None:
    """A wall up to row `top` with a gate at its foot; the level's next colour."""
    colour = c.colours[0].upper()
    wall = c.flat(3)
    c.box(wall, top, wall + 3, c.y - 3)
    c.box(wall + 1, c.y - 3, wall + 2, c.y, colour)
    c.colours = c.colours[1:]
    c.flat(4)


def _high_switch(c: Canvas) -> None:
    """A gate whose switch lies on the second of two ledges, which lead back to the left."""
    hall = c.flat(c.pick(18, 22))
    c.row(hall + 9, c.y - 4, 4, "=")
    c.row(hall + 1, c.y - 8, 5, "=")
    c.put(hall + 1, c.y - 9, c.colours[0])
    c.put(hall + 3, c.y - 9, "o")
    if c.chance(0.3 + 0.5 * c.hard):
        c.put(hall + 12, c.y - 1, "e")
    _gatehouse(c, max(c.y - 11 - c.reach.jump, 0))


def _low_switch(c: Canvas) -> None:
    """A gate whose switch lies in a pocket under the ground, left of a hole one runs past."""
    c.flat(10)
    hole, ground = c.x, c.y
    c.y = ground + 4
    c.flat(5)
    c.box(hole - 6, ground + 2, hole, ground + 4, ".")
    c.put(hole - 6, ground + 3, c.colours[0])
    c.put(hole - 4, ground + 3, "o")
    c.y = ground
    start = c.flat(c.pick(8, 12))
    if c.chance(0.3 + 0.5 * c.hard):
        c.put(start + 4, c.y - 1, "e")
    _gatehouse(c, max(c.y - c.reach.wall - 1, 0))


def _breaker(c: Canvas) -> None:
    """A block with a plugged tunnel at its foot, which a roller smashes through."""
    runway = c.flat(c.pick(13, 16))
    c.rings(runway + 3, c.y - 1, 3)
    thick = c.pick(6, 10)
    block = c.flat(thick)
    c.box(block, c.y - c.reach.wall - 1, block + thick, c.y - 2)
    for plug in (block + 1, block + 2, block + thick - 2)[: 2 + int(c.chance(c.hard))]:
        c.box(plug, c.y - 2, plug + 1, c.y, "%")
    c.flat(4)


def _switchback(c: Canvas) -> None:
    """A roof that ends in a wall: the way leads over the roof, whose only ladder is at its left end."""
    start = c.flat(7)
    length = c.pick(10, 15)
    c.row(start, c.y - 4, 4, "=")
    roof = c.flat(length)
    c.box(roof, c.y - 8, c.x, c.y - 6)
    c.put(roof + length // 2, c.y - 1, "e")
    c.rings(roof + 2, c.y - 10, length // 3)
    c.rings(roof + length - 4, c.y - 2, 2)
    ground = c.y
    c.y -= 8 + min(c.reach.step, 3)
    c.flat(3)
    if c.chance(0.5):
        c.y = ground
    c.flat(4)


def _zigzag(c: Canvas) -> None:
    """A cliff with ledges on alternating sides: the second lies further back than the first."""
    start = c.flat(16)
    c.row(c.x - 4, c.y - 4, 4, "=")
    c.row(c.x - 11, c.y - 8, 5, "=")
    c.rings(c.x - 10, c.y - 10, 2)
    if c.chance(c.hard):
        c.row(start + 6, c.y - 1, 2, "^")
    c.y -= max(11, c.reach.wall)
    c.flat(6)


def _half_pipe(c: Canvas) -> None:
    """Down steeply and up more steeply: only the speed from above carries over the far rim."""
    c.flat(6)
    deep = c.pick(5, 7)
    for _ in range(deep):
        c.steep(up=False)
    bottom = c.flat(3)
    c.rings(bottom, c.y - 1, 2)
    for _ in range(deep + 2):
        c.steep(up=True)
    c.y -= 2
    c.flat(6)


def _lift(c: Canvas) -> None:
    """A wall with a platform going up and down before it."""
    c.flat(8)
    shaft = c.flat(3)
    if c.chance(0.2 + 0.6 * c.hard):
        c.row(shaft, c.y - 1, 3, "^")
    c.put(shaft + 1, c.y - 6, "w")
    c.y -= 9 if c.reach.jump < 8 else c.reach.jump + 2
    c.flat(5)


def _basement(c: Canvas) -> None:
    """A wall too high to clear: the way leads down a hole before it, underneath, and up by a ledge behind."""
    c.flat(7)
    ground, hole = c.y, c.x
    c.y = ground + 7
    length = c.pick(14, 20)
    c.flat(6 + length + 8)
    c.box(hole + 6, ground, hole + 6 + length, ground + 3)
    c.box(hole + 6, ground - c.reach.wall - 1, hole + 9, ground)
    for at in range(hole + 12, hole + length, 7):
        c.put(at, c.y - 1, "e" if c.chance(0.5) else "^")
    c.rings(hole + 8, c.y - 2, 2)
    c.row(c.x - 3, c.y - 4, 3, "=")
    c.y = ground
    c.flat(5)


def _chimney(c: Canvas) -> None:
    """A shaft with ledges on alternating sides, entered by a door at its foot and left at its top."""
    c.flat(6)
    ground = c.y
    top = ground - 14
    c.box(c.x, top - 2, c.x + 2, ground - 3)
    c.flat(2)
    shaft = c.flat(9)
    c.row(shaft + 5, ground - 4, 4, "=")
    c.row(shaft, ground - 8, 4, "=")
    c.row(shaft + 5, ground - 11, 4, "=")
    c.put(shaft + 1, ground - 9, "o")
    c.put(shaft + 4, ground - 6, "f" if c.chance(c.hard) else "o")
    c.y = top
    c.flat(6)


def _island_switch(c: Canvas) -> None:
    """A switch on an island behind: one has to leap back over a pit for it."""
    c.flat(3)
    island = c.flat(4)
    c.row(island + 4, c.y - 4, 3, "=")
    c.row(island, c.y - 7, 3, "=")
    c.put(island, c.y - 8, c.colours[0])
    c.flat(3)
    c.gap(min(5, c.reach.leap - 2))
    c.flat(10)
    _gatehouse(c, max(c.y - 10 - c.reach.jump, 0))


BARRIERS: dict[str, Piece] = {
    "well": Piece(_well, 22, 8, 7, over_jump=8),
    "high switch": Piece(_high_switch, 30, 14, 1),
    "low switch": Piece(_low_switch, 36, 8, 5, over_jump=6),
    "island switch": Piece(_island_switch, 34, 14, 1),
    "breaker": Piece(_breaker, 32, 8, 1, over_jump=6),
    "switchback": Piece(_switchback, 30, 15, 1),
    "zigzag": Piece(_zigzag, 23, 15, 1, over_jump=7),
    "half-pipe": Piece(_half_pipe, 34, 10, 7),
    "lift": Piece(_lift, 17, 13, 1, over_jump=6),
    "basement": Piece(_basement, 48, 8, 8, over_jump=6),
    "chimney": Piece(_chimney, 24, 19, 1),
}
SWITCHES = ("high switch", "low switch", "island switch")
