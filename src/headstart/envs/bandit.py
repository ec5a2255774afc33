"""Multi-armed bandits: an episode is one pull (Robbins 1952; the set-up of Duan et al. 2016, arXiv:1611.02779, section 3.1).

Bernoulli:  r ~ Bernoulli(p_a),  p_a ~ U(0, 1)
Gaussian:   r ~ N(μ_a, 1),       μ_a ~ N(0, 1)
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from headstart.types import Box, Discrete, Foresight, Spec, Step


class BanditTask(NamedTuple):
    """Each arm's expected reward."""

    mean: Float[Array, " k"]


@dataclass(frozen=True)
class Bandit:
    """`arms` arms paying `reward` rewards; there is nothing to observe and nothing to remember in the state."""

    arms: int
    reward: Literal["bernoulli", "gaussian"] = "bernoulli"

    @property
    def spec(self) -> Spec:
        reward = Box((), 0.0, 1.0) if self.reward == "bernoulli" else Box(())
        return Spec(
            (),
            Discrete(self.arms),
            horizon=1,
            privileged=Foresight(Box((self.arms,)), Box(()), Box((self.arms,))),
            reward=reward,
        )

    def sample(self, key: PRNGKeyArray) -> BanditTask:
        """One task of the standard distribution."""
        draw = jr.uniform if self.reward == "bernoulli" else jr.normal
        return BanditTask(draw(key, (self.arms,)))

    def reset(self, task: BanditTask, key: PRNGKeyArray) -> tuple[()]:
        del task, key
        return ()

    def step(
        self, task: BanditTask, state: tuple[()], action: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[tuple[()], Step]:
        mean = task.mean[action]
        if self.reward == "bernoulli":
            reward = jr.bernoulli(key, mean).astype(jnp.float32)
        else:
            reward = mean + jr.normal(key)
        return state, Step(reward, jnp.bool_(True), jnp.bool_(False))

    def observe(self, task: BanditTask, state: tuple[()]) -> tuple[()]:
        del task
        return state

    def privileged(self, task: BanditTask, state: tuple[()]) -> Foresight:
        """Each arm's mean; the ceiling is the best arm's."""
        del state
        return Foresight(task.mean, task.mean.max(), task.mean)
