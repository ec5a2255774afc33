"""Random tabular MDPs as RL² plays them: a trial is `episodes` episodes of one MDP.

The score is the trial's total reward.
"""

from headstart.envs.tabular_mdp import TabularMDP
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.tasks import Suite

_RULES = (
    "random",
    "mdp-greedy",
    "mdp-epsilon-greedy",
    "psrl",
    "optimistic-psrl",
    "ucrl2",
    "beb",
    "oracle",
)


def tabular_mdp(episodes: int = 10, states: int = 10, actions: int = 5, horizon: int = 10) -> Suite:
    """Transitions from a flat Dirichlet, mean rewards from N(1, 1), reward noise N(0, 1) (Duan et al. 2016).

    Args:
      episodes: episodes in a trial, all of one MDP.
      states: states of an MDP; every episode starts in state 0.
      actions: actions in each state.
      horizon: steps in an episode.

    Raises:
      UsageError: if one of them is not positive.
    """
    for what, number in {
        "episodes": episodes,
        "states": states,
        "actions": actions,
        "horizon": horizon,
    }.items():
        if number < 1:
            raise UsageError(f"option {what} of suite tabular-mdp is at least 1, not {number}.")
    env = TabularMDP(states, actions, horizon)
    about = "random MDPs, p ~ Dirichlet(1), mean reward ~ N(1,1); score: total reward of a trial"
    return Suite("tabular-mdp", Trial(env, episodes), env.sample, rules=_RULES, about=about)
