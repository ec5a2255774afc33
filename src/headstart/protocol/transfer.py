"""How much faster does an agent learn an unseen task because it has learned others?

    for each contender with a prior:
        train on the train split, keeping a few priors along the way      (joint training)
        choose the one that adapts best to a few valid tasks              (zero-shot score chooses worse ones)
    for each contender: adapt to every test task with every seed under the budget

Contenders are written LEARNER (from scratch), LEARNER-joint (trained on the train split, then fine-tuned on each test
task) and LEARNER-joint-frozen (the same, its weights left as they are: zero-shot). `rl2` is trained jointly on trials and
learns in its memory alone. A shipped prior, a prior's file or a run folder is fine-tuned, or with `-frozen` only played.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import agents, suites
from headstart.errors import UsageError
from headstart.protocol import priors, training
from headstart.protocol.adaptation import AdaptOptions, Contender, adapt
from headstart.protocol.evaluation import check_seed
from headstart.protocol.priors import Prior
from headstart.protocol.training import Progress, TrainOptions
from headstart.results import Result
from headstart.tasks import Suite

_JOINT, _FROZEN = "-joint", "-frozen"
IN_CONTEXT = ("rl2",)
"""learners that are always trained jointly, on trials, and then only remember"""


@dataclass(frozen=True)
class TransferOptions:
    """Train priors, adapt to unseen tasks, compare."""

    suite: str = "platformer"
    """suite by name, options after a colon"""
    agents: tuple[str, ...] = ("random", "ppo", "ppo-joint", "ppo-joint-frozen", "rl2")
    """contenders: LEARNER, LEARNER-joint, LEARNER-joint-frozen, rl2, or a prior (with -frozen)"""
    budget: int = 1_000_000
    """steps on each test task, summed over lanes"""
    seeds: int = 3
    """runs of each test task"""
    tasks: int | None = None
    """how many test tasks; None is all of the suite's"""
    lanes: int = 8
    """environments of a test task that one run advances together"""
    train_steps: int = 20_000_000
    """steps of joint training, summed over lanes"""
    train_tasks: int | None = None
    """size of the training set; None is the suite's own"""
    train_lanes: int = 128
    """environments of joint training"""
    trial: int = 5
    """episodes of one task in a trial, for learners in context"""
    snapshots: int = 4
    """priors to choose from, evenly spaced along joint training"""
    choose_tasks: int = 4
    """valid tasks on which a prior is chosen"""
    choose_budget: int = 100_000
    """steps on each of them"""
    seed: int = 0
    """of joint training; adaptation's are 0, 1, …"""
    run: Path = Path("headstart-transfer")
    """folder that keeps priors and finished runs; what is there is not done again"""


@dataclass(frozen=True)
class Watch:
    """Who is told what happens: of joint training, and of every run as it is done."""

    progress: Callable[[str, Progress], None] = lambda *_: None
    result: Callable[[Result], None] = lambda _: None


def transfer(
    options: TransferOptions | None = None,
    watch: Watch | None = None,
    command: str = "",
    configs: dict[str, Any] | None = None,
) -> list[Result]:
    """Every contender on every test task with every seed.

    Args:
      options: what to compare.
      watch: told of joint training's progress and of every result.
      command: what results name as their origin.
      configs: settings of learners other than their defaults, by the learner's name.

    Returns:
      One result a run.

    Raises:
      UsageError: for an unknown contender or settings that cannot be carried out, before anything is trained.
      RunError: if joint training fails or is interrupted; what was finished is kept, and the same call goes on.
    """
    o, watch = options or TransferOptions(), watch or Watch()
    for name, least in (
        ("seeds", 1),
        ("snapshots", 1),
        ("choose_tasks", 1),
        ("trial", 1),
        ("train_lanes", 1),
    ):
        if getattr(o, name) < least:
            raise UsageError(f"{name} is at least {least}, not {getattr(o, name)}.")
    check_seed("seed", o.seed)
    wanted = [_parse(name) for name in dict.fromkeys(o.agents)]
    options_of_runs = AdaptOptions(o.budget, o.lanes, tuple(range(o.seeds)), run=o.run / "runs")
    AdaptOptions(o.choose_budget)
    found: list[Result] = []
    for entrant in wanted:
        suite = _suite(o, entrant)
        contender = _contender(o, entrant, configs or {}, watch)
        split = suite.split("test", o.tasks)
        found += adapt(suite, contender, options_of_runs, split, watch.result, command)
    return found


@dataclass(frozen=True)
class _Entrant:
    """A contender's name, taken apart."""

    name: str
    learner: str
    joint: bool = False
    frozen: bool = False
    prior: Prior | None = None

    @property
    def in_context(self) -> bool:
        return self.learner in IN_CONTEXT and self.prior is None


def _parse(name: str) -> _Entrant:
    base = name.removesuffix(_FROZEN)
    frozen, learner = base != name, base.removesuffix(_JOINT)
    if learner in agents.REGISTRY:
        joint = learner != base
        if learner in IN_CONTEXT:
            return _Entrant(name, learner, joint=True, frozen=True)
        if frozen and not joint:
            raise UsageError(
                f"{name} would neither bring anything nor learn anything; did you mean {learner}{_JOINT}{_FROZEN}?"
            )
        return _Entrant(name, learner, joint, frozen)
    prior = priors.find(base)
    return _Entrant(Path(name).name, prior.agent, frozen=frozen, prior=prior)


def _contender(o: TransferOptions, entrant: _Entrant, configs: dict[str, Any], watch: Watch) -> Contender:
    """The entrant with its prior, trained and chosen if need be."""
    config = configs.get(entrant.learner, agents.entry(entrant.learner).config)
    if entrant.prior is not None:
        return Contender(entrant.name, entrant.learner, entrant.prior.config, entrant.prior, entrant.frozen)
    if not entrant.joint:
        return Contender(entrant.name, entrant.learner, config)
    candidates = _train(o, entrant, config, watch)
    chosen, notes = _choose(o, entrant, candidates)
    return Contender(entrant.name, entrant.learner, config, chosen, entrant.frozen, notes)


def _suite(o: TransferOptions, entrant: _Entrant) -> Suite:
    """The suite as this entrant plays it: in trials, if it learns in context, also where others play single episodes."""
    suite = suites.suite(o.suite)
    if entrant.in_context and suite.env.spec.episodes == 1:
        return suites.suite(o.suite, episodes=o.trial)
    return suite


def _train(o: TransferOptions, entrant: _Entrant, config: Any, watch: Watch) -> list[Prior]:
    """Joint training, or what is left of it; the priors kept along the way."""
    run = o.run / "priors" / entrant.learner
    wanted = TrainOptions(
        suite=_suite(o, entrant).name,
        agent=entrant.learner,
        steps=o.train_steps,
        lanes=o.train_lanes,
        seed=o.seed,
        tasks=o.train_tasks,
        run=run,
        resume=(run / "config.json").exists(),
        snapshots=o.snapshots,
        evaluate_on=0,
    )
    training.train(wanted, config, lambda progress: watch.progress(entrant.learner, progress))
    return [
        priors.load(path, f"{entrant.learner}-{path.stem}") for path in sorted((run / "priors").glob("*.npz"))
    ]


def _choose(o: TransferOptions, entrant: _Entrant, candidates: list[Prior]) -> tuple[Prior, dict[str, Any]]:
    """The prior with the best mean adaptation score on valid tasks, and what a result says of the choice."""
    suite = _suite(o, entrant)
    valid = suite.split("valid", o.choose_tasks)
    kind = "frozen" if entrant.frozen else "tuned"
    scores: list[float] = []
    for prior in candidates:
        options = AdaptOptions(o.choose_budget, o.lanes, (0,), run=o.run / "choice" / entrant.learner / kind)
        who = Contender(str(prior.steps), entrant.learner, prior.config, prior, entrant.frozen)
        played = [result.scores for result in adapt(suite, who, options, valid)]
        scores.append(
            float(np.mean([score for one in played for score in one])) if any(played) else float("-inf")
        )
    best = int(np.argmax(scores))
    rule = f"best mean score of {o.choose_budget} steps on {o.choose_tasks} valid tasks"
    tried = {str(prior.steps): score for prior, score in zip(candidates, scores, strict=True)}
    return candidates[best], {"chosen": {"rule": rule, "steps": candidates[best].steps, "tried": tried}}


__all__ = ["IN_CONTEXT", "TransferOptions", "Watch", "transfer"]
