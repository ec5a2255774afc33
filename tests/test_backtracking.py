"""Backtracking allowed: what the learner is paid, against the released code's wrapper, and that nothing else changes."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import agents
from headstart.agents._backtracking import backtracking
from headstart.agents.fine_tuning import Aids, fine_tuned
from headstart.envs.cartpole import CartPole
from headstart.errors import UsageError
from headstart.loops import jit
from headstart.types import Agent, Box, Discrete, Spec, Step

LANES, UNROLL, UPDATES = 3, 5, 8


@dataclass(frozen=True)
class Swings:
    """Pays more or less than nothing, at random; one step in eight is an episode's last."""

    @property
    def spec(self) -> Spec:
        return Spec(Box((1,)), Discrete(2), 1000)

    def reset(self, task: Any, key: Any) -> Any:
        del task, key
        return jnp.zeros(1)

    def step(self, task: Any, state: Any, action: Any, key: Any) -> tuple[Any, Step]:
        del task, action
        k_pay, k_end = jr.split(key)
        return state, Step(jr.normal(k_pay), jr.uniform(k_end) < 0.125, jnp.bool_(False))

    def observe(self, task: Any, state: Any) -> Any:
        return state

    def privileged(self, task: Any, state: Any) -> None:
        return None


def witness() -> Agent:
    """Learns nothing, and tells what it was paid, and whether that was an episode's end."""
    agent = agents.agent("random", Swings().spec)

    def update(state: Any, rollout: Any, key: Any) -> Any:
        assert rollout.memory == rollout.memory_after == rollout.transitions.extras == (), (
            "its own, as without"
        )
        return state, {"paid": rollout.transitions.reward, "last": rollout.transitions.last}

    return agent._replace(update=update, unroll=UNROLL)


def play(agent: Agent) -> jit.Log:
    tasks = jnp.zeros((1, 1))
    carry = jit.start(agent, Swings(), tasks, jr.key(0), LANES)
    return jax.device_get(jit.chunk(agent, Swings(), tasks, carry, jr.key(1), UPDATES)[1])


def released(rewards: Any, last: Any) -> list[float]:
    """The released code's AllowBacktracking, for one lane."""
    paid: list[float] = []
    cur_x = max_x = 0.0
    for reward, ended in zip(rewards, last, strict=True):
        cur_x += reward
        paid.append(max(0.0, cur_x - max_x))
        max_x = max(max_x, cur_x)
        if ended:
            cur_x = max_x = 0.0
    return paid


def test_the_learner_is_paid_as_by_the_released_code_and_the_score_stays() -> None:
    plain, free = play(witness()), play(backtracking(witness(), Swings().spec))
    rewards, last, paid = (
        x.reshape(UPDATES * UNROLL, LANES).T
        for x in (plain.metrics["paid"], plain.metrics["last"], free.metrics["paid"])
    )
    assert last.any(axis=1).all(), "or there would be nothing to begin anew"
    for lane in range(LANES):
        np.testing.assert_allclose(paid[lane], released(rewards[lane], last[lane]), atol=1e-5)
    assert (paid >= 0).all()
    np.testing.assert_array_equal(free.returns, plain.returns)
    np.testing.assert_array_equal(free.episodes, plain.episodes)


@pytest.mark.parametrize("aids", [Aids(), Aids(kickstart=1.0, kickstart_steps=100), Aids(fresh_heads=True)])
@pytest.mark.parametrize("name", ["ppo", "rainbow"])
def test_learners_and_their_aids_take_it(name: str, aids: Aids) -> None:
    """Traced, not played: the rollout each is given is that of the learner without."""
    if name == "rainbow" and aids.kickstart:
        pytest.skip("kickstarting is none of its aids")
    spec, config = CartPole().spec, agents.entry(name).config
    config = replace(config, **({"minibatches": 1} if name == "ppo" else {"capacity": 4000, "warm_up": 100}))
    plain = agents.entry(name).build(spec, config)
    agent = fine_tuned(spec, replace(config, backtracking=True), aids)
    tasks = jax.tree.map(lambda leaf: leaf[None], CartPole().sample(jr.key(0)))

    def go(key: Any) -> Any:
        carry = jit.start(agent, CartPole(), tasks, key, LANES)
        carry = carry._replace(agent=agent.adopt(carry.agent, plain.init(key)))
        carry, rollout, _ = jit.rollout(agent, CartPole(), tasks, carry, key)
        if agent.advantage:
            agent.advantage(carry.agent, rollout)
        return agent.update(carry.agent, rollout, key)

    state, _ = jax.eval_shape(go, jr.key(0))
    if not aids.kickstart:
        assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(plain.init, jr.key(0)))


def test_trials_are_refused() -> None:
    with pytest.raises(UsageError, match="backtracking is free in single episodes, not in trials"):
        agents.agent("rainbow", replace(CartPole().spec, episodes=2), backtracking=True)
