"""Scores: common random numbers, nested task sets, sums that agree; and a recording is the trial that was scored."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import agents, suites
from headstart.agents.ppo import PPOConfig
from headstart.envs.bandit import Bandit
from headstart.envs.trial import Trial
from headstart.errors import RunError, UsageError
from headstart.loops.evaluate import Played, Recording, play, record
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol.evaluation import contestant, evaluate, facts
from headstart.protocol.priors import Prior
from headstart.tasks import Suite
from headstart.types import Agent, Box, Discrete, Entry, Spec, Step

SUITE = suites.suite("bandit:arms=2,pulls=3")
ENTRY = agents.entry("ppo")
CONFIG = PPOConfig(NetworkConfig(torso=(), memory="gru", memory_size=4))


def a_prior(name: str, seed: int = 0) -> Prior:
    """Weights fresh from the factory: bad, but weights."""
    state = ENTRY.build(SUITE.env.spec, CONFIG).init(jr.key(seed))
    return Prior("ppo", CONFIG, state, SUITE.name, SUITE.split("train").fingerprint, None, 1, seed, name)


def test_a_score_is_the_sum_of_what_the_trial_gave() -> None:
    for result in evaluate(SUITE, ["random", "ucb1", a_prior("fresh")], tasks=40):
        assert len(result.scores) == 40
        assert len(result.within) == len(result.lengths) == 3
        assert sum(result.within) == pytest.approx(np.mean(result.scores), abs=1e-4)
        assert result.lengths == [1.0, 1.0, 1.0]
        assert result.spent == 40 * 3
        assert result.facts == {}, "no episode of a bandit can end early"
        assert {x % 1 for x in result.scores} == {0.0}


def test_what_a_result_says_about_its_origin() -> None:
    one, learned = evaluate(
        SUITE, ["ucb1", a_prior("fresh", 3)], tasks=8, seed=4, command="headstart evaluate x"
    )
    assert (one.suite, one.split, one.agent, one.seed) == ("bandit-v0:arms=2,pulls=3", "test", "ucb1", 4)
    assert one.fingerprint == SUITE.split("test", 8).fingerprint == learned.fingerprint
    assert one.config == dataclasses.asdict(agents.entry("ucb1").config)
    assert (one.prior, one.command) == (None, "headstart evaluate x")
    assert learned.prior == {
        "agent": "ppo",
        "suite": SUITE.name,
        "fingerprint": SUITE.split("train").fingerprint,
        "tasks": None,
        "steps": 1,
        "seed": 3,
        "overlap": 0,
    }
    assert learned.config["network"]["memory"] == "gru"


def test_a_result_counts_the_tasks_its_prior_was_trained_on() -> None:
    few, many = SUITE.split("valid", 9), SUITE.split("valid", 30)
    kept = dataclasses.replace(a_prior("kept"), tasks=9, seen=few.digests, split="valid")
    (nested,) = evaluate(SUITE, [kept], tasks=30, split="valid")
    (apart,) = evaluate(SUITE, [kept], tasks=30)
    assert nested.prior
    assert apart.prior
    assert (nested.prior["overlap"], apart.prior["overlap"]) == (9, 0)
    assert kept.overlap(few) == kept.overlap(many) == 9
    unlisted = dataclasses.replace(kept, seen=())
    assert (unlisted.overlap(many), unlisted.overlap(SUITE.split("test", 3))) == (None, 0)
    forgotten = dataclasses.replace(unlisted, split="")
    assert forgotten.overlap(SUITE.split("test", 3)) is None
    assert a_prior("endless").overlap(SUITE.split("train", 3)) is None


def test_one_task_of_every_role_is_not_unseen() -> None:
    lonely = suites.suite("asgym:env=CartPole-v1")
    prior = dataclasses.replace(a_prior("x"), tasks=1, seen=lonely.split("train").digests, split="train")
    assert prior.overlap(lonely.split("test")) == 1


def test_a_prior_of_another_suite_is_named(caplog: pytest.LogCaptureFixture) -> None:
    evaluate(SUITE, [a_prior("mine")], tasks=2)
    assert caplog.messages == []
    evaluate("bandit:arms=2,pulls=4", [a_prior("mine")], tasks=2)
    assert caplog.messages == [
        f"mine was trained on {SUITE.name} and plays another suite, bandit-v0:arms=2,pulls=4."
    ]


def test_the_same_agent_under_two_names_scores_the_same() -> None:
    one, other = evaluate(SUITE, [a_prior("one"), a_prior("other")], tasks=50)
    assert (one.agent, other.agent) == ("one", "other")
    assert one.scores == other.scores
    assert one.scores == evaluate(SUITE, [a_prior("later")], tasks=50)[0].scores


def test_another_seed_is_another_game_and_another_task_seed_other_tasks() -> None:
    (base,) = evaluate(SUITE, ["random"], tasks=50)
    (luck,) = evaluate(SUITE, ["random"], tasks=50, seed=1)
    (fresh,) = evaluate(SUITE, ["random"], tasks=50, task_seed=1)
    assert base.fingerprint == luck.fingerprint != fresh.fingerprint
    assert base.scores != luck.scores


def test_task_sets_of_one_seed_are_nested() -> None:
    (few,), (many,) = (evaluate(SUITE, ["thompson"], tasks=n) for n in (10, 30))
    assert few.scores == many.scores[:10]
    assert few.fingerprint != many.fingerprint


@dataclass(frozen=True)
class Dice:
    """Two throws; the reward is the die alone, whatever is done: it shows the environment's own luck."""

    @property
    def spec(self) -> Spec:
        return Spec((), Discrete(5), 2, reward=Box((), 0.0, 1.0))

    def reset(self, task: Any, key: Any) -> Any:
        return jnp.int32(0), jr.uniform(key)

    def step(self, task: Any, state: Any, action: Any, key: Any) -> tuple[Any, Step]:
        start = jnp.where(state[0] == 0, state[1], 0.0)
        return (state[0] + 1, jr.uniform(key)), Step(jr.uniform(key) + start, state[0] >= 1, jnp.bool_(False))

    def observe(self, task: Any, state: Any) -> tuple[()]:
        return ()

    def privileged(self, task: Any, state: Any) -> None:
        return None


def always(action: int) -> Agent:
    def act(state: Any, memory: Any, timestep: Any, key: Any) -> tuple[Any, Any, Any]:
        jr.uniform(key)
        return memory, jnp.full(timestep.first.shape, action, jnp.int32), ()

    return Agent(lambda key: (), lambda n: (), act)


DICE = Trial(Dice(), 2)
TABLE = jnp.arange(7.0)


def test_the_environments_luck_does_not_depend_on_the_agent() -> None:
    one, other = (play(always(a), DICE, TABLE, (), jr.key(3)) for a in (0, 4))
    np.testing.assert_array_equal(one.returns, other.returns)
    assert one.returns.shape == (7, 2)
    np.testing.assert_array_equal(one.lengths, 2)
    assert len(np.unique(one.returns)) == 14, "every task and episode has luck of its own"


def test_batches_are_the_table_in_pieces_each_with_its_key() -> None:
    whole = play(always(1), DICE, TABLE, (), jr.key(3))
    pieces = play(always(1), DICE, TABLE, (), jr.key(3), batch=3)
    assert pieces.returns.shape == whole.returns.shape
    np.testing.assert_array_equal(pieces.returns[:3], whole.returns[:3])
    by_hand = play(always(1), DICE, TABLE[3:6], (), jr.key(3), batch=3)  # as batch 0, so with other luck
    assert not np.array_equal(pieces.returns[3:6], by_hand.returns)
    assert len(np.unique(pieces.returns)) == 14, "no batch repeats another's luck"


def test_a_slow_twin_plays_the_same_trial() -> None:
    """One task at a time, in Python, with the keys the loop documents: fold_in, then reset and step keys of lane i."""
    played = play(always(0), DICE, TABLE, (), jr.key(3))
    k_reset, k_steps = jr.split(jr.fold_in(jr.key(3), 0))
    m, row = len(TABLE), 4
    state = DICE.reset(TABLE[row], jr.split(jr.split(k_reset)[1], m)[row])
    rewards = []
    for key in jr.split(k_steps, DICE.spec.steps):
        k_step = jr.split(jr.split(key)[1], 3)[0]
        state, out = DICE.step(TABLE[row], state, jnp.int32(0), jr.split(k_step, m)[row])
        rewards.append(float(out.reward))
    np.testing.assert_allclose(np.reshape(rewards, (2, 2)).sum(axis=1), played.returns[row], rtol=1e-6)


@dataclass(frozen=True)
class Corridor:
    """Walk `task` steps to the right to get there; an episode is cut off after six steps."""

    @property
    def spec(self) -> Spec:
        return Spec(Box(()), Discrete(2), 6, truncates=True)

    def reset(self, task: Any, key: Any) -> Any:
        return jnp.zeros((2,))

    def step(self, task: Any, state: Any, action: Any, key: Any) -> tuple[Any, Step]:
        state = state + jnp.array([1.0, 1.0]) * jnp.array([action, 1]).astype(jnp.float32)
        there = state[0] >= task
        return state, Step(there.astype(jnp.float32), there, ~there & (state[1] >= 6))

    def observe(self, task: Any, state: Any) -> Any:
        return state[0]

    def privileged(self, task: Any, state: Any) -> None:
        return None


GOALS = jnp.array([1.0, 3.0, 5.0, 9.0])  # the last is out of reach


def _corridor(env: Any) -> Suite:
    return Suite("corridor", env, lambda key: jr.uniform(key))


def test_facts_say_how_often_episodes_ended_early() -> None:
    suite = _corridor(Trial(Corridor(), 2))
    played = play(always(1), suite.env, GOALS, (), jr.key(0))
    np.testing.assert_array_equal(played.lengths, [[1, 1], [3, 3], [5, 5], [6, 6]])
    np.testing.assert_array_equal(played.returns, [[1, 1], [1, 1], [1, 1], [0, 0]])
    assert facts(suite, played) == {
        "finished_early": [0.75, 0.75],
        "second_shorter": 0.0,
        "second_equal": 1.0,
    }
    stuck = play(always(0), suite.env, GOALS, (), jr.key(0))
    never = {"finished_early": [0.0, 0.0], "second_shorter": 0.0, "second_equal": 1.0}
    assert facts(suite, stuck) == never, "never there is a fact too"
    faster = Played(stuck.returns, np.array([[6, 3], [4, 2], [5, 5], [6, 6]], np.int32))
    assert facts(suite, faster) == {
        "finished_early": [0.5, 0.75],
        "second_shorter": 0.5,
        "second_equal": 0.5,
    }
    alone = play(always(1), Corridor(), GOALS, (), jr.key(0))
    assert facts(_corridor(Corridor()), alone) == {"finished_early": [0.75]}


def _total(recording: Recording) -> np.ndarray:
    episode = np.cumsum(recording.ended) - recording.ended
    return np.array([recording.reward[episode == k].sum() for k in range(episode.max() + 1)])


@pytest.mark.parametrize("row", [0, 3])
def test_a_recording_is_the_trial_that_was_scored(row: int) -> None:
    played = play(always(0), DICE, TABLE, (), jr.key(3))
    found = record(always(0), DICE, TABLE[: row + 1], (), jr.key(3))
    np.testing.assert_allclose(_total(found), played.returns[row], rtol=1e-6)
    assert found.reward.shape == found.action.shape == found.ended.shape == (4,)
    batched = play(always(0), DICE, TABLE, (), jr.key(3), batch=2)
    found = record(always(0), DICE, TABLE[: row + 1], (), jr.key(3), batch=2)
    np.testing.assert_allclose(_total(found), batched.returns[row], rtol=1e-6)


def test_a_learners_recording_is_the_trial_that_was_scored() -> None:
    prior = a_prior("fresh")
    learner = prior.build(SUITE)
    tasks = SUITE.split("test", 9).tasks
    played = play(learner, SUITE.env, tasks, prior.state, jr.key(0))
    for m in (1, 5, 9):
        rows = jax.tree.map(lambda leaf, m=m: leaf[:m], tasks)
        found = record(learner, SUITE.env, rows, prior.state, jr.key(0))
        np.testing.assert_array_equal(found.reward, played.returns[m - 1])


def test_a_recording_keeps_the_state_in_which_the_trial_ended() -> None:
    found = record(always(1), Corridor(), GOALS[:2], (), jr.key(0))
    np.testing.assert_array_equal(found.states, [[0, 0], [1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(found.ended, [False, False, True])
    trial = record(always(1), Trial(Corridor(), 2), GOALS[:2], (), jr.key(0))
    assert trial.states.episode.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert trial.states.reward.tolist() == [0, 0, 0, 1, 0, 0, 1]


def test_rewards_that_are_not_finite_are_a_failed_run() -> None:
    @dataclass(frozen=True)
    class Broken(Bandit):
        def step(self, task: Any, state: Any, action: Any, key: Any) -> tuple[Any, Step]:
            return state, Step(jnp.float32(jnp.nan), jnp.bool_(True), jnp.bool_(False))

    env = Broken(2)
    with pytest.raises(RunError, match="suite broken gave random rewards that are not finite"):
        evaluate(Suite("broken", Trial(env, 3), env.sample), ["random"], tasks=3)


@pytest.mark.parametrize(
    ("who", "chosen", "said"),
    [
        ("ppo", {}, "ppo has to learn before it can be scored: train it and name its run folder"),
        ("ucb2", {}, r"no agent, shipped prior or run folder called 'ucb2'; did you mean ucb1"),
        ("psrl", {}, "."),
        ("ucb1", {"tasks": 0}, "at least one task, not 0"),
        ("ucb1", {"seed": 2**40}, "seed is between 0 and 4294967295"),
        ("ucb1", {"task_seed": -3}, "task_seed is between 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(who: str, chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        evaluate("bandit:arms=2,pulls=3", [who], **chosen)


@pytest.mark.parametrize(
    ("suite", "who", "near"),
    [
        ("tabular-mdp", "greedy", "mdp-greedy"),
        ("tabular-mdp", "epsilon-greedy", "mdp-epsilon-greedy"),
        ("bandit", "mdp-greedy", "greedy"),
    ],
)
def test_a_rule_for_another_suite_is_answered_with_its_counterpart(suite: str, who: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"^{who} cannot play {suite}-v0; did you mean {near}\\?$"):
        evaluate(suite, [who], tasks=2)


def test_a_path_and_an_oracle_may_play(tmp_path: Path) -> None:
    from headstart.protocol.priors import save

    save(a_prior("x"), tmp_path / "kept.npz")
    kept, best, chance = evaluate(SUITE, [tmp_path / "kept.npz", "best-arm", "random"], tasks=200)
    assert kept.agent == "kept"
    assert np.mean(best.scores) > np.mean(chance.scores) + 0.2
    assert isinstance(ENTRY, Entry)
    assert contestant(SUITE, "best-arm").env != SUITE.env, "an oracle is shown the task"
