"""The task's parameters laid open, for oracles: what they reach is the ceiling on a report's scale."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Array, PRNGKeyArray, PyTree

from headstart.types import Env, EnvState, Spec, Step, Task


class RevealedObs(NamedTuple):
    """The environment's observation and its task's parameters."""

    obs: PyTree
    task: Task


@dataclass(frozen=True)
class Revealed:
    """`env` with the whole task in every observation; the spec's `obs` is left as it is, since no network reads it."""

    env: Env

    @property
    def spec(self) -> Spec:
        return self.env.spec

    def reset(self, task: Task, key: PRNGKeyArray) -> EnvState:
        return self.env.reset(task, key)

    def step(self, task: Task, state: EnvState, action: Array, key: PRNGKeyArray) -> tuple[EnvState, Step]:
        return self.env.step(task, state, action, key)

    def observe(self, task: Task, state: EnvState) -> RevealedObs:
        return RevealedObs(self.env.observe(task, state), task)

    def privileged(self, task: Task, state: EnvState) -> PyTree:
        return self.env.privileged(task, state)
