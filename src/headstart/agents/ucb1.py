"""UCB1: the arm of the highest upper confidence bound (Auer, Cesa-Bianchi & Fischer 2002, Mach. Learn. 47).

    a_t = argmax_a  S_a / T_a + c √(2 ln t / T_a)

t counts the trial's pulls, the coming one included. Deviates from the paper, whose c is 1 and which
pulls every arm once first: that wastes a short trial. As in Duan et al. (2016, arXiv:1611.02779), S_a
and T_a start from the prior's pseudo-pulls (`_arms`), and c is tuned.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._arms import Counts, arms_of
from headstart.errors import UsageError
from headstart.types import Agent, Entry, Spec, TimeStep


@dataclass(frozen=True)
class UCB1Config:
    """How wide the bounds are; the default is tuned (docs/agents/bandit-rules.md)."""

    width: float = 0.2
    """c, the multiple of Auer's confidence radius, at least 0"""


def ucb1(spec: Spec, config: UCB1Config) -> Agent:
    """UCB1 with prior means and a tuned constant.

    Raises:
      UsageError: if the spec is not a bandit's trial, or the width is negative.
    """
    arms = arms_of(spec, "ucb1")
    if config.width < 0.0:
        raise UsageError(f"ucb1's width is at least 0, not {config.width}.")

    # The constant is state, so that one compiled program serves all its values.
    def act(
        width: Float[Array, ""], memory: Counts, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Counts, Array, Any]:
        del key
        counts = arms.recall(memory, timestep)
        t = arms.pulled(counts)[:, None] + 1
        bound = counts.mean + width * jnp.sqrt(2 * jnp.log(t) / counts.pulls)
        return counts, jnp.argmax(bound, axis=-1), ()

    return Agent(init=lambda _: jnp.float32(config.width), memory=arms.memory, act=act)


ENTRY = Entry(UCB1Config(), ucb1)
"""The registry's line."""
