"""RL² on bandits, tabular MDPs and mazes: train a prior, then score it on 10 000 test tasks.

    python -m benchmarks.rl2 CASE [--seed 0]
    python -m benchmarks.rl2 table              # the table of docs/benchmarks/rl2.md from the stored results

Writes the prior that ships with the package (src/headstart/data/priors; none of the short first-person run),
results/rl2/CASE.result.json (scores on the test split, at the end of training) and CASE.log.json (learning curve, processor
minutes). The settings are the preset `rl2` but for what CASES changes.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from headstart import results
from headstart.protocol.evaluation import evaluate
from headstart.protocol.priors import save as save_prior
from headstart.protocol.training import Progress

OUT = Path(__file__).parent / "results" / "rl2"
PRIORS = Path(hs.__file__).parent / "data" / "priors"

# What is changed of the preset. Its linear recurrence counts pulls and rewards; it cannot join a state with what was
# done in it a step later, which fast weights do.
TABULAR = {"network.memory": "fast", "network.memory_size": 96, "entropy_bonus": 0.003, "lam": 0.7}
MAZE = {
    "network.memory": "fast",
    "network.memory_size": 64,
    "network.memory_slots": 24,
    "network.memory_context": 48,  # which episode it is, and which way one faces, no single view tells
    "network.task_inference": True,
    "network.actor": (64,),
    "network.critic": (64,),
    "unroll": 200,  # most of a trial: what the first episode found has to be remembered for the second
}
# With a bonus of 0.01 two of ten arms die out before the agent has learned to play on them; as long as it lasts, it costs
# more than there is still to learn, so that it ends after three eighths of the run. Telling the arms' means makes the memory
# exact (docs/benchmarks/rl2.md).
BANDIT = {
    "entropy_bonus": 0.1,
    "entropy_share": 0.375,
    "network.task_inference": True,
    "inference_cost": 4.0,
}

# suite, environment steps, lanes, test tasks, changed settings (network settings prefixed "network.")
CASES: dict[str, tuple[str, int, int, int, dict[str, Any]]] = {
    "bandit-5-10": ("bandit:arms=5,pulls=10", 24_000_000, 256, 10_000, BANDIT),
    "bandit-5-100": ("bandit:arms=5,pulls=100", 64_000_000, 256, 10_000, BANDIT),
    "bandit-10-100": ("bandit:arms=10,pulls=100", 64_000_000, 256, 10_000, BANDIT),
    "tabular-mdp-10": ("tabular-mdp:episodes=10", 45_000_000, 256, 10_000, TABULAR),
    "maze-small-rays": ("maze-small:obs=rays", 42_000_000, 192, 2_000, MAZE),
    "maze-small-rgb": ("maze-small", 2_000_000, 64, 500, MAZE),
}
SHORT = ("maze-small-rgb",)
"""trained for the curve, too short for a prior to ship"""


def settings(changes: dict[str, Any], steps: int) -> Any:
    """The preset with a case's changes, annealed over the run; the entropy bonus over a share of it."""
    changes = dict(changes)
    share = changes.pop("entropy_share", 1.0)
    config = hs.configure("rl2", anneal_steps=steps, entropy_steps=round(share * steps))
    network = {k.removeprefix("network."): v for k, v in changes.items() if k.startswith("network.")}
    rest = {k: v for k, v in changes.items() if not k.startswith("network.")}
    return dataclasses.replace(config, network=dataclasses.replace(config.network, **network), **rest)


def table() -> None:
    """Print the stored results as Markdown."""
    print("| case | test score ± s.e. | tasks | steps | processor minutes | further |\n|-|-|-|-|-|-|")
    for case in CASES:
        if not (OUT / f"{case}.log.json").exists():
            continue
        log = json.loads((OUT / f"{case}.log.json").read_text())
        result = results.from_json(json.loads((OUT / f"{case}.result.json").read_text()), case)
        scores = np.array(result.scores)
        error = scores.std(ddof=1) / np.sqrt(scores.size)
        facts = [f"{k} {np.round(v, 3).tolist()}" for k, v in result.facts.items()]
        steps = log["curve"][-1]["steps"]
        row = [case, f"{scores.mean():.3f} ± {error:.3f}", f"{scores.size:,}", f"{steps / 1e6:.0f} M"]
        print("| " + " | ".join([*row, f"{log['cpu_minutes']:.1f}", "; ".join(facts)]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=[*CASES, "table"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.case == "table":
        table()
        return
    suite, steps, lanes, tasks, changes = CASES[args.case]
    wall, cpu = time.perf_counter(), time.process_time()
    curve: list[dict[str, float]] = []

    def watch(progress: Progress) -> None:
        minutes = (time.process_time() - cpu) / 60
        curve.append({"steps": progress.steps, "return": progress.episode_return, "cpu_minutes": minutes})
        print(
            f"{progress.steps:>12,} steps  return {progress.episode_return:8.3f}  {minutes:6.2f} cpu min",
            flush=True,
        )

    trained = hs.train(
        suite=suite,
        agent="rl2",
        config=settings(changes, steps),
        steps=steps,
        lanes=lanes,
        seed=args.seed,
        watch=watch,
    )
    spent = {
        "wall_minutes": (time.perf_counter() - wall) / 60,
        "cpu_minutes": (time.process_time() - cpu) / 60,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    command = f"python -m benchmarks.rl2 {args.case} --seed {args.seed}"
    prior = dataclasses.replace(trained.prior, name=f"rl2-{args.case}")
    if args.case not in SHORT:
        save_prior(prior, PRIORS / f"rl2-{args.case}.npz")
    (result,) = evaluate(suite, [prior], tasks=tasks, command=command)
    results.save(dataclasses.replace(result, curve=trained.result.curve), OUT / f"{args.case}.result.json")
    mean = sum(result.scores) / len(result.scores)
    log = {"command": command, "test_mean": mean, "facts": result.facts} | spent | {"curve": curve}
    (OUT / f"{args.case}.log.json").write_text(json.dumps(log, indent=1) + "\n")
    print(f"{args.case}: {mean:.3f} on {len(result.scores)} test tasks; {spent}")


if __name__ == "__main__":
    main()
