"""A sheet of stills from stored tapes: python -m benchmarks.platformer_pictures OUT.png LEVEL@STEP ...

docs/suites/platformer.png:  fern-hill-1@45 frost-peak-1@57 sunken-temple-1@180
                             comet-road-1@40 echo-cave-1@40 glass-desert-1@130
docs/suites/platformer.gif:  headstart play fern-hill-1 --tape best --out docs/suites/platformer.gif
"""

import sys
from collections import deque

import numpy as np

from headstart.commands.play import Game
from headstart.envs.platformer_level import parse
from headstart.reports.video import sheet
from headstart.suites._platformer_levels import tape, text
from headstart.suites._platformer_pictures import MEMORY, film


def still(level: str, step: int) -> np.ndarray:
    """The picture of a level after so many steps of its tape."""
    game = Game(parse(text(level), level))
    for action in tape(level)[:step]:
        game.step(int(action))
    return deque(film(game.level, game.story[-3 * MEMORY :]), maxlen=1)[0]


if __name__ == "__main__":
    picks = [word.split("@") for word in sys.argv[2:]]
    stills = np.stack([still(level, int(step)) for level, step in picks])
    sheet(stills, columns=3).save(sys.argv[1], optimize=True)
