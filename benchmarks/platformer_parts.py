"""Where the platformer's time goes: physics alone, looking alone, and both with auto-reset, by two ways to use the result.

    python -m benchmarks.platformer_parts env obs int float > benchmarks/results/platformer_parts.txt

`env` steps 1024 lanes without looking, `obs` looks without stepping, `int` and `float` do both as a training loop does and
add up every number seen: as whole numbers, or as floats, where each addition waits for the one before. Nanoseconds of CPU
time a step of one lane: the median and the least of five runs.
"""

import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart.envs import lanes
from headstart.suites import suite

LANES, STEPS = 1024, 50


def program(kind: str) -> Any:
    """`STEPS` steps of `LANES` lanes."""
    loaded = suite("platformer")
    env, tasks = loaded.env, jax.tree.map(jnp.asarray, loaded.split("train").tasks)

    def body(now: lanes.Lanes, key: jax.Array) -> Any:
        k_act, k_step = jr.split(key)
        action = (jr.uniform(k_act, (LANES,)) * 8).astype(jnp.int32)
        if kind == "env":
            state, out = jax.vmap(env.step)(now.task, now.state, action, jr.split(k_step, LANES))
            return now._replace(state=state), out.reward.sum()
        if kind == "obs":
            obs = jax.vmap(env.observe)(now.task, now.state)
            now = now._replace(state=now.state._replace(clock=now.state.clock + 1))
        else:
            now, timestep = lanes.step(env, tasks, now, action, k_step)
            obs = timestep.obs
        if kind == "float":
            return now, sum(leaf.astype(jnp.float32).sum() for leaf in jax.tree.leaves(obs))
        return now, (obs.window.astype(jnp.int32).sum(dtype=jnp.int32), obs.body.sum())

    start = jax.jit(lambda key: lanes.reset(env, tasks, key, LANES)[0])(jr.key(1))
    run = jax.jit(lambda now, key: jax.lax.scan(body, now, jr.split(key, STEPS)))
    return run.lower(start, jr.key(2)), start


def main() -> None:
    for kind in sys.argv[1:] or ("env", "obs", "int", "float"):
        lowered, start = program(kind)
        begun = time.process_time()
        run = lowered.compile()
        compiled = time.process_time() - begun
        jax.block_until_ready(run(start, jr.key(0)))
        taken = list[float]()
        for repeat in range(5):
            before = time.process_time()
            jax.block_until_ready(run(start, jr.key(repeat)))
            taken.append((time.process_time() - before) / LANES / STEPS * 1e9)
        median = round(sorted(taken)[2])
        print(kind, "compile", round(compiled, 1), "ns/step", median, "min", round(min(taken)), flush=True)


if __name__ == "__main__":
    main()
