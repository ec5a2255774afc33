"""Every learner on the textbook cart-pole: learning curves, and the return at the end of training.

    taskset -c 1 python -m benchmarks.learners [--agents a2c trpo] [--seeds 3]
    python -m benchmarks.learners --figure    draws docs/agents/learners.png from what is there

The first plays `cartpole-v0`'s standard task (Gymnasium's CartPole-v1) with the settings below, and writes
benchmarks/results/learners.json: for each agent its settings, steps, seconds (compilation apart), the curve
of every seed (mean return of the episodes that ended in each hundredth of the run) and the mean over the
run's last tenth. An agent that is named alone replaces its own part of the file only.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np

from headstart.agents import agent, configure
from headstart.loops import jit
from headstart.suites import suite

RESULTS = Path(__file__).parent / "results" / "learners.json"
FIGURE = Path(__file__).parents[1] / "docs" / "agents" / "learners.png"
COMMAND = "taskset -c 1 python -m benchmarks.learners"
CASES: dict[str, tuple[int, int, dict[str, Any]]] = {  # lanes, steps, settings that differ from the defaults
    "reinforce": (8, 500_000, {}),
    "actor-critic": (1, 200_000, {}),
    "a2c": (16, 500_000, {"anneal_steps": 500_000}),
    "trpo": (16, 300_000, {}),
    "ppo": (
        8,
        300_000,
        {
            "unroll": 32,
            "epochs": 10,
            "minibatches": 1,
            "lr": 1e-3,
            "anneal_steps": 300_000,
            "gamma": 0.98,
            "lam": 0.8,
            "entropy_bonus": 0.0,
        },
    ),
}
POINTS = 100


def _run(name: str, lanes: int, steps: int, settings: dict[str, Any], seeds: int) -> dict[str, Any]:
    problem = suite("cartpole-v0")
    learner = agent(name, problem.env.spec, **settings)
    tasks = jax.tree.map(lambda x: jnp.asarray(x)[None], problem.standard)
    updates = max(1, steps // (lanes * learner.unroll))
    clock = time.perf_counter()
    carry = jit.start(learner, problem.env, tasks, jr.key(0), lanes)
    program = jit.chunk.lower(learner, problem.env, tasks, carry, jr.key(0), updates).compile()
    compiled = time.perf_counter() - clock
    curves, last, seconds = [], [], []
    for seed in range(seeds):
        k_start, k_run = jr.split(jr.key(seed))
        carry = jit.start(learner, problem.env, tasks, k_start, lanes)
        clock = time.perf_counter()
        _, log = jax.block_until_ready(program(tasks, carry, k_run))
        seconds.append(round(time.perf_counter() - clock, 2))
        episodes, returns = np.asarray(log.episodes), np.asarray(log.returns, np.float64)
        bins = np.array_split(np.arange(updates), min(POINTS, updates))
        curves.append([_mean(returns[i], episodes[i]) for i in bins])
        tail = slice(-max(1, updates // 10), None)
        last.append(_mean(returns[tail], episodes[tail]))
    return {
        "config": dataclasses.asdict(configure(name, **settings)),
        "lanes": lanes,
        "steps": updates * lanes * learner.unroll,
        "updates": updates,
        "compile_seconds": round(compiled, 2),
        "seconds": seconds,
        "last_tenth": last,
        "curves": curves,
    }


def _mean(returns: np.ndarray, episodes: np.ndarray) -> float | None:
    """Mean return of the episodes that ended; None where none did."""
    return round(float(returns.sum() / episodes.sum()), 1) if episodes.sum() else None


def draw(found: dict[str, Any]) -> None:
    """A panel an agent, one line a seed, over the same number of steps."""
    figure, panels = plt.subplots(1, len(found), figsize=(2.3 * len(found), 2.6), sharex=True, sharey=True)
    for panel, (name, run) in zip(panels, found.items(), strict=True):
        for curve, colour in zip(run["curves"], ("#1b6ca8", "#5aa9e6", "#0b3c5d"), strict=False):
            values = np.array([np.nan if mean is None else mean for mean in curve])
            steps = (np.arange(len(values)) + 1) / len(values) * run["steps"] / 1000
            panel.plot(steps, values, color=colour, linewidth=1.1, clip_on=False)
        panel.axhline(500, color="#999999", linewidth=0.8, linestyle=":")
        panel.set_title(f"{name}\n{run['lanes']} lane{'s' * (run['lanes'] > 1)}", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set(xlim=(0, 500), ylim=(0, 515), xticks=(0, 200, 400))
    panels[0].set_ylabel("return an episode", fontsize=8)
    figure.supxlabel("thousand steps, all lanes", fontsize=8)
    figure.tight_layout(pad=0.6)
    figure.savefig(FIGURE, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", action="store_true", help="draw what was measured, measure nothing")
    chosen = parser.parse_args()
    found = json.loads(RESULTS.read_text())["agents"] if RESULTS.exists() else {}
    if chosen.figure:
        draw(found)
        return
    for name in chosen.agents:
        found[name] = _run(name, *CASES[name], chosen.seeds)
        print(name, "last tenth", found[name]["last_tenth"], "seconds", found[name]["seconds"], flush=True)
        agents = {known: found[known] for known in CASES if known in found}
        versions = {"jax": jax.__version__, "backend": jax.default_backend()}
        body = {"command": COMMAND, "versions": versions, "agents": agents}
        RESULTS.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
