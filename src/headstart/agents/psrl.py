"""PSRL, posterior sampling for reinforcement learning (Osband, Russo & Van Roy 2013, arXiv:1306.0940).

    at an episode's start:
        p, r ~ posterior
        q ← finite-horizon value iteration of (p, r)
    at each step:
        a_t = argmax_a q_t(s_t, a)

No deviation from the paper; the priors are `_mdp_model`'s.
"""

from dataclasses import dataclass

from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._mdp_model import ModelConfig, Posterior, planner, require_drawable
from headstart.ops.planning import finite_horizon
from headstart.types import Agent, Entry, Spec


@dataclass(frozen=True)
class PSRLConfig(ModelConfig):
    """Nothing but the prior."""


def psrl(spec: Spec, config: PSRLConfig) -> Agent:
    """Posterior sampling.

    Raises:
      UsageError: if the spec is not a tabular MDP's trial.
    """

    require_drawable("psrl", config)

    def plan(posterior: Posterior, key: PRNGKeyArray) -> Float[Array, "H S A"]:
        p, r = posterior.sample(key)
        return finite_horizon(p, r, spec.horizon)

    return planner(spec, "psrl", config, plan)


ENTRY = Entry(PSRLConfig(), psrl)
"""The registry's line."""
