"""Greedy: plan for the posterior's mean as if it were the truth (Duan et al. 2016, arXiv:1611.02779).

    at an episode's start:
        p̂, r̂ ← posterior means
        q ← finite-horizon value iteration of (p̂, r̂)
    at each step:
        a_t = argmax_a q_t(s_t, a)

The paper (section 3.2) leaves open how often it plans; here, once an episode, as all the rules beside it.
"""

from dataclasses import dataclass

from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._mdp_model import ModelConfig, Posterior, planner
from headstart.ops.planning import finite_horizon
from headstart.types import Agent, Entry, Spec


@dataclass(frozen=True)
class MDPGreedyConfig(ModelConfig):
    """Nothing but the prior."""


def mdp_greedy(spec: Spec, config: MDPGreedyConfig) -> Agent:
    """The greedy rule.

    Raises:
      UsageError: if the spec is not a tabular MDP's trial.
    """

    def plan(posterior: Posterior, key: PRNGKeyArray) -> Float[Array, "H S A"]:
        del key
        return finite_horizon(posterior.mean_transition, posterior.mean_reward, spec.horizon)

    return planner(spec, "mdp-greedy", config, plan)


ENTRY = Entry(MDPGreedyConfig(), mdp_greedy)
"""The registry's line."""
