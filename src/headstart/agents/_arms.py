"""What every bandit rule shares: the arms a spec describes, and the posterior counts of a rule's memory.

    Bernoulli arms:  p_a ~ Beta(1, 1),  p_a | data ~ Beta(S_a, T_a - S_a)      counts start at T = 2, S = 1
    Gaussian arms:   μ_a ~ N(0, 1),     μ_a | data ~ N(S_a / T_a, 1 / T_a)     counts start at T = 1, S = 0

T_a counts an arm's pulls and S_a sums its rewards, both with the prior's pseudo-pulls, so that S_a / T_a
is the posterior mean of either kind. Ties between arms go to the lowest: arms are exchangeable until
pulled, so that nothing is lost.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import xlog1py, xlogy
from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._gamma import gamma
from headstart.errors import UsageError
from headstart.types import Box, Discrete, Spec, TimeStep


class Counts(NamedTuple):
    """The sufficient statistics of `N` lanes' arms, prior included."""

    pulls: Float[Array, "N k"]
    total: Float[Array, "N k"]

    @property
    def mean(self) -> Float[Array, "N k"]:
        """The posterior mean of every arm."""
        return self.total / self.pulls


@dataclass(frozen=True)
class Arms:
    """`k` arms of one kind, pulled `pulls` times a trial."""

    k: int
    pulls: int
    bernoulli: bool

    @property
    def prior(self) -> tuple[float, float]:
        """Pseudo-pulls and their total reward, an arm."""
        return (2.0, 1.0) if self.bernoulli else (1.0, 0.0)

    def memory(self, n: int) -> Counts:
        """The counts of `n` lanes before any pull."""
        pulls, total = self.prior
        return Counts(jnp.full((n, self.k), pulls), jnp.full((n, self.k), total))

    def recall(self, memory: Counts, timestep: TimeStep) -> Counts:
        """The counts with the last pull added; the prior alone in lanes where a trial begins."""
        fresh = timestep.first[:, None]
        pulled = jax.nn.one_hot(timestep.obs.action, self.k)
        prior = self.memory(timestep.first.shape[0])
        return Counts(
            jnp.where(fresh, prior.pulls, memory.pulls + pulled),
            jnp.where(fresh, prior.total, memory.total + pulled * timestep.obs.reward[:, None]),
        )

    def pulled(self, counts: Counts) -> Float[Array, " N"]:
        """How many pulls the trial has had."""
        return counts.pulls.sum(-1) - self.k * self.prior[0]

    def sample(self, counts: Counts, key: PRNGKeyArray) -> Float[Array, "N k"]:
        """One draw of every arm's mean from its posterior."""
        if self.bernoulli:
            return beta(key, counts.total, counts.pulls - counts.total)
        return counts.mean + jr.normal(key, counts.pulls.shape) / jnp.sqrt(counts.pulls)

    def log_density(self, counts: Counts, theta: Float[Array, "N k"]) -> Float[Array, "N k"]:
        """The log of the posterior's density at these means, up to a term that does not depend on them."""
        if self.bernoulli:
            a, b = counts.total, counts.pulls - counts.total
            return xlogy(a - 1, theta) + xlog1py(b - 1, -theta)
        return -counts.pulls * (theta - counts.mean) ** 2 / 2


def arms_of(spec: Spec, agent: str) -> Arms:
    """The arms of a bandit's trial.

    Raises:
      UsageError: if the spec describes anything but a trial of a bandit, with rewards in [0, 1] or unbounded.
    """
    action, reward = spec.action, spec.reward
    # In a trial of a bandit there is nothing to see but the last action, its reward, and the episode's end.
    seen = jax.tree.leaves(spec.obs) == [action, reward, Discrete(2)]
    if not (isinstance(action, Discrete) and spec.horizon == 1 and seen):
        raise UsageError(
            f"{agent} plays trials of bandits only (one pull an episode, nothing to see but its reward): "
            "choose the suite bandit or gaussian-bandit, or an agent that reads observations, such as rl2."
        )
    if reward not in (Box((), 0.0, 1.0), Box(())):
        raise UsageError(
            f"{agent} knows Bernoulli arms (rewards in [0, 1]) and Gaussian arms (unbounded rewards), "
            f"not rewards in [{reward.low}, {reward.high}]; rescale the rewards to [0, 1]."
        )
    return Arms(action.n, spec.episodes, reward == Box((), 0.0, 1.0))


def beta(key: PRNGKeyArray, a: Float[Array, "N k"], b: Float[Array, "N k"]) -> Float[Array, "N k"]:
    """Beta(a, b) variates for a, b >= 1: X / (X + Y) with X ~ Gamma(a), Y ~ Gamma(b)."""
    drawn = gamma(key, jnp.stack([a, b], axis=-1))  # lanes lead: a longer table begins like a shorter
    return drawn[..., 0] / drawn.sum(-1)
