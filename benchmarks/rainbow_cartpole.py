"""What Rainbow and plain DQN reach on the textbook cart-pole, several seeds side by side.

    python -m benchmarks.rainbow_cartpole > benchmarks/results/rainbow_cartpole.json

Prints, for each agent and seed, the mean return of the episodes that ended in each tenth of training.
"""

import argparse
import json
from typing import Any

import jax
import jax.random as jr
import numpy as np

from headstart.agents import agent
from headstart.envs.cartpole import CartPole, standard
from headstart.loops import jit
from headstart.nets.q_network import QNetworkConfig

SETTINGS: dict[str, Any] = {
    "network": QNetworkConfig((64, 64)),
    "v_min": 0.0,
    "v_max": 100.0,
    "lr": 1e-3,
    "warm_up": 1000,
    "target_updates": 200,
    "steps_per_update": 4,
    "capacity": 50_000,
    "epsilon_steps": 10_000,
}
OFF: dict[str, Any] = {
    "double": False,
    "dueling": False,
    "noisy": False,
    "distributional": False,
    "n_step": 1,
    "prioritised": False,
}
LANES = 8


def tenths(settings: dict[str, Any], seeds: int, steps: int) -> list[list[float]]:
    """Mean return by tenth of training, for each seed."""
    env = CartPole()
    learner = agent("rainbow", env.spec, **settings)
    table = jax.tree.map(lambda x: x[None], standard())
    keys = jr.split(jr.key(0), seeds)
    carry = jit.starts(learner, env, table, keys, LANES)
    _, log = jit.chunks(learner, env, table, carry, keys, steps // (LANES * learner.unroll))
    returns, episodes = (np.array_split(np.asarray(x), 10, axis=1) for x in (log.returns, log.episodes))
    means = [total.sum(1) / count.sum(1) for total, count in zip(returns, episodes, strict=True)]
    return np.round(np.stack(means, 1), 1).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=64_000, help="environment steps a seed, all lanes")
    args = parser.parse_args()
    result: dict[str, Any] = {"suite": "cartpole-v0, standard", "steps": args.steps, "lanes": LANES}
    for name, settings in {"rainbow": SETTINGS, "dqn": SETTINGS | OFF}.items():
        result[name] = tenths(settings, args.seeds, args.steps)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
