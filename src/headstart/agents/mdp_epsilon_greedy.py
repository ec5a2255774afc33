"""ε-greedy: greedy, but for a random action now and then (Duan et al. 2016, arXiv:1611.02779, section 3.2).

    at an episode's start:
        p̂, r̂ ← posterior means
        q ← finite-horizon value iteration of (p̂, r̂)
    at each step:
        with probability ε:  a_t ~ uniform
        otherwise:           a_t = argmax_a q_t(s_t, a)

The paper leaves open how often it plans; here, once an episode, as all the rules beside it.
"""

from dataclasses import dataclass

from jaxtyping import Array, Float, PRNGKeyArray

from headstart.agents._mdp_model import ModelConfig, Posterior, planner
from headstart.errors import UsageError
from headstart.ops.planning import finite_horizon
from headstart.types import Agent, Entry, Spec


@dataclass(frozen=True)
class MDPEpsilonGreedyConfig(ModelConfig):
    """How often to explore; tuned on `valid` tasks (docs/agents/mdp-rules.md)."""

    epsilon: float = 0.02
    """the probability of a uniformly random action, in [0, 1]"""


def mdp_epsilon_greedy(spec: Spec, config: MDPEpsilonGreedyConfig) -> Agent:
    """The ε-greedy rule.

    Raises:
      UsageError: if the spec is not a tabular MDP's trial, or ε is not a probability.
    """
    if not 0.0 <= config.epsilon <= 1.0:
        raise UsageError(
            f"mdp-epsilon-greedy's epsilon is a probability between 0 and 1, not {config.epsilon}."
        )

    def plan(posterior: Posterior, key: PRNGKeyArray) -> Float[Array, "H S A"]:
        del key
        return finite_horizon(posterior.mean_transition, posterior.mean_reward, spec.horizon)

    return planner(spec, "mdp-epsilon-greedy", config, plan, config.epsilon)


ENTRY = Entry(MDPEpsilonGreedyConfig(), mdp_epsilon_greedy)
"""The registry's line."""
