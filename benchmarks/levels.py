"""Make the platformer's levels: compose, search for a way, take the next seed where none is found or
where one who holds right gets too far or not far enough; and measure the set.

python -m benchmarks.levels make          every level that has no tape yet, one at a time (can be stopped and resumed)
python -m benchmarks.levels tapes         search again where the stored tape no longer finishes its level
python -m benchmarks.levels measure       greedy's progress, tapes against par -> benchmarks/results/levels.json
python -m benchmarks.levels share 40      share of generated levels with a way found -> benchmarks/results/levels_share.json
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.envs.platformer import FRAMES, JUMP, RIGHT, Platformer
from headstart.envs.platformer_level import Level, parse
from headstart.envs.platformer_search import SearchConfig, finishes, solve
from headstart.envs.platformer_table import Levels, PlatformerTask, stack, tasks_of
from headstart.envs.platformer_zones import ZONES
from headstart.suites._platformer_generator import generate
from headstart.suites._platformer_levels import folder, generated, index, tape, text, write_tape

RESULTS = Path(__file__).parent / "results"
PIECES = Path(__file__).parent / "level_pieces"
CONTEST = {
    "candy-canyon": (("halfpipe", "skyway"), ("caves", "clocktower"), ("mine", "shipwreck")),
    "ghost-harbour": (("shipwreck", "clocktower"), ("skyway", "mine"), ("shipwreck", "caves")),
    "lava-shelf": (("mine", "halfpipe"), ("clocktower", "mine"), ("halfpipe", "shipwreck")),
    "glass-desert": (("halfpipe", "caves"), ("skyway", "halfpipe")),
}
"""the hand-drawn pieces in each contest level"""
PRACTICE = ("fern-hill", "copper-works", "frost-peak", "misty-marsh", "cloud-garden")
SEARCH = SearchConfig()
GREEDY = (0.08, 0.75)
"""bounds for how far the greedy player gets in the median"""


def plan() -> list[tuple[str, str, dict]]:
    """Set, name and the generator's arguments of every level, in playing order."""
    levels = []
    worlds = [zone for zone in ZONES.values() if zone.world != "Contest"]
    for i, zone in enumerate(worlds):
        for act in range(1, zone.acts + 1):
            hard = round(0.1 + 0.6 * i / len(worlds) + 0.1 * (act - 1), 2)
            which = "test" if act == zone.test else "train"
            title = f"{zone.title}, act {act}"
            levels.append(
                (
                    which,
                    f"{zone.name}-{act}",
                    {"zone": zone.name, "act": act, "difficulty": hard, "title": title},
                )
            )
    for zone, acts in CONTEST.items():
        for act, names in enumerate(acts, 1):
            pieces = [(PIECES / f"{name}.txt").read_text() for name in names]
            given = {"zone": zone, "act": act, "difficulty": 0.9, "pieces": pieces}
            given["title"] = f"{ZONES[zone].title}, act {act}"
            levels.append(("contest", f"{zone}-{act}", given))
    for number, zone in enumerate(PRACTICE, 1):
        given = {"zone": zone, "act": number, "difficulty": 0.0, "title": f"Practice {number}"}
        levels.append(("practice", f"practice-{number}", given))
    return levels


def make(tries: int = 12) -> None:
    """Write every level of the plan that has no tape yet."""
    folder().mkdir(parents=True, exist_ok=True)
    levels = plan()
    (folder() / "index.txt").write_text("".join(f"{which} {name}\n" for which, name, _ in levels))
    for number, (_, name, given) in enumerate(levels):
        if (folder() / f"{name}.tape").exists():
            continue
        for seed in range(1000 * number, 1000 * number + tries):
            start = time.process_time()
            drawn = generate(seed, **given)
            level = parse(drawn, name)
            found, reached = solve(level, SEARCH), greedy([level])
            fair = GREEDY[0] <= np.median(reached) <= GREEDY[1] and reached.max() < 1
            cost = time.process_time() - start
            how = "none" if found is None else f"{len(found)} steps"
            print(name, seed, how, [round(float(r), 2) for r in reached[0]], f"{cost:.1f} s", flush=True)
            if found is not None and fair:
                (folder() / f"{name}.txt").write_text(drawn)
                (folder() / f"{name}.tape").write_text(write_tape(found))
                break


def tapes() -> None:
    """Search again where a stored tape does not finish its level any more."""
    for name in index():
        level = parse(text(name), name)
        if finishes(level, tape(name)):
            continue
        found = solve(level, SEARCH)
        print(name, "none" if found is None else f"{len(found)} steps", flush=True)
        if found is None:
            (folder() / f"{name}.tape").unlink()
        else:
            (folder() / f"{name}.tape").write_text(write_tape(found))


def greedy(levels: list[Level], seeds: int = 4, steps: int = 1500, jump: float = 0.1) -> np.ndarray:
    """Farthest progress `[levels, seeds]`, 0 to 1, of holding right and now and then a jump of six steps; sticky skip on."""
    return np.asarray(_greedy(stack(levels), tasks_of(levels), jr.split(jr.key(0), seeds), steps, jump))


@partial(jax.jit, static_argnums=3)
def _greedy(levels: Levels, tasks: PlatformerTask, keys: jax.Array, steps: int, jump: float) -> jax.Array:
    env = Platformer(levels)

    def one(task, key):
        def body(carry, key):
            state, left, over = carry
            k_jump, k_step = jr.split(key)
            left = jnp.where(left > 0, left - 1, jnp.where(jr.bernoulli(k_jump, jump), 6, 0))
            after, out = env.step(task, state, jnp.where(left > 0, JUMP, RIGHT), k_step)
            state = jax.tree.map(lambda new, old: jnp.where(over, old, new), after, state)
            return (state, left, over | out.terminated), None

        start = env.reset(task, key), jnp.int32(0), jnp.bool_(False)
        (state, _, _), _ = jax.lax.scan(body, start, jr.split(key, steps))
        return jnp.clip((state.farthest - task.start[0]) / (task.goal - task.start[0]), 0.0, 1.0)

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(tasks, keys)


def measure() -> None:
    """Greedy's progress on every shipped level, and its tape's time beside its par."""
    names = list(index())
    levels = [parse(text(name), name) for name in names]
    reached = greedy(levels)
    rows = [
        {
            "level": name,
            "set": index()[name],
            "columns": level.columns,
            "steps": len(tape(name)),
            "seconds": round(len(tape(name)) * FRAMES / 60, 1),
            "par": level.par,
            "greedy": [round(float(share), 3) for share in shares],
        }
        for name, level, shares in zip(names, levels, reached, strict=True)
    ]
    (RESULTS / "levels.json").write_text(json.dumps(rows, indent=1) + "\n")
    deciles = np.histogram(reached, np.linspace(0, 1, 11))[0]
    print(
        "greedy finishes", float((reached >= 1).mean()), "median", float(np.median(reached)), deciles.tolist()
    )
    ratio = np.array([row["seconds"] / row["par"] for row in rows])
    print("tape / par: median", float(np.median(ratio)), "largest", float(ratio.max()))


def share(n: int) -> None:
    """In how many of `n` generated levels the search finds a way."""
    labels, levels = generated("train", n, first=100_000)
    rows = []
    for label, level in zip(labels, levels, strict=True):
        found = solve(level, SEARCH)
        rows.append({"level": label, "steps": None if found is None else len(found)})
        print(rows[-1], flush=True)
        (RESULTS / "levels_share.json").write_text(json.dumps(rows, indent=1) + "\n")
    solved = sum(row["steps"] is not None for row in rows)
    print(f"{solved} of {n} finished")


if __name__ == "__main__":
    jobs = {"make": make, "tapes": tapes, "measure": measure, "share": lambda: share(int(sys.argv[2]))}
    jobs[sys.argv[1]]()
