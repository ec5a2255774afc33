"""Which memory learns to learn? RL² on tabular MDPs with each, everything else alike.

    python -m benchmarks.memories [--steps 5000000]       # results/memories.json, one memory after the other
    python -m benchmarks.memories --draw                  # docs/benchmarks/memories.png

A memory that is there already is not trained again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from benchmarks.rl2 import TABULAR, settings
from headstart.protocol.training import Progress

RESULTS = Path(__file__).parent / "results" / "memories.json"
PICTURE = Path(__file__).parent.parent / "docs" / "benchmarks" / "memories.png"
SUITE = "tabular-mdp:episodes=10"
MEMORIES = {"linear": 128, "gru": 128, "lstm": 96, "fast": 64}
"""units that take about the same time a step"""


def train(memory: str, steps: int) -> dict[str, Any]:
    """The learning curve of one memory, and what it took."""
    changes = TABULAR | {"network.memory": memory, "network.memory_size": MEMORIES[memory]}
    curve: list[list[float]] = []

    def watch(progress: Progress) -> None:
        curve.append([progress.steps, round(progress.episode_return, 3)])

    cpu = time.process_time()
    hs.train(
        suite=SUITE,
        agent="rl2",
        config=settings(changes, steps),
        steps=steps,
        lanes=256,
        evaluate_on=0,
        chunks=40,
        watch=watch,
    )
    minutes = round((time.process_time() - cpu) / 60, 2)
    print(f"{memory}: {curve[-1]}, {minutes} processor minutes", flush=True)
    return {"memory": memory, "size": MEMORIES[memory], "cpu_minutes": minutes, "curve": curve}


def draw(found: list[dict[str, Any]]) -> None:
    """The curves, with what the textbook rules reach."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    place = -np.inf  # where the last name was written; names keep their distance
    for one in sorted(found, key=lambda one: one["curve"][-1][1]):
        steps, returns = zip(*one["curve"], strict=True)
        (line,) = axes.plot([s / 1e6 for s in steps], returns, linewidth=2)
        name = f"{one['memory']} {one['size']}, {one['cpu_minutes']:.1f} min"
        place = max(place + 2.2, returns[-1])
        axes.text(steps[-1] / 1e6 + 0.08, place, name, color=line.get_color(), va="center")
    axes.set(xlabel="million steps", ylabel="total reward of a trial of 10 episodes")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("RL² on random MDPs: the memory decides", loc="left")
    axes.set_xlim(0, axes.get_xlim()[1] * 1.25)
    axes.set_xticks(range(6))
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000_000)
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if args.draw:
        draw(found)
        return
    for memory in MEMORIES:
        if memory not in {one["memory"] for one in found}:
            found.append(train(memory, args.steps))
            RESULTS.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
