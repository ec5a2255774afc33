"""A suite's environment that is no JAX program: what its lanes show and take, and how to open some of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.errors import UsageError
from headstart.hosts.lanes import Hire
from headstart.types import EnvState, HostLanes, Spec, Task


@runtime_checkable
class Simulators(HostLanes, Protocol):
    """`N` lanes, and what a run is to know of them beyond time steps."""

    @property
    def deaths(self) -> int:
        """How often a simulator died and was started again."""
        ...

    @property
    def busy(self) -> float:
        """Seconds of simulation so far, a mean over the workers."""
        ...

    @property
    def episode(self) -> np.ndarray:
        """Which of its trial's episodes each lane plays, `[N]`, from 0; always 0 where there are no trials."""
        ...

    @property
    def rows(self) -> np.ndarray:
        """The row of the table that each lane plays, `[N]`."""
        ...

    def choose(self, chances: Float[np.ndarray, " M"]) -> None:
        """Draw the tasks of episodes (of trials) to come with these chances, which add up to 1, until the next reset or
        choice.

        Raises:
          UsageError: if the simulator draws them itself.
        """
        ...


Open = Callable[[PyTree, int, int, bool], Simulators]
"""`open(tasks, n, first, pinned)`: n lanes that play the table `[M, ...]`, named `first`, `first + 1`, … in their seeds.

A pinned lane keeps the task of its name, modulo M; another draws one for each episode.
"""


@dataclass(frozen=True)
class HostEnv:
    """A foreign simulator, played by `loops.host` and not by compiled programs.

    It can truncate any episode: a simulator that dies is started again, and its lanes' episodes count as truncated.
    """

    name: str
    spec: Spec
    open: Open
    halves: int = 1
    """parts of the lanes that take turns: while one is stepped, the actions of another are computed"""
    staleness: int = 0
    """updates that the acting weights may be behind: 0 waits for every update; 1 simulates meanwhile"""
    width: int = 8
    """lanes open at once where many tasks are played once each"""
    per_worker: int = 0
    """lanes that a process of its own steps; 0 where it is threads of this process that step them"""
    by: Callable[[Hire], Open] | None = None
    """`by(hire)` opens lanes that other workers step; None where it is threads of this process that step them"""
    drawn_by: str = ""
    """who draws the tasks of lanes that are not pinned, where nobody else can choose them; "" where lanes can `choose`"""

    def __post_init__(self) -> None:
        if self.halves < 1:
            raise UsageError(f"{self.name} has at least 1 part of its lanes, not halves={self.halves}.")
        if self.staleness not in (0, 1):
            raise UsageError(f"{self.name} acts with weights 0 or 1 updates old, not stale={self.staleness}.")

    def processes(self, lanes: int) -> int:
        """How many processes step so many lanes; 0 where it is threads of this one."""
        return self.halves * math.ceil(lanes / self.halves / self.per_worker) if self.per_worker else 0

    def stepped_by(self, hire: Hire) -> "HostEnv":
        """The same environment, its lanes stepped by other workers: the same steps, from somewhere else.

        Raises:
          UsageError: if nobody else can step them.
        """
        if self.by is None:
            raise UsageError(f"{self.name} is stepped by threads of this process, and by nobody else.")
        return replace(self, open=self.by(hire))

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"{self.name} runs in processes of its own; train, evaluate and transfer play it, and nothing else can yet."
        )

    def reset(self, task: Task, key: PRNGKeyArray) -> NoReturn:
        """A foreign simulator is in no compiled program."""
        del task, key
        self._refuse()

    def step(self, task: Task, state: EnvState, action: Array, key: PRNGKeyArray) -> NoReturn:
        """A foreign simulator is in no compiled program."""
        del task, state, action, key
        self._refuse()

    def observe(self, task: Task, state: EnvState) -> NoReturn:
        """A foreign simulator is in no compiled program."""
        del task, state
        self._refuse()

    def privileged(self, task: Task, state: EnvState) -> NoReturn:
        """A foreign simulator shows nothing to a critic alone."""
        del task, state
        self._refuse()
