"""The table of *Gotta Learn Fast* on the platformer: how fast are unseen levels learned, with a prior and without?

    python -m benchmarks.gotta_learn_fast --run FOLDER [--seeds 3] [--agents ppo-retro …]   # goes on where it was stopped
    python -m benchmarks.gotta_learn_fast --run FOLDER --restore [--seeds …] …  # goes on from the stored runs
    python -m benchmarks.gotta_learn_fast --run FOLDER --collect         # all runs there, into results/gotta_learn_fast.json
    python -m benchmarks.gotta_learn_fast --page                         # table and picture of the page, from that file
    headstart report --results benchmarks/results/gotta_learn_fast.json

A run is 1 000 000 steps on one of the 11 test levels, 8 lanes. Priors are trained on the 47 training levels for as many
steps as `TRAIN_STEPS` says, and chosen by adaptation to valid levels. Everything is `headstart transfer` with the settings
below. `rl2-platformer` is the prior of the row `rl2`, fine-tuned: `--shipped` plays the row `rl2` itself with it, instead of
training it again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import headstart as hs
from headstart import agents, results
from headstart.protocol import priors
from headstart.protocol.adaptation import AdaptOptions, adapt
from headstart.protocol.contenders import Contender, kept_at
from headstart.protocol.training import Progress
from headstart.protocol.transfer import Watch

AGENTS = (
    "expert",
    "random",
    "jerk",
    "ppo-retro",
    "ppo-retro-joint",
    "ppo-retro-joint-frozen",
    "rainbow",
    "rainbow-joint",
    "rl2",
    "rl2-platformer",
)
TRAIN_STEPS = {"ppo-retro": 12_000_000, "rainbow": 3_000_000, "rl2": 12_000_000}
COLLECTED = Path(__file__).parent / "results" / "gotta_learn_fast.json"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "gotta-learn-fast.md"
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#7f7f7f", "#e69f00", "#8c564b")

# what "rainbow" and "rl2" are here: presets, under the names of what they stand for
CONFIGS = {"rainbow": agents.configure("rainbow-frugal"), "rl2": agents.configure("rl2-retro")}


def restore(run: Path) -> None:
    """Put the stored runs into the folder, as if they had been played there."""
    for result in results.load_all(COLLECTED):
        results.save(result, kept_at(run / "runs", result.agent, result.facts["task"], result.seed))


def play_shipped(seeds: int, run: Path) -> None:
    """What the folder lacks of the row `rl2`, by the prior that ships; its choice is told as the stored runs tell it."""
    prior = priors.find("rl2-platformer")
    told = next(one for one in results.load_all(COLLECTED) if one.agent == "rl2")
    notes = {"chosen": told.facts["chosen"]}
    who = Contender("rl2", prior.agent, prior.config, prior, frozen=True, notes=notes)
    how = AdaptOptions(seeds=tuple(range(seeds)), run=run / "runs")
    command = f"python -m benchmarks.gotta_learn_fast --agents rl2 --shipped --seeds {seeds}"
    adapt(
        prior.suite,
        who,
        how,
        watch=lambda found: print(found.facts["task"], found.seed, found.scores),
        command=command,
    )


def play(contenders: tuple[str, ...], seeds: int, run: Path) -> None:
    """Train, choose and adapt what the folder lacks."""

    def progress(who: str, now: Progress) -> None:
        print(f"{who} {now.steps:,} steps, return {now.episode_return:.0f}", file=sys.stderr, flush=True)

    def result(found: results.Result) -> None:
        print(found.agent, found.facts["task"], found.seed, found.scores, file=sys.stderr, flush=True)

    watch = Watch(progress, result)
    for agent in contenders:
        steps = TRAIN_STEPS.get(agent.partition("-joint")[0], 1)
        options = hs.TransferOptions(
            "platformer", (agent,), seeds=seeds, train_steps=steps, train_lanes=48, run=run
        )
        hs.transfer(options, watch, "python -m benchmarks.gotta_learn_fast", CONFIGS)


def collect(run: Path) -> None:
    """Every run of the folder in one file."""
    found: list[Any] = [results.to_json(result) for result in results.load_all(run / "runs")]
    COLLECTED.write_text("[\n" + ",\n".join(json.dumps(one) for one in found) + "\n]\n")


def draw(group: dict[str, Any]) -> None:
    """Mean return of the episodes that ended in each piece of the budget, over all levels and seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    curved = [agent for agent in group["agents"] if agent["curve"]]
    ends = [sum(agent["curve"]["values"][-5:]) / 5 for agent in curved]
    place = float("inf")
    for end, agent, colour in sorted(zip(ends, curved, COLOURS, strict=False), key=lambda one: -one[0]):
        axes.plot([step / 1e6 for step in group["steps"]], agent["curve"]["values"], color=colour, lw=2)
        place = min(end, place - 260)  # labels do not touch
        axes.text(1.01, place, agent["name"], color=colour, va="center")
    axes.set(
        xlabel="million steps on a level never seen before", ylabel="return of an episode", xlim=(0, 1.32)
    )
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Eleven unseen levels of the platformer", loc="left")
    figure.savefig(PAGE.with_suffix(".png"), dpi=140)


def faster(agent: dict[str, Any]) -> str:
    """How much sooner it is where the learner it is held against ends."""
    m = agent["measures"]
    if m is None:
        return ""
    if m["speedup"] is None:
        return f"`{m['over']}` is not reached"
    return f"{'at least ' if m['at_once'] else ''}{m['speedup']:.1f}x `{m['over']}`"


def table(group: dict[str, Any]) -> str:
    """Scores and what priors were worth, and every level, as Markdown."""

    def span(interval: list[float] | None) -> str:
        return f"{interval[0]:,.0f} to {interval[1]:,.0f}" if interval else "-"

    rows = ["| contender | score ± s.e. | 95 % | IQM | speed-up | runs |", "|-|--:|--:|--:|--:|--:|"]
    for agent in group["agents"]:
        error = "" if agent["se"] is None else f" ± {agent['se']:,.0f}"
        cells = [f"{agent['mean']:,.0f}{error}", span(agent["mean_interval"]), f"{agent['iqm']:,.0f}"]
        rows.append(
            f"| `{agent['name']}` | " + " | ".join([*cells, faster(agent), str(agent["runs"])]) + " |"
        )
    names = [f"`{agent['name']}`" for agent in group["agents"]]
    rows += ["", "| level | " + " | ".join(names) + " |", "|-|" + "--:|" * len(names)]
    for i, task in enumerate(group["tasks"]):
        means = [agent["per_task"][i]["mean"] for agent in group["agents"]]
        rows.append(f"| {task} | " + " | ".join("-" if m is None else f"{m:,.0f}" for m in means) + " |")
    return "\n".join(rows)


def page() -> None:
    """Put table and picture into the documentation."""
    from headstart.reports.summary import summary

    (group,) = summary(results.load_all(COLLECTED))["transfers"]
    draw(group)
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n{table(group)}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--seeds", type=int, default=3, help="runs a level")
    parser.add_argument(
        "--run", type=Path, default=Path("gotta-learn-fast"), help="folder of priors and runs"
    )
    parser.add_argument("--restore", action="store_true", help="begin with the stored runs")
    parser.add_argument(
        "--shipped", action="store_true", help="play rl2 with the prior that ships, not one trained anew"
    )
    parser.add_argument("--collect", action="store_true", help="only gather what is there")
    parser.add_argument("--page", action="store_true", help="only write table and picture")
    args = parser.parse_args()
    if args.page:
        page()
        return
    if args.restore:
        restore(args.run)
    if args.shipped:
        play_shipped(args.seeds, args.run)
    elif not args.collect:
        play(tuple(args.agents), args.seeds, args.run)
    collect(args.run)


if __name__ == "__main__":
    main()
