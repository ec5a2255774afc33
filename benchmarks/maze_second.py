"""What the second episode in a maze gains from the first, and what there was to gain.

    python -m benchmarks.maze_second > benchmarks/results/maze_second.json     # [--prior …] [--tasks 2000] [--exact 100]

A trial is told apart by whether its first episode left the shortest way from cell to cell: where it did not, there is no
turn to be remembered, and the second is shorter only by a better step here and there. For the first `--exact` mazes the
shortest possible episode is searched for, breadth first, over places (to 1/40 of a cell) and headings.
"""

import argparse
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart import suites
from headstart.envs import lanes
from headstart.envs.maze import Maze, MazeState
from headstart.envs.maze_map import TURNS, MazeTask
from headstart.protocol import priors
from headstart.protocol.evaluation import contestant

GRID = 40
"""places a cell is divided into, each way, by the search"""
CHUNK = 4096


def walk(who: Any, env: Any, tasks: MazeTask, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Steps of both episodes `[M, 2]`, and how many different cells each was in: the trials that `evaluate` scores."""
    m, n = tasks.start.shape[0], env.env.size
    k_reset, k_steps = jr.split(jr.fold_in(key, 0))  # as loops.evaluate derives them

    def one(carry: Any, key: jax.Array) -> tuple[Any, None]:
        memory, play, timestep, alive, length, been = carry
        k_act, k_env = jr.split(key)
        memory, action, _ = who.agent.act(who.state, memory, timestep, k_act)
        x, y = (jnp.floor(play.state.inner.position[:, i]).astype(jnp.int32) for i in (0, 1))
        lane, episode = jnp.arange(m), jnp.minimum(play.state.episode, 1)
        been = been.at[lane, episode, y, x].max(alive)
        length = length.at[lane, episode].add(alive.astype(jnp.int32))
        play, timestep = lanes.step(env, tasks, play, action, k_env, pinned=True)
        return (memory, play, timestep, alive & ~timestep.first, length, been), None

    play, timestep = lanes.reset(env, tasks, k_reset, m, pinned=True)
    blank = (jnp.ones(m, bool), jnp.zeros((m, 2), jnp.int32), jnp.zeros((m, 2, n, n), bool))
    carry = (who.agent.memory(m), play, timestep, *blank)
    (*_, length, been), _ = jax.lax.scan(one, carry, jr.split(k_steps, env.spec.steps))
    return length, been.sum((2, 3))


@partial(jax.jit, static_argnums=0)
def expand(env: Maze, task: MazeTask, position: jax.Array, heading: jax.Array) -> Any:
    """Where each of the three actions leads from each of some places, and whether that is the target."""

    def one(place: jax.Array, turn: jax.Array, action: jax.Array) -> Any:
        after, step = env.step(task, MazeState(place, turn, jnp.int32(0)), action, jr.key(0))
        return after.position, after.heading, step.terminated

    return jax.vmap(lambda p, h: jax.vmap(lambda a: one(p, h, a))(jnp.arange(3)))(position, heading)


def shortest(env: Maze, task: MazeTask) -> int:
    """Steps of the shortest episode in this maze, places nearer than 1/40 of a cell taken for one."""
    start = env.reset(task, jr.key(0))
    position, heading = np.asarray(start.position)[None], np.asarray(start.heading)[None]
    seen = np.zeros(env.size * GRID * env.size * GRID * TURNS, bool)
    for steps in range(1, env.horizon + 1):
        found: list[list[np.ndarray]] = []
        for low in range(0, len(position), CHUNK):  # one shape, compiled once
            count = min(CHUNK, len(position) - low)
            p, h = np.full((CHUNK, 2), 0.5, np.float32), np.zeros(CHUNK, np.int32)
            p[:count], h[:count] = position[low : low + count], heading[low : low + count]
            found.append([np.asarray(x)[:count].reshape(3 * count, -1) for x in expand(env, task, p, h)])
        p, h, reached = (np.concatenate(part) for part in zip(*found, strict=True))
        if reached.any():
            return steps
        x, y = np.floor(p * GRID).astype(int).T
        place, kept = np.unique((x * env.size * GRID + y) * TURNS + h[:, 0], return_index=True)
        kept = kept[~seen[place]]
        seen[place] = True
        position, heading = p[kept], h[kept, 0]
    return env.horizon


def shares(length: np.ndarray, which: np.ndarray) -> dict[str, float]:
    """Of some trials: how many of all, how the second episode compares, and both lengths on average."""
    first, second = length[which].T
    return {
        "share": round(float(which.mean()), 4),
        "shorter": round(float((second < first).mean()), 4),
        "equal": round(float((second == first).mean()), 4),
        "longer": round(float((second > first).mean()), 4),
        "first": round(float(first.mean()), 2),
        "second": round(float(second.mean()), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="rl2-maze-small-rays")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--exact", type=int, default=100)
    args = parser.parse_args()
    suite = suites.suite("maze-small:obs=rays")
    split = suite.split("test", args.tasks)
    tasks = jax.tree.map(jnp.asarray, split.tasks)
    who = contestant(suite, priors.find(args.prior))
    length, been = map(np.asarray, jax.jit(lambda key: walk(who, suite.env, tasks, key))(jr.key(0)))
    rows = np.arange(args.tasks)
    way = np.asarray(tasks.distance)[rows, np.asarray(tasks.start)[:, 1], np.asarray(tasks.start)[:, 0]] + 1
    strayed = been[:, 0] > way
    best = np.array(
        [shortest(suite.env.env, jax.tree.map(lambda x, i=i: x[i], tasks)) for i in range(args.exact)]
    )
    some = length[: args.exact]
    found = {
        "prior": args.prior,
        "tasks": args.tasks,
        "all": shares(length, np.ones_like(strayed)),
        "first_strayed": shares(length, strayed),
        "first_went_straight": shares(length, ~strayed),
        "exact": {
            "mazes": args.exact,
            "shortest": float(best.mean()),
            "first": float(some[:, 0].mean()),
            "second": float(some[:, 1].mean()),
            "shortest_below_first": float((best < some[:, 0]).mean()),
            "second_shorter": float((some[:, 1] < some[:, 0]).mean()),
        },
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
