"""Where the time of the speed benchmark's missed cases goes, on one core.

    NPROC=1 python -m benchmarks.speed_split > benchmarks/results/speed_split.jsonl

One JSON line a case. PPO: what an epoch costs, from runs with 1, 2 and 4 of them (the best of seven each), and what is left,
playing; with each one's share of the core's matmul peak. Mazes: the same random play with what is seen and without.
"""

import dataclasses
import json
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from benchmarks._speed_worker import CASES, Playing, Training, Work, matmul_peak
from headstart import suites
from headstart.envs import lanes
from headstart.types import Discrete

REPEATS = 7


def best(work: Work) -> float:
    """Seconds of the fastest run."""
    jax.block_until_ready(work.run())
    seconds: list[float] = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(work.run())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def training(case: Training) -> dict[str, Any]:
    """Milliseconds an update, of playing and of each epoch, and their shares of the matmul peak."""
    peak, seconds, flops = matmul_peak(), dict[int, float](), dict[int, float]()
    for epochs in (1, 2, 4):
        work = dataclasses.replace(case, config=dataclasses.replace(case.config, epochs=epochs)).compile()
        seconds[epochs], flops[epochs] = best(work) / case.updates, work.flops / case.updates
    epoch, epoch_flops = (seconds[4] - seconds[1]) / 3, (flops[4] - flops[1]) / 3
    parts = {"epoch": (epoch, epoch_flops), "playing": (seconds[1] - epoch, flops[1] - epoch_flops)}
    parts["update"] = (seconds[4], flops[4])
    return {"peak_gflops": peak / 1e9, "milliseconds": {e: 1e3 * s for e, s in seconds.items()}} | {
        name: {"milliseconds": 1e3 * s, "share_of_peak": f / s / peak} for name, (s, f) in parts.items()
    }


def playing(case: Playing) -> dict[str, Any]:
    """Nanoseconds a step with observations and without."""
    suite = suites.suite(case.suite)
    assert isinstance(suite.env.spec.action, Discrete)
    buttons = suite.env.spec.action.n
    tasks = jax.jit(jax.vmap(suite.sample))(jr.split(jr.key(0), 1000))
    state, _ = jax.jit(lambda key: lanes.reset(suite.env, tasks, key, case.lanes))(jr.key(1))

    @jax.jit
    def blind(state: Any) -> Any:
        def one(carry: Any, key: Any) -> tuple[Any, None]:
            state, earned = carry
            k_act, k_env = jr.split(key)
            action = jr.randint(k_act, (case.lanes,), 0, buttons)
            state, timestep = lanes.step(suite.env, tasks, state, action, k_env)
            return (state, earned + timestep.reward.sum()), None

        return jax.lax.scan(one, (state, jnp.float32(0.0)), jr.split(jr.key(2), case.steps))[0]

    steps = case.lanes * case.steps
    unseen = Work(lambda: blind(state), steps, 0.0, {})
    return {"nanoseconds": {"all": 1e9 * best(case.compile()) / steps, "unseen": 1e9 * best(unseen) / steps}}


def main() -> None:
    for name in ("ppo-cartpole", "ppo-gru-bandit", "env-maze-rays"):
        case = CASES[name]
        found = training(case) if isinstance(case, Training) else playing(case)
        machine = {"threads": os.environ.get("NPROC"), "load": os.getloadavg()[0], "jax": jax.__version__}
        print(json.dumps({"name": name, **found, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
