"""The sheet of small pictures that agents' pixels are drawn from, and pixels beside the large pictures.

python -m benchmarks.platformer_sheet             -> src/headstart/data/sprites/pixels.png, after a change of the large ones
python -m benchmarks.platformer_sheet pictures    -> docs/suites/platformer-pixels.png
"""

import sys
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from PIL import Image

from headstart.envs.platformer import Platformer, PlatformerState
from headstart.envs.platformer_level import Level, parse
from headstart.envs.platformer_table import PlatformerTask, stack, task_of
from headstart.envs.platformer_zones import SUB
from headstart.suites._platformer_levels import text
from headstart.suites._platformer_moments import moments
from headstart.suites._platformer_pictures import Camera, painter
from headstart.suites._platformer_sheet import atlas, painted

SHOWN = (
    ("fern-hill-2", 1),
    ("neon-alley-2", 2),
    ("frost-peak-2", 2),
    ("ember-furnace-1", 3),
    ("sunken-temple-1", 2),
    ("candy-canyon-1", 4),
)
"""level, and the walking enemy at whose turning point the player runs"""
SIZE = (336, 240)
"""width and height of a picture on the page"""
PAGE = Path(__file__).parents[1] / "docs" / "suites" / "platformer-pixels.png"


def states() -> list[tuple[Level, PlatformerTask, PlatformerState]]:
    """Level, task and state of each moment."""
    levels, out = [parse(text(name)) for name, _ in SHOWN], []
    env = Platformer(stack(levels))
    for row, (level, (_, number)) in enumerate(zip(levels, SHOWN, strict=True)):
        walkers = [enemy for enemy in level.enemies if not enemy.vertical]
        walker = walkers[number % len(walkers)]
        task = task_of(level, row)
        state = env.reset(task, jr.key(0))
        place = {"x": jnp.int32(walker.x * SUB), "y": jnp.int32(walker.y * SUB)}
        body = state.body._replace(**place, vx=jnp.int32(3 * SUB), rings=jnp.int32(row % 2))
        out.append((level, task, state._replace(body=body, clock=jnp.int32(300))))
    return out


def pictures() -> None:
    """A row a moment: full size, rgb, grey."""
    shown, rows = states(), list[np.ndarray]()
    table = stack([level for level, _, _ in shown])
    envs = [Platformer(table, atlas=atlas(grey)) for grey in (False, True)]
    see = jax.jit(lambda task, state: [env.observe(task, state) for env in envs])
    for level, task, state in shown:
        now = moments(jax.tree.map(lambda leaf: np.asarray(leaf)[None], state))[0]
        seen = [np.broadcast_to(np.asarray(picture), (84, 84, 3)) for picture in see(task, state)]
        large = painter(level).paint([now], Camera.at(level, now))
        parts = [
            (large, Image.Resampling.LANCZOS),
            *((picture, Image.Resampling.NEAREST) for picture in seen),
        ]
        rows.append(np.hstack([np.asarray(Image.fromarray(p).resize(SIZE, how)) for p, how in parts]))
    Image.fromarray(np.vstack(rows)).save(PAGE, optimize=True)
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
