"""Fan the runs of an adaptation out over a Ray cluster, a task a run; results come as runs finish.

    suite's name, split, contender and options go once into the object store
    for each run that is not kept yet: a task; every worker builds the agent once and compiles its programs once
    now and then a worker hands how far its run is to an actor on the node that asks, which keeps it beside the results
    a worker or node that is lost gives its run back, which goes on elsewhere from there

A run is a function of contender, task and seed alone, so that its result does not show where it was played,
nor in how many parts. Lanes of foreign simulators are stepped where the run is played, in processes; such a run begins
again where it is lost. Files and modules that a suite names are looked for where they are on the machine that asks, on
every node.
"""

import dataclasses
import importlib
import os
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from headstart import results, suites
from headstart.errors import HeadstartError, RunError, UsageError
from headstart.hosts.actors import unlike
from headstart.hosts.env import HostEnv
from headstart.loops import either
from headstart.protocol.adaptation import Spread, play_group
from headstart.protocol.contenders import AdaptOptions, Contender, Plan, Run, named, plan_of
from headstart.protocol.keepers import Distant, Keeper, Pace, Shelf
from headstart.protocol.run_folder import make
from headstart.results import Result
from headstart.tasks import Split

Played = tuple[Run, Result]

_PACE = Pace()
"""what it may cost a run that a lost worker's goes on where it was"""
_LOOK = 10.0
"""seconds without a result after which it is looked whether a run still has a place anywhere"""
_PLACE = 60.0
"""seconds for which there may be none, since nodes come and go"""
_SHARE = 0.9
"""of the memory of its part of a GPU that a run takes, where others have the rest"""
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
    folder: str
    """from which the suite's name names files"""
    path: list[str]
    """where modules are found"""


def over(ray: Any, gpus: float = 0.0) -> Spread:
    """A way to spread runs over a Ray cluster that was joined.

    Args:
      ray: the module, connected (`hosts.cluster.joined`).
      gpus: how many (or what part of one) each run gets; 0 runs on CPU cores, one a run, or one a process of simulators.

    Raises:
      UsageError: if the cluster has not what a run needs.
    """
    if not _most_cores(ray, gpus):
        need = f"a CPU core and {gpus:g} GPU of one node" if gpus else "a CPU core"
        raise UsageError(f"a run needs {need}, which no node of the Ray cluster has.")
    return lambda plan, runs, command: _spread(ray, plan, runs, command, gpus)


def _most_cores(ray: Any, gpus: float) -> float:
    """Cores of the largest living node with so many GPUs; 0 if there is none."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [node.get("CPU", 0.0) for node in nodes if node.get("GPU", 0.0) >= gpus]
    return max((n for n in cores if n >= 1.0), default=0.0)


def variables(gpus: float) -> dict[str, str]:
    """The environment of a run with so many GPUs: without one it opens none, and a part of one leaves the others theirs."""
    if not gpus:
        return {"JAX_PLATFORMS": "cpu"}
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{_SHARE * gpus:.3f}"} if gpus < 1.0 else {}


def _cores(plan: Plan, most: float) -> int:
    """Cores that a run reserves: one for each process that steps its lanes, if a node has so many; else a whole node."""
    env = plan.suite.env
    wanted = env.processes(plan.options.lanes) if isinstance(env, HostEnv) else 1
    return max(1, min(wanted, int(most)))


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
    place = (os.getcwd(), list(filter(None, sys.path)))
    return pickle.dumps(_Packed(plan.suite.name, split, plan.contender, options, command, versions, *place))


@lru_cache(maxsize=1)
def _unpacked(blob: bytes) -> tuple[Plan, str]:
    """The plan and its command, made once a worker, whose programs are then compiled once."""
    packed: _Packed = pickle.loads(blob)
    if why := unlike(packed.versions):
        raise RunError(why)
    sys.path += [place for place in packed.path if place not in sys.path]
    if os.path.isdir(packed.folder):
        os.chdir(packed.folder)
    suite = suites.suite(packed.suite)
    return plan_of(suite, packed.split, packed.contender, packed.options), packed.command


def _play(blob: bytes, runs: Sequence[Run], keeper: Keeper | None = None) -> list[Played]:
    """What a Ray task does; of runs that were lost before, what `keeper` has not."""
    plan, command = _unpacked(blob)
    return play_group(plan, runs, command, keeper=keeper)


def _shelf(ray: Any, plan: Plan) -> Any:
    """The actor that keeps runs under way: on the node that asks, and in its folder, which a Ray client's node has not."""
    here = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    client = importlib.import_module("ray.util.client").ray.is_connected()
    folder = None if client or plan.options.run is None else plan.options.run.absolute()
    if folder is not None:
        make(folder)
    kind = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(Shelf)
    return kind.remote(None if folder is None else str(folder), _PACE)


def _spread(ray: Any, plan: Plan, runs: Sequence[Run], command: str, gpus: float) -> Iterator[Played]:
    """Every run's result, in the order in which they finish."""
    together = plan.options.together or 1
    cores, place = _cores(plan, _most_cores(ray, gpus)), {"env_vars": variables(gpus)}
    task = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=_LOST, runtime_env=place)(_play)
    blob = ray.put(_pack(plan, command))
    groups = [runs[i : i + together] for i in range(0, len(runs), together)]
    shelf = None if either.is_foreign(plan.suite.env) else _shelf(ray, plan)
    keeper = Distant(shelf, _PACE) if shelf else None
    waiting, since = {task.remote(blob, group, keeper): group for group in groups}, time.monotonic()
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=_LOOK)
            if ready or _most_cores(ray, gpus) >= cores:
                since = time.monotonic()
            if time.monotonic() - since >= _PLACE:
                raise _stranded(plan.contender.name, len(waiting), cores, gpus)
            for reference in ready:
                group = waiting.pop(reference)
                yield from _got(ray, reference, plan.contender.name, group)
                if shelf:
                    shelf.drop.remote(named(plan, group[0]))
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        if shelf:
            ray.kill(shelf)


def _stranded(who: str, waiting: int, cores: int, gpus: float) -> RunError:
    """What is said where no node is left that could play."""
    lacking = f"{cores} CPU and {gpus:g} GPU" if gpus else f"{cores} CPU"
    return RunError(
        f"no node of the Ray cluster has had {lacking} for {_PLACE:.0f} s, and {waiting} runs of {who} wait; add nodes: "
        "finished runs are kept, and the same call goes on."
    )


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


__all__ = ["Played", "Spread", "over", "variables"]
