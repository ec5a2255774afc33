"""How much faster does an agent learn an unseen task because it has learned others?

    for each contender with a prior:
        train on the train split, keeping a few priors along the way      (joint training)
        choose the one that adapts best to a few valid tasks              (zero-shot score chooses worse ones)
    for each contender: adapt to every test task with every seed under the budget

Contenders are written LEARNER (from scratch), LEARNER-joint (trained on the train split, then fine-tuned on each test
task) and LEARNER-joint-frozen (the same, its weights left as they are: zero-shot). `rl2` is trained jointly on trials and
learns in its memory alone. A shipped prior, a prior's file or a run folder is fine-tuned, or with `-frozen` only played.
`expert` is no contender but a mark: the best known play of each task, where the suite keeps such (`protocol.expert`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headstart import agents, suites
from headstart.agents.fine_tuning import fine_tuned
from headstart.errors import StoppedError, UsageError
from headstart.hosts import cluster
from headstart.hosts.cluster import Where
from headstart.protocol import choice, fanout, priors, training
from headstart.protocol.adaptation import Audience, Films, adapt
from headstart.protocol.contenders import AdaptOptions, Contender, plan_of
from headstart.protocol.evaluation import check_seed
from headstart.protocol.expert import NAME as EXPERT
from headstart.protocol.expert import expert, tapes
from headstart.protocol.films import Footage
from headstart.protocol.level_replay import LevelReplay
from headstart.protocol.outcomes import why
from headstart.protocol.priors import Prior
from headstart.protocol.training import Progress, TrainOptions
from headstart.protocol.tuning import Tuning
from headstart.results import Result
from headstart.tasks import Split, Suite

_JOINT, _FROZEN = "-joint", "-frozen"
IN_CONTEXT = ("rl2", "rl2-retro")
"""learners that are always trained jointly, on trials, and then only remember"""
_RETRO = ("ppo-retro", "ppo-retro-joint", "ppo-retro-joint-frozen")


@dataclass(frozen=True)
class TransferOptions:
    """Train priors, adapt to unseen tasks, compare."""

    suite: str = "platformer"
    """suite by name, options after a colon"""
    agents: tuple[str, ...] = ("random", "jerk", *_RETRO, "rl2-retro")
    """contenders: LEARNER, LEARNER-joint, LEARNER-joint-frozen, rl2 or rl2-retro, a prior (with -frozen), or expert"""
    budget: int = 1_000_000
    """steps on each test task, summed over lanes"""
    seeds: int = 3
    """runs of each test task"""
    tasks: int | None = None
    """how many test tasks; None is all of the suite's"""
    lanes: int = 8
    """environments of a test task that one run advances together"""
    together: int = 0
    """runs in one program; 0 chooses: one on a CPU (a thread each), on an accelerator as many as its memory has room for"""
    train_steps: int = 12_000_000
    """steps of joint training, summed over lanes"""
    train_tasks: tuple[int, ...] = ()
    """size of the training set, or several, a prior each; none is the suite's own"""
    train_lanes: int = 48
    """environments of joint training"""
    level_replay: LevelReplay = field(default_factory=LevelReplay)
    """whether joint training plays again what surprises (prioritised level replay)"""
    pinned: bool = False
    """whether joint training pins each lane to a task, of which there are then at most as many as lanes"""
    trial: int = 5
    """episodes of one task in a trial, for learners in context"""
    snapshots: int = 4
    """priors to choose from, evenly spaced along joint training"""
    choose_tasks: int = 4
    """valid tasks on which a prior is chosen"""
    choose_budget: int = 100_000
    """steps on each of them"""
    train_scores: bool = False
    """also adapt every snapshot to as many train tasks, for the picture of train against unseen score"""
    test_scores: bool = False
    """also adapt every snapshot to test tasks: for that picture alone, never for a choice, and every result says so"""
    tuning: Tuning = field(default_factory=Tuning)
    """aids for priors that are fine-tuned"""
    film: bool = False
    """film an episode before, during and after adaptation, of every contender that changes"""
    film_tasks: int = 1
    """the first so many test tasks are filmed, each with the first seed"""
    seed: int = 0
    """of joint training; adaptation's are 0, 1, …"""
    fanout: Where = "here"
    """who plays the runs: this process, or the tasks of a Ray cluster"""
    lanes_on: Where = "here"
    """who steps the lanes of foreign simulators for what is trained or played here: processes, or a Ray cluster's actors"""
    ray_address: str | None = None
    """of the cluster's head; None starts a Ray on this machine alone"""
    ray_gpus: float = 0.0
    """GPUs, or part of one, for each run that Ray plays"""
    ray_cpus: float = 1.0
    """CPU cores, or part of one, for each worker that steps lanes on Ray"""
    run: Path = Path("headstart-transfer")
    """folder that keeps priors and finished runs; what is there is not done again"""


@dataclass(frozen=True)
class Watch:
    """Who is told what happens: of joint training, and of every run as it is done; and who makes films."""

    progress: Callable[[str, Progress], None] = lambda *_: None
    result: Callable[[Result], None] = lambda _: None
    film: Callable[[Footage], Films] | None = None
    """stores a run's films and returns what its result is to say of them: `reports.films.keep`"""


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
      One result a run; of a contender whose joint training failed, runs that failed.

    Raises:
      UsageError: for an unknown contender, settings that cannot be carried out, or a Ray cluster that cannot be joined,
        before anything is trained.
      StoppedError: if it was interrupted; what was finished is kept, and the same call goes on.
    """
    o, watch, configs = options or TransferOptions(), watch or Watch(), configs or {}
    _check_numbers(o)
    filmed = o.film_tasks if o.film else 0
    seeds, run = tuple(range(o.seeds)), o.run / "runs"
    how = AdaptOptions(o.budget, o.lanes, seeds, together=o.together, run=run, tuning=o.tuning, filmed=filmed)
    wanted = [_parse(name) for name in dict.fromkeys(o.agents)]
    splits = [_check(o, entrant, how, configs, watch) for entrant in wanted]
    audience = Audience(watch.result, watch.film if o.film else None)
    found: list[Result] = []
    ours = {"--fanout ray": o.fanout == "ray", "--lanes-on ray": o.lanes_on == "ray"}
    with cluster.joined(o.ray_address, ours) as ray:
        spread = fanout.over(ray, o.ray_gpus) if o.fanout == "ray" else None
        for entrant, (suite, split) in zip(wanted, splits, strict=True):
            suite = cluster.lanes_on(ray, suite, o.ray_cpus) if o.lanes_on == "ray" else suite
            if entrant.name == EXPERT:
                found += expert(suite, split, o.budget, how.run, watch.result, command)
                continue
            for size in o.train_tasks or (None,) if entrant.trained else (None,):
                contender = _contender(o, suite, entrant, size, configs, watch)
                found += adapt(suite, contender, how, split, audience, command, spread)
    return found


def _check_numbers(o: TransferOptions) -> None:
    """Refuse numbers out of range."""
    for name in ("seeds", "snapshots", "choose_tasks", "trial", "train_lanes", "film_tasks"):
        if getattr(o, name) < 1:
            raise UsageError(f"{name} is at least 1, not {getattr(o, name)}.")
    check_seed("seed", o.seed)
    AdaptOptions(o.choose_budget)


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

    @property
    def trained(self) -> bool:
        """Whether its prior is still to be trained."""
        return self.joint and self.prior is None


def _parse(name: str) -> _Entrant:
    if name == EXPERT:
        return _Entrant(name, name)
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


def _check(
    o: TransferOptions, entrant: _Entrant, how: AdaptOptions, configs: dict[str, Any], watch: Watch
) -> tuple[Suite, Split]:
    """The suite an entrant plays and the test tasks, once it is clear that nothing but training stands in its way."""
    suite = _suite(o, entrant)
    cluster.check_lanes(suite, o.lanes_on, o.ray_cpus)
    split = suite.split("test", o.tasks)
    if o.film and watch.film is None:
        raise UsageError(
            "nobody makes the films; in Python give watch=Watch(film=headstart.reports.films.keep)."
        )
    if o.film and suite.render is None:
        raise UsageError(f"suite {suite.name} has no pictures to make films of; leave --film out.")
    if entrant.name == EXPERT:
        tapes(suite, split)
        return suite, split
    config = _config(entrant, configs)
    plan_of(
        suite, split, Contender(entrant.name, entrant.learner, config, entrant.prior, entrant.frozen), how
    )
    aids = o.tuning.aids(o.budget)
    if entrant.joint and not entrant.frozen and aids is not None:
        fine_tuned(suite.env.spec, config, aids)
    return suite, split


def _config(entrant: _Entrant, configs: dict[str, Any]) -> Any:
    """Its settings: a stored prior's own, else those chosen, else the learner's defaults."""
    if entrant.prior is not None:
        return entrant.prior.config
    return configs.get(entrant.learner, agents.entry(entrant.learner).config)


def _contender(
    o: TransferOptions,
    suite: Suite,
    entrant: _Entrant,
    size: int | None,
    configs: dict[str, Any],
    watch: Watch,
) -> Contender:
    """The entrant with its prior, trained on so many tasks and chosen if need be; or without, if that failed."""
    config = _config(entrant, configs)
    who = Contender(entrant.name, entrant.learner, config, entrant.prior, entrant.frozen)
    if not entrant.trained:
        return who
    who = replace(who, variant="" if size is None else f"{size}-tasks")
    where = choice.Place(o.run, "-".join(filter(None, [entrant.learner, who.variant])))
    try:
        candidates = _train(o, entrant, size, config, watch)
        ranked, notes = choice.choose(suite, candidates, _how_to_choose(o, entrant, size), where)
    except (UsageError, StoppedError):
        raise
    except Exception as error:
        return replace(who, notes=why(error, "joint training left no prior: "), failed=True)
    return replace(who, prior=ranked[0], others=tuple(ranked[1:]), notes=notes)


def _how_to_choose(o: TransferOptions, entrant: _Entrant, size: int | None) -> choice.ChoiceOptions:
    return choice.ChoiceOptions(
        *(o.choose_tasks, o.choose_budget, o.lanes, entrant.frozen, o.tuning),
        *(o.train_scores, o.test_scores, size, o.tasks, o.together),
    )


def _suite(o: TransferOptions, entrant: _Entrant) -> Suite:
    """The suite as this entrant plays it: in trials, if it learns in context or its prior was trained on trials, also
    where others play single episodes.
    """
    suite = suites.suite(o.suite)
    if suite.env.spec.episodes > 1 or "episodes" not in suites.options(o.suite):
        return suite
    if entrant.in_context:
        return suites.suite(o.suite, episodes=o.trial)
    trained = suites.suite(entrant.prior.suite).env.spec.episodes if entrant.prior is not None else 1
    return suites.suite(o.suite, episodes=trained) if trained > 1 else suite


def _train(o: TransferOptions, entrant: _Entrant, size: int | None, config: Any, watch: Watch) -> list[Prior]:
    """Joint training, or what is left of it; the priors kept along the way."""
    name = entrant.learner if size is None else f"{entrant.learner}-{size}-tasks"
    run = o.run / "priors" / name
    wanted = TrainOptions(
        suite=_suite(o, entrant).name,
        agent=entrant.learner,
        steps=o.train_steps,
        lanes=o.train_lanes,
        seed=o.seed,
        tasks=size,
        level_replay=o.level_replay,
        pinned=o.pinned,
        run=run,
        resume=(run / "config.json").exists(),
        snapshots=o.snapshots,
        evaluate_on=0,
        lanes_on=o.lanes_on,
        ray_address=o.ray_address if o.lanes_on == "ray" else None,
        ray_cpus=o.ray_cpus,
    )
    training.train(wanted, config, lambda progress: watch.progress(name, progress))
    return [
        priors.load(path, f"{entrant.learner}-{path.stem}") for path in sorted((run / "priors").glob("*.npz"))
    ]


__all__ = ["EXPERT", "IN_CONTEXT", "TransferOptions", "Watch", "transfer"]
