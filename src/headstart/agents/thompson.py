"""Thompson sampling: pull each arm as often as it is likely to be the best (Thompson 1933, Biometrika 25).

    θ_a ~ P(mean of arm a | data),    a_t = argmax_a θ_a

The posterior of Bernoulli arms is Beta(S_a, T_a - S_a), of Gaussian arms N(S_a / T_a, 1 / T_a) (`_arms`).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from headstart.agents._arms import Counts, arms_of
from headstart.types import Agent, Entry, Spec, TimeStep


@dataclass(frozen=True)
class ThompsonConfig:
    """There is nothing to set."""


def thompson(spec: Spec, config: ThompsonConfig) -> Agent:
    """Thompson sampling.

    Raises:
      UsageError: if the spec is not a bandit's trial.
    """
    del config
    arms = arms_of(spec, "thompson")

    def act(state: Any, memory: Counts, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Counts, Array, Any]:
        del state
        counts = arms.recall(memory, timestep)
        return counts, jnp.argmax(arms.sample(counts, key), axis=-1), ()

    return Agent(init=lambda _: (), memory=arms.memory, act=act)


ENTRY = Entry(ThompsonConfig(), thompson)
"""The registry's line."""
