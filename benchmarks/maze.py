"""Speed of the maze suites: tasks sampled, and steps of a random agent in lanes; compile time apart.

python benchmarks/maze.py > benchmarks/results/maze.json
"""

import json
import math
import os
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart.envs import lanes
from headstart.envs.maze import FORWARD, LEFT, RIGHT, Maze
from headstart.envs.maze_map import TURNS
from headstart.suites import suite
from headstart.types import Task

REPEATS = 5


def best(run, *args) -> float:
    """Seconds of the fastest of several runs, compiled before."""
    jax.block_until_ready(run(*args))
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(run(*args))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def steps_a_second(name: str, obs: str, n: int, steps: int) -> float:
    """Steps a second of a random agent in `n` lanes over a table of 1000 tasks."""
    loaded = suite(name, obs=obs)
    tasks = jax.jit(jax.vmap(loaded.sample))(jr.split(jr.key(0), 1000))

    @jax.jit
    def run(start, key):
        def body(carry, key):
            now, total = carry
            k_act, k_step = jr.split(key)
            now, timestep = lanes.step(loaded.env, tasks, now, jr.randint(k_act, (n,), 0, 3), k_step)
            seen = timestep.obs.obs.astype(jnp.float32).sum() + timestep.reward.sum()
            return (now, total + seen), None

        return jax.lax.scan(body, (start, 0.0), jr.split(key, steps))[0]

    start = jax.jit(lambda key: lanes.reset(loaded.env, tasks, key, n)[0])(jr.key(1))
    return n * steps / best(run, start, jr.key(2))


def follow(env: Maze, task: Task, horizon: int) -> jax.Array:
    """Steps until the target, by one who knows the way: turn towards the next cell's centre, or run."""

    def act(state):
        ahead, right = env.privileged(task, state).view[9:11]
        off = jnp.arctan2(right, ahead)
        return jnp.where(jnp.abs(off) <= math.pi / TURNS + 1e-4, FORWARD, jnp.where(off > 0, RIGHT, LEFT))

    def body(state, _):
        state, out = env.step(task, state, act(state), jr.key(0))
        return state, out.terminated

    reached = jax.lax.scan(body, env.reset(task, jr.key(0)), None, length=horizon)[1]
    return jnp.where(reached.any(), jnp.argmax(reached) + 1, -1)


def main() -> None:
    result = {"jax": jax.__version__, "backend": jax.default_backend(), "cpus": os.cpu_count()}
    result["load_before"] = os.getloadavg()[0]
    for name, size in (("maze-small-v0", 5), ("maze-large-v0", 9)):
        env = Maze(size, 1000)
        sample = jax.jit(jax.vmap(env.sample))
        keys = jr.split(jr.key(0), 4096)
        tasks = sample(keys)
        lengths = np.asarray(jax.jit(jax.vmap(lambda task, env=env: follow(env, task, 400)))(tasks))
        start = tasks.start.astype(jnp.int32)
        result[name] = {
            "tasks_a_second": 4096 / best(sample, keys),
            "rays_steps_a_second": steps_a_second(name, "rays", 1024, 256),
            "rgb_steps_a_second": steps_a_second(name, "rgb", 256, 64),
            "cells_to_target_mean": float(tasks.distance[jnp.arange(4096), start[:, 1], start[:, 0]].mean()),
            "follower_never": int((lengths < 0).sum()),
            "follower_steps_mean": float(lengths.mean()),
            "follower_steps_quartiles": np.percentile(lengths, [25, 50, 75]).tolist(),
        }
    result["load_after"] = os.getloadavg()[0]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
