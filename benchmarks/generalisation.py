"""How many training tasks does learning to learn need? Test score of RL² against the size of its training set.

python -m benchmarks.generalisation [--seeds 2]     # results/generalisation.json
python -m benchmarks.generalisation --draw          # docs/benchmarks/generalisation.png from it
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs

SUITE = "bandit:arms=5,pulls=10"
SIZES = (1, 10, 100, 1000, None)
STEPS = 2_000_000
RESULTS = Path(__file__).parent / "results" / "generalisation.json"
PICTURE = Path(__file__).parents[1] / "docs" / "benchmarks" / "generalisation.png"


def measure(size: int | None, seed: int) -> dict[str, Any]:
    """Train on `size` tasks; score on them (or as many fresh ones, if endless) and on 5000 test tasks."""
    config = hs.configure("rl2", anneal_steps=STEPS)
    trained = hs.train(
        suite=SUITE,
        agent="rl2",
        config=config,
        steps=STEPS,
        lanes=256,
        seed=seed,
        tasks=size,
        task_seed=seed,
        evaluate_on=0,
    )
    (test,) = hs.evaluate(SUITE, [trained.prior], tasks=5000)
    train = float(np.mean(trained.result.curve.values[-5:]))
    return {"tasks": size, "seed": seed, "train": train, "test": float(np.mean(test.scores))}


def best(role: Any, size: int | None, seed: int) -> float:
    """What pulling every task's best arm ten times gives: the scale on which small sets of tasks can be compared."""
    tasks = hs.suite(SUITE).split(role, 5000 if size is None else size, seed).tasks
    return 10 * float(np.mean(np.max(tasks.mean, axis=1)))


def draw(rows: list[dict[str, Any]], reference: dict[str, float]) -> None:
    """Scores on the training tasks and on test tasks, as shares of what the best arms give."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    places, ceiling = np.arange(len(SIZES)), best("test", 5000, 0)
    figure, axes = plt.subplots(figsize=(6.4, 3.8), dpi=150)
    for what, colour in (("train", "#999999"), ("test", "#0072b2")):
        values = [
            [
                100 * row[what] / (best("train", size, row["seed"]) if what == "train" else ceiling)
                for row in rows
                if row["tasks"] == size
            ]
            for size in SIZES
        ]
        axes.plot(places, [np.mean(v) for v in values], "-o", color=colour, lw=2)
        for place, found in zip(places, values, strict=True):
            axes.plot([place] * len(found), found, "_", color=colour)
        axes.annotate(
            f"on {what} tasks", (0, np.mean(values[0])), (0.12, np.mean(values[0])), color=colour, va="center"
        )
    for name, score in reference.items():
        value = 100 * score / ceiling
        axes.axhline(value, color="#d55e00", lw=1, ls=":")
        axes.annotate(
            name,
            (len(SIZES) - 1, value),
            xytext=(0, 3),
            textcoords="offset points",
            color="#d55e00",
            ha="right",
        )
    axes.set_xticks(places, ["1", "10", "100", "1000", "endless"])
    axes.set_xlabel("training tasks")
    axes.set_ylabel("% of what the best arm gives in 10 pulls")
    axes.set_title("RL² on five-armed bandits: too few tasks are learned by heart", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    if args.draw:
        found = json.loads(RESULTS.read_text())
        draw(found["rows"], found["reference"])
        return
    rules = hs.evaluate(SUITE, ["random", "ucb1"], tasks=5000)
    rows = []
    for size in SIZES:
        for seed in range(args.seeds):
            rows.append(measure(size, seed))
            print(rows[-1], flush=True)
    reference = {result.agent: float(np.mean(result.scores)) for result in rules}
    about = {
        "command": f"python -m benchmarks.generalisation --seeds {args.seeds}",
        "steps": STEPS,
        "suite": SUITE,
    }
    RESULTS.write_text(json.dumps(about | {"reference": reference, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
