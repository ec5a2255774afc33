"""Who adapts, how, and what that takes: contenders, options, and the plan of one contender's runs."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from headstart import agents
from headstart.agents.fine_tuning import fine_tuned
from headstart.budget import Budget
from headstart.errors import UsageError
from headstart.protocol.priors import Prior
from headstart.protocol.tuning import Tuning
from headstart.tasks import Split, Suite
from headstart.types import Agent


@dataclass(frozen=True)
class Contender:
    """Who adapts: a learner, from scratch or with a prior, whose weights may or may not learn on the test task."""

    name: str
    agent: str
    """name in the registry of agents"""
    config: Any
    prior: Prior | None = None
    frozen: bool = False
    """whether weights stay as they are: zero-shot, or, where the agent has a memory, learning in context"""
    notes: dict[str, Any] = field(default_factory=dict)
    """what a result is to say of how the prior was chosen, or why there is none"""
    others: tuple[Prior, ...] = ()
    """further priors of the same joint training, the best first, for those who try several (`Tuning.tries`)"""
    variant: str = ""
    """what tells it from contenders of the same name in a folder: the size of its training set, say"""
    failed: bool = False
    """whether its joint training left no prior, so that nothing can be played"""

    @property
    def tuned(self) -> bool:
        """Whether there is a prior, or was to be one, and its weights learn."""
        return (self.prior is not None or self.failed) and not self.frozen


@dataclass(frozen=True)
class AdaptOptions:
    """How contenders adapt."""

    budget: int = 1_000_000
    """steps on each task, summed over lanes"""
    lanes: int = 8
    """environments of a task that one run advances together"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """a run of every task for each"""
    points: int = 50
    """of the learning curve"""
    together: int = 0
    """runs in one program; 0 chooses: one on a CPU (a thread each), on an accelerator as many as its memory has room for"""
    run: Path | None = None
    """folder that keeps every finished run, and how far others are; what is there already is not run again"""
    tuning: Tuning = field(default_factory=Tuning)
    """aids for priors that are fine-tuned; contenders without a prior, or frozen, have no use for them"""
    filmed: int = 0
    """the first so many tasks, with the first seed, whose adaptation is filmed, given somebody to film it"""

    def __post_init__(self) -> None:
        for name, least in (("lanes", 1), ("points", 1), ("together", 0), ("filmed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is at least {least}, not {getattr(self, name)}.")
        if not self.seeds:
            raise UsageError("there is at least one seed.")
        Budget(self.budget)


class Run(NamedTuple):
    """One adaptation: row of the split, and seed."""

    row: int
    seed: int


class Plan(NamedTuple):
    """What the runs of one contender have in common."""

    suite: Suite
    split: Split
    contender: Contender
    agent: Agent
    options: AdaptOptions
    updates: int
    """how many the budget allows, tries apart"""
    tried: tuple[Prior, ...] = ()
    """priors tried first, none if there is nothing to choose"""
    try_updates: int = 0
    """how long each of them plays"""

    @property
    def steps_per_update(self) -> int:
        return self.options.lanes * self.agent.unroll

    @property
    def size(self) -> int:
        """Updates in a piece of the learning curve."""
        return math.ceil(self.updates / self.options.points)

    @property
    def pieces(self) -> Iterator[int]:
        """Updates of each piece."""
        return (min(self.size, self.updates - made) for made in range(0, self.updates, self.size))

    @property
    def tuning(self) -> dict[str, Any]:
        """The aids this contender uses, as a result tells them."""
        found = self.options.tuning.facts if self.contender.tuned else {}
        return (
            found
            if self.tried or self.contender.failed
            else {k: v for k, v in found.items() if k not in ("tries", "try_share")}
        )

    def filmed(self, run: Run) -> bool:
        """Whether this run is to be filmed."""
        learns = self.agent.learns or self.contender.prior is not None
        return learns and run.row < self.options.filmed and run.seed == self.options.seeds[0]


def label(split: Split, row: int) -> str:
    """What a split's task is called."""
    return split.labels[row] if split.labels else f"task-{row}"


def refuse_seen(prior: Prior, suite: Suite, split: Split, name: str = "") -> None:
    """Nobody trains on the test.

    Raises:
      UsageError: if the prior was trained on one of these tasks, told by their fingerprints. To play again what it was
        trained on, a train split, is no test.
    """
    shared = set(prior.seen) & set(split.digests)
    if shared and split.role != "train":
        raise UsageError(
            f"prior {name or prior.name} was trained on {len(shared)} of the {split.size} tasks it is to be tested on "
            f"({split.role} of {suite.name}); train one on other tasks."
        )


def plan_of(suite: Suite, split: Split, contender: Contender, options: AdaptOptions) -> Plan:
    """What a contender's runs take.

    Raises:
      UsageError: if they cannot be carried out: no end of tasks, tasks the prior was trained on or spaces it does not know,
        an agent that cannot play the suite or does not take the aids, a budget that does not suffice.
    """
    if split.size is None:
        raise UsageError("one adapts to a finite set of tasks; give its size.")
    for prior in [contender.prior, *contender.others] if contender.prior else []:
        assert prior is not None
        refuse_seen(prior, suite, split, contender.name)
        prior.build(suite)
    entry = agents.entry(contender.agent)
    contender = replace(contender, config=entry.within(contender.config, options.budget))
    agent = entry.build(suite.env.spec, contender.config)
    aids = options.tuning.aids(options.budget) if contender.tuned else None
    if aids is not None:
        agent = fine_tuned(suite.env.spec, contender.config, aids)
    if contender.frozen:
        agent = still(agent)
    steps, tried, try_updates = options.lanes * agent.unroll, (), 0
    if contender.tuned and contender.prior and options.tuning.tries > 1 and contender.others:
        tried = (contender.prior, *contender.others)[: options.tuning.tries]
        try_updates = max(1, round(options.tuning.try_share * options.budget / steps))
    updates = options.budget // steps - len(tried) * try_updates
    if updates < 1:
        spent = f" after {len(tried)} tries of {try_updates * steps}" if tried else ""
        raise UsageError(
            f"a budget of {options.budget} steps is less than one update of {contender.name}{spent}: "
            f"{options.lanes} lanes x {agent.unroll} steps; give more steps or fewer lanes."
        )
    return Plan(suite, split, contender, agent, options, updates, tried, try_updates)


def still(agent: Agent) -> Agent:
    """The agent that plays as it is and learns nothing, or only in its memory."""
    return Agent(agent.init, agent.memory, agent.act, adopt=agent.adopt, unroll=agent.unroll)


def _file(task: str, seed: int) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{task}-seed{seed}")


def kept_at(run: Path, folder: str, task: str, seed: int) -> Path:
    """The file of a finished run; its folder is made."""
    (run / folder).mkdir(parents=True, exist_ok=True)
    return run / folder / f"{_file(task, seed)}.result.json"


def _folder(plan: Plan) -> str:
    """Of a contender's runs."""
    sizes = {name.replace("_", "-"): value for name, value in plan.tuning.items()}
    aids = [name if value is True else f"{name}-{value:g}" for name, value in sizes.items()]
    return "-".join([plan.contender.name, *filter(None, [plan.contender.variant]), *aids])


def named(plan: Plan, run: Run) -> str:
    """What a contender's run is called in a run's folder, endings apart."""
    return f"{_folder(plan)}/{_file(label(plan.split, run.row), run.seed)}"


def place(plan: Plan, run: Run) -> Path:
    """The file of a contender's finished run."""
    assert plan.options.run is not None
    return kept_at(plan.options.run, _folder(plan), label(plan.split, run.row), run.seed)


__all__ = [
    "AdaptOptions",
    "Contender",
    "Plan",
    "Run",
    "kept_at",
    "label",
    "named",
    "place",
    "plan_of",
    "refuse_seen",
    "still",
]
