"""Random tabular MDPs: the distribution of tasks, the dynamics, and the two ends of the scale."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from headstart import agents, suites
from headstart.envs import lanes
from headstart.envs.revealed import Revealed
from headstart.envs.tabular_mdp import TabularMDP, TabularState, TabularTask
from headstart.errors import UsageError

ENV = TabularMDP()


@pytest.fixture(scope="module")
def tasks() -> TabularTask:
    return jax.jit(jax.vmap(ENV.sample))(jr.split(jr.key(0), 2000))


def test_tasks_are_drawn_from_the_papers_distribution(tasks: TabularTask) -> None:
    p = np.asarray(tasks.transition)
    np.testing.assert_allclose(p.sum(-1), 1.0, atol=1e-5)
    assert p.min() >= 0.0
    # One share of a flat Dirichlet of ten is Beta(1, 9). Entries far apart, so that they are independent.
    assert stats.kstest(p[:, 0, 0, 0], stats.beta(1, 9).cdf).pvalue > 1e-3
    assert stats.kstest(p[:, 7, 3, 9], stats.beta(1, 9).cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.cov(p[:, 0, 0, 2], p[:, 0, 0, 5])[0, 1], -1 / (100 * 11), atol=4e-4)
    assert stats.kstest(np.asarray(tasks.mean[:, 4, 2]), stats.norm(1, 1).cdf).pvalue > 1e-3


def test_a_tasks_values_against_a_slow_twin(tasks: TabularTask) -> None:
    p, mean = np.asarray(tasks.transition[3], np.float64), np.asarray(tasks.mean[3], np.float64)
    v = np.zeros(10)
    for t in reversed(range(10)):
        q_t = mean + p @ v
        np.testing.assert_allclose(tasks.q[3, t], q_t, rtol=1e-5, atol=1e-5)
        v = q_t.max(-1)


def test_transitions_and_rewards_follow_the_task(tasks: TabularTask) -> None:
    task: TabularTask = jax.tree.map(lambda leaf: leaf[0], tasks)
    n, s, a = 20_000, 6, 3
    step = jax.jit(
        jax.vmap(lambda key: ENV.step(task, TabularState(jnp.int32(s), jnp.int32(2)), jnp.int32(a), key))
    )
    state, out = step(jr.split(jr.key(1), n))
    expected = n * np.asarray(task.transition[s, a], np.float64)
    seen = np.bincount(state.s, minlength=10)
    assert ((seen - expected) ** 2 / expected).sum() < stats.chi2.ppf(0.999, 9)
    noise = np.asarray(out.reward - task.mean[s, a])
    assert stats.kstest(noise, stats.norm.cdf).pvalue > 1e-3
    # The reward says nothing of where one went.
    assert abs(np.corrcoef(noise, np.asarray(state.s))[0, 1]) < 4 / n**0.5
    assert (np.asarray(state.t) == 3).all()
    assert not np.asarray(out.terminated).any()


def test_the_extreme_random_numbers_stay_within_the_states(tasks: TabularTask) -> None:
    cuts = jnp.zeros((2, 1, 1)).at[1].set(1.0)  # state 0 leads to 1 for sure, state 1 to 0
    env = TabularMDP(2, 1, 5)
    task = env.task(cuts, jnp.zeros((2, 1)))
    np.testing.assert_array_equal(task.transition[:, 0], [[0.0, 1.0], [1.0, 0.0]])
    step = jax.jit(jax.vmap(env.step, (None, None, None, 0)))
    for s in (0, 1):
        state = TabularState(jnp.int32(s), jnp.int32(0))
        after, out = step(task, state, jnp.int32(0), jr.split(jr.key(s), 1000))
        assert (np.asarray(after.s) == 1 - s).all()
        assert np.isfinite(np.asarray(out.reward)).all()


def test_episodes_last_the_horizon_and_start_in_state_zero() -> None:
    chosen = suites.suite("tabular-mdp", episodes=3, states=4, actions=2, horizon=5)
    table = chosen.split("test", 8).tasks
    lane, timestep = jax.jit(lambda key: lanes.reset(chosen.env, table, key, 8))(jr.key(0))
    step = jax.jit(lambda lane, action, key: lanes.step(chosen.env, table, lane, action, key))
    for t in range(1, 31):
        lane, timestep = step(lane, jnp.zeros(8, jnp.int32), jr.key(t))
        assert (np.asarray(timestep.obs.ended) == (t % 5 == 0)).all()
        assert (np.asarray(timestep.first) == (t % 15 == 0)).all()
        assert (np.asarray(timestep.discount) == (t % 15 != 0)).all()
        if t % 5 == 0:
            assert (np.asarray(timestep.obs.obs) == 0).all()


def test_a_critic_sees_the_values_of_where_it_is(tasks: TabularTask) -> None:
    task = jax.tree.map(lambda leaf: leaf[1], tasks)
    seen = ENV.privileged(task, TabularState(jnp.int32(6), jnp.int32(4)))
    np.testing.assert_allclose(seen.view[:5], task.q[4, 6] / 10, rtol=1e-6)
    np.testing.assert_allclose(seen.view[5:], [task.q[0, 0].max() / 10, 0.4], rtol=1e-6)
    np.testing.assert_allclose(seen.ceiling, task.q[4, 6].max(), rtol=1e-6)
    np.testing.assert_allclose(seen.after, task.q[4, 6], rtol=1e-6)
    assert seen.view.shape == ENV.spec.privileged.view.shape


def _scores(name: str, table: TabularTask, n: int) -> np.ndarray:
    """The reward of `n` lanes' two episodes, an episode."""
    chosen = suites.suite("tabular-mdp", episodes=2)
    env = Revealed(chosen.env) if agents.entry(name).revealed else chosen.env
    rule = agents.agent(name, env.spec)

    @jax.jit
    def play(key: jax.Array) -> jax.Array:
        lane, timestep = lanes.reset(env, table, key, n, pinned=True)

        def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            lane, timestep, memory = carry
            memory, action, _ = rule.act((), memory, timestep, key)
            lane, timestep = lanes.step(env, table, lane, action, jr.fold_in(key, 1), pinned=True)
            return (lane, timestep, memory), timestep.reward

        return jax.lax.scan(step, (lane, timestep, rule.memory(n)), jr.split(key, 20))[1].sum(0)

    return np.asarray(play(jr.key(2))) / 2


def test_random_play_earns_the_prior_mean(tasks: TabularTask) -> None:
    score = _scores("random", tasks, 2000)
    assert abs(score.mean() - 10.0) < 4 * score.std() / 2000**0.5


def test_the_oracle_earns_the_optimal_value(tasks: TabularTask) -> None:
    score = _scores("oracle", tasks, 2000)
    optimum = np.asarray(tasks.q[:, 0, 0].max(-1))
    lost = optimum - score
    assert abs(lost.mean()) < 4 * lost.std() / 2000**0.5
    # The informed oracle of REFERENCES, section 3, is 21.85 ± 0.04 over all tasks.
    assert abs(optimum.mean() - 21.85) < 4 * (optimum.std() / 2000**0.5 + 0.04)


@pytest.mark.parametrize("option", ["episodes", "states", "actions", "horizon"])
@pytest.mark.parametrize("value", [0, -3])
def test_options_out_of_range_are_refused(option: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"option {option} .* at least 1, not {value}"):
        suites.suite("tabular-mdp", **{option: value})


def test_one_state_and_one_action_are_allowed() -> None:
    chosen = suites.suite("tabular-mdp", episodes=1, states=1, actions=1, horizon=2)
    table = chosen.split("test", 4).tasks
    np.testing.assert_allclose(table.q[:, 0, 0, 0], 2 * table.mean[:, 0, 0], rtol=1e-6)

    @jax.jit
    def first_step(key: jax.Array) -> Any:
        lane, _ = lanes.reset(chosen.env, table, key, 4)
        return lanes.step(chosen.env, table, lane, jnp.zeros(4, jnp.int32), key)[1]

    timestep = first_step(jr.key(0))
    assert (np.asarray(timestep.obs.obs) == 0).all()
