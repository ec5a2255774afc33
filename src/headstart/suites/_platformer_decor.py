"""What stands about in the platformer's levels: plants, stones, machines; painted by a few rules, four variants of each."""

from collections.abc import Callable
from functools import cache

import numpy as np

from headstart.suites._platformer_pixels import Cutout, Ramp, blob, colour, edge, paste, ramp


class _Sheet:
    """A canvas to put a thing together on; y grows downwards."""

    def __init__(self, height: int, width: int) -> None:
        self.rgb = np.zeros((height, width, 3), np.uint8)
        self.solid = np.zeros((height, width), bool)
        self.y, self.x = np.mgrid[:height, :width]

    def put(self, what: Cutout, x: int = 0, y: int = 0) -> None:
        paste(self.rgb, what, x, y, self.solid)

    def fill(self, where: np.ndarray, tint: np.ndarray) -> None:
        self.rgb[where] = tint
        self.solid |= where

    def box(self, x: int, y: int, w: int, h: int, shades: Ramp) -> None:
        """An upright thing, light on its left and dark on its right, with a dark rim."""
        inside = (self.x >= x) & (self.x < x + w) & (self.y >= y) & (self.y < y + h)
        share = (self.x - x) / max(w - 1, 1)
        index = np.where(share < 0.3, 4, np.where(share < 0.65, 3, 2))
        index = np.where(edge(inside), 0, index)
        self.rgb[inside] = shades[index[inside]]
        self.solid |= inside

    def done(self) -> Cutout:
        return Cutout(self.rgb, self.solid)


def _tree(name: str, dice: np.random.Generator) -> Cutout:
    tall = int(dice.integers(44, 64))
    s, leaves, wood = _Sheet(tall, 46), ramp(name), ramp("8a5a3c")
    bend = dice.uniform(-2.0, 2.0)
    for y in range(tall - 30, tall):
        lean = bend * ((tall - y) / 30.0) ** 2
        flare = 2 if y >= tall - 3 else 0
        s.box(round(20 + lean) - flare, y, 6 + 2 * flare, 1, wood[[1, 1, 2, 3, 4, 5]])
        for x, shade in ((-1, 1), (0, 4), (1, 3), (2, 3), (3, 2), (4, 1)):
            s.rgb[y, round(20 + lean) + x - flare * (x < 0) + flare * (x > 3)] = wood[shade]
    discs = [(23 + bend + dice.uniform(-12, 12), dice.uniform(15, 27), dice.uniform(7, 10)) for _ in range(6)]
    discs = [*sorted(discs, key=lambda d: -d[1]), (22 + bend, 13.0, 11.0), (16 + bend, 18.0, 7.0)]
    s.put(blob((tall, 46), discs, leaves))
    for _ in range(16):
        x, y = dice.integers(6, 40), dice.integers(5, 30)
        if s.solid[y, x] and s.solid[y + 2, x]:
            s.rgb[y, x : x + 2] = leaves[5 if dice.random() < 0.5 else 2]
    return s.done()


def _pine(name: str, dice: np.random.Generator) -> Cutout:
    tall = int(dice.integers(40, 60))
    s, leaves = _Sheet(tall, 32), ramp(name)
    s.box(14, tall - 8, 4, 8, ramp("6f4a38"))
    tiers = 4
    for k in range(tiers):
        top, bottom = k * (tall - 14) // tiers, (k + 1) * (tall - 14) // tiers + 8
        wide = 5.0 + 9.0 * (k + 1) / tiers
        share = (s.y - top) / (bottom - top)
        inside = (share >= 0) & (share < 1) & (abs(s.x + 0.5 - 16) < share * wide + (s.x * 3 + s.y) % 3 * 0.4)
        off = (s.x + 0.5 - 16) / wide
        index = np.where(off < -0.1, 4, np.where(off < 0.3, 3, 2)) - (share < 0.25) * (k > 0)
        index = np.where(edge(inside), 0, np.clip(index, 1, 5))
        s.fill(inside, leaves[index[inside]])
        white = inside & (off < 0.2) & (share > 0.18) & (share < 0.42) & ~edge(inside)
        if name < "5":
            s.fill(white, colour("eef6ff"))
    return s.done()


def _bush(name: str, dice: np.random.Generator) -> Cutout:
    discs = [(dice.uniform(7, 21), dice.uniform(9, 14), dice.uniform(5, 7)) for _ in range(4)]
    s = _Sheet(16, 28)
    s.put(blob((16, 28), [*discs, (14.0, 10.0, 8.0)], ramp(name)))
    for _ in range(5):
        y, x = dice.integers(4, 13), dice.integers(7, 21)
        s.rgb[y, x] = ramp(name)[5]
    return s.done()


def _flowers(name: str, dice: np.random.Generator) -> Cutout:
    s, stem = _Sheet(16, 18), ramp("4fa83f")
    for x in (4, 9, 14):
        tall = int(dice.integers(5, 11))
        s.fill((s.x == x) & (s.y >= 16 - tall), stem[3])
        s.fill((s.x == x + 1) & (s.y == 14), stem[4])
        shades = ramp(name if dice.random() < 0.65 else ("ffd75e", "ffffff", "b48fff")[int(dice.integers(3))])
        y = 16 - tall
        far = abs(s.x - x) + abs(s.y - y)
        s.fill(far <= 2, shades[1])
        s.fill((far <= 1) | ((abs(s.x - x) == 1) & (abs(s.y - y) == 1)), shades[4])
        s.fill(far == 0, colour("fff0a0"))
    return s.done()


def _blades(name: str, dice: np.random.Generator, tall: tuple[int, int], heads: bool) -> Cutout:
    """A tuft of blades that bend outwards."""
    s, shades = _Sheet(tall[1] + 2, 22), ramp(name)
    for k, x in enumerate(dice.permutation(np.arange(5, 18, 2))):
        n, bend = int(dice.integers(*tall)), (x - 11) * dice.uniform(0.3, 0.8)
        for i in range(n):
            px = round(x + bend * (i / n) ** 2)
            s.fill((s.y == tall[1] + 1 - i) & (s.x >= px) & (s.x <= px + (i < n // 2)), shades[2 + k % 3])
        if heads and n > 9:
            px = round(x + bend)
            s.fill((abs(s.x - px) <= 1) & (abs(s.y - (tall[1] + 1 - n)) <= 3), colour("7a4a30"))
            s.fill((s.x == px - 1) & (abs(s.y - (tall[1] + 1 - n)) <= 2), colour("a86a44"))
    return s.done()


def _mushroom(name: str, dice: np.random.Generator) -> Cutout:
    s, cap = _Sheet(24, 26), ramp(name)
    for x, size in ((9, 1.0), (18, 0.6))[: 1 + int(dice.random() < 0.6)]:
        tall = round(14 * size) + int(dice.integers(0, 3))
        s.box(x - round(2 * size), 24 - tall, round(5 * size), tall, ramp("e8dcc8"))
        r = 8.0 * size
        dome = blob((24, 26), [(float(x), 24.0 - tall + 1, r)], cap)
        s.put(Cutout(dome.rgb, dome.solid & (s.y < 24 - tall + 2)))
        s.fill((abs(s.x - x) < r - 1) & (s.y == 24 - tall + 2), cap[1])
        for dx, dy in ((-3, -3), (2, -4), (4, -1), (-5, 0)):
            s.fill(
                (abs(s.x - x - dx * size) < 1) & (abs(s.y - 24 + tall - dy * size) < 1) & s.solid,
                colour("fff4e0"),
            )
    return s.done()


def _rocks(name: str, dice: np.random.Generator) -> Cutout:
    discs = [(dice.uniform(6, 20), 14.0, dice.uniform(4, 6)), (12.0, 12.0, dice.uniform(6, 8))]
    s = blob((16, 26), discs, ramp(name))
    flat = s.rgb.copy()
    flat[1:, :-1] = np.where((s.solid[1:, :-1] & s.solid[:-1, 1:])[..., None], s.rgb[:-1, 1:], s.rgb[1:, :-1])
    return Cutout(flat, s.solid)


def _crystal(name: str, dice: np.random.Generator) -> Cutout:
    s, shades = _Sheet(30, 28), ramp(name)
    for x, tall, lean in (
        (8, 15, -0.35),
        (20, 13, 0.4),
        (14, int(dice.integers(20, 28)), dice.uniform(-0.1, 0.1)),
    ):
        v = 29 - s.y
        off = s.x - (x + lean * v)
        wide = np.minimum(3.4, (tall - v) * 0.75)
        inside = (abs(off) <= wide) & (v < tall)
        index = np.where(off < -1.2, 5, np.where(off < 1.0, 4, 2))
        index = np.where(edge(inside) & (off > -wide + 1), 1, index)
        s.fill(inside, shades[index[inside]])
    return s.done()


def _column(name: str, dice: np.random.Generator) -> Cutout:
    tall = int(dice.choice([22, 34, 46]))
    s, shades = _Sheet(tall, 22), ramp(name)
    s.box(5, 5, 12, tall - 9, shades)
    for x in (8, 11, 14):
        s.rgb[6 : tall - 5, x] = shades[2]
    s.box(2, tall - 5, 18, 5, shades)
    if dice.random() < 0.5:
        s.box(2, 0, 18, 6, shades)
    else:
        broken = s.y < 5 + 5 * np.abs(np.sin(s.x * 0.9 + tall))
        s.solid &= ~broken
    return s.done()


def _lamp(name: str, dice: np.random.Generator) -> Cutout:
    tall = int(dice.choice([34, 42]))
    s, iron, glow = _Sheet(tall, 18), ramp("5a5f78"), ramp(name)
    s.box(8, 10, 3, tall - 10, iron)
    s.box(5, tall - 4, 9, 4, iron)
    s.put(blob((tall, 18), [(9.0, 8.0, 6.0)], glow))
    s.fill((abs(s.x - 8) < 2) & (abs(s.y - 6) < 2), colour("ffffff"))
    s.box(5, 0, 8, 3, iron)
    s.box(6, 13, 7, 3, iron)
    return s.done()


def _pipes(name: str, dice: np.random.Generator) -> Cutout:
    s, shades = _Sheet(36, 28), ramp(name)
    tall = int(dice.integers(18, 34))
    s.box(3, 36 - tall, 9, tall, shades)
    s.box(1, 36 - tall, 13, 5, shades)
    s.box(15, 22, 8, 14, shades)
    s.box(13, 20, 12, 4, shades)
    s.box(10, 29, 8, 4, shades)
    return s.done()


def _gear(name: str, dice: np.random.Generator, half: bool = True) -> Cutout:
    r = int(dice.choice([10, 14]))
    s, shades = _Sheet(2 * r + 4 if not half else r + 4, 2 * r + 4), ramp(name)
    dx, dy = s.x + 0.5 - (r + 2), s.y + 0.5 - (r + 2)
    far, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    teeth = np.where(np.cos(angle * 10) > 0, r + 1.5, r - 1.5)
    inside = (far < teeth) & (far > 3.0)
    spokes = (far > r * 0.42) & (far < r * 0.72) & (np.cos(angle * 5) < 0.45)
    inside &= ~spokes
    index = np.where(dx + dy < -2, 4, np.where(dx + dy < 6, 3, 2))
    s.fill(inside, shades[np.where(edge(inside), 0, index)[inside]])
    return s.done()


def _barrel(name: str, dice: np.random.Generator) -> Cutout:
    s, shades = _Sheet(20, 16), ramp(name)
    del dice
    s.box(1, 0, 14, 20, shades)
    for y in (4, 14):
        s.rgb[y, 2:14], s.rgb[y + 1, 2:14] = shades[5], shades[1]
    return s.done()


def _cactus(name: str, dice: np.random.Generator) -> Cutout:
    tall = int(dice.integers(26, 38))
    s, shades = _Sheet(tall, 24), ramp(name)
    for x, top, bottom in ((9, 0, tall), (2, tall - 22, tall - 10), (17, tall - 26, tall - 13)):
        s.box(x, top, 6, bottom - top, shades)
        s.solid[top, [x, x + 5]] = False
        s.rgb[top + 2 : bottom - 1 : 3, x + 3] = shades[5]
    s.box(4, tall - 13, 6, 4, shades)
    s.box(14, tall - 16, 6, 4, shades)
    s.rgb[tall - 12 : tall - 10, 8:11] = s.rgb[tall - 15 : tall - 13, 13:16] = shades[3]
    return s.done()


def _lollipop(name: str, dice: np.random.Generator) -> Cutout:
    tall = int(dice.integers(36, 52))
    s, shades = _Sheet(tall, 26), ramp(name)
    s.box(11, 16, 4, tall - 16, ramp("f8f0f4"))
    dx, dy = s.x + 0.5 - 13, s.y + 0.5 - 12
    far, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    inside = far < 11.5
    swirl = (angle / np.pi * 2 + far / 4.0) % 2 < 1
    tint = np.where(swirl[..., None], shades[4], colour("fff6fa"))
    tint = np.where((edge(inside))[..., None], shades[1], tint)
    tint = np.where(((np.hypot(dx + 4, dy + 5) < 2.2) & inside)[..., None], colour("ffffff"), tint)
    s.fill(inside, tint[inside].astype(np.uint8))
    return s.done()


def _snowman(name: str, dice: np.random.Generator) -> Cutout:
    s = _Sheet(30, 24)
    del dice
    s.put(blob((30, 24), [(12.0, 22.0, 8.5), (12.0, 9.5, 6.5)], ramp(name)[[1, 2, 3, 4, 4, 5]]))
    s.fill(((s.x == 11) | (s.x == 15)) & (s.y >= 8) & (s.y < 10), colour("1b1b33"))
    s.fill((s.x >= 13) & (s.x < 18) & (s.y == 11), colour("ff9d3f"))
    s.fill((abs(s.x - 12) < 6) & (abs(s.y - 15) < 2), colour("e8483f"))
    s.fill((s.x > 15) & (s.x < 18) & (s.y > 14) & (s.y < 21), colour("c0303a"))
    return s.done()


def _kelp(name: str, dice: np.random.Generator) -> Cutout:
    tall = int(dice.integers(30, 56))
    s, shades = _Sheet(tall, 22), ramp(name)
    for x, n, k in ((6, tall * 2 // 3, 2), (15, tall * 3 // 4, 3), (11, tall, 4)):
        v = tall - s.y
        at = x + 2.2 * np.sin(v / 5.0 + x)
        s.fill((abs(s.x - at) < 1.6) & (v <= n), shades[k])
        leaf = (abs(s.x - at - np.where(v % 12 < 6, 3, -3)) < 2.2 - abs(v % 6 - 3) * 0.5) & (v <= n - 4)
        s.fill(leaf, shades[k + 1 if k < 4 else 5])
    return s.done()


def _coral(name: str, dice: np.random.Generator) -> Cutout:
    s, shades = _Sheet(24, 26), ramp(name)
    for k in range(5):
        lean, n = (k - 2) * 0.42 + dice.uniform(-0.1, 0.1), int(dice.integers(13, 22))
        v = 24 - s.y
        on = (abs(s.x - 13 - lean * v) < 1.8) & (v <= n)
        s.fill(on, shades[2 + k % 3])
        s.fill((np.hypot(s.x - 13 - lean * n, v - n) < 2.4), shades[4])
    return s.done()


def _antenna(name: str, dice: np.random.Generator) -> Cutout:
    s, shades = _Sheet(40, 28), ramp(name)
    del dice
    s.box(12, 16, 4, 24, shades)
    s.box(8, 36, 12, 4, shades)
    far = np.hypot(s.x - 17, s.y - 8)
    dish = (far < 11) & (s.x - s.y < 10)
    s.fill(dish, shades[np.where(edge(dish), 1, np.where(far < 6, 3, 4))[dish]])
    s.fill(abs(s.x - s.y - 11) + abs(s.x + s.y - 28) < 3, colour("ff5f5f"))
    return s.done()


def _coil(name: str, dice: np.random.Generator) -> Cutout:
    s, shades, iron = _Sheet(36, 20), ramp(name), ramp("5f6880")
    del dice
    s.box(8, 10, 4, 24, iron)
    for y in (12, 18, 24):
        s.box(4, y, 12, 4, shades)
    s.put(blob((36, 20), [(10.0, 7.0, 6.0)], shades))
    s.box(4, 31, 12, 5, iron)
    return s.done()


def _sign(name: str, dice: np.random.Generator) -> Cutout:
    s, glow, iron = _Sheet(44, 28), ramp(name), ramp("3a3658")
    s.box(12, 20, 4, 24, iron)
    s.box(1, 2, 26, 20, iron)
    shape = int(dice.integers(3))
    dx, dy = s.x - 13.5, s.y - 11.5
    far = (np.hypot(dx, dy), abs(dx) + abs(dy), np.maximum(abs(dx) * 0.7, abs(dy) * 1.2))[shape]
    s.fill((far > 4.5) & (far < 7.2), glow[4])
    s.fill(far < 2.0, glow[5])
    return s.done()


def _mast(name: str, dice: np.random.Generator) -> Cutout:
    s, wood = _Sheet(60, 36), ramp(name)
    s.box(16, 2, 4, 58, wood)
    s.box(4, 12, 28, 3, wood)
    rag = (s.y > 14) & (s.y < 40 - 5 * np.abs(np.sin(s.x * 0.6 + dice.uniform(0, 3)))) & (abs(s.x - 18) < 12)
    cloth = ramp("b8b09a")
    s.fill(rag, cloth[np.where(edge(rag), 1, np.where(s.x % 7 < 3, 3, 4))[rag]])
    return s.done()


_KINDS: dict[str, Callable[[str, np.random.Generator], Cutout]] = {
    "antenna": _antenna,
    "barrel": _barrel,
    "bush": _bush,
    "cactus": _cactus,
    "coil": _coil,
    "column": _column,
    "coral": _coral,
    "crystal": _crystal,
    "fern": lambda name, dice: _blades(name, dice, (6, 13), False),
    "flowers": _flowers,
    "gear": _gear,
    "kelp": _kelp,
    "lamp": _lamp,
    "lollipop": _lollipop,
    "mast": _mast,
    "mushroom": _mushroom,
    "pine": _pine,
    "pipes": _pipes,
    "reeds": lambda name, dice: _blades(name, dice, (9, 24), True),
    "rocks": _rocks,
    "sign": _sign,
    "snowman": _snowman,
    "tree": _tree,
}


@cache
def decor(kind: str, name: str, variant: int) -> Cutout:
    """One of a thing's variants in a colour, standing on the lower edge of its picture."""
    return _KINDS[kind](name, np.random.default_rng([variant, *kind.encode(), *name.encode()]))


__all__ = ["decor"]
