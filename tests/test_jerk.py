"""JERK in a corridor whose wall is passed only by a jump, against the released code's loop written out slowly."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.testing import assert_allclose

from headstart import agents, suites
from headstart.agents import agent
from headstart.agents.jerk import JerkConfig, JerkState, Table, replay_probability
from headstart.errors import UsageError
from headstart.loops import jit
from headstart.protocol import training
from headstart.protocol.contenders import AdaptOptions, Contender, plan_of
from headstart.protocol.training import TrainOptions
from headstart.types import Agent, Box, Discrete, Rollout, Spec, Step, TimeStep, Transition

NOTHING, LEFT, RIGHT, JUMP = 0, 1, 2, 7
WALLS, GOAL, HORIZON = 12, 60, 90


@dataclass(frozen=True)
class Corridor:
    """Walk one place a step. Every twelve places a wall is to be jumped over with speed: the four steps of a jump must
    begin a few places before it. Reward is progress; the goal, at 60, ends the episode.
    """

    @property
    def spec(self) -> Spec:
        return Spec(Box((1,)), Discrete(8), HORIZON)

    def reset(self, task: Any, key: Any) -> Any:
        del task, key
        return jnp.zeros(3, jnp.int32)

    def step(self, task: Any, state: Any, action: Any, key: Any) -> tuple[Any, Step]:
        del task, key
        place, speed, t = state
        walk = (action == RIGHT).astype(jnp.int32) - (action == LEFT).astype(jnp.int32)
        speed = jnp.where(action == JUMP, speed, walk)
        there = jnp.maximum(place + speed, 0)
        there = jnp.where((there % WALLS == 0) & (there > 0) & (action != JUMP), place, there)
        over = (there >= GOAL) | (t + 1 >= HORIZON)
        reward = (there - place).astype(jnp.float32)
        return jnp.stack([there, speed, t + 1]), Step(reward, over, jnp.bool_(False))

    def observe(self, task: Any, state: Any) -> Any:
        return state[:1].astype(jnp.float32)

    def privileged(self, task: Any, state: Any) -> None:
        return None


TASKS = jnp.zeros((1, 1))
# A block is long enough to reach the next wall, and short enough to notice it.
CHOICES: dict[str, Any] = {"right_steps": 10, "left_steps": 7, "tapes": 4, "total_steps": 12_000}
JERK: Agent = agent("jerk", Corridor().spec, **CHOICES)


def train(seed: int, lanes: int, updates: int) -> tuple[JerkState, jit.Log]:
    carry = jit.start(JERK, Corridor(), TASKS, jr.key(seed), lanes)
    carry, log = jit.chunk(JERK, Corridor(), TASKS, carry, jr.key(seed), updates)
    return carry.agent, log


def mean_return(log: jit.Log, part: slice) -> float:
    return float(log.returns[part].sum()) / int(log.episodes[part].sum())


@pytest.mark.parametrize("lanes", [1, 4])
def test_it_passes_the_walls_and_then_repeats_what_was_best(lanes: int) -> None:
    for seed in range(3):
        state, log = train(seed, lanes, 16_000 // lanes)
        best = float(state.table.mean.max())
        early, late = mean_return(log, slice(2000 // lanes)), mean_return(log, slice(-800 // lanes, None))
        assert early < 58, "each wall stops it for a while; 16 seeds gave 48 to 56"
        assert best == GOAL
        assert late == best, "after 12 000 steps it only replays, and the corridor has no chance in it"


def test_the_probability_of_a_replay_is_the_papers() -> None:
    config = JerkConfig()
    state = agent("jerk", Corridor().spec).init(jr.key(0))
    assert replay_probability(state, config) == 0, "nothing to replay"
    for steps, expected in [(0, 0.25), (100_000, 0.35), (500_000, 0.75)]:
        known = state._replace(made=jnp.int32(1), steps=jnp.int32(steps))
        assert_allclose(replay_probability(known, config), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("chosen", "expected"), [(0, 0.25 + 0.5), (50_000, 0.25 + 1.0), (1_000_000, 0.25 + 0.05)]
)
def test_the_probability_grows_over_the_budget_of_the_run_unless_told_otherwise(
    chosen: int, expected: float
) -> None:
    config = JerkConfig(total_steps=chosen)
    suite = suites.suite("platformer")
    plan = plan_of(
        suite, suite.split("test", 1), Contender("jerk", "jerk", config), AdaptOptions(budget=100_000)
    )
    known = plan.agent.init(jr.key(0))._replace(made=jnp.int32(1), steps=jnp.int32(50_000))
    assert plan.contender.config.total_steps == (chosen or 100_000), "as results tell it"
    assert_allclose(replay_probability(known, plan.contender.config), expected, rtol=1e-6)
    assert plan.agent is agents.entry("jerk").build(suite.env.spec, plan.contender.config)
    trained = training._plan(TrainOptions("platformer", "jerk", 100_000, 8), config)
    assert trained.agent is plan.agent
    assert trained.config == config, "a prior is fine-tuned under another budget"


def test_how_often_it_replays_is_that_probability() -> None:
    n = 4000
    state = JERK.init(jr.key(0))
    state = state._replace(made=jnp.int32(1), steps=jnp.int32(3000))
    table = state.table._replace(
        plays=jnp.array([1, 2, 0, 1]),
        total=jnp.array([5.0, 12.0, 0.0, 5.5]),
        length=jnp.array([3, 2, 0, 1]),
        serial=jnp.array([1, 2, 0, 3]),
        tape=state.table.tape.at[1, :2].set(jnp.array([5, 6], jnp.uint8)),
    )
    memory, act, first = JERK.memory(n), jax.jit(JERK.act), jnp.ones(n, bool)
    pressed = []
    for t in range(3):
        now = TimeStep(None, jnp.zeros(n), jnp.ones(n), first & (t == 0), None)
        memory, action, _ = act(state._replace(table=table), memory, now, jr.key(t))
        pressed.append(action)
    replays = np.asarray(memory.serial == 2)
    assert set(np.asarray(memory.serial).tolist()) == {0, 2}, "the tape with the best mean, or none"
    assert abs(replays.mean() - 0.5) < 5 * np.sqrt(0.25 / n)
    assert {tuple(row) for row in np.stack(pressed, -1)[replays].tolist()} == {(5, 6, NOTHING)}
    jumps = np.stack(pressed, -1)[~replays] == JUMP
    assert abs(jumps[:, 0].mean() - 0.1) < 5 * np.sqrt(0.09 / n)
    assert abs(jumps[:, 1].mean() - 0.19) < 5 * np.sqrt(0.16 / n)


def slow_walk(pressed: list[int], rewards: list[float]) -> list[bool]:
    """Whether the released code goes left in each step, given what it was paid."""
    leftward: list[bool] = []
    while len(leftward) < len(pressed):
        gained = sum(rewards[len(leftward) : len(leftward) + 10])
        whole = len(leftward) + 10 <= len(pressed)
        leftward += [False] * 10
        if whole and gained <= 0:
            leftward += [True] * 7
    return leftward[: len(pressed)]


def test_it_turns_back_and_keeps_the_best_prefix_as_the_released_code_does() -> None:
    """One exploring episode of made-up rewards, step by step."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rewards = [float(r) for r in rng.normal(-0.1, 1.0, 60).astype(np.float32)]
        state, memory = JERK.init(jr.key(0)), JERK.memory(1)
        act, update = jax.jit(JERK.act), jax.jit(JERK.update)
        pressed: list[int] = []
        for t in range(60):
            before = jnp.array([rewards[t - 1] if t else 0.0])
            now = TimeStep(None, before, jnp.ones(1), jnp.array([t == 0]), None)
            after, action, _ = act(state, memory, now, jr.key(100 * seed + t))
            pressed.append(int(action[0]))
            last = jnp.array([[t == 59]])
            step = Transition(
                None, last, action[None], jnp.array([[rewards[t]]]), jnp.ones((1, 1)), last, None, None, ()
            )
            state, _ = update(state, Rollout(memory, step, now, None, after), jr.key(0))
            memory = after
        for action, leftward in zip(pressed, slow_walk(pressed, rewards), strict=True):
            assert action in (JUMP, LEFT if leftward else RIGHT)
        jumping = np.array([action == JUMP for action in pressed])
        assert 0 < jumping.sum() < 60
        cumulative = np.cumsum(np.float32(rewards))
        length = int(np.argmax(cumulative)) + 1
        assert state.table.plays.tolist() == [1, 0, 0, 0]
        assert int(state.table.length[0]) == length
        assert_allclose(state.table.total[0], cumulative.max(), rtol=1e-5)
        assert state.table.tape[0, :length].tolist() == pressed[:length]


def test_of_equal_tapes_the_newest_is_best_and_empty_places_never_are() -> None:
    zero = jnp.zeros(3, jnp.int32)
    table = Table(
        jnp.zeros((3, 2), jnp.uint8), zero, jnp.array([-4.0, -2.0, 0.0]), jnp.array([2, 1, 0]), zero
    )
    assert int(table._replace(serial=jnp.array([1, 2, 0])).best()) == 1
    assert int(table._replace(serial=jnp.array([3, 2, 0])).best()) == 0
    assert table.mean.tolist() == [-2, -2, -np.inf]


def test_a_full_table_loses_its_worst_tape() -> None:
    state, _ = train(5, 4, 2000)
    assert int(state.made) > 4
    assert (state.table.plays > 0).all()
    assert sorted(set(state.table.serial.tolist())) == sorted(state.table.serial.tolist())


@pytest.mark.parametrize("action", [Discrete(2), Box((3,))])
def test_other_actions_are_refused(action: Any) -> None:
    with pytest.raises(UsageError, match="8 actions and cannot play"):
        agent("jerk", Spec(Box((1,)), action, 10))


@pytest.mark.parametrize("settings", [{"tapes": 0}, {"right": 8}, {"jump_steps": 0}, {"total_steps": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        agent("jerk", Corridor().spec, **settings)
