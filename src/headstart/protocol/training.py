"""Train an agent on the train split, a chunk at a time, so that nothing is lost when a run is stopped.

    for each chunk:
        a block of tasks  →  U updates on the device  →  curve, checkpoint, interrupts

A run folder holds config.json (settings, versions, commit), curve.csv, checkpoints/, and in the end prior.npz and
result.json. Chunks, tasks and randomness depend on the settings alone, so a run that was killed and resumed ends bit for bit
where one that was never stopped ends; but for those on foreign simulators, which begin anew (`loops.host`).
"""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PyTree

from headstart import agents, results, suites
from headstart.budget import Budget, Meter
from headstart.errors import RunError, StoppedError, UsageError, unknown
from headstart.hosts import cluster
from headstart.hosts.cluster import Where
from headstart.loops import checkpoint, either, jit
from headstart.protocol import distributed, priors, run_folder, snapshots, tensorboard
from headstart.protocol.evaluation import check_seed, contestant, score, unplayed
from headstart.protocol.interrupts import Interrupts
from headstart.protocol.level_replay import LevelReplay, choosing
from headstart.protocol.pinning import pinned
from headstart.protocol.priors import Prior
from headstart.protocol.progress import Progress, refuse_non_finite, summarise
from headstart.results import Curve, Result
from headstart.tasks import Role, Split, Suite
from headstart.types import Agent

_MOST_SEEN = 10_000  # training tasks that a prior lists


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, for how long, and where to keep it."""

    suite: str = "bandit"
    """suite by name, options after a colon: bandit:arms=5,pulls=100"""
    agent: str = "rl2"
    """which learner; see `headstart list agents`"""
    steps: int = 10_000_000
    """budget: agent decisions summed over lanes"""
    lanes: int = 512
    """environments advanced together"""
    seed: int = 0
    """of weights, tasks drawn and all randomness"""
    split: Role = "train"
    """role of the tasks; a test split is refused"""
    tasks: int | None = None
    """size of the training set; None is an endless distribution"""
    task_seed: int = 0
    """which training set of that size"""
    level_replay: LevelReplay = field(default_factory=LevelReplay)
    """prioritised level replay: play again the training tasks that surprise"""
    pinned: bool = False
    """pin each lane to a task of the training set, lane i to task i modulo their number; else each episode draws one"""
    processes: distributed.Processes = field(default_factory=distributed.Processes)
    """one learner over several processes, or hosts"""
    lanes_on: Where = "here"
    """who steps the lanes of a foreign simulator: processes of this machine, or actors of a Ray cluster"""
    ray_address: str | None = None
    """of the cluster's head; None starts a Ray on this machine alone"""
    ray_cpus: float = 1.0
    """CPU cores, or part of one, for each worker that steps lanes on Ray"""
    run: Path | None = None
    """folder to keep the run in; None keeps nothing on disk"""
    resume: bool = False
    """go on with the run in the folder"""
    chunks: int = 100
    """pieces the run is cut into; curve, checkpoint and interrupts come between them"""
    snapshots: int = 0
    """priors kept along the way in the run's folder priors, evenly spaced, the last included"""
    snapshot_scores: bool = False
    """also score those priors as they play, on as many train tasks as valid ones: where over-fitting begins"""
    evaluate_on: int | None = None
    """valid tasks the finished agent is scored on; None for a thousand, or all there are; 0 for none"""
    tensorboard: bool = False
    """also write TensorBoard events into the run folder (extra: tracking)"""


@dataclass(frozen=True)
class Trained:
    """What a training run leaves: the prior and the result."""

    prior: Prior
    result: Result


@dataclass(frozen=True)
class _Plan:
    """A run's fixed parts, derived from its options."""

    suite: Suite
    split: Split
    agent: Agent
    config: Any
    options: TrainOptions
    updates: int
    chunk: int
    command: str = ""

    @property
    def steps_per_update(self) -> int:
        return self.options.lanes * self.agent.unroll

    @cached_property
    def table(self) -> PyTree:
        """A finite split's tasks where the loop wants them: on the device once, not sent there with every chunk."""
        here = not either.is_foreign(self.suite.env) and jax.process_count() == 1
        return jax.device_put(self.split.tasks) if here else self.split.tasks

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be gone on with."""
        o = self.options
        return {
            "suite": self.suite.name,
            "fingerprint": self.split.fingerprint,
            "split": o.split,
            "tasks": o.tasks,
            "task_seed": o.task_seed,
            "agent": o.agent,
            "settings": json.loads(json.dumps(dataclasses.asdict(self.config))),
            "steps": o.steps,
            "lanes": o.lanes,
            "seed": o.seed,
            "chunks": o.chunks,
            "level_replay": dataclasses.asdict(o.level_replay) if o.level_replay.on else None,
            "pinned": o.pinned or None,
        }


def _options(options: TrainOptions | None, chosen: dict[str, Any]) -> TrainOptions:
    """Options with some changed by keyword, all in range."""
    names = [field.name for field in dataclasses.fields(TrainOptions)]
    for name in chosen:
        if name not in names:
            raise unknown("option of train", name, names)
    if chosen.get("run") is not None:
        chosen = chosen | {"run": Path(chosen["run"])}
    if options is None and chosen.get("resume") and chosen.get("run"):
        options = run_folder.options_of(run_folder.read(chosen["run"]), TrainOptions())
    o = dataclasses.replace(options or TrainOptions(), **chosen)
    if o.split == "test":
        raise UsageError("a test split is never trained on; train on train, choose settings on valid.")
    for name, least in (("lanes", 1), ("chunks", 1), ("snapshots", 0), ("evaluate_on", 0)):
        if (value := getattr(o, name)) is not None and value < least:
            raise UsageError(f"{name} is at least {least}, not {getattr(o, name)}.")
    check_seed("seed", o.seed)
    check_seed("task_seed", o.task_seed)
    for name in ("resume", "tensorboard", "snapshots"):
        if getattr(o, name) and o.run is None:
            raise UsageError(f"{name} needs the folder of the run: give run as well.")
    if o.snapshot_scores and not (o.snapshots and o.evaluate_on != 0):
        raise UsageError(
            "snapshot_scores needs snapshots and tasks to score them on: give snapshots, and no evaluate_on of 0."
        )
    if o.tensorboard:
        tensorboard.require()
    return o


def _plan(options: TrainOptions, config: Any) -> _Plan:
    suite = suites.suite(options.suite)
    cluster.check_lanes(suite, options.lanes_on, options.ray_cpus)
    entry = agents.entry(options.agent)
    agent = entry.build(suite.env.spec, entry.within(config, options.steps))
    if not agent.learns:
        raise UsageError(f"{options.agent} is a fixed rule and has nothing to train; evaluate it instead.")
    updates = Budget(options.steps).steps // (options.lanes * agent.unroll)
    if updates < 1:
        raise UsageError(
            f"{options.steps} steps are less than one update of {options.lanes} lanes x {agent.unroll} steps; "
            "give more steps or fewer lanes."
        )
    split = suite.split(options.split, options.tasks, options.task_seed)
    agent = choosing(agent, options.level_replay, suite, split.size)
    agent = pinned(agent, options.lanes, split.size) if options.pinned else agent
    return _Plan(suite, split, agent, config, options, updates, math.ceil(updates / options.chunks))


def train(
    options: TrainOptions | None = None,
    config: Any = None,
    watch: Callable[[Progress], None] = lambda _: None,
    command: str = "",
    **chosen: Any,
) -> Trained:
    """Train an agent.

    Args:
      options: what to train on; fields may also be given as keywords. None for the defaults, or, with `run` and `resume`
        among the keywords, for those the run was started with.
      config: the agent's settings; None for its defaults, or those of the run that is resumed.
      watch: called after every chunk.
      command: what the result is to name as its origin.

    Raises:
      UsageError: for options that cannot be carried out, a test split, a run folder that exists (unless resumed).
      RunError: when a loss is not finite, the disk is full, or the run was interrupted; what was saved is kept.
    """
    options = _options(options, chosen)
    distributed.join(options.processes, options.lanes, options.suite)
    about = run_folder.read(options.run) if options.resume and options.run else {}
    if config is None:
        resumed = about.get("agent") == options.agent
        config = run_folder.settings_of(about) if resumed else agents.entry(options.agent).config
    plan = dataclasses.replace(_plan(options, config), command=about.get("command") or command)
    with cluster.joined(options.ray_address, {"--lanes-on ray": options.lanes_on == "ray"}) as ray:
        suite = cluster.lanes_on(ray, plan.suite, options.ray_cpus)
        return _carried_out(dataclasses.replace(plan, suite=suite), watch)


def _carried_out(plan: _Plan, watch: Callable[[Progress], None]) -> Trained:
    options, spent = plan.options, 0
    if finished := _finished(plan, plan.command):
        return finished
    try:
        with Interrupts() as interrupts:
            carry, rows = _begin(plan)
            spent = int(carry.update) * plan.steps_per_update
            with tensorboard.scalars(options.run if options.tensorboard else None, spent) as events:
                while (updates_made := int(carry.update)) < plan.updates:
                    if distributed.any_of(interrupts.asked):
                        raise _interrupted(plan, spent)
                    carry, progress = _advance(plan, carry, updates_made)
                    rows.append([float(progress.steps), progress.episode_return, *progress.metrics.values()])
                    watch(progress)
                    if options.run:
                        _keep(plan, options.run, distributed.whole(carry), rows, list(progress.metrics))
                        events(progress.steps, {"return": progress.episode_return} | progress.metrics)
                    spent = progress.steps
            return _finish(plan, carry, rows, spent, plan.command)
    except KeyboardInterrupt:
        raise _interrupted(plan, spent) from None


def _begin(plan: _Plan) -> tuple[jit.Carry, list[list[float]]]:
    """A fresh run, or the one in the folder, and its curve so far."""
    options, key = plan.options, jr.key(plan.options.seed)
    tasks = _block(plan, 0)
    carry = either.start(plan.agent, plan.suite.env, tasks, jr.fold_in(key, 1), options.lanes)
    # Settings that do not fit each other show when the program is traced: before anything is written.
    updates = min(plan.chunk, plan.updates)
    either.check(plan.agent, plan.suite.env, tasks, carry, key, updates)
    rows: list[list[float]] = []
    if options.run:
        carry, rows = _open(plan, options.run, carry)
    return either.place(carry), rows


def _advance(plan: _Plan, carry: jit.Carry, updates_made: int) -> tuple[jit.Carry, Progress]:
    """One chunk.

    Raises:
      RunError: if a reward, a metric or a weight is no longer finite.
    """
    options = plan.options
    updates = min(plan.chunk, plan.updates - updates_made)
    meter = Meter(Budget(options.steps), spent=updates_made * plan.steps_per_update)
    meter.spend(updates * plan.steps_per_update)
    tasks = _block(plan, updates_made // plan.chunk)
    carry, log = either.chunk(plan.agent, plan.suite.env, tasks, carry, jr.key(options.seed), updates)
    progress = summarise(log, meter.spent, options.steps)
    refuse_non_finite(progress, carry, options.run)
    return carry, progress


def _block(plan: _Plan, chunk: int) -> Any:
    """The tasks of a chunk; a table of its own for each where the split is endless, about twice as many as it plays."""
    played = plan.options.lanes + plan.chunk * plan.steps_per_update // plan.suite.env.spec.steps
    n = min(max(1 << (2 * played - 1).bit_length(), 1024), 16_384)
    if plan.table is not None:
        return plan.table
    return plan.split.block(jr.fold_in(jr.key(plan.options.task_seed), chunk), n)


def _interrupted(plan: _Plan, spent: int) -> StoppedError:
    o = plan.options
    how = f"go on with --run {o.run} --resume" if o.run else "give --run FOLDER next time to keep it"
    return StoppedError(f"interrupted after {spent} of {o.steps} steps; {how}.")


def _open(plan: _Plan, run: Path, carry: jit.Carry) -> tuple[jit.Carry, list[list[float]]]:
    """Make the run folder, or, to resume, find the newest checkpoint in it and the curve up to there."""
    if plan.options.resume or not distributed.first():
        return _resume(plan, run, carry) if plan.options.resume else (carry, [])
    try:
        if run.exists() and (not run.is_dir() or any(path.suffix != ".part" for path in run.iterdir())):
            raise UsageError(f"{run} exists already; choose another folder, or go on with it by --resume.")
    except OSError as error:
        raise RunError(f"{run} cannot be made ({error.strerror}).") from error
    run_folder.make(run)
    about = plan.identity | {"options": run_folder.kept(plan.options), "command": plan.command}
    about |= {"versions": results.versions(), "commit": results.commit()}
    results.write_text(run / "config.json", json.dumps(about, indent=1) + "\n")
    return carry, []


def _check_identity(plan: _Plan, run: Path) -> None:
    """Refuse to go on with what is no run, or one of other settings."""
    about = run_folder.read(run)
    if about.get("agent") == plan.options.agent:  # what it has no word of is as it is by default
        about["settings"] = json.loads(json.dumps(dataclasses.asdict(run_folder.settings_of(about))))
    other = ", ".join(name for name, value in plan.identity.items() if about.get(name) != value)
    if other:
        raise UsageError(
            f"the run at {run} has another {other}; resume it with the settings it was started with."
        )


def _resume(plan: _Plan, run: Path, carry: jit.Carry) -> tuple[jit.Carry, list[list[float]]]:
    _check_identity(plan, run)
    step = checkpoint.latest(run / "checkpoints")
    if step is None:
        return carry, []
    carry = checkpoint.load(run / "checkpoints", step, carry, plan.identity)
    names, rows = run_folder.curve(run, int(carry.update) * plan.steps_per_update)
    if "deaths" in names:  # of foreign simulators
        rewarded = any(row[1] and not math.isnan(row[1]) for row in rows)
        either.recall(carry, int(rows[-1][names.index("deaths")]), rewarded)
    return jax.tree.map(jnp.asarray, carry), rows


def _keep(plan: _Plan, run: Path, carry: jit.Carry, rows: list[list[float]], metrics: list[str]) -> None:
    """Write the curve, then the checkpoint: a run killed between the two drops the curve's last row when resumed."""
    if distributed.first():
        run_folder.write_curve(run, rows, metrics)
    made, due = int(carry.update), plan.options.snapshots
    if distributed.first() and made * due // plan.updates > max(made - plan.chunk, 0) * due // plan.updates:
        spent = made * plan.steps_per_update
        run_folder.make(run / "priors")
        priors.save(_prior(plan, carry, spent), run / "priors" / f"{spent:012d}.npz")
    checkpoint.save(run / "checkpoints", int(carry.update), carry, plan.identity)


def _prior(plan: _Plan, carry: jit.Carry, spent: int) -> Prior:
    """What has been learned so far."""
    o, split = plan.options, plan.split
    state = plan.agent.adopt(plan.agent.init(jr.key(o.seed)), carry.agent)
    name = o.run.resolve().name if o.run else o.agent
    about = (plan.suite.name, split.fingerprint, split.size, spent, o.seed)
    seen = split.digests if (split.size or 0) <= _MOST_SEEN else ()
    return Prior(o.agent, plan.config, state, *about, name=name, seen=seen, split=o.split)


def _finish(plan: _Plan, carry: jit.Carry, rows: list[list[float]], spent: int, command: str) -> Trained:
    """Keep the prior and score it: the last weights, not the best."""
    o = plan.options
    prior, told = _prior(plan, distributed.whole(carry), spent), either.facts(carry)
    either.close(carry)
    if o.run and distributed.first():
        priors.save(prior, o.run / "prior.npz")
    return _scored(plan, prior, Curve([int(row[0]) for row in rows], [row[1] for row in rows]), told, command)


def _finished(plan: _Plan, command: str) -> Trained | None:
    """What a run in the folder left, scored anew, if it is to be resumed and nothing is left to train."""
    o = plan.options
    if not (o.resume and o.run and (o.run / "result.json").exists() and (o.run / "prior.npz").exists()):
        return None
    _check_identity(plan, o.run)
    (kept,) = results.load_all(o.run / "result.json")
    told = {name: kept.facts[name] for name in either.FACTS if name in kept.facts}
    return _scored(plan, priors.load(o.run / "prior.npz", o.run.resolve().name), kept.curve, told, command)


def _scored(plan: _Plan, prior: Prior, curve: Curve | None, told: dict[str, Any], command: str) -> Trained:
    """Score the finished agent on valid tasks; store what remains."""
    o = plan.options
    if o.evaluate_on != 0 and plan.suite.most("valid") != 0:
        measured = score(plan.suite, plan.suite.split("valid", o.evaluate_on), prior, o.seed, command)
    else:
        measured = unplayed(plan.suite, plan.split, contestant(plan.suite, prior), o.seed, command)
    keeps, facts = o.run if distributed.first() else None, measured.facts | told
    if keeps and o.snapshot_scores:
        seen = keeps / "priors", o.evaluate_on, o.task_seed, o.seed
        facts |= snapshots.scores(plan.suite, plan.split, *seen)
    result = dataclasses.replace(measured, budget=o.steps, spent=prior.steps, curve=curve, facts=facts)
    if keeps:
        results.save(result, keeps / "result.json")
    return Trained(prior, result)
