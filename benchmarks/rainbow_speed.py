"""How fast Rainbow learns: updates and environment steps a second, and what bounds them; and which sum tree is fastest.

    taskset -c 1 python -m benchmarks.rainbow_speed > benchmarks/results/rainbow_speed.jsonl

One JSON line a case. Speeds are by processor time (`cpu`: what one core to itself would reach, as far as others do not
take its caches) and by the clock (`wall`), the best of a few runs of the whole loop: environment, acting, replay, learning.
The share of the matmul peak counts the operations of all matrix products against a 1024 x 1024 product timed in the same
process. The environment costs nothing: it pays and ends episodes at random and shows a wave; but in the cases of the
platformer it is the game, with the settings of the table (`benchmarks.gotta_learn_fast`), learning and only acting.
"""

import argparse
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from headstart import agents, suites
from headstart.agents.rainbow import RainbowConfig, RainbowState, rainbow
from headstart.loops import jit
from headstart.nets.q_network import QNetworkConfig
from headstart.ops import sum_tree
from headstart.types import Box, Discrete, Env, Spec, Step


@dataclass(frozen=True)
class Waves:
    """`size` numbers to look at, and `actions` to choose from."""

    size: int
    actions: int

    @property
    def spec(self) -> Spec:
        return Spec(Box((self.size,)), Discrete(self.actions), horizon=10_000)

    def reset(self, task: Any, key: Any) -> Any:
        del task, key
        return jnp.float32(0.0)

    def step(self, task: Any, state: Any, action: Any, key: Any) -> tuple[Any, Step]:
        del task, action
        luck = jr.uniform(key)
        return state + 1.0, Step(luck, luck < 0.01, jnp.bool_(False))

    def observe(self, task: Any, state: Any) -> Any:
        return jnp.cos(0.1 * state * task)

    def privileged(self, task: Any, state: Any) -> None:
        del task, state


_RAINBOW = RainbowConfig(warm_up=1000)


@dataclass(frozen=True)
class Case:
    about: str
    size: int = 800
    actions: int = 8
    lanes: int = 1
    seeds: int = 1
    config: RainbowConfig = _RAINBOW
    game: bool = False
    """whether it is the platformer that is played"""


_ONE_LAYER = QNetworkConfig((512,))
_DQN = RainbowConfig(
    double=False, dueling=False, noisy=False, distributional=False, n_step=1, prioritised=False, warm_up=1000
)
_TABLE = agents.configure("rainbow-frugal")
_UNTAUGHT = dataclasses.replace(_TABLE, warm_up=_TABLE.capacity)
CASES: dict[str, Case] = {
    "wide": Case("800 numbers, 512 x 512, 8 actions, 51 atoms, all six pieces"),
    "wide-exact": Case(
        "the same, targets batch by batch", config=RainbowConfig(warm_up=1000, unroll=1, ahead=1)
    ),
    "wide-dqn": Case("the same sizes, all six pieces off", config=_DQN),
    "wide-256": Case(
        "256 transitions every 8 steps", config=RainbowConfig(warm_up=1000, batch=256, steps_per_update=8)
    ),
    "small": Case("cart-pole's sizes: 4 numbers, 512 x 512, 2 actions", 4, 2),
    "small-seeds": Case("cart-pole's sizes, eight runs side by side", 4, 2, seeds=8),
    "table": Case("the table's settings on the platformer", 897, lanes=8, config=_TABLE, game=True),
    "table-acting": Case("the same before it learns", 897, lanes=8, config=_UNTAUGHT, game=True),
    "small-one": Case("the same with one hidden layer", 4, 2, config=RainbowConfig(_ONE_LAYER, warm_up=1000)),
}


def products(case: Case) -> tuple[float, float]:
    """Operations in matrix products: of one update, and of acting for one step."""
    config = case.config
    atoms = config.atoms if config.distributional else 1
    sizes = (case.size, *config.network.hidden, (case.actions + config.dueling) * atoms)
    layers = [i * o for i, o in pairwise(sizes)]
    noisy = sum(layers[-2:]) if config.noisy else 0
    forward = sum(layers)
    learning = forward + 2 * forward - layers[0]  # down, and back but for what lies below the first layer
    targets = forward * (1 + config.double)
    return 2.0 * config.batch * (learning + targets), 2.0 * (forward + noisy)


def best(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """The least (processor, wall) seconds of a few runs."""
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        jax.block_until_ready(run())
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(t[0] for t in times), min(t[1] for t in times)


def matmul_peak(size: int = 1024) -> float:
    """Operations a processor second."""
    a = jr.normal(jr.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    return 2.0 * size**3 / best(lambda: product(a), 20)[0]


def _game() -> tuple[Env, Any]:
    suite = suites.suite("platformer")
    return suite.env, suite.split("test").tasks


def measure(name: str, updates: int, repeats: int) -> dict[str, Any]:
    """One case's line."""
    case = CASES[name]
    config = case.config
    env, task = (
        _game() if case.game else (Waves(case.size, case.actions), jr.normal(jr.key(0), (1, case.size)))
    )
    agent = rainbow(env.spec, config)
    calls = max(1, updates * config.steps_per_update // (case.lanes * agent.unroll))
    keys = jr.split(jr.key(1), case.seeds)
    held = [jit.starts(agent, env, task, keys, case.lanes)]
    cpu = time.process_time()
    chunk = jit.chunks.lower(agent, env, task, held[0], keys, calls).compile()
    compile_seconds = time.process_time() - cpu

    def run() -> Any:
        held[0], log = chunk(task, held[0], keys)
        return log

    while config is not _UNTAUGHT and int(held[0].agent.updates.sum()) == 0:
        jax.block_until_ready(run())
    before = int(held[0].agent.updates.sum())
    cpu, wall = best(run, repeats)
    state: RainbowState = held[0].agent
    made = (int(state.updates.sum()) - before) / repeats
    steps = calls * case.seeds * case.lanes * agent.unroll
    update, act = products(case)
    peak = matmul_peak()
    ring = sum(leaf.nbytes for leaf in jax.tree.leaves(state.replay)) / config.capacity / case.seeds
    return {
        "name": name,
        "about": case.about,
        "updates_per_second": {"cpu": round(made / cpu), "wall": round(made / wall)},
        "steps_per_second": {"cpu": round(steps / cpu), "wall": round(steps / wall)},
        "share_of_matmul_peak": round((made * update + steps * act) / cpu / peak, 3),
        "updates_per_second_at_peak": round(peak * made / (made * update + steps * act)),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "matmul_peak_gflops": round(peak / 1e9, 1),
        "compile_cpu_seconds": round(compile_seconds, 1),
        "replay_bytes_a_step": round(ring, 1),
        "load": os.getloadavg()[0],
    }


def measure_tree(branch: int, entries: int = 500_000, batch: int = 32) -> dict[str, Any]:
    """Microseconds to draw a batch from a full tree and give it new priorities."""
    tree = sum_tree.put(
        sum_tree.empty(entries, branch), jnp.arange(entries, dtype=jnp.int32), jnp.ones(entries), branch
    )

    def one(tree: Any, key: Any) -> tuple[Any, None]:
        u = jr.uniform(key, (2, batch))
        index = sum_tree.find(tree, u[0] * sum_tree.total(tree), branch)
        return sum_tree.put(tree, index, u[1], branch), None

    return {"name": f"sum-tree-{branch}", "entries": entries, "batch": batch} | _per_draw(one, tree)


def measure_blocks(entries: int = 500_000, batch: int = 32) -> dict[str, Any]:
    """The same by cumulative sums: over the sums of √C blocks, then within the block that was found."""
    width = math.isqrt(entries - 1) + 1
    blocks = jnp.ones((width, width))

    def pick(sums: Any, mass: Any) -> tuple[Any, Any]:
        up_to = jnp.cumsum(sums)
        place = jnp.minimum(jnp.searchsorted(up_to, mass, side="right"), width - 1)
        return place, mass - up_to[place] + sums[place]

    def one(carry: Any, key: Any) -> tuple[Any, None]:
        blocks, sums = carry
        u = jr.uniform(key, (2, batch))
        block, left = jax.vmap(lambda mass: pick(sums, mass))(u[0] * sums.sum())
        entry, _ = jax.vmap(pick)(blocks[block], left)
        blocks = blocks.at[block, entry].set(u[1])
        return (blocks, sums.at[block].set(blocks[block].sum(-1))), None

    about = {"name": f"blocks-{width}", "entries": entries, "batch": batch}
    return about | _per_draw(one, (blocks, blocks.sum(-1)))


def _per_draw(one: Callable[[Any, Any], tuple[Any, None]], carry: Any) -> dict[str, Any]:
    draws = jax.jit(lambda carry: jax.lax.scan(one, carry, jr.split(jr.key(0), 200))[0], donate_argnums=0)
    held = [draws(carry)]

    def run() -> Any:
        held[0] = draws(held[0])
        return held[0]

    cpu, wall = best(run, 5)
    return {"microseconds": {"cpu": round(cpu / 200 * 1e6, 1), "wall": round(wall / 200 * 1e6, 1)}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--branch",
        nargs="*",
        type=int,
        default=[2, 4, 8, 16],
        help="children a node of the sum tree",
    )
    parser.add_argument("--updates", type=int, default=160, help="updates a timed run")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for branch in args.branch:
        print(json.dumps(measure_tree(branch)), flush=True)
    if args.branch:
        print(json.dumps(measure_blocks()), flush=True)
    for name in args.case:
        print(json.dumps(measure(name, args.updates, args.repeats)), flush=True)


if __name__ == "__main__":
    main()
