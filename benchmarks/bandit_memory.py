"""How exactly does the memory of RL² know the arms? What its head for the task reads, against the exact posterior means.

    python -m benchmarks.bandit_memory [PRIOR …]         # writes results/bandit_memory.json

Priors by name or file; by default the two that ship for a hundred pulls. On 2 000 test tasks, by pulls of the trial: the
root mean square of the head's distance from the posterior means (s + 1) / (n + 2) of its own pulls, and both their squared
errors against the arms' true means, halved as in training: no memory can do better than the posterior.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart import suites
from headstart.envs import lanes
from headstart.protocol import priors
from headstart.protocol.priors import Prior

TASKS = 2000
PARTS = ((0, 5), (5, 20), (20, 50), (50, 100))
OUT = Path(__file__).parent / "results" / "bandit_memory.json"


def told(prior: Prior, tasks: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Before every pull what the head reads `[pulls, tasks, arms]`; the arms pulled, and what they paid."""
    suite = suites.suite(prior.suite)
    agent, network = prior.build(suite), prior.state.network

    def one(carry: Any, key: Any) -> tuple[Any, Any]:
        play, timestep, memory = carry
        k_act, k_env = jr.split(key)
        _, features = network.step(memory, timestep.obs, timestep.first)
        memory, arm, _ = agent.act(prior.state, memory, timestep, k_act)
        play, timestep = lanes.step(suite.env, tasks, play, arm, k_env, pinned=True)
        read = jax.vmap(network.task_head)(features.actor)[:, : tasks.mean.shape[1]]
        return (play, timestep, memory), (read, arm, timestep.reward)

    def play(key: Any) -> Any:
        state, timestep = lanes.reset(suite.env, tasks, key, TASKS, pinned=True)
        keys = jr.split(key, suite.env.spec.steps)
        return jax.lax.scan(one, (state, timestep, agent.memory(TASKS)), keys)[1]

    read, arm, reward = jax.jit(play)(jr.key(1))
    return np.asarray(read), np.asarray(arm), np.asarray(reward)


def compared(prior: Prior) -> dict[str, Any]:
    """The head beside the posterior, part by part of the trial."""
    tasks: Any = jax.tree.map(jnp.asarray, suites.suite(prior.suite).split("test", TASKS).tasks)
    read, arm, reward = told(prior, tasks)
    pulled = arm[..., None] == np.arange(read.shape[-1])
    before = np.zeros((1, *pulled.shape[1:]))
    n = np.concatenate([before, np.cumsum(pulled, 0)[:-1]])
    s = np.concatenate([before, np.cumsum(pulled * reward[..., None], 0)[:-1]])
    posterior, mean = (s + 1) / (n + 2), np.asarray(tasks.mean)
    rows: list[dict[str, Any]] = []
    for low, high in PARTS:
        part = slice(low, high)
        rows.append(
            {
                "pulls": [low + 1, high],
                "from_posterior": float(np.sqrt(((read - posterior)[part] ** 2).mean())),
                "head_error": float(0.5 * ((read - mean)[part] ** 2).mean()),
                "posterior_error": float(0.5 * ((posterior - mean)[part] ** 2).mean()),
            }
        )
    cost = prior.config.inference_cost
    return {"suite": prior.suite, "inference_cost": cost, "steps": prior.steps, "parts": rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("priors", nargs="*", default=["rl2-bandit-5-100", "rl2-bandit-10-100"])
    found: list[dict[str, Any]] = []
    for name in parser.parse_args().priors:
        prior = priors.find(name)
        found.append({"prior": Path(name).stem} | compared(prior))
        away = [round(row["from_posterior"], 4) for row in found[-1]["parts"]]
        print(f"{Path(name).stem:<30}{found[-1]['inference_cost']:>6}  {away}", flush=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
