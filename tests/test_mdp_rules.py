"""The rules for tabular MDPs: their memory against a slow twin, their plans against brute force and limits."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

from headstart import agents, suites
from headstart.agents import _mdp_model as model
from headstart.agents._gamma import gamma
from headstart.agents.ucrl2 import optimistic_mean
from headstart.envs import lanes
from headstart.envs.revealed import Revealed
from headstart.envs.trial import TrialObs
from headstart.errors import UsageError
from headstart.ops.planning import finite_horizon
from headstart.tasks import Suite
from headstart.types import Agent, Env, TimeStep

RULES = ("mdp-greedy", "mdp-epsilon-greedy", "psrl", "optimistic-psrl", "ucrl2", "beb")
SMALL = suites.suite("tabular-mdp", episodes=3, states=3, actions=2, horizon=4)


def play(env: Env, rule: Agent, tasks: Any, n: int, steps: int, seed: int) -> Any:
    """What happened in `n` pinned lanes: each step's time step, memory after acting, action, and reward after it."""

    @jax.jit
    def rollout(key: jax.Array) -> Any:
        lane, timestep = lanes.reset(env, tasks, key, n, pinned=True)

        def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
            lane, timestep, memory = carry
            after, action, _ = rule.act((), memory, timestep, key)
            lane, next_timestep = lanes.step(env, tasks, lane, action, jr.fold_in(key, 1), pinned=True)
            return (lane, next_timestep, after), (timestep, after, action, next_timestep.reward)

        return jax.lax.scan(step, (lane, timestep, rule.memory(n)), jr.split(jr.fold_in(key, 1), steps))[1]

    return jax.device_get(rollout(jr.key(seed)))


@cache
def _planner(name: str, states: int, actions: int, horizon: int, **setting: Any) -> Any:
    """A rule's empty memory and its compiled `act`."""
    spec = suites.suite("tabular-mdp", states=states, actions=actions, horizon=horizon).env.spec
    rule = agents.agent(name, spec, **setting)
    return rule.memory, jax.jit(rule.act)


def plan_of(name: str, known: model.Posterior, horizon: int, seed: int = 0, **setting: Any) -> np.ndarray:
    """The plan `[N, H, S, A]` a rule makes where an episode begins with these posteriors `[N, ...]`."""
    n, states, actions = known.visits.shape
    memory, act = _planner(name, states, actions, horizon, **setting)
    # The last action's reward is still to be counted, here and in the posterior: one of nothing.
    visits = known.visits.at[:, 0, 0].add(-1.0)
    begins = jnp.ones(n, bool)
    obs = TrialObs(jnp.zeros(n, jnp.int32), jnp.zeros(n, jnp.int32), jnp.zeros(n), begins)
    timestep = TimeStep(obs, jnp.zeros(n), jnp.ones(n), ~begins, None)
    start = memory(n)._replace(posterior=known._replace(visits=visits))
    return np.asarray(act((), start, timestep, jr.key(seed))[0].q)


@partial(jax.jit, static_argnums=(1, 2, 3))
def some_posterior(seed: int, n: int, states: int, actions: int, most: float) -> model.Posterior:
    """Posteriors after up to `most` visits of each state and action."""
    k_n, k_r = jr.split(jr.key(seed))
    seen = jnp.floor(jr.uniform(k_n, (n, states, actions, states), maxval=most / states))
    visits = 1.0 + seen.sum(-1)
    noise = jr.normal(k_r, visits.shape) * jnp.sqrt(visits)
    return model.Posterior(1.0 + seen, visits, visits + noise)


def test_the_memory_against_a_slow_twin() -> None:
    n, steps = 5, 30  # two trials of 12 steps, and half of a third
    rule = agents.agent("mdp-epsilon-greedy", SMALL.env.spec, epsilon=0.5, prior_mean=0.5, prior_count=0.25)
    tasks = SMALL.split("valid", n).tasks
    timestep, memory, action, _ = play(SMALL.env, rule, tasks, n, steps, seed=0)
    for i in range(n):
        for t in range(steps):
            if timestep.first[t, i]:
                counts, visits, total = np.full((3, 2, 3), 0.25), np.ones((3, 2)), np.full((3, 2), 0.5)
            else:
                s, a = timestep.obs.obs[t - 1, i], action[t - 1, i]
                visits[s, a] += 1
                total[s, a] += timestep.reward[t, i]
                if not timestep.obs.ended[t, i]:
                    counts[s, a, timestep.obs.obs[t, i]] += 1
            np.testing.assert_array_equal(memory.posterior.transitions[t, i], counts)
            np.testing.assert_array_equal(memory.posterior.visits[t, i], visits)
            np.testing.assert_allclose(memory.posterior.rewards[t, i], total, atol=1e-5)
            assert memory.time[t, i] == t % 4
    assert timestep.first.sum() == 3 * n


def test_a_plan_is_kept_for_an_episode_and_then_followed() -> None:
    n = 20
    rule = agents.agent("psrl", SMALL.env.spec)
    timestep, memory, action, _ = play(SMALL.env, rule, SMALL.split("valid", n).tasks, n, 12, seed=1)
    for t in range(1, 12):
        same = (memory.q[t] == memory.q[t - 1]).reshape(n, -1).all(1)
        assert same.all() if t % 4 else not same.any()
    for t in range(12):
        q = memory.q[t][np.arange(n), t % 4, timestep.obs.obs[t]]
        np.testing.assert_array_equal(action[t], q.argmax(-1))


def test_lanes_out_of_step_keep_their_own_plans() -> None:
    memory, act = _planner("psrl", 4, 3, 5)
    zeros = jnp.zeros(300, jnp.int32)
    begins = jnp.arange(300) % 2 == 0
    timestep = TimeStep(
        TrialObs(zeros, zeros, jnp.zeros(300), jnp.ones(300, bool)),
        jnp.zeros(300),
        jnp.ones(300),
        jnp.ones(300, bool),
        None,
    )
    first, _, _ = act((), memory(300), timestep, jr.key(1))
    timestep = timestep._replace(obs=timestep.obs._replace(ended=begins), first=jnp.zeros(300, bool))
    later, _, _ = act((), first, timestep, jr.key(2))
    same = np.asarray(later.q == first.q).reshape(300, -1).all(1)
    np.testing.assert_array_equal(same, ~begins)
    np.testing.assert_array_equal(later.time, np.where(begins, 0, 1))


def test_greedy_plans_for_the_posterior_mean() -> None:
    known = some_posterior(0, 4, 5, 3, 6.0)
    p = np.asarray(known.transitions) / np.asarray(known.transitions).sum(-1, keepdims=True)
    r = np.asarray(known.rewards) / np.asarray(known.visits)
    v = np.zeros((4, 5))
    q = plan_of("mdp-greedy", known, 6)
    for t in reversed(range(6)):
        q_t = r + np.einsum("nsaz,nz->nsa", p, v)
        np.testing.assert_allclose(q[:, t], q_t, rtol=1e-5, atol=1e-4)
        v = q_t.max(-1)


@pytest.mark.parametrize(("name", "setting"), [("ucrl2", {"scale": 0.0}), ("beb", {"beta": 0.0})])
def test_without_a_bonus_a_rule_is_greedy(name: str, setting: dict[str, float]) -> None:
    known = some_posterior(1, 4, 5, 3, 6.0)
    np.testing.assert_allclose(plan_of(name, known, 6, **setting), plan_of("mdp-greedy", known, 6), atol=1e-4)


def test_a_bonus_shrinks_with_visits() -> None:
    known = some_posterior(2, 4, 5, 3, 6.0)
    more = model.Posterior(*(1000.0 * leaf for leaf in known))  # the same means, all but certain
    greedy = plan_of("mdp-greedy", known, 6)
    assert (plan_of("beb", known, 6, beta=1.0) > greedy + 0.03).all()
    np.testing.assert_allclose(plan_of("beb", more, 6, beta=1.0), greedy, atol=0.02)


def test_bonus_of_the_last_step_by_hand() -> None:
    known = some_posterior(3, 2, 4, 3, 9.0)
    mean, n = np.asarray(known.rewards / known.visits), np.asarray(known.visits) - 1
    alpha = np.asarray(known.transitions).sum(-1)
    np.testing.assert_allclose(
        plan_of("beb", known, 2, beta=3.0)[:, 1], mean + 3 / (1 + alpha), rtol=1e-5, atol=1e-5
    )
    t = 1 + n.sum((1, 2), keepdims=True)
    width = 0.2 * np.sqrt(3.5 * np.log(2 * 4 * 3 * t / 0.1) / np.maximum(1, n))
    plan = plan_of("ucrl2", known, 2, scale=0.2, delta=0.1)
    np.testing.assert_allclose(plan[:, 1], mean + width, rtol=1e-5, atol=1e-5)


def test_more_samples_are_more_optimistic_and_one_is_psrl() -> None:
    known = some_posterior(4, 300, 4, 3, 6.0)
    rules = [("psrl", {}), ("optimistic-psrl", {"samples": 1}), ("optimistic-psrl", {"samples": 6})]
    psrl, one, six = (
        plan_of(name, known, 5, seed=seed, **setting)[:, 0].max(-1).mean(-1)
        for seed, (name, setting) in enumerate(rules)
    )
    assert stats.ttest_ind(psrl, one).pvalue > 1e-3
    assert (six - one).mean() > 4 * (six - one).std() / 300**0.5


def test_samples_of_a_certain_model_are_that_model() -> None:
    known = some_posterior(6, 300, 4, 3, 50.0)
    sure = model.Posterior(*(1e6 * leaf for leaf in known))
    truth = jax.jit(jax.vmap(lambda one: finite_horizon(one.mean_transition, one.mean_reward, 5)))(sure)
    np.testing.assert_allclose(plan_of("psrl", sure, 5), truth, atol=0.05)
    np.testing.assert_allclose(plan_of("optimistic-psrl", sure, 5, samples=6), truth, atol=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_the_most_optimistic_transition_against_a_linear_program(seed: int) -> None:
    states = 4
    k_p, k_v, k_d = jr.split(jr.key(seed), 3)
    e = jr.exponential(k_p, (2, 3, states))
    p, v = e / e.sum(-1, keepdims=True), jr.normal(k_v, (states,))
    radius = jr.uniform(k_d, (2, 3), maxval=2.5).at[0, 0].set(0.0).at[1, 2].set(5.0)
    found = jax.jit(optimistic_mean)(p, v, radius)
    # maximise x·v with |x - p| <= y, Σy <= radius, Σx = 1, in the variables (x, y)
    eye, zero, one = np.eye(states), np.zeros(states), np.ones(states)
    for s in range(2):
        for a in range(3):
            row = np.asarray(p[s, a], np.float64)
            best = linprog(
                np.concatenate([-np.asarray(v), zero]),
                np.block([[eye, -eye], [-eye, -eye], [zero[None], one[None]]]),
                np.concatenate([row, -row, [float(radius[s, a])]]),
                np.concatenate([one, zero])[None],
                [1.0],
            )
            np.testing.assert_allclose(found[s, a], -best.fun, atol=1e-5)
    np.testing.assert_allclose(found[0, 0], p[0, 0] @ v, atol=1e-6)
    np.testing.assert_allclose(found[1, 2], v.max(), atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 40.0])
def test_gamma_variates(alpha: float) -> None:
    draws = np.asarray(jax.jit(gamma)(jr.key(int(alpha)), jnp.full(20_000, alpha)))
    assert stats.kstest(draws, stats.gamma(alpha).cdf).pvalue > 1e-3


def test_samples_have_the_posteriors_moments() -> None:
    known = some_posterior(5, 1, 3, 2, 12.0)
    p, r = jax.jit(jax.vmap(known.sample))(jr.split(jr.key(0), 20_000))
    alpha = np.asarray(known.transitions)
    total = alpha.sum(-1, keepdims=True)
    share = alpha / total
    np.testing.assert_allclose(p.mean(0), share, atol=0.01)
    np.testing.assert_allclose(p.var(0), share * (1 - share) / (total + 1), rtol=0.1)
    np.testing.assert_allclose(r.mean(0), known.rewards / known.visits, atol=4 / 20_000**0.5)
    np.testing.assert_allclose(r.var(0), 1 / known.visits, rtol=0.06)


def test_the_best_action_is_chosen_and_ties_are_broken_at_random() -> None:
    n = 6000
    q = jnp.tile(jnp.array([1.0, 3.0, 3.0, 2.0]), (n, 1))
    greedy = np.bincount(model.choose(q, jr.key(0)), minlength=4)
    assert greedy[0] == greedy[3] == 0
    assert abs(greedy[1] - n / 2) < 4 * (n / 4) ** 0.5
    explored = np.bincount(model.choose(q, jr.key(1), epsilon=0.4), minlength=4)
    expected = n * np.array([0.1, 0.4, 0.4, 0.1])
    assert ((explored - expected) ** 2 / expected).sum() < stats.chi2.ppf(0.999, 3)


def test_the_oracle_plans_with_the_true_model() -> None:
    n = 6
    rule = agents.agent("oracle", SMALL.env.spec)
    tasks = SMALL.split("valid", n).tasks
    timestep, memory, action, _ = play(Revealed(SMALL.env), rule, tasks, n, 12, seed=2)
    for t in range(12):
        np.testing.assert_allclose(memory.q[t], tasks.q, atol=1e-5)
        here = tasks.q[np.arange(n), t % 4, timestep.obs.obs.obs[t]]
        np.testing.assert_array_equal(action[t], here.argmax(-1))


@pytest.fixture(scope="module")
def full() -> Suite:
    return suites.suite("tabular-mdp")


@pytest.mark.parametrize("name", RULES)
def test_a_rule_beats_random_play(full: Suite, name: str) -> None:
    """Random play earns 100 ± 2 in ten episodes; the worst rule 134. One seed of 64 tasks has a standard error of 3."""
    rule = agents.agent(name, full.env.spec)
    reward = play(full.env, rule, full.split("valid", 64).tasks, 192, 100, seed=0)[-1]
    score = reward.sum(0).reshape(3, 64).mean(1)
    assert score.min() > 115.0
    assert score.max() < 190.0  # the oracle has 218


@pytest.mark.parametrize("name", [*RULES, "oracle"])
def test_other_environments_are_refused(name: str) -> None:
    for other in ("bandit", "gaussian-bandit", "cartpole"):
        with pytest.raises(UsageError, match=f"{name} plays trials of tabular MDPs only"):
            agents.agent(name, suites.suite(other).env.spec)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("mdp-epsilon-greedy", {"epsilon": 1.5}),
        ("mdp-epsilon-greedy", {"epsilon": -0.1}),
        ("optimistic-psrl", {"samples": 0}),
        ("ucrl2", {"scale": -1.0}),
        ("ucrl2", {"delta": 1.0}),
        ("beb", {"beta": -1.0}),
        ("mdp-greedy", {"prior_count": 0.0}),
        ("psrl", {"prior_count": 0.5}),
        ("optimistic-psrl", {"prior_count": 0.5}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(setting)).rstrip("s")):
        agents.agent(name, SMALL.env.spec, **setting)
