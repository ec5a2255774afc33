"""Optimistic PSRL: several posterior samples, and at every backup the best of them.

    at an episode's start:
        p_i, r_i ~ posterior, i = 1 … m
        q_t = max_i (r_i + p_i max_a q_{t+1}),   q_H = 0
    at each step:
        a_t = argmax_a q_t(s_t, a)

After Osband & Van Roy 2017, arXiv:1607.00215. Each state and action picks its own best sample, so that the
values are optimistic, and not those of any one model.
"""

from dataclasses import dataclass

import jax
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._mdp_model import ModelConfig, Posterior, planner, require_drawable
from headstart.errors import UsageError
from headstart.ops.planning import backup, backward_induction
from headstart.types import Agent, Entry, Spec


@dataclass(frozen=True)
class OptimisticPSRLConfig(ModelConfig):
    """How optimistic to be; tuned on `valid` tasks (docs/agents/mdp-rules.md)."""

    samples: int = 2
    """models drawn from the posterior at each episode's start"""


def optimistic_psrl(spec: Spec, config: OptimisticPSRLConfig) -> Agent:
    """Optimistic posterior sampling.

    Raises:
      UsageError: if the spec is not a tabular MDP's trial, or there are no samples.
    """
    if config.samples < 1:
        raise UsageError(f"optimistic-psrl draws at least one sample, not {config.samples}.")

    require_drawable("optimistic-psrl", config)

    def plan(posterior: Posterior, key: PRNGKeyArray) -> Float[Array, "H S A"]:
        p, r = jax.vmap(posterior.sample)(jr.split(key, config.samples))
        backups = jax.vmap(backup, (0, 0, None))
        return backward_induction(lambda v_tp1: backups(p, r, v_tp1).max(0), r.shape[1], spec.horizon)

    return planner(spec, "optimistic-psrl", config, plan)


ENTRY = Entry(OptimisticPSRLConfig(), optimistic_psrl)
"""The registry's line."""
