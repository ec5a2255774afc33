"""BEB, the Bayesian exploration bonus (Kolter & Ng 2009, "Near-Bayesian exploration in polynomial time").

    at an episode's start:
        p̂, r̂ ← posterior means
        q ← finite-horizon value iteration of (p̂, r̂ + β / (1 + Σ_s' α(s,a,s')))
    at each step:
        a_t = argmax_a q_t(s_t, a)

α are the counts of the Dirichlet posterior, the prior's included. Deviates from the paper: rewards are not
known but learned too, and their posterior means planned with; the horizon is the episode's.
"""

from dataclasses import dataclass

from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._mdp_model import ModelConfig, Posterior, planner
from headstart.errors import UsageError
from headstart.ops.planning import finite_horizon
from headstart.types import Agent, Entry, Spec


@dataclass(frozen=True)
class BEBConfig(ModelConfig):
    """How large the bonus is; tuned on `valid` tasks (docs/agents/mdp-rules.md)."""

    beta: float = 10.0
    """β in units of reward, at least 0; untried actions of S states get β / (1 + S)"""


def beb(spec: Spec, config: BEBConfig) -> Agent:
    """The exploration bonus.

    Raises:
      UsageError: if the spec is not a tabular MDP's trial, or β is negative.
    """
    if config.beta < 0.0:
        raise UsageError(f"beb's beta is at least 0, not {config.beta}.")

    def plan(posterior: Posterior, key: PRNGKeyArray) -> Float[Array, "H S A"]:
        del key
        bonus = config.beta / (1.0 + posterior.transitions.sum(-1))
        return finite_horizon(posterior.mean_transition, posterior.mean_reward + bonus, spec.horizon)

    return planner(spec, "beb", config, plan)


ENTRY = Entry(BEBConfig(), beb)
"""The registry's line."""
