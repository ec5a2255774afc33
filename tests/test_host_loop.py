"""The host loop against the device loop, its slow twin: on one environment, with one key, they are one run."""

from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import _console, agents
from headstart.agents.ppo import PPOConfig
from headstart.agents.rainbow import RainbowConfig
from headstart.envs.cartpole import CartPole, CartPoleTask
from headstart.errors import UsageError
from headstart.hosts.pure import on_host
from headstart.loops import either, host, jit
from headstart.loops.host import HostLoop
from headstart.nets.actor_critic import NetworkConfig
from headstart.nets.q_network import QNetworkConfig
from headstart.protocol.training import Progress
from headstart.types import Agent

ENV = CartPole(horizon=12)  # short, so that episodes end both ways
TASKS = jax.tree.map(lambda *rows: np.stack(rows), *(jax.device_get(ENV.sample(jr.key(i))) for i in range(3)))
START, KEY, LANES = jr.key(3), jr.key(4), 4


def ppo() -> Agent:
    network = NetworkConfig(torso=(), memory="gru", memory_size=4, actor=(), critic=())
    config = PPOConfig(network, unroll=8, epochs=1, minibatches=1, lr=1e-2)
    return agents.entry("ppo").build(ENV.spec, config)


def rainbow() -> Agent:
    config = RainbowConfig(
        QNetworkConfig((16,)),
        *(True, True, True, True, 3, True, 11, -5.0, 20.0),
        batch=8,
        warm_up=64,
        capacity=512,
        steps_per_update=4,
        lr=1e-3,
        unroll=8,
        ahead=4,
    )
    return agents.entry("rainbow").build(ENV.spec, config)


def on_device(agent: Agent, updates: int) -> tuple[jit.Carry, jit.Log]:
    carry = jit.start(agent, ENV, TASKS, START, LANES)
    return jax.device_get(jit.chunk(agent, ENV, TASKS, carry, KEY, updates))


def foreign(agent: Agent, *cuts: int, halves: int = 1, staleness: int = 0) -> tuple[jit.Carry, jit.Log]:
    env = on_host(ENV, KEY, agent.unroll, halves, staleness)
    with closing(HostLoop(agent, env, LANES)) as loop:
        carry, logs = loop.start(TASKS, START), []
        for updates in cuts:
            carry, log = loop.chunk(carry, KEY, updates)
            logs.append(log)
        assert loop.rewarded
        assert loop.deaths == 0
    return jax.device_get(carry), jax.tree.map(lambda *parts: np.concatenate(parts), *logs)


def assert_agree(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def learner() -> Agent:
    """PPO with a memory, compiled once for the whole file."""
    return ppo()


def test_the_two_loops_agree_for_ppo(learner: Agent) -> None:
    check_agreement(learner)


def test_the_two_loops_agree_for_rainbow() -> None:
    check_agreement(rainbow())


def check_agreement(agent: Agent) -> None:
    """Five updates of both loops, of the host's in two chunks: the same episodes, metrics, weights and memory."""
    (carry, log), (twin, twin_log) = foreign(agent, 3, 2), on_device(agent, 5)
    assert int(log.episodes.sum()) > 2
    assert_agree(carry._replace(lanes=()), twin._replace(lanes=()))
    mine = {name: log.metrics[name] for name in twin_log.metrics}
    assert_agree(log._replace(metrics=mine), twin_log)
    fresh = agent.init(jr.split(START)[0])
    pairs = zip(jax.tree.leaves(carry.agent), jax.tree.leaves(fresh), strict=True)
    moved = [np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).max() for x, y in pairs]
    assert max(moved) > 1e-3, "something was learned that could disagree"


def test_parts_and_staleness_are_a_function_of_the_seed(learner: Agent) -> None:
    halves, staleness = 2, 1
    one, again = (foreign(learner, 2, 2, halves=halves, staleness=staleness) for _ in range(2))
    for x, y in zip(jax.tree.leaves(one[0]), jax.tree.leaves(again[0]), strict=True):
        np.testing.assert_array_equal(x, y)
    whole = foreign(learner, 4, halves=halves, staleness=staleness)
    for x, y in zip(jax.tree.leaves(one[0]), jax.tree.leaves(whole[0]), strict=True):
        np.testing.assert_array_equal(x, y)


def _witness() -> Agent:
    """Its state counts updates; the action's log keeps the count that acted."""

    def act(state: Any, memory: Any, timestep: Any, key: Any) -> Any:
        n = timestep.first.shape[0]
        return memory, jr.randint(key, (n,), 0, 2), jnp.full(n, state["count"])

    def update(state: Any, rollout: Any, key: Any) -> Any:
        acted = rollout.transitions.extras
        metrics = {"acted": acted.max(), "least": acted.min(), "count": state["count"]}
        return {"count": state["count"] + 1, "big": state["big"]}, metrics

    init = lambda key: {"big": jnp.zeros(1000), "count": jnp.int32(0)}
    return Agent(init, lambda n: (), act, update, unroll=4, learns=True)


@pytest.mark.parametrize(("staleness", "expected"), [(0, [0, 1, 2, 3, 4, 5]), (1, [0, 0, 1, 2, 3, 4])])
def test_the_acting_weights_are_as_old_as_stated(staleness: int, expected: list[int]) -> None:
    _, log = foreign(_witness(), 2, 4, halves=2, staleness=staleness)
    assert log.metrics["acted"].tolist() == log.metrics["least"].tolist() == expected
    assert log.metrics["count"].tolist() == list(range(6))


def test_only_what_act_reads_is_copied_for_it() -> None:
    agent = _witness()
    with closing(HostLoop(agent, on_host(ENV, KEY, 4), 2)) as loop:
        carry = loop.start(TASKS, START)
        assert [leaf.shape for leaf in loop._sight.leaves(carry.agent)] == [()]


def test_a_log_says_how_busy_both_sides_were(learner: Agent) -> None:
    _, log = foreign(learner, 2)
    assert 0.0 < log.metrics["learning"][0] <= 1.01
    assert log.metrics["deaths"].tolist() == [0.0, 0.0]
    shown = _console._busy(Progress(1, 2, 0.0, {"simulating": 0.83, "learning": 0.4, "deaths": 2.0}))
    assert shown == "  simulators 83 %, learner 40 % busy, 2 died"
    assert _console._busy(Progress(1, 2, 0.0, {})) == ""


def test_a_resumed_run_keeps_what_was_learned_and_begins_new_episodes(learner: Agent) -> None:
    """A loop whose last chunk was another knows a checkpoint's carry by its update."""
    env = on_host(ENV, KEY, learner.unroll)
    with closing(HostLoop(learner, env, LANES)) as loop:
        carry, _ = loop.chunk(loop.start(TASKS, START), KEY, 2)
        kept = jax.device_get(carry)
    outcomes = []
    for _ in range(2):
        with closing(HostLoop(learner, env, LANES)) as loop:
            fresh = loop.start(TASKS, START)
            restored = jax.tree.unflatten(jax.tree.structure(fresh), jax.tree.leaves(kept))
            onward, log = loop.chunk(jax.tree.map(jnp.asarray, restored), KEY, 1)
            assert int(onward.update) == 3
            outcomes.append((jax.device_get(onward.agent), log.returns, log.lengths))
    first, again = (jax.tree.leaves(one) for one in outcomes)
    for x, y in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, y)
    with closing(HostLoop(learner, env, LANES)) as loop:
        loop.start(TASKS, START)
        resumed = loop._resume(restored, KEY)
        assert np.asarray(resumed.timestep.first).all()
        assert not np.asarray(resumed.tally.length).any()
        assert_agree(jax.device_get(resumed.agent), kept.agent)


def test_a_run_in_a_row_of_one_keeps_its_memory_from_chunk_to_chunk(learner: Agent) -> None:
    env = on_host(ENV, KEY, learner.unroll)
    rows, keys = jnp.array([1]), jnp.stack([KEY])
    carries = either.starts(learner, env, TASKS, keys, LANES, rows)
    for made in (1, 2):
        carries, log = either.chunks(learner, env, TASKS, carries, keys, 1, rows)
        assert log.returns.shape == (1, 1)
        assert carries.update.tolist() == [made]
        assert jax.tree.leaves(carries.memory)[0].shape[:2] == (1, LANES)
    either.close(carries)


def test_an_evaluation_on_the_host_plays_each_task_once() -> None:
    agent = agents.agent("random", ENV.spec)
    env = on_host(ENV, KEY, 1)
    returns, lengths, deaths = host.play(agent, env, TASKS, agent.init(KEY), KEY)
    assert deaths == 0
    assert returns.shape == lengths.shape == (3, 1)
    np.testing.assert_array_equal(returns, lengths)  # one point a step
    assert (lengths >= 5).all()
    assert (lengths <= 12).all()


def test_lanes_that_do_not_divide_are_refused(learner: Agent) -> None:
    with pytest.raises(UsageError, match="halves=2, which do not divide 3 lanes"):
        HostLoop(learner, on_host(ENV, KEY, 8, halves=2), 3)
    with pytest.raises(UsageError, match="0 or 1 updates old, not stale=2"):
        on_host(ENV, KEY, 8, staleness=2)
    assert isinstance(TASKS, CartPoleTask)
