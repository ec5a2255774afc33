"""One case of the speed benchmark in a process of its own, so that memory and compile times are its own.

    python -m benchmarks._speed_worker CASE [--tiny]

Prints one JSON line when it is compiled and warm, one for every line "run" it reads, and one with its peak memory at
the end of its input. `benchmarks.speed` holds the other end.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart import agents, suites
from headstart.agents.ppo import PPOConfig
from headstart.envs import lanes
from headstart.loops import jit
from headstart.nets.actor_critic import NetworkConfig
from headstart.types import Agent, Env


@dataclass(frozen=True)
class Work:
    """A compiled piece of work: `run()` does `steps` environment steps and `flops` operations in matrix products."""

    run: Callable[[], Any]
    steps: int
    flops: float
    compile_seconds: dict[str, float]


@dataclass(frozen=True)
class Training:
    """An agent trained on a suite for `updates` updates a run."""

    suite: str
    config: PPOConfig
    lanes: int
    updates: int
    standard: bool = False

    def tiny(self) -> "Training":
        network = NetworkConfig(torso=(4,), memory=self.config.network.memory, memory_size=4)
        config = PPOConfig(network=network, unroll=8, minibatches=2, epochs=1)
        return Training(self.suite, config, 4, 2, self.standard)

    def compile(self) -> Work:
        suite = suites.suite(self.suite)
        agent = agents.entry("ppo").build(suite.env.spec, self.config)
        tasks = suite.split("test", 1).tasks if suite.tables else None
        if tasks is None:
            task = suite.standard if self.standard else suite.sample(jr.key(0))
            tasks = jax.tree.map(lambda leaf: leaf[None], task)
        key = jr.key(1)
        begin, seconds_start = _compiled(jit.start, agent, suite.env, tasks, key, self.lanes)
        held = [begin(tasks, key)]
        chunk, seconds = _compiled(jit.chunk, agent, suite.env, tasks, held[0], key, self.updates)

        def run() -> Any:
            held[0], log = chunk(tasks, held[0], key)
            return log

        steps = self.updates * self.lanes * self.config.unroll
        flops = steps * flops_a_step(held[0].agent.network, self.config.epochs)
        return Work(run, steps, flops, {"start": seconds_start, "chunk": seconds})


@dataclass(frozen=True)
class Playing:
    """A random agent playing a suite; everything it would see is added up, so that nothing is left out."""

    suite: str
    lanes: int
    steps: int

    def tiny(self) -> "Playing":
        return Playing(self.suite, 4, 3)

    def compile(self) -> Work:
        suite = suites.suite(self.suite)
        agent = agents.agent("random", suite.env.spec)
        tasks = jax.jit(jax.vmap(suite.sample))(jr.split(jr.key(0), 1000))
        held = jax.jit(lambda key: lanes.reset(suite.env, tasks, key, self.lanes))(jr.key(1))
        play, seconds = _compiled(_play, agent, suite.env, tasks, held, jr.key(2), self.steps)
        return Work(lambda: play(tasks, held, jr.key(2)), self.lanes * self.steps, 0.0, {"play": seconds})


def _played(agent: Agent, env: Env, tasks: Any, start: Any, key: Any, steps: int) -> Any:
    def one(carry: Any, key: Any) -> tuple[Any, None]:
        state, timestep, seen = carry
        k_act, k_env = jr.split(key)
        _, action, _ = agent.act((), (), timestep, k_act)
        state, timestep = lanes.step(env, tasks, state, action, k_env)
        parts = (timestep.obs, timestep.reward, timestep.discount)
        seen += sum(leaf.astype(jnp.float32).sum() for leaf in jax.tree.leaves(parts))
        return (state, timestep, seen), None

    return jax.lax.scan(one, (*start, jnp.float32(0.0)), jr.split(key, steps))[0]


_play = jax.jit(_played, static_argnums=(0, 1, 5))


def _compiled(function: Any, *args: Any) -> tuple[Callable[..., Any], float]:
    """A jitted function compiled for these arguments (its static ones dropped), and how many seconds that took."""
    start = time.perf_counter()
    compiled = function.lower(*args).compile()
    return compiled, time.perf_counter() - start


def flops_a_step(network: Any, epochs: int) -> float:
    """Operations in matrix products that PPO spends on one environment step, counted by hand.

    Acting passes a step forward once. Each epoch passes it forward and backward; backward is two products a layer (for
    the weights and for what lies below), but one for the first layer, below which there is nothing to learn.
    A product with an o x i matrix is 2 o i operations.
    """
    sizes = [leaf.size for leaf in jax.tree.leaves(network) if leaf.ndim == 2]
    torsos = [
        torso for torso in (network.torso, network.critic_torso) if torso is not None and torso.mlp.layers
    ]
    lowest = sum(torso.mlp.layers[0].weight.size for torso in torsos)
    return 2.0 * (sum(sizes) * (1 + 3 * epochs) - lowest * epochs)


def matmul_peak(size: int = 2048) -> float:
    """Operations a second of the best of a few products of square float32 matrices."""
    a = jr.normal(jr.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    return 2.0 * size**3 / min(_seconds(lambda: product(a)) for _ in range(4))


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def _peak_rss_mb() -> float:
    """The most memory this process has held, in MB (VmHWM; `getrusage` would count the parent's pages too)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(fields["VmHWM"].split()[0]) / 1024


_RECURRENT = NetworkConfig(torso=(256,), memory="gru", memory_size=256)

CASES: dict[str, Training | Playing] = {
    "ppo-cartpole": Training("cartpole", PPOConfig(), 16, 50, standard=True),
    "ppo-gru-bandit": Training("bandit:arms=5,pulls=100", PPOConfig(network=_RECURRENT), 256, 2),
    "ppo-platformer": Training("platformer", agents.configure("ppo-retro"), 8, 4),
    "env-bandit": Playing("bandit:arms=5,pulls=100", 4096, 1000),
    "env-cartpole": Playing("cartpole", 4096, 1000),
    "env-maze-rays": Playing("maze-small:obs=rays", 1024, 500),
    "env-tabular-mdp": Playing("tabular-mdp", 2048, 500),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--tiny", action="store_true", help="sizes for a test")
    args = parser.parse_args()
    case = CASES[args.case]
    work = (case.tiny() if args.tiny else case).compile()
    jax.block_until_ready(work.run())
    ready = {"compile_seconds": work.compile_seconds, "steps": work.steps, "flops": work.flops}
    print(json.dumps(ready | {"jax": jax.__version__, "backend": jax.default_backend()}), flush=True)
    for line in sys.stdin:
        if line.strip() != "run":
            raise SystemExit(f"unknown request {line!r}")
        reply = {"seconds": _seconds(work.run), "peak_rss_mb": _peak_rss_mb()}
        if work.flops:
            reply["matmul_peak"] = matmul_peak(64 if args.tiny else 2048)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
