"""Where does joint training over-fit? Zero-shot scores on the platformer's training levels and on levels never seen.

    python -m benchmarks.overfitting levels               # priors of 2, 8, 24 and 47 training levels, trained alike
    python -m benchmarks.overfitting snapshots FOLDER     # the priors that a joint training kept along its way
    python -m benchmarks.overfitting draw                 # docs/benchmarks/overfitting.png

Both write results/overfitting.json. A level's score is the return of one episode, at most 10 000, and each is played with
`SEEDS`; nothing is learned on the way.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from headstart.protocol import priors

SUITE = "platformer"
SIZES = (2, 8, 24, 47)
STEPS = 2_500_000
SEEDS = range(4)
RESULTS = Path(__file__).parent / "results" / "overfitting.json"
PICTURE = Path(__file__).parents[1] / "docs" / "benchmarks" / "overfitting.png"


def scores(prior: Any, levels: int) -> dict[str, float]:
    """Mean score on the first `levels` training levels, and on the valid and the test levels."""
    found: dict[str, float] = {}
    for role, tasks in (("train", levels), ("valid", None), ("test", None)):
        played = [hs.evaluate(SUITE, [prior], split=role, tasks=tasks, seed=seed)[0].scores for seed in SEEDS]
        found[role] = float(np.mean(played))
    return found


def keep(what: str, row: dict[str, Any]) -> None:
    """Put a row with the others of its kind, in place of an older one."""
    every = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rows = [
        old for old in every.get(what, []) if (old["levels"], old["steps"]) != (row["levels"], row["steps"])
    ]
    every[what] = sorted([*rows, row], key=lambda one: (one["levels"], one["steps"]))
    RESULTS.write_text(json.dumps(every, indent=1) + "\n")
    print(what, row, flush=True)


def levels() -> None:
    """Train on ever more levels with the settings of the joint prior, and score."""
    for size in SIZES:
        trained = hs.train(
            suite=SUITE, agent="ppo-retro", steps=STEPS, lanes=48, tasks=size, task_seed=0, evaluate_on=0
        )
        keep("levels", {"levels": size, "steps": STEPS, **scores(trained.prior, size)})


def snapshots(folder: Path) -> None:
    """Score the priors of a folder."""
    for path in sorted(folder.glob("*.npz")):
        prior = priors.load(path)
        keep("snapshots", {"levels": 47, "steps": int(prior.steps), **scores(prior, 47)})


def draw() -> None:
    """Scores on training levels and on unseen ones: against the number of levels, and along joint training."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    every = json.loads(RESULTS.read_text())
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), dpi=150, sharey=True, layout="constrained")
    of, along = every["levels"], every["snapshots"]
    places = {"levels": np.arange(len(of)), "snapshots": np.array([row["steps"] / 1e6 for row in along])}
    for axes, what in zip(panels, ("levels", "snapshots"), strict=True):
        for role, colour in (("train", "#7f7f7f"), ("test", "#0072b2")):
            values = [row[role] for row in every[what]]
            axes.plot(places[what], values, "-o", color=colour, lw=2)
            end, side = (0, "left") if what == "levels" else (-1, "right")  # where the lines are apart
            axes.annotate(
                f"{'training' if role == 'train' else 'unseen'} levels",
                (places[what][end], values[end]),
                (6 if end == 0 else -4, 8 if role == "train" else -16),
                textcoords="offset points",
                ha=side,
                color=colour,
            )
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(
        xlabel="levels trained on", ylabel="return of an episode", xticks=places["levels"], ylim=(0, 6900)
    )
    panels[0].set_xticklabels([str(row["levels"]) for row in of])
    panels[0].set_title(f"{STEPS / 1e6:g} million steps of training", loc="left", fontsize=10)
    panels[1].set(xlabel="million steps of training on 47 levels")
    panels[1].set_title("along joint training", loc="left", fontsize=10)
    figure.savefig(PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["levels", "snapshots", "draw"])
    parser.add_argument("folder", type=Path, nargs="?", help="of priors, for snapshots")
    args = parser.parse_args()
    if args.what == "snapshots" and args.folder is None:
        parser.error("snapshots needs the folder of the priors.")
    if args.what == "snapshots":
        snapshots(args.folder)
    elif args.what == "levels":
        levels()
    else:
        draw()


if __name__ == "__main__":
    main()
