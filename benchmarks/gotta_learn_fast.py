"""The table of *Gotta Learn Fast* on the platformer: how fast are unseen levels learned, with a prior and without?

    python -m benchmarks.gotta_learn_fast --run FOLDER [--seeds 3] [--agents ppo-retro …]   # goes on where it was stopped
    python -m benchmarks.gotta_learn_fast --run FOLDER --collect         # all runs there, into results/gotta_learn_fast.json
    python -m benchmarks.gotta_learn_fast --page                         # table and picture of the page, from that file
    headstart report --results benchmarks/results/gotta_learn_fast.json

A run is 1 000 000 steps on one of the 11 test levels, 8 lanes. Priors are trained on the 47 training levels for as many
steps as `TRAIN_STEPS` says, and chosen by adaptation to valid levels. Everything is `headstart transfer` with the settings
below.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import headstart as hs
from headstart import results
from headstart.agents.ppo import PPOConfig
from headstart.agents.rainbow import RainbowConfig
from headstart.nets.actor_critic import NetworkConfig
from headstart.nets.q_network import QNetworkConfig
from headstart.protocol.training import Progress
from headstart.protocol.transfer import Watch

AGENTS = (
    "random",
    "jerk",
    "ppo-retro",
    "ppo-retro-joint",
    "ppo-retro-joint-frozen",
    "rainbow",
    "rainbow-joint",
    "rl2",
)
TRAIN_STEPS = {"ppo-retro": 12_000_000, "rainbow": 3_000_000, "rl2": 12_000_000}
COLLECTED = Path(__file__).parent / "results" / "gotta_learn_fast.json"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "gotta-learn-fast.md"
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#7f7f7f", "#e69f00", "#8c564b")

# Rainbow as published makes an update a step with two layers of 512: 33 runs would take two days. What is changed: two
# layers of 128 (the second and the heads are noisy), an update every 32 steps with a greater step size and targets copied
# as often a step; returns over ten steps instead of three, so that what follows is known after fewer updates; and a
# support that reaches what runs here can earn: a step at full speed brings 50.
RAINBOW = RainbowConfig(
    network=QNetworkConfig(hidden=(128, 128)),
    n_step=10,
    steps_per_update=32,
    target_updates=256,
    lr=5e-4,
    v_min=-1000.0,
    v_max=3000.0,
    warm_up=8_000,
    capacity=200_000,
    half=True,
)

# RL² as `rl2` plays bandits, but for an observation of 900 numbers, relu for rewards that are not between 0 and 1, and a
# discount and an unroll for episodes of hundreds of steps. Trials are of five episodes.
RL2 = PPOConfig(
    network=NetworkConfig(torso=(128,), activation="relu", memory="linear", memory_size=128),
    unroll=128,
    epochs=3,
    lr=1e-3,
    standardise_values=True,
)


def play(agents: tuple[str, ...], seeds: int, run: Path) -> None:
    """Train, choose and adapt what the folder lacks."""

    def progress(who: str, now: Progress) -> None:
        print(f"{who} {now.steps:,} steps, return {now.episode_return:.0f}", file=sys.stderr, flush=True)

    def result(found: results.Result) -> None:
        print(found.agent, found.facts["task"], found.seed, found.scores, file=sys.stderr, flush=True)

    configs, watch = {"rainbow": RAINBOW, "rl2": RL2}, Watch(progress, result)
    for agent in agents:
        steps = TRAIN_STEPS.get(agent.partition("-joint")[0], 1)
        options = hs.TransferOptions(
            "platformer", (agent,), seeds=seeds, train_steps=steps, train_lanes=48, run=run
        )
        hs.transfer(options, watch, "python -m benchmarks.gotta_learn_fast", configs)


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


def table(group: dict[str, Any]) -> str:
    """Scores and what priors were worth, and every level, as Markdown."""

    def span(interval: list[float] | None) -> str:
        return f"{interval[0]:,.0f} to {interval[1]:,.0f}" if interval else "-"

    rows = ["| contender | score ± s.e. | 95 % | IQM | speed-up | runs |", "|-|--:|--:|--:|--:|--:|"]
    for agent in group["agents"]:
        error = "" if agent["se"] is None else f" ± {agent['se']:,.0f}"
        speedup = (agent["measures"] or {}).get("speedup")
        cells = [f"{agent['mean']:,.0f}{error}", span(agent["mean_interval"]), f"{agent['iqm']:,.0f}"]
        fast = f"{speedup:.1f}x" if speedup else ""
        rows.append(f"| `{agent['name']}` | " + " | ".join([*cells, fast, str(agent["runs"])]) + " |")
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
    parser.add_argument("--collect", action="store_true", help="only gather what is there")
    parser.add_argument("--page", action="store_true", help="only write table and picture")
    args = parser.parse_args()
    if args.page:
        page()
        return
    if not args.collect:
        play(tuple(args.agents), args.seeds, args.run)
    collect(args.run)


if __name__ == "__main__":
    main()
