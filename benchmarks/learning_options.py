"""What two ways of the paper are worth on the platformer: backtracking allowed, and lanes pinned to levels.

    python -m benchmarks.learning_options --run FOLDER [--seeds 1] [--rows ppo-backtracking …]

Each row is one of benchmarks.gotta_learn_fast with the option on, played on the same 11 levels with the same seeds; the runs
without it are those stored there. Writes results/learning_options.json: the mean score, and its difference to the row
without the option, level by level. What the folder has is not played again.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from benchmarks.gotta_learn_fast import COLLECTED, CONFIGS, TRAIN_STEPS
from headstart import agents, results
from headstart.protocol.transfer import Watch

OUT = Path(__file__).parent / "results" / "learning_options.json"

# row: the contender, what is changed of its settings, whether lanes are pinned
ROWS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "ppo-backtracking": ("ppo-retro", {"backtracking": True}, False),
    "rainbow-backtracking": ("rainbow", {"backtracking": True}, False),
    "ppo-joint-pinned": ("ppo-retro-joint", {}, True),
}


def play(row: str, seeds: int, run: Path) -> list[results.Result]:
    """The runs of a row: those that the folder lacks are played."""
    who, changes, pinned = ROWS[row]
    learner = who.partition("-joint")[0]
    config = dataclasses.replace(CONFIGS.get(learner) or agents.configure(learner), **changes)
    steps = TRAIN_STEPS[learner]
    options = hs.TransferOptions(
        "platformer", (who,), seeds=seeds, train_steps=steps, train_lanes=48, pinned=pinned, run=run / row
    )
    watch = Watch(
        lambda name, now: print(f"{name} {now.steps:,} steps, return {now.episode_return:.0f}", flush=True),
        lambda found: print(row, found.facts["task"], found.seed, found.scores, flush=True),
    )
    return hs.transfer(options, watch, "python -m benchmarks.learning_options", {learner: config})


def compared(row: str, found: list[results.Result], plain: list[results.Result]) -> dict[str, Any]:
    """A row beside the stored one of the same contender, levels and seeds."""
    stored = {(one.facts["task"], one.seed): one.scores[0] for one in plain if one.agent == ROWS[row][0]}
    pairs = [(one, stored[one.facts["task"], one.seed]) for one in found]
    scores = np.array([one.scores[0] for one, _ in pairs])
    gain = scores - np.array([score for _, score in pairs])
    about: dict[str, Any] = {
        "row": row,
        "beside": ROWS[row][0],
        "runs": len(pairs),
        "score": float(scores.mean()),
    }
    about |= {"gain": float(gain.mean()), "gain_se": float(gain.std(ddof=1) / np.sqrt(gain.size))}
    about["levels"] = [
        {"level": one.facts["task"], "seed": one.seed, "score": one.scores[0], "without": score}
        for one, score in pairs
    ]
    return about


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    args = parser.parse_args()
    plain = results.load_all(COLLECTED)
    rows: dict[str, Any] = {row["row"]: row for row in json.loads(OUT.read_text())} if OUT.exists() else {}
    for name in args.rows:
        rows[name] = compared(name, play(name, args.seeds, args.run), plain)
        print({k: v for k, v in rows[name].items() if k != "levels"}, flush=True)
        OUT.write_text(json.dumps([rows[row] for row in ROWS if row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
