"""Adapt a contender to one unseen task at a time under a budget, and score the whole of the learning.

    for each task, for each seed:                                    side by side
        state ← a fresh agent's, or the prior's
        while the meter allows:
            a chunk of updates on the device (none of weights, if the contender is frozen)
        score ← mean return of all episodes that ended               (Nichol et al. 2018, arXiv:1804.03720)

Learning from scratch, fine-tuning, learning in context and zero-shot play are one switch: whether there is a prior, and
whether `update` may change what it left. A run is a function of its contender, task and seed alone: whatever is killed is
played again to the same end, so that finished runs are all there is to keep on disk.
"""

import dataclasses
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart import agents, results, suites
from headstart.budget import Budget, Meter
from headstart.errors import RunError, UsageError
from headstart.loops import either, jit
from headstart.protocol.priors import Prior
from headstart.results import Curve, Result
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
    """what a result is to say of how the prior was chosen"""


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
    """runs in one program; 0 chooses: one on a CPU (a thread each), all of a contender's on an accelerator"""
    run: Path | None = None
    """folder that keeps every finished run; what is there already is not run again"""

    def __post_init__(self) -> None:
        for name in ("lanes", "points"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, not {getattr(self, name)}.")
        if not self.seeds:
            raise UsageError("there is at least one seed.")
        Budget(self.budget)


class Run(NamedTuple):
    """One adaptation: row of the split, and seed."""

    row: int
    seed: int


class _Plan(NamedTuple):
    suite: Suite
    split: Split
    contender: Contender
    agent: Agent
    options: AdaptOptions
    updates: int

    @property
    def steps_per_update(self) -> int:
        return self.options.lanes * self.agent.unroll


def label(split: Split, row: int) -> str:
    """What a split's task is called."""
    return split.labels[row] if split.labels else f"task-{row}"


def _plan(suite: Suite, split: Split, contender: Contender, options: AdaptOptions) -> _Plan:
    if split.size is None:
        raise UsageError("one adapts to a finite set of tasks; give its size.")
    prior = contender.prior
    if prior is not None and (shared := set(prior.seen) & set(split.digests)):
        raise UsageError(
            f"prior {contender.name} was trained on {len(shared)} of the {split.size} tasks it is to be tested on "
            f"({split.role} of {suite.name}); train one on other tasks."
        )
    agent = agents.entry(contender.agent).build(suite.env.spec, contender.config)
    if contender.frozen:
        agent = Agent(agent.init, agent.memory, agent.act, adopt=agent.adopt, unroll=agent.unroll)
    updates = options.budget // (options.lanes * agent.unroll)
    if updates < 1:
        raise UsageError(
            f"a budget of {options.budget} steps is less than one update of {contender.name}: {options.lanes} lanes x "
            f"{agent.unroll} steps; give more steps or fewer lanes."
        )
    return _Plan(suite, split, contender, agent, options, updates)


def adapt(
    suite: str | Suite,
    contender: Contender,
    options: AdaptOptions | None = None,
    split: Split | None = None,
    watch: Callable[[Result], None] = lambda _: None,
    command: str = "",
) -> list[Result]:
    """Adapt a contender to every task of a split with every seed.

    Args:
      suite: a suite or its name.
      split: the tasks; None for the suite's test split.
      watch: called with every result as it is there, also with those found in the folder.
      command: what results name as their origin.

    Returns:
      A result a run, by task, then seed; `facts` names the task. A run that failed has no scores and its reason in `facts`.

    Raises:
      UsageError: for settings that cannot be carried out, or a prior that was trained on these tasks.
      RunError: if it was interrupted; finished runs are kept.
    """
    suite = suites.suite(suite) if isinstance(suite, str) else suite
    split = suite.split("test") if split is None else split
    plan = _plan(suite, split, contender, options or AdaptOptions())
    wanted = [Run(row, seed) for row in range(split.size or 0) for seed in plan.options.seeds]
    found: dict[Run, Result] = {}
    for run in wanted:
        kept = _kept(plan, run)
        if kept is not None:
            found[run] = kept
            watch(kept)
    try:
        for run, result in _played(plan, [run for run in wanted if run not in found], command):
            found[run] = result
            if plan.options.run:
                results.save(result, _path(plan, run))
            watch(result)
    except KeyboardInterrupt:
        kept = f"kept in {plan.options.run}: the same call goes on" if plan.options.run else "done, none kept"
        raise RunError(
            f"interrupted; {len(found)} of {contender.name}'s {len(wanted)} runs are {kept}."
        ) from None
    return [found[run] for run in wanted]


def _path(plan: _Plan, run: Run) -> Path:
    assert plan.options.run is not None
    name = re.sub(r"[^\w.-]+", "-", f"{label(plan.split, run.row)}-seed{run.seed}")
    folder = plan.options.run / plan.contender.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.result.json"


def _kept(plan: _Plan, run: Run) -> Result | None:
    """The result of this run in the folder, if it is there.

    Raises:
      UsageError: if it is of another experiment.
    """
    if plan.options.run is None or not _path(plan, run).exists():
        return None
    path = _path(plan, run)
    (kept,) = results.load_all(path)
    wanted = _unplayed(plan, run, "")
    for what in ("suite", "fingerprint", "config", "budget", "prior"):
        if getattr(kept, what) != getattr(wanted, what):
            raise UsageError(f"{path} has another {what}; choose another folder, or take it away.")
    return kept


def _played(plan: _Plan, runs: Sequence[Run], command: str) -> Iterator[tuple[Run, Result]]:
    """Results as they come: groups of runs in one program each, a few programs at a time on a CPU."""
    together, workers = plan.options.together, 1
    if not together:
        on_cpu = jax.default_backend() == "cpu"
        together, workers = (1, os.cpu_count() or 1) if on_cpu else (max(len(runs), 1), 1)
    if either.is_foreign(plan.suite.env):
        together, workers = 1, 1
    groups = [runs[i : i + together] for i in range(0, len(runs), together)]
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[list[tuple[Run, Result]]]] = set()
        try:
            for group in groups:
                waiting.add(pool.submit(_group, plan, group, command, stop))
                if len(waiting) >= workers:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ready:
                        yield from future.result()
            for future in waiting:
                yield from future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _group(plan: _Plan, runs: Sequence[Run], command: str, stop: threading.Event) -> list[tuple[Run, Result]]:
    """Some runs side by side in one program; none of them if they are told to stop."""
    o = plan.options
    keys = jnp.stack([jr.fold_in(jr.key(run.seed), run.row) for run in runs])
    rows = jnp.array([run.row for run in runs], jnp.int32)
    env, tasks = plan.suite.env, plan.split.tasks
    carries = either.starts(plan.agent, env, tasks, keys, o.lanes, rows)
    prior = plan.contender.prior
    if prior is not None:
        states = [
            plan.agent.adopt(jax.tree.map(lambda x, i=i: x[i], carries.agent), prior.state)
            for i in range(len(runs))
        ]
        carries = carries._replace(agent=jax.tree.map(lambda *rows: jnp.stack(rows), *states))
    meter, size = Meter(Budget(o.budget)), math.ceil(plan.updates / o.points)
    logs: list[jit.Log] = []
    for made in range(0, plan.updates, size):
        if stop.is_set():
            return []
        updates = min(size, plan.updates - made)
        meter.spend(updates * plan.steps_per_update)
        carries, log = either.chunks(plan.agent, env, tasks, carries, keys, updates, rows)
        logs.append(jax.device_get(log))
    log = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *logs)
    open_ends, told = jax.device_get(carries.tally), either.facts(carries)
    either.close(carries)
    found: list[tuple[Run, Result]] = []
    for i, run in enumerate(runs):
        one, left = jax.tree.map(lambda x, i=i: x[i], (log, open_ends))
        result = _result(plan, run, one, left, size, command)
        found.append((run, dataclasses.replace(result, facts=result.facts | told)))
    return found


def _unplayed(plan: _Plan, run: Run, command: str) -> Result:
    who = plan.contender
    return Result(
        suite=plan.suite.name,
        split=plan.split.role,
        fingerprint=plan.split.fingerprint,
        agent=who.name,
        config=results.plain(dataclasses.asdict(who.config)),
        seed=run.seed,
        budget=plan.options.budget,
        spent=0,
        scores=[],
        facts={
            "task": label(plan.split, run.row),
            "row": run.row,
            "lanes": plan.options.lanes,
            "frozen": who.frozen,
        }
        | who.notes,
        prior=results.plain(who.prior.provenance) if who.prior else None,
        versions=results.versions(),
        commit=results.commit(),
        command=command,
    )


def _result(plan: _Plan, run: Run, log: jit.Log, left: jit.Tally, size: int, command: str) -> Result:
    """The score of a run and its learning curve.

    Of episodes that the budget cut off only their number and mean return are kept, in `facts`.
    """
    blank = _unplayed(plan, run, command)
    spent = plan.updates * plan.steps_per_update
    bad = [name for name, value in log.metrics.items() if not np.all(np.isfinite(value))]
    if not np.all(np.isfinite(log.returns)):
        bad.insert(0, "reward")
    if bad:
        failed = f"{', '.join(bad)} became infinite or not a number"
        return dataclasses.replace(blank, spent=spent, facts=blank.facts | {"failed": failed})
    k = plan.suite.env.spec.episodes
    edges = list(range(0, plan.updates, size))
    counts = np.add.reduceat(log.episodes, edges)
    sums = np.add.reduceat(log.returns.astype(np.float64), edges)
    means = np.divide(sums, counts * k, out=np.full(len(edges), math.nan), where=counts > 0)
    steps = [min(edge + size, plan.updates) * plan.steps_per_update for edge in edges]
    begun = left.length > 0
    facts = {
        "episodes": int(counts.sum()) * k,
        "unfinished": int(begun.sum()),
        "unfinished_return": float(left.total[begun].mean()) if begun.any() else None,
        "counts": counts.tolist(),
    }
    scores = [float(sums.sum() / (counts.sum() * k))] if counts.sum() else []
    if not scores:
        facts["failed"] = "no episode ended within the budget"
    return dataclasses.replace(
        blank, spent=spent, scores=scores, curve=Curve(steps, means.tolist()), facts=blank.facts | facts
    )


__all__ = ["AdaptOptions", "Contender", "Run", "adapt", "label"]
