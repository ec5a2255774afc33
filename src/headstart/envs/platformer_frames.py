"""The last pictures of an episode as one observation: what a single picture does not show, speed above all.

    o_t = (x_{t-k+1}, ..., x_t) along the last axis;  before an episode's first picture x_0 lies x_0

The pictures are part of the state, and each is drawn once: in the step that leads to it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, UInt8

from headstart.errors import UsageError
from headstart.types import Box, Env, EnvState, Spec, Step, Task


class StackedState(NamedTuple):
    """The inner state, and the pictures up to its own."""

    inner: EnvState
    seen: UInt8[Array, "h w kc"]


@dataclass(frozen=True)
class Stacked:
    """`env`, whose observation is a picture `[H, W, C]`, seen through its last `frames` pictures `[H, W, frames C]`."""

    env: Env
    frames: int

    def __post_init__(self) -> None:
        obs = self.env.spec.obs
        if self.frames < 1:
            raise UsageError(f"an observation has at least one picture, not {self.frames}.")
        if not isinstance(obs, Box) or len(obs.shape) != 3:
            raise UsageError("only pictures [height, width, channels] can be stacked.")

    @property
    def spec(self) -> Spec:
        spec = self.env.spec
        h, w, c = spec.obs.shape
        obs = Box((h, w, self.frames * c), spec.obs.low, spec.obs.high, spec.obs.dtype)
        return replace(spec, obs=obs)

    def reset(self, task: Task, key: PRNGKeyArray) -> StackedState:
        inner = self.env.reset(task, key)
        return StackedState(inner, jnp.tile(self.env.observe(task, inner), self.frames))

    def step(
        self, task: Task, state: StackedState, action: Array, key: PRNGKeyArray
    ) -> tuple[StackedState, Step]:
        inner, out = self.env.step(task, state.inner, action, key)
        now = self.env.observe(task, inner)
        older = state.seen[:, :, now.shape[-1] :]
        return StackedState(inner, jnp.concatenate([older, now], -1)), out

    def observe(self, task: Task, state: StackedState) -> UInt8[Array, "h w kc"]:
        """The last pictures, the oldest first."""
        del task
        return state.seen

    def privileged(self, task: Task, state: StackedState) -> PyTree:
        return self.env.privileged(task, state.inner)
