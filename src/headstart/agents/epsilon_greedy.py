"""ε-greedy: the arm of the highest posterior mean, now and then any (Duan et al. 2016, arXiv:1611.02779).

    with probability ε:  a_t ~ uniform
    otherwise:           a_t = argmax_a S_a / T_a

S_a and T_a start from the prior's pseudo-pulls (`_arms`). The ε of a trial is constant, as in the paper.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._arms import Counts, arms_of
from headstart.errors import UsageError
from headstart.types import Agent, Entry, Spec, TimeStep


@dataclass(frozen=True)
class EpsilonGreedyConfig:
    """How often to explore; the default is tuned (docs/agents/bandit-rules.md)."""

    epsilon: float = 0.02
    """the probability of a uniformly random pull, in [0, 1]"""


def epsilon_greedy(spec: Spec, config: EpsilonGreedyConfig) -> Agent:
    """The ε-greedy rule.

    Raises:
      UsageError: if the spec is not a bandit's trial, or ε is not a probability.
    """
    arms = arms_of(spec, "epsilon-greedy")
    if not 0.0 <= config.epsilon <= 1.0:
        raise UsageError(f"epsilon-greedy's epsilon is a probability between 0 and 1, not {config.epsilon}.")

    # The constant is state, so that one compiled program serves all its values.
    def act(
        epsilon: Float[Array, ""], memory: Counts, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Counts, Array, Any]:
        k_explore, k_arm = jr.split(key)
        counts = arms.recall(memory, timestep)
        n = timestep.first.shape
        explore = jr.bernoulli(k_explore, epsilon, n)
        anything = jr.randint(k_arm, n, 0, arms.k)
        return counts, jnp.where(explore, anything, jnp.argmax(counts.mean, axis=-1)), ()

    return Agent(init=lambda _: jnp.float32(config.epsilon), memory=arms.memory, act=act)


ENTRY = Entry(EpsilonGreedyConfig(), epsilon_greedy)
"""The registry's line."""
