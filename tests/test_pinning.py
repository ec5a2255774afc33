"""Lanes pinned to levels: each keeps its own, in both loops and from chunk to chunk."""

from contextlib import closing
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np
import pytest
from tests.test_level_replay import SMALL

import headstart as hs
from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.envs.bandit import Bandit, BanditTask
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.hosts.pure import on_host
from headstart.loops import jit
from headstart.loops.host import HostLoop
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol.level_replay import LevelReplay
from headstart.types import Agent

CONFIG = PPOConfig(NetworkConfig(torso=(4,)), unroll=4, epochs=1, minibatches=1)
ENV = Trial(Bandit(2), 3)
PAYS = np.array([0.0, 0.0, 1.0], np.float32)
TASKS = BanditTask(np.stack([PAYS, PAYS], axis=1))
"""of three tasks the last always pays, so that a lane's reward tells its task"""


def witness(pinned: bool) -> Agent:
    """Its one metric is how many of the first eight lanes pay, in every step of a rollout."""
    agent = agents.entry("ppo").build(ENV.spec, CONFIG)
    count = lambda state, rollout, key: (state, {"paid": rollout.transitions.reward.all(axis=0).mean() * 8})
    return agent._replace(update=count, pinned=pinned)


@pytest.mark.parametrize(("pinned", "paid"), [(True, 2), (False, 0)])
def test_each_lane_keeps_its_level(pinned: bool, paid: int) -> None:
    """Lanes 2 and 5 of eight have the task that pays; a lane that draws its tasks never pays for eight trials on end."""
    agent = witness(pinned)._replace(unroll=24)
    carry = jit.start(agent, ENV, TASKS, jr.key(0), 8)
    carry, log = jit.chunk(agent, ENV, TASKS, carry, jr.key(1), 3)
    assert log.metrics["paid"].tolist() == [paid] * 3
    assert (carry.lanes.row.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]) == pinned
    env = on_host(ENV, jr.key(1), agent.unroll)
    with closing(HostLoop(agent, env, 8)) as loop:
        _, log = loop.chunk(loop.start(TASKS, jr.key(0)), jr.key(1), 3)
    assert log.metrics["paid"].tolist() == [paid] * 3


def test_a_training_is_pinned_and_says_so(tmp_path: Path) -> None:
    hs.train(None, CONFIG, **SMALL, pinned=True, run=tmp_path / "run")
    with pytest.raises(UsageError, match="has another pinned; resume it with the settings"):
        hs.train(None, CONFIG, **SMALL, pinned=False, run=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": 9}, "there are 8 lanes for 9 tasks; give more lanes, or fewer tasks"),
        ({"tasks": None}, "there are 8 lanes for tasks without end"),
        ({"level_replay": LevelReplay(on=True)}, "level replay chooses others; give one of the two"),
    ],
)
def test_what_cannot_be_pinned_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hs.train(None, CONFIG, **(SMALL | changes), pinned=True)
