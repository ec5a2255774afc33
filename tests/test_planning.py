"""Exact planning against brute force, against linear solves, and against its own twins."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.ops import planning

finite_horizon = jax.jit(planning.finite_horizon, static_argnums=2)
value_iteration = jax.jit(planning.value_iteration, static_argnums=3)
v_pi, q_pi = jax.jit(planning.v_pi), jax.jit(planning.q_pi)
v_pi_dp, q_pi_dp = jax.jit(planning.v_pi_dp, static_argnums=4), jax.jit(planning.q_pi_dp, static_argnums=4)
q_pi_finite = jax.jit(planning.q_pi_finite)


@partial(jax.jit, static_argnums=(1, 2))
def random_mdp(seed: int, states: int, actions: int) -> tuple[jax.Array, jax.Array]:
    k_p, k_r = jr.split(jr.key(seed))
    e = jr.exponential(k_p, (states, actions, states))
    return e / e.sum(-1, keepdims=True), jr.normal(k_r, (states, actions))


def one_hot_policy(action: jax.Array, actions: int) -> jax.Array:
    return jax.nn.one_hot(action, actions)


@pytest.mark.parametrize("seed", range(3))
def test_finite_horizon_is_the_best_of_all_policies(seed: int) -> None:
    states, actions, horizon = 2, 2, 3
    p, r = (np.asarray(leaf, np.float64) for leaf in random_mdp(seed, states, actions))
    rows = np.arange(states)
    best = np.full(states, -np.inf)
    for policy in itertools.product(itertools.product(range(actions), repeat=states), repeat=horizon):
        v = np.zeros(states)
        for choice in reversed(policy):
            v = r[rows, choice] + p[rows, choice] @ v
        best = np.maximum(best, v)
    q = finite_horizon(jnp.asarray(p, jnp.float32), jnp.asarray(r, jnp.float32), horizon)
    np.testing.assert_allclose(q[0].max(-1), best, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("seed", "discount"), [(0, 0.5), (1, 0.9), (2, 0.99)])
def test_value_iteration_is_the_best_of_all_stationary_policies(seed: int, discount: float) -> None:
    states, actions = 3, 2
    p, r = random_mdp(seed, states, actions)
    p64, r64 = np.asarray(p, np.float64), np.asarray(r, np.float64)
    rows = np.arange(states)
    values = [
        np.linalg.solve(np.eye(states) - discount * p64[rows, choice], r64[rows, choice])
        for choice in itertools.product(range(actions), repeat=states)
    ]
    q = value_iteration(p, r, discount)
    np.testing.assert_allclose(q.max(-1), np.max(values, axis=0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_value_iteration_solves_its_greedy_policy(discount: float) -> None:
    p, r = random_mdp(5, 10, 5)
    q = value_iteration(p, r, discount)
    pi = one_hot_policy(q.argmax(-1), 5)
    np.testing.assert_allclose(q_pi(p, r, pi, discount), q, atol=1e-4)
    np.testing.assert_allclose(v_pi(p, r, pi, discount), q.max(-1), atol=1e-4)


def test_value_iteration_stops_where_rounding_forbids_its_tolerance() -> None:
    p, r = random_mdp(6, 4, 3)
    q = value_iteration(p, 1e4 * r, 0.95, 1e-6)
    pi = one_hot_policy(q.argmax(-1), 3)
    np.testing.assert_allclose(q, q_pi(p, 1e4 * r, pi, 0.95), rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_linear_solve_and_dynamic_programming_agree(seed: int) -> None:
    discount, sweeps = 0.8, 80
    p, r = random_mdp(seed, 6, 3)
    pi = jax.nn.softmax(jr.normal(jr.key(seed), (6, 3)))
    v, q = v_pi(p, r, pi, discount), q_pi(p, r, pi, discount)
    np.testing.assert_allclose(v_pi_dp(p, r, pi, discount, sweeps), v, atol=1e-5)
    np.testing.assert_allclose(q_pi_dp(p, r, pi, discount, sweeps), q, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(pi * q, axis=-1), v, atol=1e-5)


@pytest.mark.parametrize("sweeps", [1, 5, 20])
def test_dynamic_programming_errs_by_no_more_than_its_bound(sweeps: int) -> None:
    discount = 0.9
    p, r = random_mdp(7, 6, 3)
    pi = jnp.full((6, 3), 1 / 3)
    error = jnp.abs(v_pi_dp(p, r, pi, discount, sweeps) - v_pi(p, r, pi, discount)).max()
    assert 0.0 < float(error) <= discount**sweeps * float(jnp.abs(r).max()) / (1 - discount)


def test_finite_horizon_values_of_a_policy_against_a_slow_twin() -> None:
    horizon = 4
    p, r = random_mdp(8, 3, 2)
    pi = jax.nn.softmax(jr.normal(jr.key(8), (horizon, 3, 2)))
    q = q_pi_finite(p, r, pi)
    v = np.zeros(3)
    for t in reversed(range(horizon)):
        q_t = np.array(
            [[r[s, a] + sum(p[s, a, z] * v[z] for z in range(3)) for a in range(2)] for s in range(3)]
        )
        np.testing.assert_allclose(q[t], q_t, atol=1e-5)
        v = (np.asarray(pi[t]) * q_t).sum(-1)


def test_the_greedy_policy_of_finite_horizon_values_has_those_values() -> None:
    p, r = random_mdp(9, 10, 5)
    q = finite_horizon(p, r, 10)
    np.testing.assert_allclose(q_pi_finite(p, r, one_hot_policy(q.argmax(-1), 5)), q, atol=1e-5)
