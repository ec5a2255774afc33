"""Gittins' index rule: pull the arm of the highest index (Gittins 1979, J. R. Stat. Soc. B 41).

    a_t = argmax_a ν_γ(data of arm a)

ν is the index of `ops.gittins`, exact to the error of its grids: a table over successes and failures for
Bernoulli arms (whose rewards must be 0 or 1), the posterior mean plus a table over pulls for Gaussian
arms. Discounting by γ for ever, the rule is Bayes-optimal; n undiscounted pulls are another problem,
where γ stands in for the horizon and is tuned.

Deviates from Duan et al. (2016, arXiv:1611.02779), who approximated the index in closed form.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from headstart.agents._arms import Counts, arms_of
from headstart.ops.gittins import bernoulli_index, gaussian_bonus
from headstart.types import Agent, Entry, Spec, TimeStep


@dataclass(frozen=True)
class GittinsConfig:
    """How far-sighted the index is; the default is tuned (docs/agents/bandit-rules.md)."""

    discount: float | None = None
    """γ in [0, 1) a pull; None is 1 - 2/n for trials of n pulls"""


def gittins(spec: Spec, config: GittinsConfig) -> Agent:
    """The index rule.

    Raises:
      UsageError: if the spec is not a bandit's trial, or the discount is outside [0, 1).
    """
    arms = arms_of(spec, "gittins")
    discount = max(0.0, 1 - 2 / arms.pulls) if config.discount is None else config.discount
    tabulate = bernoulli_index if arms.bernoulli else gaussian_bonus
    indices = np.asarray(tabulate(arms.pulls, discount), np.float32)

    def index(table: Array, counts: Counts) -> Array:
        pulls, total = arms.prior
        if not arms.bernoulli:
            return counts.mean + table[(counts.pulls - pulls).astype(jnp.int32)]
        wins = counts.total - total
        losses = counts.pulls - pulls - wins
        return table[wins.astype(jnp.int32), losses.astype(jnp.int32)]

    # The table is state, so that one compiled program serves all discounts.
    def act(table: Array, memory: Counts, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Counts, Array, Any]:
        del key
        counts = arms.recall(memory, timestep)
        return counts, jnp.argmax(index(table, counts), axis=-1), ()

    return Agent(init=lambda _: jnp.asarray(indices), memory=arms.memory, act=act)


ENTRY = Entry(GittinsConfig(), gittins)
"""The registry's line."""
