"""Draw levels small, with the way their tape takes: python -m benchmarks.level_sheet OUT.png NAME ..."""

import sys

import numpy as np
from PIL import Image, ImageDraw

from headstart.envs.platformer_level import parse
from headstart.envs.platformer_search import follow
from headstart.envs.platformer_table import UNIT
from headstart.suites._platformer_levels import tape, text

SIZE = 4
SKY, GROUND, LEDGE, WAY, INK = (196, 222, 240), (104, 84, 66), (150, 104, 40), (214, 40, 90), (40, 40, 50)
COLOURS = {
    **dict.fromkeys("#/\\1234", GROUND),
    **dict.fromkeys("=bmw", LEDGE),
    **dict.fromkeys("pP", (40, 160, 60)),
    **dict.fromkeys("qQ", (0, 150, 170)),
    **dict.fromkeys("rR", (170, 120, 0)),
    **dict.fromkeys("Y{}", (220, 30, 30)),
    **dict.fromkeys("ef", (130, 40, 160)),
    "%": (190, 140, 110),
    "^": (245, 245, 250),
    "o": (240, 190, 0),
    "S": (30, 60, 220),
    "G": (220, 0, 200),
}
CORNERS = {
    "/": ((0, 1), (1, 0), (1, 1)),
    "\\": ((0, 0), (1, 1), (0, 1)),
    "1": ((0, 1), (1, 0.5), (1, 1)),
    "2": ((0, 1), (0, 0.5), (1, 0), (1, 1)),
    "3": ((0, 1), (0, 0), (1, 0.5), (1, 1)),
    "4": ((0, 1), (0, 0.5), (1, 1)),
    "^": ((0, 1), (0.5, 0), (1, 1)),
    "=": ((0, 0), (1, 0), (1, 0.4), (0, 0.4)),
    "b": ((0, 0), (1, 0), (1, 0.5), (0, 0.5)),
    "m": ((-1, 0), (2, 0), (2, 0.6), (-1, 0.6)),
    "w": ((-1, 0), (2, 0), (2, 0.6), (-1, 0.6)),
    "o": ((0.5, 0.1), (0.9, 0.5), (0.5, 0.9), (0.1, 0.5)),
}
SQUARE = ((0, 0), (1, 0), (1, 1), (0, 1))


def picture(drawn: str, places: np.ndarray) -> Image.Image:
    """One level and a path through it, in subpixels."""
    rows = drawn.split("---\n")[1].splitlines()
    image = Image.new("RGB", (len(rows[0]) * SIZE, len(rows) * SIZE), SKY)
    pen = ImageDraw.Draw(image)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            if tile in COLOURS:
                corners = [((x + u) * SIZE, (y + v) * SIZE) for u, v in CORNERS.get(tile, SQUARE)]
                pen.polygon(corners, fill=COLOURS[tile])
    if len(places):
        pen.line([tuple(p) for p in places / UNIT * SIZE - np.array([0, SIZE / 2])], fill=WAY)
    return image


def sheet(names: list[str], out: str) -> None:
    """Levels below each other, each with its name."""
    images = []
    for name in names:
        drawn = text(name)
        images.append(picture(drawn, follow(parse(drawn), tape(name))[0]))
    page = Image.new(
        "RGB", (max(i.width for i in images) + 8, sum(i.height + 18 for i in images)), (250, 250, 250)
    )
    y = 0
    for name, image in zip(names, images, strict=True):
        ImageDraw.Draw(page).text((6, y + 2), name, fill=INK)
        page.paste(image, (4, y + 14))
        y += image.height + 18
    page.save(out)


if __name__ == "__main__":
    sheet(sys.argv[2:], sys.argv[1])
