"""A trial is K episodes of one task, in one episode, with what RL² needs to see."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array, PRNGKeyArray

from headstart.envs import lanes
from headstart.envs.trial import Trial, TrialPrivileged
from headstart.errors import UsageError
from headstart.types import Box, Discrete, MultiDiscrete, Space, Spec, Step

K, N, T, HORIZON = 3, 5, 60, 4


@dataclass(frozen=True)
class Counting:
    """Counts from a start in {0, 100, .. 900}; terminates after `task` steps, truncates at HORIZON."""

    action: Space
    sees: bool = True

    @property
    def spec(self) -> Spec:
        return Spec(Box(()), self.action, HORIZON, privileged=Box(()) if self.sees else None, truncates=True)

    def reset(self, task: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        return jnp.int32(0), 100 * jr.randint(key, (), 0, 10)

    def step(
        self, task: Array, state: tuple[Array, Array], action: Array, key: PRNGKeyArray
    ) -> tuple[tuple[Array, Array], Step]:
        count = state[0] + 1
        reward = 10.0 * action.sum().astype(jnp.float32) + count.astype(jnp.float32)
        return (count, state[1]), Step(reward, count >= task, count >= HORIZON)

    def observe(self, task: Array, state: tuple[Array, Array]) -> Array:
        return state[0] + state[1]

    def privileged(self, task: Array, state: tuple[Array, Array]) -> Array:
        return task.astype(jnp.float32)


TABLE = np.array([1, 2, 3, HORIZON + 9], np.int32)  # the last one only ever ends by truncation
TRIAL = Trial(Counting(Discrete(3)), K)


class Played(NamedTuple):
    """`start` as reset returns it; rest `[T, N]`, after each action; `memory` is the age since `first`."""

    start: tuple
    action: np.ndarray
    index: np.ndarray
    timestep: tuple
    privileged: TrialPrivileged
    memory: np.ndarray


@pytest.fixture(scope="module")
def played() -> Played:
    k_reset, k_steps, k_actions = jr.split(jr.key(0), 3)
    actions = jr.randint(k_actions, (T, N), 0, 3)

    @jax.jit
    def run():
        def body(carry, x):
            state, timestep, memory = carry
            memory = jnp.where(timestep.first, 0, memory) + 1
            state, timestep = lanes.step(TRIAL, TABLE, state, *x)
            out = (state.row, timestep, lanes.privileged(TRIAL, state), memory)
            return (state, timestep, memory), out

        state, start = lanes.reset(TRIAL, TABLE, k_reset, N)
        carry = (state, start, jnp.zeros(N, jnp.int32))
        _, out = jax.lax.scan(body, carry, (actions, jr.split(k_steps, T)))
        return Played((state.row, start), actions, *out)

    return jax.device_get(run())


def test_a_trial_starts_with_nothing_done_and_an_episode_just_ended(played: Played) -> None:
    _, start = played.start
    assert start.first.all()
    assert start.obs.ended.all()
    np.testing.assert_array_equal(start.obs.action, np.zeros(N))
    np.testing.assert_array_equal(start.obs.reward, np.zeros(N))


def test_every_trial_equals_its_slow_twin(played: Played) -> None:
    """Tasks and random starts are read off the run; all that follows from them is played again."""
    out, trials = played.timestep, 0
    for lane in range(N):
        index, start = played.start
        task, offset = int(index[lane]), int(start.obs.obs[lane])
        count = episode = age = 0
        for t in range(T):
            count, age = count + 1, age + 1
            action, reward = int(played.action[t, lane]), float(10 * played.action[t, lane] + count)
            ended = count >= int(TABLE[task]) or count >= HORIZON
            episode += ended
            over = episode == K
            obs = jax.tree.map(lambda leaf, t=t, lane=lane: leaf[t, lane], out.obs)
            assert out.reward[t, lane] == reward, "the last reward of a trial too"
            assert out.first[t, lane] == over
            assert out.discount[t, lane] == (0.0 if over else 1.0), "inner ends do not end the trial"
            assert played.memory[t, lane] == age, "memory lasts across episodes, and no longer than the trial"
            if ended:
                count, offset = 0, int(obs.obs)
                assert offset % 100 == 0, "an episode begins with a reset"
            if over:
                task, episode, age, trials = int(played.index[t, lane]), 0, 0, trials + 1
            assert played.index[t, lane] == task, "one task throughout a trial"
            seen = (int(obs.obs), int(obs.action), float(obs.reward), bool(obs.ended))
            assert seen == (
                (offset + count, 0, 0.0, True) if over else (offset + count, action, reward, ended)
            )
            assert played.privileged.progress[t, lane] == np.float32(episode) / np.float32(K)
            assert played.privileged.env[t, lane] == TABLE[task]
    assert trials > 15
    assert out.final_obs is None, "a trial never truncates, even if its episodes do"


def test_episodes_of_a_trial_start_anew(played: Played) -> None:
    """A tenth of successive starts coincide by chance; a copied key would make all of them do so."""
    starts = played.timestep.obs.obs[played.timestep.obs.ended]
    assert len(np.unique(starts)) == 10
    assert (starts[1:] == starts[:-1]).mean() < 0.35


def test_the_spec_of_a_trial_counts_its_episodes() -> None:
    spec = TRIAL.spec
    assert (spec.horizon, spec.episodes, spec.steps, spec.truncates) == (HORIZON, K, HORIZON * K, False)
    assert spec.action == Discrete(3)
    assert (spec.obs.obs, spec.obs.action, spec.obs.ended) == (Box(()), Discrete(3), Discrete(2))
    assert spec.privileged == TrialPrivileged(Box(()), Box((), 0.0, 1.0))
    assert Trial(Counting(Discrete(3), sees=False), K).spec.privileged is None


@pytest.mark.parametrize(
    ("space", "zero"),
    [
        (Discrete(3), np.zeros((), np.int32)),
        (MultiDiscrete((2, 3)), np.zeros(2, np.int32)),
        (Box((2,), -1.0, 1.0), np.zeros(2, np.float32)),
    ],
    ids=["discrete", "multi-discrete", "box"],
)
def test_the_previous_action_has_the_shape_and_type_of_any_action(space: Space, zero: np.ndarray) -> None:
    trial = Trial(Counting(space), K)
    state = trial.reset(TABLE[3], jr.key(0))
    before = trial.observe(TABLE[3], state).action
    assert (before.shape, before.dtype) == (zero.shape, zero.dtype)
    np.testing.assert_array_equal(before, zero)
    action = jnp.ones_like(before)
    state, _ = jax.jit(trial.step)(TABLE[3], state, action, jr.key(1))
    np.testing.assert_array_equal(trial.observe(TABLE[3], state).action, action)


@pytest.mark.parametrize("episodes", [0, -2])
def test_a_trial_has_an_episode(episodes: int) -> None:
    with pytest.raises(UsageError, match=f"at least one episode, not {episodes}"):
        Trial(Counting(Discrete(3)), episodes)
