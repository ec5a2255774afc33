"""`headstart watch`: one trial of one unseen task, as a film where the suite has pictures, as text where it has none."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from headstart import suites
from headstart.cli import parse
from headstart.errors import UsageError
from headstart.loops.evaluate import Recording, record
from headstart.protocol.evaluation import contestant
from headstart.tasks import Role


@dataclass(frozen=True)
class WatchOptions:
    """See one trial of one task: the one that `evaluate` scores, given the same seed."""

    suite: str = "maze-small:obs=rays"
    """suite by name, options after a colon"""
    agent: str = "random"
    """a rule, a shipped prior, a prior file or a run folder"""
    task: int = 0
    """which task of the split"""
    split: Role = "test"
    """role of the task"""
    seed: int = 0
    """of all randomness in play"""
    out: Path | None = None
    """film to write, .gif or .mp4; None prints the trial as text"""
    steps: int | None = None
    """film the first so many steps; left out, the whole trial"""
    json: bool = False
    """print the trial as JSON"""


def film(
    suite_name: str,
    who: str,
    out: Path,
    task: int = 0,
    split: Role = "test",
    seed: int = 0,
    steps: int | None = None,
) -> Path:
    """Play one trial and film it, or its first `steps` steps.

    Raises:
      UsageError: if the suite has no pictures, or for a number of steps that is not positive.
    """
    from headstart.reports import video

    suite = suites.suite(suite_name)
    if suite.render is None:
        raise UsageError(f"suite {suite.name} has no pictures; leave --out away to see the trial as text.")
    if steps is not None and steps < 1:
        raise UsageError(f"a film has at least one step, not {steps}.")
    chosen, recording = _play(suite_name, who, task, split, seed)
    states = jax.tree.map(lambda leaf: leaf[: steps and steps + 1], recording.states)
    return video.trial_film(out, suite, chosen, states)


def _play(suite_name: str, who: str, task: int, split: Role, seed: int) -> tuple[Any, Recording]:
    if task < 0:
        raise UsageError(f"tasks are counted from 0, not {task}.")
    suite = suites.suite(suite_name)
    found = contestant(suite, who, seed)
    tasks = suite.split(split, task + 1).tasks
    chosen = jax.tree.map(lambda leaf: leaf[task], tasks)
    return chosen, record(found.agent, found.env, tasks, found.state, jr.key(seed))


def watch(args: list[str]) -> None:
    """Film or print one trial."""
    options: WatchOptions = parse(WatchOptions, args, "watch")
    if options.out:
        chosen = (options.task, options.split, options.seed, options.steps)
        written = film(options.suite, options.agent, options.out, *chosen)
        print(json.dumps({"film": str(written)}) if options.json else f"film written to {written}")
        return
    _, recording = _play(options.suite, options.agent, options.task, options.split, options.seed)
    episode = np.cumsum(recording.ended) - recording.ended
    rows = [
        {
            "step": t,
            "episode": int(episode[t]),
            "action": np.asarray(recording.action[t]).tolist(),
            "reward": round(float(recording.reward[t]), 4),
        }
        for t in range(len(recording.reward))
    ]
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(f"total reward {recording.reward.sum():.3f} in {int(recording.ended.sum())} episodes")
