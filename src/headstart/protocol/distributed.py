"""One learner over several processes, on one machine or many: `jax.distributed`, and what a run has to mind then.

    every process: join(processes); the same program on the same settings
        lanes are spread over all devices of all processes; the compiler averages their gradients
    the first process alone writes the run's folder, which all see; what lies on other devices is gathered for it

Processes that disagree on when to stop would wait for each other forever, so an interrupt of one is an interrupt of all.
"""

import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from headstart import suites
from headstart.errors import RunError, UsageError

_PATIENCE = 60
"""seconds that processes wait for each other at the start"""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is."""

    count: int = 1
    """processes that train one learner together, all with the same settings"""
    index: int = 0
    """which of them this is, from 0; the first writes the run's folder"""
    coordinator: str = ""
    """host:port on which the first listens for the others"""

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise UsageError(f"of {self.count} processes none is number {self.index}; they count from 0.")
        if self.count > 1 and not re.fullmatch(r"\S+:\d+", self.coordinator):
            raise UsageError(f"a coordinator is host:port, not '{self.coordinator}'.")


def join(these: Processes, lanes: int, suite: str) -> None:
    """Become one of several processes, unless there is only one; to be called before JAX is used.

    Args:
      lanes: of the run, which its devices share evenly.
      suite: what it plays, by name.

    Raises:
      UsageError: where JAX was used before, the lanes cannot be shared, or foreign simulators step them.
      RunError: if the others do not come.
    """
    if these.count == 1 or jax.distributed.is_initialized():
        return
    if suites.is_foreign(suite):
        raise UsageError(
            f"the simulators of {suite} are stepped by one learning process: leave --processes out; to have them on several "
            "machines, --lanes-on ray."
        )
    coordinator, processes, process = these.coordinator, these.count, these.index
    # collectives between processes on CPUs; other backends bring their own
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=_PATIENCE)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:160]
        if "before" in why:
            raise UsageError("processes are joined before JAX is used for anything else.") from error
        raise RunError(
            f"process {process} waited {_PATIENCE} s for the other {processes - 1} at {coordinator} ({why})."
        ) from error
    if lanes % jax.device_count():
        raise UsageError(f"{lanes} lanes cannot be shared evenly by {jax.device_count()} devices.")


def first() -> bool:
    """Whether this process is the one that writes: true where there is only one."""
    return jax.process_index() == 0


def any_of(flag: bool) -> bool:
    """Whether a flag is set in any process; all of them have to ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def whole(tree: PyTree) -> PyTree:
    """A tree whose arrays are whole in every process, also those that were spread over all; all of them have to ask."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    def gather(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(gather, tree)


__all__ = ["Processes", "any_of", "first", "join", "whole"]
