"""Does RL² play a level better the more episodes of it it has played? Nothing is learned but what it remembers.

    python -m benchmarks.in_context [--seeds 10]       # results/in_context.json

The shipped prior `rl2-platformer` plays trials of five episodes on the levels of each split, with every seed.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import headstart as hs

SUITE, PRIOR = "platformer:episodes=5", "rl2-platformer"
OUT = Path(__file__).parent / "results" / "in_context.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    found = {}
    for split in ("train", "valid", "test"):
        played = [hs.evaluate(SUITE, [PRIOR], split=split, seed=seed)[0] for seed in seeds]
        returns = np.array([result.within for result in played])
        error = returns.std(0, ddof=1) / np.sqrt(len(returns))
        found[split] = {
            "levels": len(played[0].scores),
            "seeds": len(seeds),
            "return": returns.mean(0).tolist(),
        }
        found[split] |= {"se": error.tolist()}
        print(
            split,
            *(f"{mean:.0f} ± {e:.0f}" for mean, e in zip(returns.mean(0), error, strict=True)),
            flush=True,
        )
    OUT.write_text(json.dumps({"suite": SUITE, "prior": PRIOR} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
