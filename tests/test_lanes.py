"""The only auto-reset in the house, against a twin that plays one lane at a time in plain Python."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array, PRNGKeyArray

from headstart.envs import lanes
from headstart.types import Box, Discrete, Spec, Step, TimeStep

N, T, HORIZON = 6, 60, 5


class CountTask(NamedTuple):
    """An id to see, and the number of steps after which the episode terminates."""

    name: Array
    length: Array


@dataclass(frozen=True)
class Counting:
    """Counts its steps; terminates after `task.length` of them, truncates, if it does, after HORIZON."""

    truncates: bool

    @property
    def spec(self) -> Spec:
        obs = {"name": Box((), dtype=np.int32), "count": Box((), dtype=np.int32)}
        return Spec(obs, Discrete(3), HORIZON, privileged=Box(()), truncates=self.truncates)

    def reset(self, task: CountTask, key: PRNGKeyArray) -> Array:
        return jnp.int32(0)

    def step(self, task: CountTask, state: Array, action: Array, key: PRNGKeyArray) -> tuple[Array, Step]:
        count = state + 1
        reward = (10 * action + count).astype(jnp.float32)
        return count, Step(reward, count >= task.length, (count >= HORIZON) & self.truncates)

    def observe(self, task: CountTask, state: Array) -> dict[str, Array]:
        return {"name": task.name, "count": state}

    def privileged(self, task: CountTask, state: Array) -> Array:
        return state.astype(jnp.float32)


@dataclass(frozen=True)
class Noisy:
    """Shows the random number its last reset or step drew; ends every second step."""

    @property
    def spec(self) -> Spec:
        return Spec(Box(()), Discrete(1), 2)

    def reset(self, task: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        return jnp.int32(0), jr.uniform(key)

    def step(
        self, task: Array, state: tuple[Array, Array], action: Array, key: PRNGKeyArray
    ) -> tuple[tuple[Array, Array], Step]:
        count = state[0] + 1
        noise = jr.uniform(key)
        return (count, noise), Step(noise, count >= 2, jnp.bool_(False))

    def observe(self, task: Array, state: tuple[Array, Array]) -> Array:
        return state[1]

    def privileged(self, task: Array, state: tuple[Array, Array]) -> None:
        return None


# A task ends by termination, one on the very step it would be truncated, one only by truncation, one at once.
TABLE = CountTask(np.array([100, 101, 102, 103], np.int32), np.array([3, HORIZON, HORIZON + 9, 1], np.int32))
TERMINATING = CountTask(TABLE.name, np.array([3, 5, 2, 1], np.int32))


class Played(NamedTuple):
    """`start` is the first time step; all else is `[T, N]` and comes after each action."""

    start: TimeStep
    start_index: np.ndarray
    action: np.ndarray
    index: np.ndarray
    timestep: TimeStep


def play(env, table, pinned: bool = False, steps: int = T, n: int = N, seed: int = 0) -> Played:
    k_reset, k_steps, k_actions = jr.split(jr.key(seed), 3)
    actions = jr.randint(k_actions, (steps, n), 0, 3)

    @jax.jit
    def run():
        def body(carry, x):
            carry, timestep = lanes.step(env, table, carry, *x, pinned=pinned)
            return carry, (carry.row, timestep)

        state, start = lanes.reset(env, table, k_reset, n, pinned=pinned)
        _, (index, timestep) = jax.lax.scan(body, state, (actions, jr.split(k_steps, steps)))
        return Played(start, state.row, actions, index, timestep)

    return jax.device_get(run())


@pytest.fixture(scope="module", params=[True, False], ids=["truncates", "terminates"])
def played(request) -> tuple[bool, CountTask, Played]:
    table = TABLE if request.param else TERMINATING
    return request.param, table, play(Counting(request.param), table)


def test_a_start_is_a_first_step_without_a_past(played: tuple[bool, CountTask, Played]) -> None:
    truncates, table, run = played
    start = run.start
    assert start.first.all()
    np.testing.assert_array_equal(start.reward, np.zeros(N, np.float32))
    np.testing.assert_array_equal(start.discount, np.ones(N, np.float32))
    np.testing.assert_array_equal(start.obs["count"], np.zeros(N))
    np.testing.assert_array_equal(start.obs["name"], table.name[run.start_index])
    assert (start.final_obs is not None) == truncates


def test_every_lane_equals_its_slow_twin(played: tuple[bool, CountTask, Played]) -> None:
    """Only the draw of the next task is taken from the run; all that follows from it is played again."""
    truncates, table, run = played
    out = run.timestep
    ends = {"terminated": 0, "truncated": 0}
    for lane in range(N):
        task, count = int(run.start_index[lane]), 0
        for t in range(T):
            count += 1
            terminated = count >= int(table.length[task])
            truncated = truncates and count >= HORIZON and not terminated
            last = terminated or truncated
            assert out.reward[t, lane] == 10 * run.action[t, lane] + count
            assert out.discount[t, lane] == (0.0 if terminated else 1.0)
            assert out.first[t, lane] == last
            if truncates:
                assert out.final_obs["name"][t, lane] == table.name[task], "the task that ended, not the next"
                assert out.final_obs["count"][t, lane] == count
            if last:
                task, count = int(run.index[t, lane]), 0
            assert run.index[t, lane] == task, "a task changes only between episodes"
            assert out.obs["name"][t, lane] == table.name[task]
            assert out.obs["count"][t, lane] == count
            ends["terminated"] += terminated
            ends["truncated"] += truncated
    assert ends["terminated"] > 20
    assert (ends["truncated"] > 20) == truncates


def test_where_nothing_truncates_no_final_observation_is_stored(
    played: tuple[bool, CountTask, Played],
) -> None:
    truncates, _, run = played
    assert truncates or run.timestep.final_obs is None


def test_new_tasks_are_drawn_uniformly() -> None:
    """Tasks that all end at once: N * T independent draws from four."""
    run = play(Counting(False), TABLE._replace(length=np.ones(4, np.int32)), steps=100, n=40)
    counts = np.bincount(run.index.reshape(-1), minlength=4)
    assert counts.sum() == 4000
    assert ((counts - 1000) ** 2 / 1000).sum() < 17.7, "0.05 % point of chi-square with 3 degrees of freedom"
    lag_one = (run.index[1:] == run.index[:-1]).mean()
    assert lag_one == pytest.approx(1 / 4, abs=4 * np.sqrt(3 / 16 / 3960)), "the next task forgets the last"


def test_pinned_lanes_keep_their_task_and_cover_the_table_in_order() -> None:
    run = play(Counting(True), TABLE, pinned=True)
    np.testing.assert_array_equal(run.start_index, np.arange(N) % 4)
    np.testing.assert_array_equal(run.index, np.broadcast_to(np.arange(N) % 4, (T, N)))
    np.testing.assert_array_equal(run.timestep.obs["name"], 100 + run.index)
    assert run.timestep.first.sum(axis=0).min() >= T // HORIZON, "they are reset all the same"


def test_no_random_number_is_used_twice() -> None:
    run = play(Noisy(), jnp.zeros((2, 1)), steps=30)
    reset_noise = np.concatenate([run.start.obs, run.timestep.obs[run.timestep.first]])
    step_noise = run.timestep.reward.reshape(-1)
    assert len(reset_noise) == N + 15 * N
    drawn = np.concatenate([reset_noise, step_noise])
    assert len(np.unique(drawn)) == len(drawn)


def test_one_key_gives_one_run_and_another_key_another() -> None:
    first, again, other = (play(Counting(True), TABLE, steps=20, seed=seed) for seed in (0, 0, 1))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, first, again)))
    assert not np.array_equal(first.index, other.index)


def test_privileged_views_are_one_a_lane_or_none() -> None:
    counting, _ = lanes.reset(Counting(True), TABLE, jr.key(0), N)
    assert lanes.privileged(Counting(True), counting).shape == (N,)
    noisy, _ = lanes.reset(Noisy(), jnp.zeros((2, 1)), jr.key(0), N)
    assert lanes.privileged(Noisy(), noisy) is None


@pytest.mark.parametrize("pinned", [True, False])
def test_resetting_few_lanes_is_resetting_all_and_keeping_few(
    monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    lengths = np.arange(
        20, 84, dtype=np.int32
    )  # now nobody ends, now a few, at the start of a round all but none
    table = CountTask(lengths, lengths)
    few = play(Counting(False), table, pinned, steps=90, n=64)
    ends = few.timestep.first.sum(axis=1)
    assert (ends == 0).any()
    assert (ends > 0).any()
    assert (ends <= 4).all()
    monkeypatch.setattr(lanes, "_FEW", 1000)
    every = play(Counting(False), table, pinned, steps=90, n=64)
    jax.tree.map(np.testing.assert_array_equal, few, every)
    noisy = play(Noisy(), jnp.zeros(8), pinned, steps=6, n=64)
    monkeypatch.setattr(lanes, "_FEW", 1)
    jax.tree.map(np.testing.assert_array_equal, noisy, play(Noisy(), jnp.zeros(8), pinned, steps=6, n=64))
