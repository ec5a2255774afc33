"""Footage of adaptation: an episode before, one halfway through the budget, and one after it, to be made into films.

What is recorded is an episode of the learner as it then is, its weights untouched, on the task at hand; it costs nothing of
the budget and counts for nothing. The luck is the same each time. A learner in context changes within its trial only: of
one that is recorded whole, the first episode, one from the middle, and the last.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from headstart.loops.evaluate import Recording, record
from headstart.protocol.contenders import Plan, Run, label, place
from headstart.tasks import Suite

_WHEN = ("before", "during", "after")
_LUCK = 0xF1  # folds a run's key into that of its films


class Take(NamedTuple):
    """An episode (a trial, of a learner that is tuned in trials): `[T + 1, ...]` states, and what it brought."""

    when: str
    """before, during or after; throughout, of one that never changes"""
    steps: int
    """of the budget spent until then, all lanes together; of a learner in context, episodes of its trial before this one"""
    total: float
    """return"""
    states: PyTree


class Footage(NamedTuple):
    """What there is to show of one run."""

    suite: Suite
    task: PyTree
    """without a leading axis, as the suite's `render` takes it"""
    contender: str
    label: str
    seed: int
    takes: list[Take]
    path: Path | None
    """file of the run's result, beside which films belong; None where nothing is kept"""


class Scenes:
    """Records takes of the runs among some that are to be filmed."""

    def __init__(self, plan: Plan, runs: Sequence[Run]) -> None:
        self._plan = plan
        self._runs = {i: run for i, run in enumerate(runs) if plan.filmed(run)}
        self._takes: dict[int, list[Take]] = {i: [] for i in self._runs}

    @property
    def wanted(self) -> bool:
        """Whether any of the runs is to be filmed."""
        return bool(self._runs)

    def shoot(self, states: PyTree, spent: int, once: bool = False) -> None:
        """Record one take of each with the agents' states `[R, ...]`; with `once`, only the first after the beginning."""
        frozen = self._plan.contender.frozen
        for i, run in self._runs.items():
            number = len(self._takes[i])
            if (once and number != 1) or (frozen and number):
                continue
            recording = self._record(jax.tree.map(lambda x, i=i: x[i], states), run)
            if frozen and self._plan.suite.env.spec.episodes > 1:
                self._takes[i] = _episodes(recording)
                continue
            when = "throughout" if frozen else _WHEN[1 if once else 2 if number else 0]
            total = float(recording.reward.sum())
            self._takes[i].append(Take(when, spent, total, recording.states))

    def _record(self, state: PyTree, run: Run) -> Recording:
        plan = self._plan
        table = jax.tree.map(lambda leaf: leaf[run.row : run.row + 1], plan.split.tasks)
        key = jr.fold_in(jr.fold_in(jr.key(run.seed), run.row), _LUCK)
        return record(plan.agent, plan.suite.env, table, state, key)

    def footage(self, i: int) -> Footage:
        """What was recorded of run `i`."""
        plan, run = self._plan, self._runs[i]
        task = jax.tree.map(lambda leaf: leaf[run.row], plan.split.tasks)
        path = place(plan, run) if plan.options.run else None
        who = (plan.contender.name, label(plan.split, run.row), run.seed)
        return Footage(plan.suite, task, *who, self._takes[i], path)


def _episodes(recording: Recording) -> list[Take]:
    """The first episode of a trial, one from the middle, and the last.

    The state after an episode's last step is the next one's first, so that the last is left out.
    """
    ends = np.flatnonzero(recording.ended) + 1
    starts = [0, *ends[:-1].tolist()]
    chosen = dict(
        zip((0, len(ends) // 2, len(ends) - 1), _WHEN, strict=True)
    )  # of a short trial, what there is
    takes: list[Take] = []
    for episode, when in chosen.items():
        low, high = starts[episode], int(ends[episode])
        states: Any = jax.tree.map(lambda leaf, a=low, b=high: leaf[a:b], recording.states)
        takes.append(Take(when, episode, float(recording.reward[low:high].sum()), states))
    return takes


__all__ = ["Footage", "Scenes", "Take"]
