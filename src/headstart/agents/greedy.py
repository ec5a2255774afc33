"""Greedy: pull the arm of the highest posterior mean (Duan et al. 2016, arXiv:1611.02779, section 3.1).

    a_t = argmax_a S_a / T_a

S_a and T_a start from the prior's pseudo-pulls (`_arms`), so an arm never pulled counts as an average
one: greedy goes on with an arm that pays better than that, and tries another as soon as it does not.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from headstart.agents._arms import Counts, arms_of
from headstart.types import Agent, Entry, Spec, TimeStep


@dataclass(frozen=True)
class GreedyConfig:
    """There is nothing to set."""


def greedy(spec: Spec, config: GreedyConfig) -> Agent:
    """The greedy rule.

    Raises:
      UsageError: if the spec is not a bandit's trial.
    """
    del config
    arms = arms_of(spec, "greedy")

    def act(state: Any, memory: Counts, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Counts, Array, Any]:
        del state, key
        counts = arms.recall(memory, timestep)
        return counts, jnp.argmax(counts.mean, axis=-1), ()

    return Agent(init=lambda _: (), memory=arms.memory, act=act)


ENTRY = Entry(GreedyConfig(), greedy)
"""The registry's line."""
