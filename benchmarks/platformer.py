"""Speed of the platformer: steps a second of a random agent in lanes with auto-reset, pictures a second, compile time apart.

python -m benchmarks.platformer [NUMBER ...] > benchmarks/results/platformer.jsonl     # some of the cases below, or all

Seconds are those of the process's own CPU time, so that other work on the machine does not count, on the cores it may
use (`taskset -c 1` for one); wall-clock seconds stand beside them. Every byte of every observation is used: summed as whole
numbers, which the compiler can do many at a time, where a sum of floats would wait for each addition before the next (that
took 0.7 of 2.6 µs a step).
"""

import json
import os
import platform
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart.envs import lanes
from headstart.suites import suite

REPEATS, STEPS = 5, 100
CASES = (
    ("platformer:obs=grey", 64, True),
    ("platformer:obs=rgb", 64, True),
    ("platformer", 1024, False),
    ("platformer:obs=grey,frames=4", 64, False),
    ("platformer:episodes=2", 1024, False),
    ("platformer", 128, False),
)
"""suite, lanes, and whether only looking is measured"""


def _used(obs: Any) -> list[jax.Array]:
    """A number for each leaf that depends on all of it."""
    bits = [leaf.view(jnp.int32) if leaf.dtype == jnp.float32 else leaf for leaf in jax.tree.leaves(obs)]
    return [leaf.astype(jnp.int32).sum(dtype=jnp.int32) for leaf in bits]


def _drawing(name: str, n: int) -> tuple[Any, Any]:
    """As `_program`, but only looking: at `n` places that move on, two tiles a step."""
    loaded = suite(name)
    tasks = jax.tree.map(
        lambda leaf: jnp.asarray(leaf)[jnp.arange(n) % len(leaf)], loaded.split("train").tasks
    )
    state = jax.vmap(loaded.env.reset)(tasks, jr.split(jr.key(0), n))

    def run(state: Any, key: jax.Array) -> Any:
        def body(state: Any, _: jax.Array) -> Any:
            obs = jax.vmap(loaded.env.observe)(tasks, state)
            on = state._replace(clock=state.clock + 4, body=state.body._replace(x=state.body.x + 8192))
            return on, (_used(obs), jnp.float32(0), jnp.int32(0))

        return jax.lax.scan(body, state, jr.split(key, STEPS))

    return jax.jit(run).lower(state, jr.key(2)), state


def _program(name: str, n: int) -> tuple[Any, Any]:
    """A compiled run of `STEPS` steps of `n` lanes, and where it starts; with the seconds it took to trace and compile."""
    loaded = suite(name)
    tasks = jax.tree.map(jnp.asarray, loaded.split("train").tasks)

    def run(now: lanes.Lanes, key: jax.Array) -> Any:
        def body(now: lanes.Lanes, key: jax.Array) -> Any:
            k_act, k_step = jr.split(key)
            action = (jr.uniform(k_act, (n,)) * 8).astype(jnp.int32)
            now, timestep = lanes.step(loaded.env, tasks, now, action, k_step)
            return now, (_used(timestep.obs), timestep.reward.sum(), timestep.first.sum(dtype=jnp.int32))

        return jax.lax.scan(body, now, jr.split(key, STEPS))

    start = jax.jit(lambda key: lanes.reset(loaded.env, tasks, key, n)[0])(jr.key(1))
    return jax.jit(run).lower(start, jr.key(2)), start


def measure(name: str, n: int, drawing: bool = False) -> dict[str, Any]:
    """Median steps a second, or pictures, and seconds to compile."""
    begun = time.process_time(), time.perf_counter()
    lowered, now = (_drawing if drawing else _program)(name, n)
    traced = time.process_time()
    run = lowered.compile()
    compiled = time.process_time(), time.perf_counter()
    start, _ = jax.block_until_ready(run(now, jr.key(0)))
    now = now if drawing else start
    cpu, wall, resets = list[float](), list[float](), 0.0
    for repeat in range(REPEATS):
        before = time.process_time(), time.perf_counter()
        after, (_, _, first) = jax.block_until_ready(run(now, jr.key(repeat)))
        now = now if drawing else after
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
        resets += float(first.sum()) / STEPS / REPEATS
    cores = len(os.sched_getaffinity(0))
    return {
        "suite": name,
        "what": "pictures" if drawing else "steps",
        "lanes": n,
        "cores": cores,
        "per_cpu_second": round(n * STEPS / sorted(cpu)[REPEATS // 2]),
        "per_second": round(n * STEPS / sorted(wall)[REPEATS // 2]),
        "each_cpu_seconds": [round(seconds, 4) for seconds in cpu],
        "resets_per_step": round(resets, 2),
        "trace_cpu_seconds": round(traced - begun[0], 1),
        "compile_cpu_seconds": round(compiled[0] - traced, 1),
        "compile_seconds_with_trace": round(compiled[1] - begun[1], 1),
    }


def main() -> None:
    chosen = [int(number) for number in sys.argv[1:]] or range(len(CASES))
    for name, n, drawing in (CASES[number] for number in chosen):
        about = {"jax": jax.__version__, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
        print(json.dumps({**measure(name, n, drawing), "load": os.getloadavg(), **about}), flush=True)


if __name__ == "__main__":
    main()
