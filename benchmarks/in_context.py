"""Does RL² play a level better the more episodes of it it has played? Nothing is learned but what it remembers.

    python -m benchmarks.in_context [--seeds 10]       # results/in_context.json
    python -m benchmarks.in_context --memoryless       # the same agent trained without its memory, into the same file

The shipped prior `rl2-platformer` plays trials of five episodes on the levels of each split, with every seed. Without
memory means a second dense layer in its place, and everything else alike: settings, training levels, steps, lanes.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from benchmarks.gotta_learn_fast import CONFIGS, TRAIN_STEPS

SUITE, PRIOR = "platformer:episodes=5", "rl2-platformer"
OUT = Path(__file__).parent / "results" / "in_context.json"


def memoryless() -> Any:
    """A prior of the same training, but for the memory."""
    rl2 = CONFIGS["rl2"]
    network = replace(rl2.network, torso=(128, 128), memory="none")
    steps, config = TRAIN_STEPS["rl2"], replace(rl2, network=network)
    return hs.train(suite=SUITE, agent="rl2", config=config, steps=steps, lanes=48, evaluate_on=0).prior


def episodes(prior: Any, seeds: range) -> dict[str, Any]:
    """Mean return of the first, second, … episode of a trial on the levels of each split, over seeds."""
    found: dict[str, Any] = {}
    for split in ("train", "valid", "test"):
        played = [hs.evaluate(SUITE, [prior], split=split, seed=seed)[0] for seed in seeds]
        returns = np.array([result.within for result in played])
        mean, error = returns.mean(0), returns.std(0, ddof=1) / np.sqrt(len(returns))
        found[split] = {"levels": len(played[0].scores), "return": mean.tolist(), "se": error.tolist()}
        print(split, *(f"{m:.0f} ± {e:.0f}" for m, e in zip(mean, error, strict=True)), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--memoryless", action="store_true")
    args = parser.parse_args()
    every: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"suite": SUITE}
    who, prior = ("memoryless", memoryless()) if args.memoryless else (PRIOR, PRIOR)
    every[who] = {"seeds": args.seeds} | episodes(prior, range(args.seeds))
    OUT.write_text(json.dumps(every, indent=1) + "\n")


if __name__ == "__main__":
    main()
