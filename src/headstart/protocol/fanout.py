"""Fan the runs of an adaptation out over a Ray cluster, a task a run; results come as runs finish.

    suite's name, split, contender and options go once into the object store
    for each run that is not kept yet: a task; every worker builds the agent once and compiles its programs once
    a worker or node that is lost gives its run back, which is played again elsewhere

A run is a function of contender, task and seed alone, so that its result does not show where it was played,
nor how often.
Nothing here phones home: usage statistics are off, and a Ray of our own has no dashboard.
"""

import contextlib
import dataclasses
import importlib.util
import logging
import os
import pickle
import re
import socket
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NoReturn

from headstart import results, suites
from headstart.errors import HeadstartError, RunError, UsageError
from headstart.protocol.adaptation import Spread, play_group
from headstart.protocol.contenders import AdaptOptions, Contender, Plan, Run, plan_of
from headstart.results import Result
from headstart.tasks import Split

Where = Literal["here", "ray"]
"""Who plays a transfer's runs: this process, or the tasks of a Ray cluster."""

Played = tuple[Run, Result]

_LOST = 5
"""times a run is played again after its worker was lost, before that is taken for the run's own fault"""
_ANSWER = 5.0
"""seconds within which a head's address answers"""
_CLIENT = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""what a gRPC client says first; a server answers with a frame of settings, too (RFC 9113, section 3.4)"""
_SETTINGS = 4


@dataclass(frozen=True)
class _Packed:
    """A plan as it travels: its suite by name, its agent by what it is built from."""

    suite: str
    split: Split
    contender: Contender
    options: AdaptOptions
    command: str
    versions: dict[str, str]


@contextlib.contextmanager
def opened(where: Where, address: str | None = None, gpus: float = 0.0) -> Generator[Spread | None]:
    """A way to spread runs over Ray while the context is open; None where they are played here.

    Args:
      address: of a running cluster's head, "host:port" as `ray start --head` prints it, "ray://host:port" for a Ray
        client, "auto" for the cluster this machine belongs to; None starts a Ray on this machine alone.
      gpus: how many (or what part of one) each run gets; 0 runs on CPU cores, one a run.

    Raises:
      UsageError: if Ray is not installed, nobody answers at the address, or the cluster has not what a run needs.
    """
    if where == "here":
        if address is not None:
            raise UsageError("a Ray address is for runs that are fanned out: give --fanout ray as well.")
        yield None
        return
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--fanout ray needs the extra `ray`: pip install 'headstart[ray]'.")
    with _connected(address) as ray:
        need = {"CPU": 1.0} | ({"GPU": gpus} if gpus else {})
        there = ray.cluster_resources()
        if lacking := [f"{n:g} {kind}" for kind, n in need.items() if there.get(kind, 0.0) < n]:
            raise UsageError(f"a run needs {' and '.join(lacking)}, which no node of the Ray cluster has.")
        yield lambda plan, runs, command: _spread(ray, plan, runs, command, gpus)


@contextlib.contextmanager
def _connected(address: str | None) -> Generator[Any]:
    """The ray module, connected; a connection that was there before stays."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _knock(address)
    import ray

    if ray.is_initialized():
        yield ray
        return
    try:
        if address is None:
            ray.init(
                address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever Ray raises, and how it ends a process that waited in vain
        _refuse(address, error)
    try:
        yield ray
    finally:
        ray.shutdown()


def _refuse(address: str | None, error: BaseException) -> NoReturn:
    why = " ".join(str(error).split())[:200]
    if address is None:
        raise RunError(f"Ray did not start on this machine ({why}).") from error
    raise UsageError(f"the Ray cluster at {address} cannot be joined ({why}).") from error


def _knock(address: str) -> None:
    """Whether a gRPC server listens at an address, which Ray takes minutes to find out.

    Raises:
      UsageError: if it does not.
    """
    if address == "auto":
        return
    found = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d{1,5})", address)
    if found is None or int(found[2]) > 65535:
        raise UsageError(f"a Ray address is host:port, ray://host:port or auto, not '{address}'.")
    try:
        with socket.create_connection((found[1], int(found[2])), timeout=_ANSWER) as line:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            line.sendall(_CLIENT)
            said = line.recv(9)
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise UsageError(
            f"nobody answers at the Ray address {address} ({why}); give the one that `ray start --head` prints."
        ) from error
    if len(said) < 4 or said[3] != _SETTINGS:
        raise UsageError(
            f"what answers at {address} is no Ray head; give the address that `ray start --head` prints."
        )


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
    here = results.versions()
    if other := [name for name, version in packed.versions.items() if here.get(name) != version]:
        raise RunError(
            f"a Ray worker has another {', '.join(other)} than the machine that asks; install the same on every node."
        )
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


__all__ = ["Played", "Spread", "Where", "opened"]
