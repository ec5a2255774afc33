"""Returns, distributions and moments against closed forms, slow twins, rlax and scipy."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpy.testing import assert_allclose

from headstart.ops.distributions import Categorical, DiagNormal, MultiCategorical
from headstart.ops.normalise import Moments, standardise
from headstart.ops.returns import discounted_return, lambda_advantage

T = 12


@pytest.fixture(scope="module")
def rlax() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rlax

        yield rlax


def trajectory(seed: int, ends: float = 0.3) -> tuple[np.ndarray, ...]:
    """reward, discount, last, value, next value: random, with terminations and truncations."""
    rng = np.random.default_rng(seed)
    reward, value, final = rng.normal(size=(3, T)).astype(np.float32)
    last = rng.random(T) < ends
    terminated = last & (rng.random(T) < 0.5)
    discount = (0.9 * ~terminated).astype(np.float32)
    following = np.append(value[1:], np.float32(rng.normal()))
    return reward, discount, last, value, np.where(last, final, following)


def advantage_of(*steps: np.ndarray, lam: float) -> np.ndarray:
    return np.asarray(lambda_advantage(*map(jnp.asarray, steps), lam))


# Returns ------------------------------------------------------------------------------------------------------


def slow_advantage(
    reward: Any, discount: Any, last: Any, value: Any, following: Any, lam: float
) -> np.ndarray:
    """Σ_k (Π γ λ) δ_{t+k} by two loops, up to the episode's end."""
    advantage = np.zeros(T)
    for t in range(T):
        weight = 1.0
        for k in range(t, T):
            advantage[t] += weight * (reward[k] + discount[k] * following[k] - value[k])
            weight *= discount[k] * lam
            if last[k]:
                break
    return advantage


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_advantages_equal_two_loops(lam: float, seed: int) -> None:
    steps = trajectory(seed)
    assert_allclose(advantage_of(*steps, lam=lam), slow_advantage(*steps, lam), atol=1e-5)


def test_advantages_equal_those_of_rlax_where_episodes_only_terminate(rlax: Any) -> None:
    reward, _, last, value, following = trajectory(0)
    discount = (0.9 * ~last).astype(np.float32)
    following = np.append(value[1:], following[-1])
    values = np.append(value, following[-1])
    expected = rlax.truncated_generalized_advantage_estimation(reward, discount, 0.8, values)
    ours = advantage_of(reward, discount, last, value, following, lam=0.8)
    assert_allclose(ours, expected, atol=1e-5)


def test_the_advantage_of_a_perfect_critic_is_zero() -> None:
    gamma, one = 0.95, jnp.ones(T)
    value = one / (1 - gamma)
    flat = lambda_advantage(one, gamma * one, jnp.zeros(T, bool), value, value, 0.9)
    assert_allclose(flat, jnp.zeros(T), atol=1e-5)


def test_the_advantage_of_a_constant_critic_is_a_geometric_sum() -> None:
    gamma, lam, v = 0.9, 0.8, 3.0
    one = jnp.ones(T)
    advantage = lambda_advantage(one, gamma * one, jnp.zeros(T, bool), v * one, v * one, lam)
    left = np.arange(T, 0, -1)
    expected = (1 + gamma * v - v) * (1 - (gamma * lam) ** left) / (1 - gamma * lam)
    assert_allclose(advantage, expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_returns_equal_a_loop(seed: int) -> None:
    reward, discount, last, _, following = trajectory(seed)
    expected, after = np.zeros(T), following[-1]
    for t in reversed(range(T)):
        after = reward[t] + discount[t] * (following[t] if last[t] else after)
        expected[t] = after
    ours = discounted_return(*map(jnp.asarray, (reward, discount, last, following)))
    assert_allclose(ours, expected, atol=1e-5)


def test_a_truncation_bootstraps_and_a_termination_does_not() -> None:
    reward, last, following = jnp.ones(1), jnp.ones(1, bool), jnp.full(1, 10.0)
    assert discounted_return(reward, jnp.full(1, 0.5), last, following)[0] == 6.0
    assert discounted_return(reward, jnp.zeros(1), last, following)[0] == 1.0


def test_nothing_leaks_across_an_episodes_end() -> None:
    reward, discount, _, value, following = trajectory(1)
    last = np.arange(T) == 5
    more = reward + (np.arange(T) > 5).astype(np.float32)
    one = advantage_of(reward, discount, last, value, following, lam=0.9)
    other = advantage_of(more, discount, last, value, following, lam=0.9)
    assert_allclose(one[:6], other[:6])
    assert np.abs(one[6:] - other[6:]).min() > 0.5


def test_lanes_must_be_mapped_over() -> None:
    with jax.disable_jit(), pytest.raises(Exception, match=r"\[T\]|ndim|shape|type"):
        lambda_advantage(*(jnp.ones((2, 2)),) * 2, jnp.ones((2, 2), bool), *(jnp.ones((2, 2)),) * 2, 0.9)


# Distributions ------------------------------------------------------------------------------------------------

LOGITS = jnp.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]])
P = scipy.special.softmax(np.asarray(LOGITS, np.float64), axis=-1)
OTHER = jnp.array([[1.0, 0.0, -1.0], [3.0, 0.0, 1.0]])
Q = scipy.special.softmax(np.asarray(OTHER, np.float64), axis=-1)


def test_a_categorical_equals_scipy() -> None:
    d = Categorical(LOGITS)
    assert_allclose(d.log_prob(jnp.array([2, 1])), np.log([P[0, 2], P[1, 1]]), rtol=1e-5)
    assert_allclose(d.entropy(), scipy.stats.entropy(P, axis=-1), rtol=1e-5)
    assert_allclose(d.kl(Categorical(OTHER)), scipy.stats.entropy(P, Q, axis=-1), rtol=1e-5)
    assert d.mode().tolist() == [2, 0]


def test_a_categorical_is_sampled_in_proportion() -> None:
    n = 20_000
    d = Categorical(jnp.broadcast_to(LOGITS[0], (n, 3)))
    counts = np.bincount(d.sample(jr.key(0)), minlength=3)
    assert scipy.stats.chisquare(counts, n * P[0]).pvalue > 1e-3


def test_an_impossible_choice_is_never_sampled() -> None:
    logits = jnp.broadcast_to(jnp.array([0.0, -1e9, 0.0, -1e9]), (5000, 4))
    assert set(np.unique(Categorical(logits).sample(jr.key(1)))) == {0, 2}


def test_a_multi_categorical_is_the_product_of_its_parts() -> None:
    parts, others = (
        (Categorical(LOGITS), Categorical(LOGITS[:, :2])),
        (Categorical(OTHER), Categorical(OTHER[:, :2])),
    )
    d = MultiCategorical(parts)
    a = jnp.array([[0, 1], [2, 0]])
    assert_allclose(d.log_prob(a), parts[0].log_prob(a[:, 0]) + parts[1].log_prob(a[:, 1]), rtol=1e-5)
    assert_allclose(d.entropy(), parts[0].entropy() + parts[1].entropy(), rtol=1e-5)
    expected = parts[0].kl(others[0]) + parts[1].kl(others[1])
    assert_allclose(d.kl(MultiCategorical(others)), expected, rtol=1e-5)
    assert d.mode().tolist() == [[2, 0], [0, 0]]
    joint = MultiCategorical(tuple(Categorical(jnp.zeros((5000, 2))) for _ in range(2))).sample(jr.key(2))
    assert abs(np.corrcoef(joint.T)[0, 1]) < 0.05, "the parts draw from different keys"


def test_a_normal_equals_scipy() -> None:
    mean, std = np.array([[0.5, -1.0]]), np.array([[2.0, 0.3]])
    d = DiagNormal(jnp.array(mean, jnp.float32), jnp.log(jnp.array(std, jnp.float32)))
    action = jnp.array([[1.0, -1.2]])
    assert_allclose(d.log_prob(action), scipy.stats.norm.logpdf(action, mean, std).sum(-1), rtol=1e-5)
    assert_allclose(d.entropy(), scipy.stats.norm.entropy(mean, std).sum(-1), rtol=1e-5)
    assert_allclose(d.mode(), mean)
    many = DiagNormal(*(jnp.broadcast_to(leaf, (20_000, 2)) for leaf in d)).sample(jr.key(0))
    for i in range(2):
        assert scipy.stats.kstest(many[:, i], scipy.stats.norm(mean[0, i], std[0, i]).cdf).pvalue > 1e-3


def test_a_normals_divergence_equals_quadrature() -> None:
    x = np.linspace(-12, 12, 20_001)
    p, q = scipy.stats.norm(0.5, 1.5), scipy.stats.norm(-0.3, 0.9)
    expected = np.trapezoid(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x)
    one, other = (DiagNormal(jnp.full(1, m), jnp.log(jnp.full(1, s))) for m, s in ((0.5, 1.5), (-0.3, 0.9)))
    assert_allclose(one.kl(other), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        Categorical,
        lambda x: MultiCategorical((Categorical(x[:, :1] * jnp.ones(2)[None]), Categorical(x))),
        lambda x: DiagNormal(x, 0.3 * x),
    ],
    ids=["categorical", "multi-categorical", "normal"],
)
def test_a_divergence_is_zero_only_from_itself(make: Callable[[Any], Any]) -> None:
    x = jr.normal(jr.key(0), (6, 3))
    assert_allclose(make(x).kl(make(x)), jnp.zeros(6), atol=1e-6)
    assert (make(x).kl(make(x + jr.normal(jr.key(1), (6, 3)))) > 1e-4).all()


# Moments ------------------------------------------------------------------------------------------------------


def test_moments_start_as_no_standardising_at_all() -> None:
    start = Moments.start()
    assert (start.centre, start.scale) == (0.0, 1.0)


def test_one_update_gives_the_batchs_own_moments() -> None:
    x = jr.normal(jr.key(0), (50, 2)) * 3.0 + 7.0
    moments = Moments.start().update(x, 0.01)
    assert_allclose(moments.centre, x.mean(), rtol=1e-4)
    assert_allclose(moments.scale, x.std(), rtol=1e-3)


def test_moments_equal_a_weighted_mean_over_batches() -> None:
    batches = np.random.default_rng(0).normal(2.0, 3.0, (5, 40)).astype(np.float32)
    moments = Moments.start()
    for batch in batches:
        moments = moments.update(jnp.asarray(batch), 0.2)
    weight = 0.2 * 0.8 ** np.arange(4, -1, -1)
    weight /= weight.sum()
    mean, square = weight @ batches.mean(1), weight @ (batches**2).mean(1)
    assert_allclose(moments.centre, mean, rtol=1e-4)
    assert_allclose(moments.scale, np.sqrt(square - mean**2), rtol=1e-4)


def test_a_constants_scale_stays_off_zero() -> None:
    assert_allclose(Moments.start().update(jnp.full(9, 5.0), 0.5).scale, 1e-2)


def test_standardising_gives_mean_zero_and_deviation_one() -> None:
    x = standardise(jr.normal(jr.key(3), (20, 4)) * 5.0 - 2.0)
    assert_allclose((x.mean(), x.std()), (0.0, 1.0), atol=1e-5)


def test_standardising_a_constant_gives_no_more_than_rounding_over_its_own_size() -> None:
    assert jnp.abs(standardise(jnp.full(7, 3.0))).max() <= 1.0
    assert standardise(jnp.zeros(7)).tolist() == [0.0] * 7
