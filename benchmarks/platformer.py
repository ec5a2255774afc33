"""Speed of the platformer: steps a second of a random agent in lanes with auto-reset, compile time apart.

python -m benchmarks.platformer > benchmarks/results/platformer.json

Seconds are those of the process's own CPU time, so that other work on the machine does not count, on the cores it may
use (`taskset -c 1` for one); wall-clock seconds stand beside them.
"""

import json
import os
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart.envs import lanes
from headstart.suites import suite

REPEATS, STEPS = 5, 100


def _program(name: str, n: int) -> tuple[Any, Any]:
    """A compiled run of `STEPS` steps of `n` lanes, and where it starts; with the seconds it took to trace and compile."""
    loaded = suite(name)
    tasks = jax.tree.map(jnp.asarray, loaded.split("train").tasks)

    def run(now: lanes.Lanes, key: jax.Array) -> Any:
        def body(now: lanes.Lanes, key: jax.Array) -> Any:
            k_act, k_step = jr.split(key)
            action = (jr.uniform(k_act, (n,)) * 8).astype(jnp.int32)
            now, timestep = lanes.step(loaded.env, tasks, now, action, k_step)
            leaves = [leaf.astype(jnp.float32).sum() for leaf in jax.tree.leaves(timestep.obs)]
            return now, (sum(leaves), timestep.reward.sum(), timestep.first.sum(dtype=jnp.int32))

        return jax.lax.scan(body, now, jr.split(key, STEPS))

    start = jax.jit(lambda key: lanes.reset(loaded.env, tasks, key, n)[0])(jr.key(1))
    return jax.jit(run).lower(start, jr.key(2)), start


def measure(name: str, n: int) -> dict[str, Any]:
    """Median steps a second, and seconds to compile."""
    begun = time.process_time(), time.perf_counter()
    lowered, now = _program(name, n)
    traced = time.process_time()
    run = lowered.compile()
    compiled = time.process_time(), time.perf_counter()
    now, _ = jax.block_until_ready(run(now, jr.key(0)))
    cpu, wall, resets = list[float](), list[float](), 0.0
    for repeat in range(REPEATS):
        before = time.process_time(), time.perf_counter()
        now, (_, _, first) = jax.block_until_ready(run(now, jr.key(repeat)))
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
        resets += float(first.sum()) / STEPS / REPEATS
    cores = len(os.sched_getaffinity(0))
    return {
        "suite": name,
        "lanes": n,
        "cores": cores,
        "steps_per_cpu_second": round(n * STEPS / sorted(cpu)[REPEATS // 2]),
        "steps_per_second": round(n * STEPS / sorted(wall)[REPEATS // 2]),
        "each_cpu_seconds": [round(seconds, 4) for seconds in cpu],
        "resets_per_step": round(resets, 2),
        "trace_cpu_seconds": round(traced - begun[0], 1),
        "compile_cpu_seconds": round(compiled[0] - traced, 1),
        "compile_seconds_with_trace": round(compiled[1] - begun[1], 1),
    }


def main() -> None:
    cases = [("platformer", 1024), ("platformer", 128), ("platformer:episodes=2", 1024)]
    out = {
        "command": "python -m benchmarks.platformer",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg(),
        "jax": jax.__version__,
        "cases": [measure(*case) for case in cases],
    }
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
