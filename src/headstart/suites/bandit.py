"""Bandits as RL² plays them: a trial is `pulls` pulls of one task's arms; the score is the trial's total reward."""

from headstart.envs.bandit import Bandit
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.tasks import Suite

_RULES = (
    "random",
    "greedy",
    "epsilon-greedy",
    "thompson",
    "optimistic-thompson",
    "ucb1",
    "gittins",
    "best-arm",
)


def _bandit(env: Bandit, pulls: int, about: str) -> Suite:
    if env.arms < 1:
        raise UsageError(f"a bandit has at least one arm, not {env.arms}.")
    if pulls < 1:
        raise UsageError(f"a bandit trial has at least one pull, not {pulls}.")
    return Suite("bandit", Trial(env, pulls), env.sample, rules=_RULES, about=about)


def bernoulli(arms: int = 5, pulls: int = 100) -> Suite:
    """Bernoulli arms with probabilities drawn from U(0, 1) (Duan et al. 2016, table 1)."""
    return _bandit(
        Bandit(arms, "bernoulli"), pulls, "Bernoulli arms, p ~ U(0,1); score: total reward of a trial"
    )


def gaussian(arms: int = 5, pulls: int = 100) -> Suite:
    """Gaussian arms of unit variance with means drawn from N(0, 1)."""
    return _bandit(
        Bandit(arms, "gaussian"), pulls, "Gaussian arms, mean ~ N(0,1); score: total reward of a trial"
    )
