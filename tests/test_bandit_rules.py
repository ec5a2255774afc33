"""The bandit rules: the Gittins index against published tables and a twin, the posterior against a slow one,
and each rule's play against chance, its limits and itself."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array
from scipy import stats

from headstart.agents import agent
from headstart.agents._arms import Counts, arms_of, beta
from headstart.agents.optimistic_thompson import OptimisticThompsonConfig, optimistic_thompson
from headstart.envs import lanes
from headstart.envs.bandit import Bandit, BanditTask
from headstart.envs.revealed import RevealedObs
from headstart.envs.trial import Trial, TrialObs
from headstart.errors import UsageError
from headstart.ops.gittins import bernoulli_index, gaussian_bonus
from headstart.types import Box, Discrete, Spec, TimeStep

RULES = ["greedy", "epsilon-greedy", "ucb1", "thompson", "optimistic-thompson", "gittins", "best-arm"]
CONFIG: dict[str, dict[str, Any]] = {"optimistic-thompson": {"samples": 3}, "gittins": {"discount": 0.9}}
KINDS = ["bernoulli", "gaussian"]


def trial(kind: Any, arms: int = 3, pulls: int = 20) -> Trial:
    return Trial(Bandit(arms, kind), pulls)


@cache
def player(name: str, kind: str) -> Callable[[Array], dict[str, Array]]:
    """Plays a trial of 3 arms and 20 pulls in 600 lanes: `[20, 600]` actions and rewards, `[600, 3]` means."""
    rule = agent(name, trial(kind).spec, **CONFIG.get(name, {}))
    state, n = rule.init(jr.key(0)), 600

    def seen(mean: Array, action: Array, reward: Array) -> TimeStep:
        obs: Any = TrialObs((), action, reward, jnp.ones(n, bool))
        obs = RevealedObs(obs, BanditTask(mean)) if name == "best-arm" else obs
        return TimeStep(obs, reward, jnp.ones(n), jnp.zeros(n, bool), None)

    def run(key: Array) -> dict[str, Array]:
        k_mean, k_reward, k_act = jr.split(key, 3)
        mean = (jr.uniform if kind == "bernoulli" else jr.normal)(k_mean, (n, 3))
        noise = (jr.uniform if kind == "bernoulli" else jr.normal)(k_reward, (20, n, 3))
        paid = (noise < mean[None]).astype(jnp.float32) if kind == "bernoulli" else mean[None] + noise

        def step(carry: Any, x: Any) -> tuple[Any, Any]:
            memory, action, _ = rule.act(state, *carry, x[1])
            reward = x[0][jnp.arange(n), action]
            return (memory, seen(mean, action, reward)), (action, reward)

        first = seen(mean, jnp.zeros(n, jnp.int32), jnp.zeros(n))._replace(first=jnp.ones(n, bool))
        _, (action, reward) = jax.lax.scan(step, (rule.memory(n), first), (paid, jr.split(k_act, 20)))
        return {"action": action, "reward": reward, "mean": mean}

    return jax.jit(run)


# The index ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wins", "losses", "published"),
    [
        (0, 0, 0.7029),
        (0, 1, 0.5001),
        (0, 2, 0.3796),
        (1, 0, 0.8001),
        (1, 1, 0.6346),
        (2, 0, 0.8452),
        (2, 1, 0.7072),
    ],
)
def test_bernoulli_index_matches_the_published_table(wins: int, losses: int, published: float) -> None:
    """Gittins, Glazebrook & Weber 2011, table 8.4, discount 0.9."""
    assert bernoulli_index(3, 0.9)[wins, losses] == pytest.approx(published, abs=1.5e-4)


def _restart_twin(wins: int, losses: int, discount: float, depth: int) -> float:
    """Katehakis & Veinott (1987): (1-γ) times x's value with the freedom to restart in x."""
    mean = [(wins + np.arange(m + 1) + 1) / (wins + losses + m + 2) for m in range(depth + 1)]
    restart = 0.5 / (1 - discount)
    for _ in range(400):
        value = np.maximum(restart, mean[depth] / (1 - discount))
        for m in range(depth - 1, -1, -1):
            go_on = mean[m] + discount * (mean[m] * value[1:] + (1 - mean[m]) * value[:-1])
            value = np.maximum(restart, go_on)
        if abs(go_on[0] - restart) < 1e-9:
            break
        restart = go_on[0]
    return (1 - discount) * restart


@pytest.mark.parametrize("discount", [0.5, 0.9, 0.95])
def test_bernoulli_index_matches_the_restart_problem(discount: float) -> None:
    table = bernoulli_index(6, discount)
    for wins, losses in [(0, 0), (0, 1), (3, 0), (2, 4), (0, 6), (6, 0)]:
        assert table[wins, losses] == pytest.approx(_restart_twin(wins, losses, discount, 150), abs=3e-4)


def test_bernoulli_index_has_its_known_shape() -> None:
    table = bernoulli_index(12, 0.95)
    wins, losses = np.indices(table.shape)
    known = wins + losses <= 12
    assert (np.isnan(table) == ~known).all()
    assert (table > (wins + 1) / (wins + losses + 2))[known].all()  # information is worth something
    assert (np.diff(table, axis=0)[known[1:]] > 0).all()
    assert (np.diff(table, axis=1)[known[:, 1:]] < 0).all()
    assert (bernoulli_index(12, 0.97)[known] > table[known]).all()  # and more to the far-sighted
    assert bernoulli_index(2, 0.0)[1, 1] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("discount", "published"),
    [(0.95, [0.9956, 0.6343, 0.4781, 0.3878, 0.3281]), (0.99, [1.5758, 1.0415, 0.8061, 0.6677, 0.5747])],
)
def test_gaussian_bonus_matches_the_published_table(discount: float, published: list[float]) -> None:
    """Powell & Ryzhov 2012, "Optimal Learning", table 6.2, known variance."""
    np.testing.assert_allclose(gaussian_bonus(4, discount), published, atol=1.5e-3)


def test_gaussian_bonus_of_one_look_ahead() -> None:
    """As γ → 0 only one further pull matters: to first order ν = γ E[max(μ', 0)] = γ σ φ(0)."""
    discount = 1e-3
    expected = discount * np.sqrt(1 / (1 * 2)) * stats.norm.pdf(0)
    assert gaussian_bonus(0, discount)[0] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("discount", [-0.1, 1.0, 1.5])
def test_a_discount_out_of_range_is_refused(discount: float) -> None:
    for table in (bernoulli_index, gaussian_bonus):
        with pytest.raises(UsageError, match="less than 1"):
            table(3, discount)


# The posterior ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_counts_match_a_slow_twin_across_trials(kind: str) -> None:
    """In lanes, where one trial follows another: counts start again, nothing of the last trial is left."""
    env, n, pulls = trial(kind, arms=3, pulls=7), 5, 18  # into the third trial
    tasks = jax.vmap(Bandit(3, kind).sample)(jr.split(jr.key(1), n))  # pyright: ignore[reportArgumentType]
    arms = arms_of(env.spec, "test")
    start = 2.0 if kind == "bernoulli" else 1.0
    advance, remember = jax.jit(partial(lanes.step, env)), jax.jit(arms.recall)
    lane, timestep = lanes.reset(env, tasks, jr.key(2), n)
    memory, expected = arms.memory(n), np.zeros((2, n, 3))
    actions = np.random.default_rng(0).integers(0, 3, (pulls, n), dtype=np.int32)
    for t, (action, key) in enumerate(zip(actions, jr.split(jr.key(3), pulls), strict=True)):
        if t % 7 == 0:
            expected[0], expected[1] = start, start - 1
        memory = remember(memory, timestep)
        np.testing.assert_allclose(memory.pulls, expected[0])
        np.testing.assert_allclose(memory.total, expected[1], rtol=1e-5, atol=1e-6)
        lane, timestep = advance(tasks, lane, jnp.asarray(action), key)
        reward = np.asarray(timestep.reward)
        for i in range(n):
            expected[0, i, action[i]] += 1
            expected[1, i, action[i]] += reward[i]
    np.testing.assert_allclose(arms.pulled(memory), (pulls - 1) % 7)


def test_beta_variates_follow_the_distribution() -> None:
    shapes = [(1.0, 1.0), (1.0, 2.0), (5.0, 1.0), (30.0, 7.0)]
    a, b = (jnp.tile(jnp.array(column), (20_000, 1)) for column in zip(*shapes, strict=True))
    draws = np.asarray(jax.jit(beta)(jr.key(0), a, b))
    assert ((draws >= 0) & (draws <= 1)).all()
    for i, (alpha, other) in enumerate(shapes):
        assert stats.kstest(draws[:, i], stats.beta(alpha, other).cdf).pvalue > 1e-3


def test_log_density_is_the_posteriors() -> None:
    counts = Counts(jnp.array([[2.0, 5.0, 9.0]]), jnp.array([[1.0, 4.0, 2.0]]))
    theta, other = jnp.array([[0.3, 0.6, 0.2]]), jnp.array([[0.9, 0.1, 0.4]])
    a, b = np.asarray(counts.total), np.asarray(counts.pulls - counts.total)
    posteriors = {
        "bernoulli": stats.beta(a, b),
        "gaussian": stats.norm(counts.mean, 1 / np.sqrt(counts.pulls)),
    }
    for kind, posterior in posteriors.items():
        arms = arms_of(trial(kind).spec, "test")
        ours = arms.log_density(counts, theta) - arms.log_density(counts, other)
        np.testing.assert_allclose(ours, posterior.logpdf(theta) - posterior.logpdf(other), rtol=1e-4)


# The rules ----------------------------------------------------------------


def _decide(name: str, kind: str, pulls: list[float], total: list[float], **config: Any) -> int:
    """What a rule does after these pulls (prior aside) and one pull of arm 0 without reward."""
    spec = trial(kind, arms=len(pulls), pulls=100).spec
    rule = agent(name, spec, **config)
    prior = rule.memory(1)
    obs = TrialObs((), jnp.zeros(1, jnp.int32), jnp.zeros(1), jnp.ones(1, bool))
    step = TimeStep(obs, jnp.zeros(1), jnp.ones(1), jnp.zeros(1, bool), None)
    memory = Counts(prior.pulls + jnp.array([pulls]), prior.total + jnp.array([total]))
    return int(rule.act(rule.init(jr.key(0)), memory, step, jr.key(0))[1][0])


@pytest.mark.parametrize("kind", KINDS)
def test_what_separates_the_rules(kind: str) -> None:
    """Arm 0 paid 66 of 90, arm 1 nearly as much but is known less, arm 2 is poor, arm 3 unknown."""
    pulls, total = [89.0, 9.0, 30.0, 0.0], [66.0, 7.0, 3.0, 0.0]
    assert _decide("greedy", kind, pulls, total) == 0
    assert _decide("epsilon-greedy", kind, pulls, total, epsilon=0.0) == 0
    assert _decide("ucb1", kind, pulls, total, width=0.0) == 0
    assert _decide("ucb1", kind, pulls, total, width=0.1) == 1
    assert _decide("ucb1", kind, pulls, total, width=3.0) == 3
    assert _decide("gittins", kind, pulls, total, discount=0.0) == 0
    assert _decide("gittins", kind, pulls, total, discount=0.9) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_beats_chance(name: str, kind: str) -> None:
    """Three sets of 200 tasks: a pull pays over 3 standard errors more than the mean arm in each."""
    run = player(name, kind)(jr.key(0))
    gain = np.asarray(run["reward"]).mean(0) - np.asarray(run["mean"]).mean(1)
    for part in gain.reshape(3, 200):
        assert part.mean() > 3 * part.std() / np.sqrt(part.size)


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_arm_has_no_regret(kind: str) -> None:
    run = player("best-arm", kind)(jr.key(0))
    mean = np.asarray(run["mean"])
    pulled = np.take_along_axis(mean[None], np.asarray(run["action"])[..., None], axis=2)[..., 0]
    assert (pulled == mean.max(1)).all()


@pytest.mark.parametrize("name", ["epsilon-greedy", "thompson", "optimistic-thompson"])
def test_the_same_key_gives_the_same_play(name: str) -> None:
    first, again, other = (player(name, "bernoulli")(jr.key(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first["action"], again["action"])
    assert (np.asarray(first["action"]) != np.asarray(other["action"])).any()


def test_epsilon_one_is_random() -> None:
    rule = agent("epsilon-greedy", trial("bernoulli").spec, epsilon=1.0)
    obs = TrialObs((), jnp.zeros(3000, jnp.int32), jnp.ones(3000), jnp.ones(3000, bool))
    step = TimeStep(obs, jnp.ones(3000), jnp.ones(3000), jnp.zeros(3000, bool), None)
    action = rule.act(rule.init(jr.key(0)), rule.memory(3000), step, jr.key(1))[1]
    assert stats.chisquare(np.bincount(action, minlength=3)).pvalue > 1e-3


def test_the_versions_of_optimistic_thompson_differ() -> None:
    """Arm 0, little known, looks best: one sample may miss it, a floored one or the likeliest of many not."""
    spec = trial("bernoulli").spec
    counts = Counts(jnp.array([[10.0, 1e3, 1e3]] * 400), jnp.array([[9.0, 800.0, 800.0]] * 400))
    obs = TrialObs((), jnp.zeros(400, jnp.int32), jnp.ones(400), jnp.ones(400, bool))
    step = TimeStep(obs, jnp.ones(400), jnp.ones(400), jnp.zeros(400, bool), None)

    def share_of_best(**config: Any) -> float:
        rule = agent("optimistic-thompson", spec, **config)
        return float((jax.jit(rule.act)((), counts, step, jr.key(2))[1] == 0).mean())

    one = share_of_best(version="likeliest", samples=1)
    assert 0.7 < one < 0.95  # P(Beta(10, 1) > 0.81) = 0.88
    assert share_of_best(version="likeliest", samples=20) > one + 0.03
    assert share_of_best(version="floored", samples=1) > 0.99


# Bad input ----------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "spec",
    [
        Bandit(3).spec,
        Spec(Box((4,)), Discrete(2), 500),
        Spec(TrialObs(Box((4,)), Discrete(2), Box(()), Discrete(2)), Discrete(2), 500, episodes=5),  # pyright: ignore
        Spec(TrialObs((), Box((2,)), Box(()), Discrete(2)), Box((2,)), 1, episodes=5),  # pyright: ignore
    ],
    ids=["no trial", "cart-pole", "trial of episodes", "continuous"],
)
def test_another_kind_of_problem_is_refused(name: str, spec: Spec) -> None:
    with pytest.raises(UsageError, match=f"{name} plays trials of bandits only"):
        agent(name, spec)


def test_rewards_of_another_range_are_refused() -> None:
    reward = Box((), -1.0, 1.0)
    obs: Any = TrialObs((), Discrete(2), reward, Discrete(2))  # pyright: ignore
    with pytest.raises(UsageError, match=r"\[-1.0, 1.0\]"):
        agent("ucb1", Spec(obs, Discrete(2), 1, episodes=5, reward=reward))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("epsilon-greedy", {"epsilon": 1.5}),
        ("ucb1", {"width": -1.0}),
        ("optimistic-thompson", {"samples": 0}),
        ("gittins", {"discount": 1.0}),
    ],
)
def test_a_setting_out_of_range_is_refused(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=name.replace("gittins", "Gittins")):
        agent(name, trial("bernoulli").spec, **config)


def test_an_unknown_version_of_optimistic_thompson_is_refused() -> None:
    config = OptimisticThompsonConfig()
    object.__setattr__(config, "version", "bold")  # past the check of annotations, which only tests have
    with pytest.raises(UsageError, match="likeliest or floored, not 'bold'"):
        optimistic_thompson(trial("bernoulli").spec, config)
