"""Trials on foreign simulators: K episodes of one task, seen as RL² sees them."""

import pytest

from headstart import agents
from headstart.envs.cartpole import CartPole
from headstart.envs.trial import Trial
from headstart.errors import UsageError


def test_rl2_is_refused_where_there_is_no_trial() -> None:
    with pytest.raises(UsageError, match="this suite plays single ones: give the suite its option episodes"):
        agents.agent("rl2", CartPole().spec)
    agents.agent("rl2", Trial(CartPole(), 1).spec)
