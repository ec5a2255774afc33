"""Fan the runs of an adaptation out over a Ray cluster, a task a run; results come as runs finish.

    suite's name, split, contender and options go once into the object store
    for each run that is not kept yet: a task; every worker builds the agent once and compiles its programs once
    a worker or node that is lost gives its run back, which is played again elsewhere

A run is a function of contender, task and seed alone, so that its result does not show where it was played,
nor how often. Lanes of foreign simulators are stepped where the run is played, in processes.
"""

import dataclasses
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from headstart import results, suites
from headstart.errors import HeadstartError, RunError, UsageError
from headstart.hosts.actors import unlike
from headstart.protocol.adaptation import Spread, play_group
from headstart.protocol.contenders import AdaptOptions, Contender, Plan, Run, plan_of
from headstart.results import Result
from headstart.tasks import Split

Played = tuple[Run, Result]

_LOST = 5
"""times a run is played again after its worker was lost, before that is taken for the run's own fault"""


@dataclass(frozen=True)
class _Packed:
    """A plan as it travels: its suite by name, its agent by what it is built from."""

    suite: str
    split: Split
    contender: Contender
    options: AdaptOptions
    command: str
    versions: dict[str, str]


def over(ray: Any, gpus: float = 0.0) -> Spread:
    """A way to spread runs over a Ray cluster that was joined.

    Args:
      ray: the module, connected (`hosts.cluster.joined`).
      gpus: how many (or what part of one) each run gets; 0 runs on CPU cores, one a run.

    Raises:
      UsageError: if the cluster has not what a run needs.
    """
    need = {"CPU": 1.0} | ({"GPU": gpus} if gpus else {})
    there = ray.cluster_resources()
    if lacking := [f"{n:g} {kind}" for kind, n in need.items() if there.get(kind, 0.0) < n]:
        raise UsageError(f"a run needs {' and '.join(lacking)}, which no node of the Ray cluster has.")
    return lambda plan, runs, command: _spread(ray, plan, runs, command, gpus)


def _nothing(*_: object) -> NoReturn:
    """Stands for a split's `draw`, which does not travel: adaptation draws no tasks."""
    raise AssertionError("an adaptation draws no tasks")


def _pack(plan: Plan, command: str) -> bytes:
    """A plan as bytes.

    Raises:
      UsageError: if its suite is not one that has a name.
    """
    suites.suite(plan.suite.name)
    split = dataclasses.replace(plan.split, draw=_nothing)
    options = dataclasses.replace(plan.options, run=None)
    versions = results.versions()
    return pickle.dumps(_Packed(plan.suite.name, split, plan.contender, options, command, versions))


@lru_cache(maxsize=1)
def _unpacked(blob: bytes) -> tuple[Plan, str]:
    """The plan and its command, made once a worker, whose programs are then compiled once."""
    packed: _Packed = pickle.loads(blob)
    if why := unlike(packed.versions):
        raise RunError(why)
    suite = suites.suite(packed.suite)
    return plan_of(suite, packed.split, packed.contender, packed.options), packed.command


def _play(blob: bytes, runs: Sequence[Run]) -> list[Played]:
    """What a Ray task does."""
    plan, command = _unpacked(blob)
    return play_group(plan, runs, command)


def _spread(ray: Any, plan: Plan, runs: Sequence[Run], command: str, gpus: float) -> Iterator[Played]:
    """Every run's result, in the order in which they finish."""
    together = plan.options.together or 1
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_LOST)(_play)
    blob = ray.put(_pack(plan, command))
    groups = [runs[i : i + together] for i in range(0, len(runs), together)]
    waiting = {task.remote(blob, group): group for group in groups}
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ready:
                group = waiting.pop(reference)
                yield from _got(ray, reference, plan.contender.name, group)
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)


def _got(ray: Any, reference: Any, contender: str, group: Sequence[Run]) -> list[Played]:
    """The results of a task.

    Raises:
      RunError: if its workers were lost again and again.
      HeadstartError: that of the run, if it has one.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, HeadstartError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        first = " ".join(str(error).split()).partition(".")[0][:160]
        raise RunError(
            f"row {group[0].row}, seed {group[0].seed} of {contender} was lost {_LOST + 1} times with its Ray worker "
            f"({first}); finished runs are kept: the same call goes on."
        ) from error


__all__ = ["Played", "Spread", "over"]
