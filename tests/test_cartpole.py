"""Cart-pole against Gymnasium's CartPole-v1, its suite's tasks and its pictures."""

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.envs import lanes
from headstart.envs.cartpole import HIGH, LOW, STANDARD, CartPole, CartPoleState, standard
from headstart.errors import UsageError
from headstart.suites import suite


def _state(values: np.ndarray, t: int = 0) -> CartPoleState:
    return CartPoleState(*(jnp.float32(value) for value in values), jnp.int32(t))


def _values(state: CartPoleState) -> np.ndarray:
    return np.array(state[:4], np.float32)


@pytest.fixture(scope="module")
def step():
    env = CartPole()
    return jax.jit(lambda state, action: env.step(standard(), state, action, jr.key(0)))


def test_standard_is_gymnasiums_step_for_step(step):
    """Run freely from the same start, both go the same way and end at the same step for the same reason."""
    ours, theirs = CartPole(), gymnasium.make("CartPole-v1", disable_env_checker=True)
    rng = np.random.default_rng(0)
    lengths = []
    for episode in range(60):
        start, _ = theirs.reset(seed=episode)
        state = _state(theirs.unwrapped.state)
        np.testing.assert_allclose(ours.observe(standard(), state), start, rtol=1e-6)
        bias, last = rng.uniform(0.3, 0.7), False
        while not last:
            action = int(rng.random() < bias)
            state, out = step(state, jnp.int32(action))
            obs, reward, terminated, truncated, _ = theirs.step(action)
            np.testing.assert_allclose(_values(state), obs, rtol=2e-4, atol=2e-5)
            assert (out.reward, out.terminated, out.truncated) == (reward, terminated, truncated)
            last = terminated or truncated
        lengths.append(int(state.t))
    assert max(lengths) > 2 * min(lengths)


def test_one_step_from_any_state_is_gymnasiums(step):
    theirs = gymnasium.make("CartPole-v1", disable_env_checker=True).unwrapped
    theirs.reset(seed=0)
    rng = np.random.default_rng(1)
    for _ in range(300):
        values = rng.normal(size=4) * np.array([1.2, 1.0, 0.1, 1.5])
        action = int(rng.integers(2))
        theirs.state, theirs.steps_beyond_terminated = values, None
        obs, _, terminated, _, _ = theirs.step(action)
        state, out = step(_state(values), jnp.int32(action))
        np.testing.assert_allclose(_values(state), obs, rtol=1e-5, atol=1e-6)
        assert bool(out.terminated) == terminated


def test_a_balanced_episode_is_truncated_where_gymnasiums_is(step):
    """Gymnasium takes our state over every step, since an unstable plant doubles a difference in rounding."""
    theirs = gymnasium.make("CartPole-v1", disable_env_checker=True)
    theirs.reset(seed=3)
    state = _state(theirs.unwrapped.state)
    for t in range(1, 501):
        x, x_dot, theta, theta_dot = theirs.unwrapped.state = _values(state)
        action = int(theta + 0.5 * theta_dot + 0.03 * x + 0.08 * x_dot > 0)
        state, out = step(state, jnp.int32(action))
        _, _, terminated, truncated, _ = theirs.step(action)
        assert (bool(out.terminated), bool(out.truncated)) == (terminated, truncated) == (False, t == 500)


def test_a_reset_is_uniform_and_small():
    starts = jax.vmap(lambda key: jnp.stack(CartPole().reset(standard(), key)[:4]))(jr.split(jr.key(0), 4000))
    assert jnp.abs(starts).max() <= 0.05
    np.testing.assert_allclose(starts.mean(0), 0.0, atol=4 * 0.05 / np.sqrt(3 * 4000))
    np.testing.assert_allclose(starts.std(0), 0.05 / np.sqrt(3), rtol=0.05)


def test_tasks_are_log_uniform_around_the_standard():
    tasks = np.stack(suite("cartpole").split("test").tasks, 1)
    assert tasks.shape == (1000, 5)
    low, high = np.log(np.array(LOW)), np.log(np.array(HIGH))
    share = (np.log(tasks) - low) / (high - low)
    assert share.min() >= -1e-6
    assert share.max() <= 1 + 1e-6
    np.testing.assert_allclose(share.mean(0), 0.5, atol=4 / np.sqrt(12 * 1000))
    assert np.abs(np.corrcoef(share.T) - np.eye(5)).max() < 4 / np.sqrt(1000)
    assert np.all((np.array(LOW) < np.array(STANDARD)) & (np.array(STANDARD) < np.array(HIGH)))


def test_privileged_tells_the_physics():
    env = CartPole()
    state = env.reset(standard(), jr.key(0))
    np.testing.assert_allclose(env.privileged(standard(), state), [0, 0, 0, 0, 0, 1], atol=1e-6)
    other = standard()._replace(mass_cart=jnp.float32(2.0), force=jnp.float32(-10.0))
    np.testing.assert_allclose(env.privileged(other, state), [np.log(2.0), 0, 0, 0, 0, -1], atol=1e-6)


def test_mirrored_tasks_swap_left_and_right(step):
    chosen = suite("cartpole", mirrored=True)
    force = chosen.split("test").tasks.force
    assert abs((force < 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(1000)
    assert (suite("cartpole").split("test").tasks.force > 0).all()
    state = _state(np.array([0.1, -0.2, 0.05, 0.3]))
    swapped = standard()._replace(force=-standard().force)
    for action in (0, 1):
        mirror, _ = chosen.env.step(swapped, state, jnp.int32(1 - action), jr.key(0))
        np.testing.assert_allclose(_values(mirror), _values(step(state, jnp.int32(action))[0]), rtol=1e-6)


def test_lanes_bootstrap_from_the_state_that_fell():
    """`final_obs` is outside the limits where an episode terminated; `obs` is a fresh start there."""
    env, tasks = CartPole(), suite("cartpole").split("train", 8).tasks

    @jax.jit
    def play(key):
        carry, _ = lanes.reset(env, tasks, key, 16)

        def body(carry, key):
            return lanes.step(env, tasks, carry, jr.randint(key, (16,), 0, 2), key)

        return jax.lax.scan(body, carry, jr.split(key, 100))[1]

    timesteps = play(jr.key(1))
    ended = np.asarray(timesteps.first)
    assert ended.sum() > 16
    final, fresh = np.asarray(timesteps.final_obs)[ended], np.asarray(timesteps.obs)[ended]
    fallen = (np.abs(final[:, 0]) > 2.4) | (np.abs(final[:, 2]) > 12 * np.pi / 180)
    assert fallen.all()
    assert np.abs(fresh).max() <= 0.05
    assert np.all(np.asarray(timesteps.discount) == 1.0 - ended)


def test_trials_share_the_physics_and_end_by_termination():
    spec = suite("cartpole", episodes=3).env.spec
    assert (spec.episodes, spec.horizon, spec.truncates) == (3, 500, False)
    assert suite("cartpole").env.spec.truncates
    with pytest.raises(UsageError, match="-1 episodes"):
        suite("cartpole", episodes=-1)


@pytest.mark.parametrize("episodes", [0, 2])
def test_pictures_show_the_cart_where_it_is(episodes):
    chosen = suite("cartpole", episodes=episodes)
    key = jr.key(0)
    states = jax.vmap(lambda x: chosen.env.reset(chosen.standard, key))(jnp.arange(2.0))
    places = {"x": jnp.array([-1.5, 1.5]), "theta": jnp.array([0.1, -0.1])}
    moved = (
        states._replace(**places) if episodes == 0 else states._replace(inner=states.inner._replace(**places))
    )
    left, right = chosen.render(chosen.standard, moved)
    assert left.dtype == np.uint8
    assert left.shape == (320, 600, 3)
    dark = [np.argwhere(picture.astype(int).sum(-1) < 200)[:, 1].mean() for picture in (left, right)]
    metre = 600 / 5.6
    np.testing.assert_allclose(dark, [300 - 1.5 * metre, 300 + 1.5 * metre], atol=3)
