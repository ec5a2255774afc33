"""Optimistic Thompson sampling, in the two versions that bear the name.

    likeliest (Duan et al. 2016, arXiv:1611.02779):    θ^i ~ P(means of all arms | data),  i = 1..m
                                                       θ = the θ^i of the highest posterior density
    floored (May, Korda, Lee & Leslie 2012, JMLR 13):  θ_a = max(θ_a^1, ..., θ_a^m, S_a / T_a),  with m = 1
    either:                                            a_t = argmax_a θ_a

The posterior is that of `thompson`. The default is what gives the published column of RL²'s table: many
samples make it greedier in the arms it has pulled and leave it random in those it has not
(docs/agents/bandit-rules.md).
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._arms import Arms, Counts, arms_of
from headstart.errors import UsageError
from headstart.types import Agent, Entry, Spec, TimeStep

Version = Literal["likeliest", "floored"]


@dataclass(frozen=True)
class OptimisticThompsonConfig:
    """Which optimism, and how much."""

    version: Version = "likeliest"
    """"likeliest" keeps the most probable sample; "floored" the best of each arm, its mean included"""
    samples: int = 20
    """m, how many times the posterior is sampled a pull, at least 1"""


def optimistic_thompson(spec: Spec, config: OptimisticThompsonConfig) -> Agent:
    """Optimistic Thompson sampling.

    Raises:
      UsageError: if the spec is not a bandit's trial, the version is unknown, or there is not at least
      one sample.
    """
    arms = arms_of(spec, "optimistic-thompson")
    if config.version not in get_args(Version):
        raise UsageError(f"optimistic-thompson's version is likeliest or floored, not '{config.version}'.")
    if config.samples < 1:
        raise UsageError(f"optimistic-thompson draws at least one sample, not {config.samples}.")
    choose = _likeliest if config.version == "likeliest" else _floored

    def act(state: Any, memory: Counts, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Counts, Array, Any]:
        del state
        counts = arms.recall(memory, timestep)
        theta = jax.vmap(arms.sample, in_axes=(None, 0))(counts, jr.split(key, config.samples))
        return counts, jnp.argmax(choose(arms, counts, theta), axis=-1), ()

    return Agent(init=lambda _: (), memory=arms.memory, act=act)


def _likeliest(arms: Arms, counts: Counts, theta: Float[Array, "m N k"]) -> Float[Array, "N k"]:
    density = jax.vmap(arms.log_density, in_axes=(None, 0))(counts, theta).sum(-1)
    best = jnp.argmax(density, axis=0)[None, :, None]
    return jnp.take_along_axis(theta, best, axis=0)[0]


def _floored(arms: Arms, counts: Counts, theta: Float[Array, "m N k"]) -> Float[Array, "N k"]:
    del arms
    return jnp.maximum(theta.max(axis=0), counts.mean)


ENTRY = Entry(OptimisticThompsonConfig(), optimistic_thompson)
"""The registry's line."""
