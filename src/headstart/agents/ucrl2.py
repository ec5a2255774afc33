"""UCRL2: plan for the best model within the confidence bounds (Jaksch, Ortner & Auer 2010, JMLR 11).

    at an episode's start, with t steps taken in all and n(s,a) of them here:
        d_r(s,a) = c √(7/2 log(2 S A t / δ) / max(1, n))
        d_p(s,a) = c √(14 S log(2 A t / δ) / max(1, n))
        q_h = r̂ + d_r + max { p · v_{h+1} : ‖p - p̂‖₁ <= d_p },   v_h = max_a q_h,   v_H = 0
    at each step:
        a_h = argmax_a q_h(s_h, a)

Deviates from the paper: episodes are the environment's and their horizon is known, so that the optimistic
model is solved by finite-horizon value iteration; p̂ and r̂ are posterior means, not frequencies; both bounds
are scaled by c, since the paper's are too wide for a hundred episodes (docs/agents/mdp-rules.md).
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._mdp_model import ModelConfig, Posterior, planner
from headstart.errors import UsageError
from headstart.ops.planning import backward_induction
from headstart.types import Agent, Entry, Spec


@dataclass(frozen=True)
class UCRL2Config(ModelConfig):
    """How wide the confidence bounds are; tuned on `valid` tasks (docs/agents/mdp-rules.md)."""

    scale: float = 0.05
    """c, the width of both bounds as a share of the paper's; at least 0"""
    delta: float = 0.05
    """the probability with which the unscaled bounds may fail, in (0, 1)"""


def optimistic_mean(
    p: Float[Array, "S A T"], v: Float[Array, " T"], radius: Float[Array, "S A"]
) -> Float[Array, "S A"]:
    """max { x · v : x a distribution, ‖x - p‖₁ <= radius } for each state and action (the paper's figure 2).

    Half the radius goes to the best state, as far as there is room, and is taken from the worst states first.
    """
    order = jnp.argsort(v)
    v, p = v[order], p[..., order]
    moved = jnp.minimum(radius / 2, 1.0 - p[..., -1])
    worse = jnp.cumsum(p, axis=-1)[..., :-1]  # the mass of each state and those below it, the best left out
    taken = jnp.diff(jnp.minimum(worse, moved[..., None]), axis=-1, prepend=0.0)
    gain = moved * v[-1] - jnp.sum(taken * v[None, None, :-1], axis=-1)
    return jnp.sum(p * v[None, None, :], axis=-1) + gain


def ucrl2(spec: Spec, config: UCRL2Config) -> Agent:
    """UCRL2 for a known horizon.

    Raises:
      UsageError: if the spec is not a tabular MDP's trial, or a setting is out of range.
    """
    if config.scale < 0.0:
        raise UsageError(f"ucrl2's scale is at least 0, not {config.scale}.")
    if not 0.0 < config.delta < 1.0:
        raise UsageError(f"ucrl2's delta is a probability strictly between 0 and 1, not {config.delta}.")

    def plan(posterior: Posterior, key: PRNGKeyArray) -> Float[Array, "H S A"]:
        del key
        states, actions = posterior.visits.shape
        taken = posterior.visits - 1.0
        t = 1.0 + taken.sum()
        n = jnp.maximum(1.0, taken)
        d_r = config.scale * jnp.sqrt(3.5 * jnp.log(2 * states * actions * t / config.delta) / n)
        d_p = config.scale * jnp.sqrt(14 * states * jnp.log(2 * actions * t / config.delta) / n)
        reward, p = posterior.mean_reward + d_r, posterior.mean_transition
        return backward_induction(lambda v: reward + optimistic_mean(p, v, d_p), states, spec.horizon)

    return planner(spec, "ucrl2", config, plan)


ENTRY = Entry(UCRL2Config(), ucrl2)
"""The registry's line."""
