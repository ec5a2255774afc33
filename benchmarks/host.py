"""What the host loop costs by itself, and what its parts and staleness gain.

    python -m benchmarks.host > benchmarks/results/host.jsonl

Lines of JSON. `loop`: PPO on cart-pole, steps a second of the device loop, and of the host loop around the same pure
environment (one compiled step a call): the difference is the host loop's own. `lanes`: Gymnasium's CartPole-v1 in worker
processes, without an agent. `overlap`: a simulator that sleeps 5 ms a step, by halves and staleness, with the shares of time
that both sides were busy: what is gained by working side by side.
"""

import json
import os
import sys
import time
from contextlib import closing
from typing import Any

import gymnasium
import jax
import jax.random as jr
import numpy as np

from headstart import agents, suites
from headstart.agents.ppo import PPOConfig
from headstart.hosts.pure import on_host
from headstart.loops import jit
from headstart.loops.host import HostLoop
from headstart.nets.actor_critic import NetworkConfig

KEY = jr.key(0)


class Slow(gymnasium.Env[Any, Any]):
    """A simulator that takes 5 ms a step, without using the processor."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (64,), np.float32)
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        del options
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.random(64, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        del action
        time.sleep(0.005)
        self.t += 1
        return self.np_random.random(64, np.float32), 1.0, self.t == 50, False, {}


def ppo(spec: Any, unroll: int, width: int) -> Any:
    network = NetworkConfig(torso=(width, width), actor=(), critic=())
    return agents.entry("ppo").build(spec, PPOConfig(network, unroll=unroll, epochs=4, minibatches=4))


def timed(loop: HostLoop, tasks: Any, updates: int) -> tuple[float, jit.Log]:
    """Steps a second, compile time apart, and the log."""
    with closing(loop):
        carry, _ = loop.chunk(loop.start(tasks, KEY), KEY, 2)
        begun = time.perf_counter()
        carry, log = loop.chunk(carry, KEY, updates)
        return updates * loop.agent.unroll * loop.n / (time.perf_counter() - begun), log


def the_loop(lanes: int = 8, updates: int = 8) -> dict[str, Any]:
    env = suites.suite("cartpole").env
    agent, tasks = ppo(env.spec, 32, 64), suites.suite("cartpole").split("train", 16).tasks
    host, _ = timed(HostLoop(agent, on_host(env, KEY, 32), lanes), tasks, updates)
    carry = jit.start(agent, env, tasks, KEY, lanes)
    carry, _ = jit.chunk(agent, env, tasks, carry, KEY, updates)
    begun = time.perf_counter()
    jax.block_until_ready(jit.chunk(agent, env, tasks, carry, KEY, updates))
    device = updates * 32 * lanes / (time.perf_counter() - begun)
    return {
        "what": "loop",
        "lanes": lanes,
        "host_steps_per_s": round(host),
        "device_steps_per_s": round(device),
    }


def the_lanes(lanes: int = 8, steps: int = 300) -> dict[str, Any]:
    suite = suites.suite("asgym:CartPole-v1")
    opened: Any = suite.env
    with closing(opened.open(suite.split("train").tasks, lanes, 0, False)) as simulators:
        simulators.reset(0)
        begun = time.perf_counter()
        for t in range(steps):
            simulators.step(np.full(lanes, t // 2 % 2, np.int32))
        speed = steps * lanes / (time.perf_counter() - begun)
    return {"what": "lanes", "lanes": lanes, "per_worker": 4, "steps_per_s": round(speed)}


def the_overlap(halves: int, stale: int, updates: int = 4) -> dict[str, Any]:
    name = f"asgym:env=benchmarks.host:Slow,per_worker=1,halves={halves},stale={stale}"
    suite = suites.suite(name)
    env: Any = suite.env
    agent = ppo(env.spec, 32, 256)
    speed, log = timed(HostLoop(agent, env, 8), suite.split("train").tasks, updates)
    busy = {side: round(float(log.metrics[side][0]), 2) for side in ("simulating", "learning")}
    return {"what": "overlap", "halves": halves, "stale": stale, "steps_per_s": round(speed)} | busy


def main() -> None:
    load = round(os.getloadavg()[0], 1)
    found = [the_loop(), the_lanes(), *(the_overlap(*pace) for pace in ((1, 0), (2, 0), (1, 1), (2, 1)))]
    for line in found:
        print(json.dumps(line | {"cores": len(os.sched_getaffinity(0)), "load_before": load}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
