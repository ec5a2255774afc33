"""The sheet of small pictures that agents' pixels are drawn from, and pixels beside the large pictures.

python -m benchmarks.platformer_sheet             -> src/headstart/data/sprites/pixels.png, after a change of the large ones
python -m benchmarks.platformer_sheet pictures    -> docs/suites/platformer-pixels.png
"""

import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from PIL import Image

from headstart.envs.platformer import Platformer
from headstart.envs.platformer_level import parse
from headstart.envs.platformer_table import stack, task_of
from headstart.suites._platformer_levels import tape, text
from headstart.suites._platformer_moments import moments
from headstart.suites._platformer_pictures import Camera, painter
from headstart.suites._platformer_sheet import atlas, painted

SHOWN = (
    ("fern-hill-2", 0.62),
    ("neon-alley-2", 0.62),
    ("frost-peak-2", 0.4),
    ("ember-furnace-1", 0.5),
    ("cloud-garden-1", 0.3),
)
"""level, and how far into its tape"""
SIZE = (336, 240)
"""width and height of a picture on the page"""
PAGE = Path(__file__).parents[1] / "docs" / "suites" / "platformer-pixels.png"


def states(shown: tuple[tuple[str, float], ...]) -> list[tuple[Any, Any, Any]]:
    """Level, task and state of each moment, all played by one compiled program."""
    levels = [parse(text(name)) for name, _ in shown]
    env, tapes = Platformer(stack(levels), sticky=0.0), [tape(name) for name, _ in shown]
    tasks = [task_of(level, row) for row, level in enumerate(levels)]
    step = jax.jit(lambda task, state, action: env.step(task, state, action, jr.key(0))[0])
    out = []
    for level, task, actions, (_, share) in zip(levels, tasks, tapes, shown, strict=True):
        state = env.reset(task, jr.key(0))
        for action in actions[: int(len(actions) * share)]:
            state = step(task, state, jnp.int32(action))
        out.append((level, task, state))
    return out


def pictures() -> None:
    """A row a moment: full size, rgb, grey."""
    played, rows = states(SHOWN), []
    table = stack([level for level, _, _ in played])
    envs = [Platformer(table, atlas=atlas(grey)) for grey in (False, True)]
    see = jax.jit(lambda task, state: [env.observe(task, state) for env in envs])
    for level, task, state in played:
        now = moments(jax.tree.map(lambda leaf: np.asarray(leaf)[None], state))[0]
        seen = [np.broadcast_to(np.asarray(picture), (84, 84, 3)) for picture in see(task, state)]
        large = painter(level).paint([now], Camera.at(level, now))
        parts = [
            (large, Image.Resampling.LANCZOS),
            *((picture, Image.Resampling.NEAREST) for picture in seen),
        ]
        rows.append(np.hstack([np.asarray(Image.fromarray(p).resize(SIZE, how)) for p, how in parts]))
    Image.fromarray(np.vstack(rows)).quantize(128).save(PAGE, optimize=True)
    print(f"{PAGE.name}: {PAGE.stat().st_size} bytes")


def main() -> None:
    if sys.argv[1:] == ["pictures"]:
        pictures()
        return
    path = Path(str(resources.files("headstart") / "data" / "sprites" / "pixels.png"))
    Image.fromarray(painted()).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
