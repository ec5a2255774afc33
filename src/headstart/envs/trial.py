"""K episodes of one task as one episode: the problem of RL² (Duan et al. 2016, arXiv:1611.02779).

    o_t = (observation, previous action, previous reward, previous episode ended)

The inner episodes' ends do not end the trial; the trial ends, by termination, with its K-th episode. What an agent
remembers is therefore kept across episodes and cleared between trials, where `first` is set.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from headstart.errors import UsageError
from headstart.types import Box, Discrete, Env, EnvState, Foresight, MultiDiscrete, Space, Spec, Step, Task


class TrialObs(NamedTuple):
    """What an agent sees within a trial; scalars but for `obs` and the shapes of the action space."""

    obs: PyTree
    action: Array
    reward: Float[Array, ""]
    ended: Bool[Array, ""]


class TrialPrivileged(NamedTuple):
    """The inner environment's privileged view, and the share of the trial's episodes already played."""

    env: PyTree
    progress: Float[Array, ""]


class TrialState(NamedTuple):
    inner: EnvState
    episode: Int[Array, ""]
    action: Array
    reward: Float[Array, ""]
    ended: Bool[Array, ""]


def _no_action(space: Space) -> Array:
    match space:
        case Discrete():
            return jnp.int32(0)
        case MultiDiscrete(nvec):
            return jnp.zeros(len(nvec), jnp.int32)
        case Box(shape):
            return jnp.zeros(shape, jnp.float32)


def _seen(inner: PyTree) -> PyTree:
    """The spaces of a trial's privileged view, given those of its episodes."""
    if inner is None:
        return None
    progress: Any = Box((), 0.0, 1.0)
    if isinstance(inner, Foresight):
        return Foresight(TrialPrivileged(inner.view, progress), inner.ceiling, inner.after)
    return TrialPrivileged(inner, progress)


@dataclass(frozen=True)
class Trial:
    """`episodes` episodes of the same task of `env`."""

    env: Env
    episodes: int

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UsageError(f"a trial has at least one episode, not {self.episodes}.")

    @property
    def spec(self) -> Spec:
        inner = self.env.spec
        obs = TrialObs(inner.obs, inner.action, inner.reward, Discrete(2))  # pyright: ignore[reportArgumentType]
        return Spec(
            obs,
            inner.action,
            inner.horizon,
            _seen(inner.privileged),
            episodes=self.episodes,
            reward=inner.reward,
        )

    def reset(self, task: Task, key: PRNGKeyArray) -> TrialState:
        return TrialState(
            self.env.reset(task, key),
            jnp.int32(0),
            _no_action(self.env.spec.action),
            jnp.float32(0.0),
            jnp.bool_(True),
        )

    def step(
        self, task: Task, state: TrialState, action: Array, key: PRNGKeyArray
    ) -> tuple[TrialState, Step]:
        k_step, k_reset = jr.split(key)
        inner, out = self.env.step(task, state.inner, action, k_step)
        ended = out.terminated | out.truncated
        fresh = self.env.reset(task, k_reset)
        inner = jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, inner)
        episode = state.episode + ended.astype(jnp.int32)
        state = TrialState(inner, episode, action, out.reward, ended)
        return state, Step(out.reward, episode >= self.episodes, jnp.bool_(False))

    def observe(self, task: Task, state: TrialState) -> TrialObs:
        return TrialObs(self.env.observe(task, state.inner), state.action, state.reward, state.ended)

    def privileged(self, task: Task, state: TrialState) -> TrialPrivileged | Foresight:
        """The inner environment's view and the trial's progress; the ceiling, where the inner environment knows one, is that
        of the episode at hand and of the episodes still to begin.
        """
        now = self.env.privileged(task, state.inner)
        progress = state.episode.astype(jnp.float32) / self.episodes
        if not isinstance(now, Foresight):
            return TrialPrivileged(now, progress)
        fresh: Foresight = self.env.privileged(task, self.env.reset(task, jr.key(0)))
        to_begin = jnp.maximum(self.episodes - 1 - state.episode, 0).astype(jnp.float32)
        later = to_begin * fresh.ceiling
        after = None if now.after is None else now.after + later
        return Foresight(TrialPrivileged(now.view, progress), now.ceiling + later, after)
