"""What the aids to fine-tuning are worth on the platformer: the joint prior adapts to the test levels with each of them.

    python -m benchmarks.fine_tuning PRIORS [--budget 300000] [--seeds 1] [--aids none …] [--run FOLDER]

PRIORS is a folder of snapshots of one joint training (benchmarks.gotta_learn_fast keeps them); the one that was chosen there
goes first. Everything but the aid is alike. Writes results/fine_tuning.json: settings, the mean of the levels' scores, and
its difference to the prior without aids, level by level.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from headstart import agents
from headstart.protocol import priors
from headstart.protocol.adaptation import adapt
from headstart.protocol.contenders import AdaptOptions, Contender
from headstart.protocol.tuning import Tuning

CHOSEN = 9_093_120
"""steps after which joint training left the prior that was chosen"""
OUT = Path(__file__).parent / "results" / "fine_tuning.json"
AIDS = {
    "none": Tuning(),
    "kickstarting": Tuning(kickstart=1.0),
    "fresh heads": Tuning(fresh_heads=True),
    "fresh heads, kickstarting": Tuning(fresh_heads=True, kickstart=1.0),
    "warm-up": Tuning(warm_up=0.05),
    "four priors tried": Tuning(tries=4),
}


def contender(folder: Path) -> Contender:
    """The chosen prior, with the other snapshots in reserve."""
    found = [priors.load(path) for path in sorted(folder.glob("*.npz"))]
    first, *others = sorted(found, key=lambda prior: prior.steps != CHOSEN)
    config = agents.configure("ppo-retro")
    return Contender("ppo-retro-joint", "ppo-retro", config, first, others=tuple(others))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("priors", type=Path)
    parser.add_argument("--budget", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--aids", nargs="+", choices=AIDS, default=list(AIDS), help="some of them; none first"
    )
    parser.add_argument("--run", type=Path, help="keeps every run; what is there is not played again")
    args = parser.parse_args()
    who, rows = contender(args.priors), list[dict[str, Any]]()
    plain = np.zeros(0)
    for name in args.aids:
        tuning = AIDS[name]
        folder = args.run / name.replace(", ", "-").replace(" ", "-") if args.run else None
        options = AdaptOptions(args.budget, seeds=tuple(range(args.seeds)), run=folder, tuning=tuning)
        found = adapt("platformer", who, options, command="python -m benchmarks.fine_tuning")
        scores = np.array([result.scores[0] for result in found])
        plain = plain if plain.size else scores
        gain = scores - plain
        error = float(gain.std(ddof=1) / np.sqrt(gain.size))
        row = {"aid": name, "tuning": tuning.facts, "score": float(scores.mean()), "gain": float(gain.mean())}
        rows.append(row | {"gain_se": error, "scores": {r.facts["task"]: r.scores[0] for r in found}})
        print(f"{name:<28}{scores.mean():>8.0f}{gain.mean():>8.0f} ± {error:.0f}", flush=True)
    about = {"budget": args.budget, "seeds": args.seeds, "runs": plain.size, "aids": rows}
    OUT.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
