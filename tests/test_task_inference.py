"""Telling the task from what is remembered: the error in closed form, what it changes and what not, that it learns."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.testing import assert_allclose

from headstart.agents import agent
from headstart.agents.ppo import PPOConfig, ppo
from headstart.errors import UsageError
from headstart.loops import jit
from headstart.nets.actor_critic import ActorCritic, Features, NetworkConfig
from headstart.suites import suite
from headstart.types import Box, Discrete, Foresight, Spec

NETWORK = NetworkConfig(torso=(16,), memory="linear", memory_size=16, privileged=True, task_inference=True)
CONFIG = PPOConfig(network=NETWORK, unroll=20, lr=3e-3, gamma=1.0, standardise_values=True)
BANDIT = suite("bandit:arms=2,pulls=20")
LANES = 64


def trained(config: PPOConfig, updates: int) -> tuple[Any, Any]:
    """Weights, and the metrics of every update."""
    learner, split = ppo(BANDIT.env.spec, config), BANDIT.split("train", 1000)
    start = jit.start(learner, BANDIT.env, split.tasks, jr.key(0), LANES)
    carry, log = jit.chunk(learner, BANDIT.env, split.tasks, start, jr.key(1), updates)
    return carry.agent.network, log.metrics


@pytest.mark.parametrize("foresight", [False, True])
def test_the_error_is_half_the_mean_square_of_what_is_not_told(foresight: bool) -> None:
    view = Box((3,))
    offered: Any = Foresight(view, Box(())) if foresight else view
    network = ActorCritic(
        jr.key(0), Spec(Box((2,)), Discrete(2), 9, offered), dataclasses.replace(NETWORK, torso=(4,))
    )
    assert network.task_head is not None
    network = eqx.tree_at(lambda n: n.task_head.weight, network, jnp.zeros_like(network.task_head.weight))
    seen = jnp.arange(6.0).reshape(2, 3)
    features = Features(jnp.ones((2, 16)), jnp.ones((2, 16)))
    error = network.inference_error(features, Foresight(seen, jnp.zeros(2)) if foresight else seen)
    assert_allclose(error, 0.5 * (np.arange(6.0).reshape(2, 3) ** 2).mean(axis=1), rtol=1e-6)


def test_a_head_that_costs_nothing_changes_nothing() -> None:
    """Neither the weights an agent begins with, nor those it learns."""
    plain = dataclasses.replace(CONFIG, network=dataclasses.replace(NETWORK, task_inference=False))
    without, _ = trained(plain, 2)
    beside, _ = trained(dataclasses.replace(CONFIG, inference_cost=0.0), 2)
    beside = eqx.tree_at(lambda n: n.task_head, beside, None)
    for a, b in zip(jax.tree.leaves(without), jax.tree.leaves(beside), strict=True):
        assert_allclose(a, b, atol=1e-6)


def test_the_memory_learns_to_tell_the_arms() -> None:
    """What is told without a memory are the means, 1/2 each with a variance of 1/12, and how far the trial is."""
    _, metrics = trained(CONFIG, 60)
    error = np.asarray(metrics["inference_error"])
    assert error[:3].mean() > 0.05
    assert error[-5:].mean() < 0.03


def test_a_suite_without_a_privileged_view_is_refused() -> None:
    with pytest.raises(UsageError, match="task_inference"):
        ActorCritic(jr.key(0), Spec(Box((2,)), Discrete(2), 9), NETWORK)


@pytest.mark.parametrize("name", ["a2c", "reinforce", "trpo"])
def test_learners_that_would_leave_the_head_as_it_is_refuse_it(name: str) -> None:
    with pytest.raises(UsageError, match="ppo and rl2 do"):
        agent(name, BANDIT.env.spec, network=NETWORK)
