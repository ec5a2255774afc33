"""How do agents look for the best of ten arms? Pull by pull: arms tried so far, and what is lost against the best arm.

    python -m benchmarks.bandit_play [PRIOR.npz …]     # results/bandit_play.json and docs/benchmarks/bandit-play.png

The shipped prior of ten arms and a hundred pulls beside textbook rules, and beside other priors, named as their files are,
on the same 4 000 test tasks. The one with an entropy bonus of 0.01 was shipped up to commit 4d90190.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from headstart import suites
from headstart.envs import lanes
from headstart.protocol.evaluation import contestant
from headstart.types import Agent, AgentState

SUITE, TASKS = "bandit:arms=10,pulls=100", 4000
PRIOR, RULES = "rl2-bandit-10-100", ("gittins", "ucb1", "optimistic-thompson")
OUT = Path(__file__).parent / "results" / "bandit_play.json"
PICTURE = Path(__file__).parents[1] / "docs" / "benchmarks" / "bandit-play.png"


def pulls(agent: Agent, state: AgentState, tasks: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which arm each trial pulls, and what it is paid: `[pulls, tasks]` both."""
    env = suites.suite(SUITE).env

    def one(carry: Any, key: Any) -> tuple[Any, Any]:
        held, timestep, memory = carry
        k_act, k_env = jr.split(key)
        memory, action, _ = agent.act(state, memory, timestep, k_act)
        held, timestep = lanes.step(env, tasks, held, action, k_env, pinned=True)
        return (held, timestep, memory), (action, timestep.reward)

    def play(key: Any) -> Any:
        held, timestep = lanes.reset(env, tasks, key, TASKS, pinned=True)
        return jax.lax.scan(one, (held, timestep, agent.memory(TASKS)), jr.split(key, env.spec.steps))[1]

    arm, reward = jax.jit(play)(jr.key(1))
    return np.asarray(arm), np.asarray(reward)


def describe(mean: np.ndarray, arm: np.ndarray, reward: np.ndarray) -> dict[str, Any]:
    """Score; how many arms were tried by each pull; the loss of each pull; the share of trials that try each arm."""
    tried = np.maximum.accumulate(arm[..., None] == np.arange(mean.shape[1]), axis=0)
    loss = mean.max(1) - np.take_along_axis(mean, arm.T, axis=1).T
    return {
        "score": float(reward.sum(0).mean()),
        "tried": tried.sum(-1).mean(1).tolist(),
        "loss": loss.mean(1).tolist(),
        "share_of_trials_that_try_each_arm": tried[-1].mean(0).tolist(),
        "last_is_best": float((arm[-1] == mean.argmax(1)).mean()),
    }


def draw(found: dict[str, Any]) -> None:
    """Arms tried, and what is lost so far, against the pull."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), dpi=150, layout="constrained")
    colours = dict(zip(found, ("#d55e00", "#cc79a7", "#0072b2", "#009e73", "#7f7f7f"), strict=False))
    for axes, what in zip(panels, ("tried", "loss"), strict=True):
        lines = {n: np.cumsum(how[what]) if what == "loss" else how[what] for n, how in found.items()}
        place = -np.inf
        for name, values in sorted(lines.items(), key=lambda line: line[1][-1]):
            place = max(values[-1], place + 0.5)  # so that labels do not touch
            axes.plot(np.arange(1, len(values) + 1), values, color=colours[name], lw=2)
            axes.text(len(values) + 2, place, name, color=colours[name], va="center")
    for axes, title in zip(panels, ("arms tried", "lost against the best arm so far"), strict=True):
        axes.set(xlabel="pull", xlim=(0, 150), ylim=(0, None), xticks=range(0, 101, 25))
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE)


def main() -> None:
    suite, others = suites.suite(SUITE), sys.argv[1:]
    tasks: Any = suite.split("test", TASKS).tasks
    found: dict[str, Any] = {}
    for name in (PRIOR, *others, *RULES):
        who = contestant(suite, name)
        how = describe(np.asarray(tasks.mean), *pulls(who.agent, who.state, tasks))
        found["rl2" if name == PRIOR else Path(name).stem] = how
        each = np.round(how["share_of_trials_that_try_each_arm"], 3).tolist()
        print(f"{name:<20}{how['score']:7.2f}{how['tried'][-1]:6.2f} arms tried, each in {each}")
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 4))
    OUT.write_text(json.dumps({"suite": SUITE, "tasks": TASKS, "agents": rounded}) + "\n")
    draw(found)


if __name__ == "__main__":
    main()
