"""Adapt a contender to one unseen task at a time under a budget, and score the whole of the learning.

    for each task, for each seed:                                    side by side
        state ← a fresh agent's, or the prior's                      (of several priors the one that plays best, if wanted)
        while the meter allows:
            a chunk of updates on the device (none of weights, if the contender is frozen)
        score ← mean return of all episodes that ended               (Nichol et al. 2018, arXiv:1804.03720)

Learning from scratch, fine-tuning, learning in context and zero-shot play are one switch: whether there is a prior, and
whether `update` may change what it left. A run is a function of its contender, task and seed alone: whatever is killed is
played again to the same end, from how far it was kept, if it was (`protocol.underway`).
"""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import chain, islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from headstart import agents, results, suites
from headstart.budget import Budget, Meter
from headstart.errors import BudgetSpentError, StoppedError, UsageError
from headstart.loops import either, jit
from headstart.protocol.contenders import (
    AdaptOptions,
    Contender,
    Plan,
    Run,
    label,
    named,
    place,
    plan_of,
    still,
)
from headstart.protocol.films import Footage, Scenes
from headstart.protocol.keepers import Files, Keeper, Pace
from headstart.protocol.outcomes import Piece, Story, of_one, outcome, unplayed, why
from headstart.protocol.priors import Prior
from headstart.protocol.underway import Keeping, Underway
from headstart.results import Result
from headstart.tasks import Split, Suite

_PACE = Pace(most=1 << 30)  # a disk of this machine's own takes more than a network

Films = list[dict[str, Any]]
"""what a result says of the films that show its run"""


class Audience(NamedTuple):
    """Who is told of every result as it is there, and who makes films of runs, if anybody does."""

    result: Callable[[Result], None] = lambda _: None
    film: Callable[[Footage], Films] | None = None


Spread = Callable[[Plan, Sequence[Run], str], Iterator[tuple[Run, Result]]]
"""`spread(plan, runs, command)` plays runs somewhere else (`protocol.fanout`) and yields them as they finish."""


def adapt(
    suite: str | Suite,
    contender: Contender,
    options: AdaptOptions | None = None,
    split: Split | None = None,
    watch: Callable[[Result], None] | Audience = lambda _: None,
    command: str = "",
    spread: Spread | None = None,
) -> list[Result]:
    """Adapt a contender to every task of a split with every seed.

    Args:
      suite: a suite or its name.
      split: the tasks; None for the suite's test split.
      watch: called with every result as it is there, also with those found in the folder; or an `Audience`.
      command: what results name as their origin.
      spread: plays the runs somewhere else, those apart that are filmed; None plays them in this process.

    Returns:
      A result a run, by task, then seed; `facts` names the task. A run that failed has no scores and its reason in `facts`;
      if it was an error that ended it, `facts["raised"]` shows where, and the same call plays it again.

    Raises:
      UsageError: for settings that cannot be carried out, or a prior that was trained on these tasks.
      StoppedError: if it was interrupted; finished runs are kept, and how far others are.
    """
    suite = suites.suite(suite) if isinstance(suite, str) else suite
    split = suite.split("test") if split is None else split
    audience = watch if isinstance(watch, Audience) else Audience(watch)
    if either.is_foreign(suite.env):
        audience = audience._replace(film=None)  # which replays a run in a compiled program
    plan = plan_of(suite, split, contender, options or AdaptOptions())
    wanted = [Run(row, seed) for row in range(split.size or 0) for seed in plan.options.seeds]
    found: dict[Run, Result] = {}
    keeper = Files(plan.options.run, _PACE) if plan.options.run else None
    for run in wanted:
        if (kept := _kept(plan, run, audience.film is not None)) is not None:
            found[run] = kept
            audience.result(kept)
    missing = [run for run in wanted if run not in found]
    away = [run for run in missing if spread and not (audience.film and plan.filmed(run))]
    here = [run for run in missing if run not in away]
    if contender.failed:
        played = iter([(run, unplayed(plan, run, command)) for run in missing])
    else:
        elsewhere = spread(plan, away, command) if spread and away else ()
        played = chain(elsewhere, _played(plan, here, audience.film, command, keeper))
    try:
        for run, result in played:
            found[run] = result
            if keeper:
                results.save(result, place(plan, run))
                keeper.drop(named(plan, run))
            audience.result(result)
    except KeyboardInterrupt:
        kept = f"kept in {plan.options.run}: the same call goes on" if plan.options.run else "done, none kept"
        raise StoppedError(
            f"interrupted; {len(found)} of {contender.name}'s {len(wanted)} runs are {kept}."
        ) from None
    return [found[run] for run in wanted]


def _kept(plan: Plan, run: Run, film: bool) -> Result | None:
    """The result of this run in the folder, if it is there and no error ended it, with its films if they are wanted.

    Raises:
      UsageError: if it is of another experiment.
    """
    if plan.options.run is None or not place(plan, run).exists():
        return None
    path = place(plan, run)
    (kept,) = results.load_all(path)
    if "raised" in kept.facts:
        return None
    wanted, settings = unplayed(plan, run, ""), agents.entry(plan.contender.agent).config
    # early ones lack what was not there to set
    config = results.plain(dataclasses.asdict(settings)) | kept.config
    found = dataclasses.replace(kept, config=config)
    differing = [
        what
        for what in ("suite", "fingerprint", "config", "budget")
        if getattr(found, what) != getattr(wanted, what)
    ]
    if kept.facts.get("lanes", plan.options.lanes) != plan.options.lanes:  # early ones do not name them
        differing.append("number of lanes")
    if differing:
        raise UsageError(f"{path} has another {differing[0]}; choose another folder, or take it away.")
    if plan.contender.failed:
        return kept
    priors = [results.plain(prior.provenance) for prior in plan.tried] or [wanted.prior]
    if kept.prior is not None and plan.contender.prior is not None:  # early ones do not name their agent
        kept.prior.setdefault("agent", plan.contender.prior.agent)
    if kept.prior not in priors:
        raise UsageError(f"{path} has another prior; choose another folder, or take it away.")
    if film and plan.filmed(run) and "films" not in kept.facts:
        return None
    return kept


def _played(
    plan: Plan,
    runs: Sequence[Run],
    film: Callable[[Footage], Films] | None,
    command: str,
    keeper: Keeper | None,
) -> Iterator[tuple[Run, Result]]:
    """Results as they come: groups of runs in one program each, a few programs at a time on a CPU."""
    together, workers = plan.options.together, 1
    if not together:
        on_cpu = jax.default_backend() == "cpu"
        together, workers = (1, os.cpu_count() or 1) if on_cpu else (_that_fit(plan, len(runs)), 1)
    if either.is_foreign(plan.suite.env):
        together, workers = 1, 1
    groups = [runs[i : i + together] for i in range(0, len(runs), together)]
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[list[tuple[Run, Result]]]] = set()
        try:
            for group in groups:
                waiting.add(pool.submit(play_group, plan, group, command, film, stop, keeper))
                if len(waiting) >= workers:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in ready:
                        yield from future.result()
            for future in waiting:
                yield from future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _that_fit(plan: Plan, runs: int) -> int:
    """How many runs side by side take half a device's free memory, by what each holds: what it is between two updates, and
    the steps it learns from. The other half is for what learning takes, which nobody knows before it is compiled.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return max(runs, 1)
    env, tasks = plan.suite.env, jax.tree.map(lambda table: jnp.asarray(table)[:1], plan.split.tasks)

    def held(key: PRNGKeyArray) -> Any:
        return jit.rollout(
            plan.agent, env, tasks, jit.start(plan.agent, env, tasks, key, plan.options.lanes), key
        )

    one = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(held, jr.key(0))))
    free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return min(max(free // (2 * one), 1), max(runs, 1))


class _Cast(NamedTuple):
    """Runs side by side: their keys and rows `[R]`, and the meter they share, since all take the same steps."""

    keys: Any
    rows: Any
    meter: Meter


def _with_priors(plan: Plan, carries: jit.Carry, priors: Sequence[Prior]) -> jit.Carry:
    """Fresh runs whose agents begin where their priors, one a run, left off."""
    states = [
        plan.agent.adopt(jax.tree.map(lambda x, i=i: x[i], carries.agent), prior.state)
        for i, prior in enumerate(priors)
    ]
    return carries._replace(agent=jax.tree.map(lambda *rows: jnp.stack(rows), *states))


def _tries(plan: Plan, cast: _Cast) -> tuple[list[Piece], np.ndarray]:
    """Every prior plays a little, its weights untouched: pieces of the budget, and scores `[R, priors]`.

    A score is the mean return of the episodes that ended; where none did, of those begun.
    """
    n, env, tasks = len(cast.rows), plan.suite.env, plan.split.tasks
    agent, pieces, scores = still(plan.agent), list[Piece](), list[np.ndarray]()
    for number, prior in enumerate(plan.tried):
        keys = jax.vmap(lambda key, c=number: jr.fold_in(jr.fold_in(key, 0xC0), c))(cast.keys)
        carries = either.starts(agent, env, tasks, keys, plan.options.lanes, cast.rows)
        carries = _with_priors(plan, carries, [prior] * n)
        cast.meter.spend(plan.try_updates * plan.steps_per_update)
        carries, log = either.chunks(agent, env, tasks, carries, keys, plan.try_updates, cast.rows)
        log, begun = jax.device_get((log, carries.tally.total))
        either.close(carries)
        ended = log.episodes.sum(axis=1)
        mean = log.returns.sum(axis=1, dtype=np.float64) / np.maximum(ended, 1)
        scores.append(np.where(ended > 0, mean, begun.mean(axis=1)))
        pieces.append(Piece(plan.try_updates * plan.steps_per_update, log))
    return pieces, np.stack(scores, axis=1) if scores else np.zeros((n, 0))


def _begin(plan: Plan, cast: _Cast) -> Underway:
    """Runs before the first piece of their curve: priors tried, agents fresh or as the prior left them."""
    pieces, tried = _tries(plan, cast)
    carries = either.starts(
        plan.agent, plan.suite.env, plan.split.tasks, cast.keys, plan.options.lanes, cast.rows
    )
    used = [prior for prior in _used(plan, tried) if prior is not None]
    return Underway(_with_priors(plan, carries, used) if used else carries, tried, pieces)


def _used(plan: Plan, tried: np.ndarray) -> list[Prior | None]:
    """The prior of each run: that which did best in its tries, if there were any."""
    return [plan.tried[int(np.argmax(row))] if plan.tried else plan.contender.prior for row in tried]


def _group(
    plan: Plan,
    runs: Sequence[Run],
    film: Callable[[Footage], Films] | None,
    command: str,
    stop: threading.Event | None,
    keeper: Keeper | None = None,
) -> list[tuple[Run, Result]]:
    """Some runs side by side in one program, from where they were kept; none of them if they are told to stop."""
    o, env, tasks = plan.options, plan.suite.env, plan.split.tasks
    keys = jnp.stack([jr.fold_in(jr.key(run.seed), run.row) for run in runs])
    rows = jnp.array([run.row for run in runs], jnp.int32)
    scenes = Scenes(plan, runs if film else [])
    keeping = Keeping(None if scenes.wanted else keeper, plan, runs)  # takes are not kept
    now = keeping.found(keys, rows) or _begin(plan, _Cast(keys, rows, Meter(Budget(o.budget))))
    meter = Meter(Budget(o.budget), now.spent)
    scenes.shoot(now.carries.agent, now.spent)
    stopped = ""
    for updates in islice(plan.pieces, now.made(plan), None):
        if stop and stop.is_set():
            keeping.keep(now, leaving=True)
            return []
        keeping.keep(now)
        try:
            meter.spend(updates * plan.steps_per_update)
        except BudgetSpentError as refused:  # what was played until here stands
            stopped = str(refused)
            break
        carries, log = either.chunks(plan.agent, env, tasks, now.carries, keys, updates, rows)
        piece = Piece(updates * plan.steps_per_update, jax.device_get(log))
        now = now._replace(carries=carries, pieces=[*now.pieces, piece])
        if 2 * now.spent >= o.budget:
            scenes.shoot(now.carries.agent, now.spent, once=True)
    scenes.shoot(now.carries.agent, now.spent)
    left = jax.device_get(now.carries.tally)
    either.close(now.carries)
    found: list[tuple[Run, Result]] = []
    for i, (run, one) in enumerate(zip(runs, _used(plan, now.tried), strict=True)):
        facts = _told(plan, now.tried[i], stopped) | either.facts(now.carries)
        if film and plan.filmed(run):
            facts |= _filmed(film, scenes.footage(i))
        origin = results.plain(one.provenance) if one else None
        story = Story(of_one(now.pieces, i), jax.tree.map(lambda x, i=i: x[i], left), facts, origin)
        found.append((run, outcome(plan, run, story, command)))
    return found


def play_group(
    plan: Plan,
    runs: Sequence[Run],
    command: str,
    film: Callable[[Footage], Films] | None = None,
    stop: threading.Event | None = None,
    keeper: Keeper | None = None,
) -> list[tuple[Run, Result]]:
    """Some runs side by side in one program; none of them if they are told to stop.

    What `keeper` has of them is not played again, and now and then it gets how far they are.

    A run that raises an error has that for its result. Where several were together, each half is played again by itself,
    until the error has but its own run left, or the memory suffices.

    Raises:
      UsageError: for settings that cannot be carried out, which is no run's own fault.
    """
    try:
        return _group(plan, runs, film, command, stop, keeper)
    except UsageError:
        raise
    except Exception as error:
        facts = why(error)  # and not the error, which would keep the memory of what failed
    if len(runs) == 1:
        blank = unplayed(plan, runs[0], command)
        return [(runs[0], dataclasses.replace(blank, facts=blank.facts | facts))]
    half = len(runs) // 2
    halves = [play_group(plan, part, command, film, stop, keeper) for part in (runs[:half], runs[half:])]
    return [*halves[0], *halves[1]]


def _filmed(film: Callable[[Footage], Films], footage: Footage) -> dict[str, Any]:
    """What a result says of its films; a run does not fail with them."""
    try:
        return {"films": film(footage)}
    except Exception as error:
        return {"unfilmed": why(error)["failed"]}


def _told(plan: Plan, tried: np.ndarray, stopped: str) -> dict[str, Any]:
    """What a result says of priors tried, and of a meter that stopped it."""
    facts: dict[str, Any] = {}
    if plan.tried:
        facts["tried"] = {str(p.steps): float(score) for p, score in zip(plan.tried, tried, strict=True)}
    if stopped:
        facts["stopped"] = stopped
    return facts


__all__ = ["AdaptOptions", "Audience", "Contender", "Films", "Run", "Spread", "adapt", "label", "play_group"]
