"""Every suite passes Gymnasium's own checker, and the vector environment is a row of single ones."""

import subprocess
import sys
from typing import Any

import gymnasium
import jax
import jax.random as jr
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import headstart.gym as hg
from headstart.envs.bandit import BanditTask
from headstart.errors import UsageError
from headstart.suites import REGISTRY, options, suite
from headstart.types import Box, Discrete, MultiDiscrete

# Few and small, so that the battery is quick: the program of a renderer takes seconds to compile.
SMALL: dict[str, dict[str, Any]] = {
    "cartpole-v0": {},
    "maze-large-v0": {"obs": "rays", "episodes": 1, "horizon": 3},
    "maze-small-v0": {"obs": "rgb", "episodes": 2, "horizon": 3},
    "tabular-mdp-v0": {"episodes": 2, "horizon": 3},
}
BANDITS = {"arms": 3, "pulls": 4}


def _small(name: str) -> dict[str, Any]:
    return {"size": 3, **SMALL.get(name, BANDITS if "bandit" in name else {})}


def _make(name: str, **chosen: Any) -> gymnasium.Env:
    return gymnasium.make(f"headstart/{name}", **_small(name), **chosen)


def _vector(name: str, n: int, **chosen: Any) -> gymnasium.vector.VectorEnv:
    return gymnasium.make_vec(f"headstart/{name}", num_envs=n, **_small(name), **chosen)


def _same(a: Any, b: Any) -> None:
    """Same structure, types, dtypes and values."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", REGISTRY)
def test_gymnasiums_checker_has_nothing_to_say(name):
    check_env(_make(name).unwrapped)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_observation_of_an_episode_is_in_the_space(name):
    env = _make(name, split="test")
    env.action_space.seed(0)
    obs, info = env.reset(seed=0)
    ended, steps = False, 0
    while not ended:
        assert obs in env.observation_space
        assert 0 <= info["task"] < 3
        obs, _, terminated, truncated, info = env.step(env.action_space.sample())
        ended, steps = terminated or truncated, steps + 1
    assert obs in env.observation_space
    assert steps <= suite(name, **SMALL.get(name, BANDITS if "bandit" in name else {})).env.spec.steps


@pytest.mark.parametrize("name", REGISTRY)
def test_a_suites_options_do_not_hide_the_wrappers(name):
    ours = {"suite", "num_envs", "split", "size", "seed", "task", "render_mode"}
    assert not ours & set(options(name))


# One suite that truncates and one of trials stand for all: the wrappers know nothing else about them.
BOTH = ("cartpole-v0", "bandit-v0")


@pytest.mark.parametrize("name", BOTH)
def test_the_vector_environment_looks_like_gymnasiums_list_of_single_ones(name):
    """Same spaces, same dtypes, same keys and masks in the info, up to where the randomness differs."""
    ours = _vector(name, 3)
    theirs = SyncVectorEnv([lambda: _make(name)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space

    def zero(tree):
        return jax.tree.map(lambda leaf: leaf if leaf.dtype == object else leaf * leaf.dtype.type(0), tree)

    def seen(envs):
        kinds = {}
        envs.action_space.seed(0)
        _same(zero(envs.reset(seed=0)), zero(theirs.reset(seed=0)))
        for _ in range(60):
            obs, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
            assert obs in envs.observation_space
            ended = bool((terminated | truncated).any())
            assert ("final_obs" in info) == ended
            finals = [final for final in info.pop("final_obs", []) if final is not None]
            assert all(final in envs.single_observation_space for final in finals)
            kinds[ended] = zero((obs, reward, terminated, truncated, info)), finals[:1] and zero(finals[0])
        return kinds

    mine, reference = seen(ours), seen(theirs)
    assert set(mine) == {False, True}
    for ended in mine:
        _same(mine[ended], reference[ended])


@pytest.mark.parametrize("name", BOTH)
def test_each_lane_goes_the_way_the_single_environment_goes(name):
    """The slow twin: every transition of every lane, once more by the pure environment with its key."""
    n = 3
    envs = _vector(name, n).unwrapped
    pure = envs._tasks.suite.env
    single = _make(name).unwrapped
    step = jax.jit(pure.step)
    envs.action_space.seed(1)
    envs.reset(seed=1)
    ends = 0
    for t in range(1, 40):
        before, actions = envs._lanes, envs.action_space.sample()
        _, reward, terminated, truncated, info = envs.step(actions)
        keys = jr.split(jr.split(jr.fold_in(envs._key, t), 3)[0], n)
        for i in range(n):
            task, state = jax.tree.map(lambda leaf: leaf[i], (before.task, before.state))
            state, out = step(task, state, np.int32(actions[i]), keys[i])
            np.testing.assert_allclose(reward[i], out.reward, rtol=1e-6)
            assert terminated[i] == out.terminated
            assert truncated[i] == (out.truncated and not out.terminated)
            if terminated[i] or truncated[i]:
                ends += 1
                single._task, single._state = task, state
                _same(info["final_obs"][i], single._observation())
                assert info["final_info"]["task"][i] == before.row[i]
                row = jax.tree.map(lambda leaf: np.asarray(leaf[info["task"][i]]), envs._tasks.table)
                _same(row, jax.tree.map(lambda leaf: np.asarray(leaf[i]), envs._lanes.task))
    assert ends > n


def test_a_seed_repeats_an_episode_and_another_does_not():
    env = _make("cartpole-v0")

    def play(seed):
        env.reset(seed=seed)
        return np.stack([env.step(action)[0] for action in (0, 1, 1)])

    np.testing.assert_array_equal(play(5), play(5))
    assert np.abs(play(5) - play(6)).max() > 1e-4


def test_a_vector_seed_repeats_and_another_does_not():
    envs = _vector("cartpole-v0", 2)
    first, again, other = (envs.reset(seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4
    assert np.abs(first[0] - first[1]).max() > 1e-4


def test_the_task_is_the_one_asked_for():
    env = _make("cartpole-v0", task=2)
    assert [env.reset()[1]["task"] for _ in range(5)] == [2] * 5
    assert env.reset(options={"task": 1})[1]["task"] == 1
    assert env.reset()[1]["task"] == 2
    free = _make("cartpole-v0")
    assert {free.reset()[1]["task"] for _ in range(40)} == {0, 1, 2}
    table = suite("cartpole").split("train", 3).tasks
    np.testing.assert_array_equal(env.unwrapped._task.length, table.length[2])


def test_the_lanes_tasks_are_those_asked_for():
    envs = _vector("bandit-v0", 4)
    _, info = envs.reset(seed=0, options={"task": [2, 0, 1, 2]})
    for _ in range(9):
        np.testing.assert_array_equal(info["task"], [2, 0, 1, 2])
        info = envs.step(envs.action_space.sample())[-1]
    table = suite("bandit", **BANDITS).split("train", 3).tasks
    np.testing.assert_array_equal(envs.unwrapped._lanes.task.mean, table.mean[np.array([2, 0, 1, 2])])
    _, info = _vector("bandit-v0", 4, task=1).reset()
    np.testing.assert_array_equal(info["task"], [1] * 4)
    seen = {int(i) for seed in range(5) for i in envs.reset(seed=seed)[1]["task"]}
    assert seen == {0, 1, 2}


def test_the_rewards_are_those_of_the_split_and_task():
    """Pulling one arm of one task pays its mean: seed, split and index reach the environment."""
    task = suite("bandit", **BANDITS).split("test", 3, seed=7).tasks.mean[1]
    envs = _vector("bandit-v0", 500, split="test", seed=7, task=1)
    envs.reset(seed=0)
    for arm, mean in enumerate(task):
        rewards = np.concatenate([envs.step(np.full(500, arm))[1] for _ in range(4)])
        assert abs(rewards.mean() - mean) < 4.5 * np.sqrt(0.25 / rewards.size)


def test_train_without_a_size_is_endless_and_the_others_are_a_thousand():
    for split, count in (("train", 16_384), ("valid", 1000), ("test", 1000)):
        env = gymnasium.make("headstart/bandit-v0", split=split, arms=2).unwrapped
        assert env._tasks.size == count
        assert isinstance(env._tasks.table, BanditTask)


def test_pictures():
    env = _make("cartpole-v0", render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    for action in (1, 1, 0, 1, 0):
        env.step(action)
    assert before.shape == (320, 600, 3)
    assert before.dtype == np.uint8
    assert (env.render() != before).any()
    envs = _vector("cartpole-v0", 2, render_mode="rgb_array")
    envs.reset(seed=0)
    assert [picture.shape for picture in envs.render()] == [(320, 600, 3)] * 2
    assert _make("cartpole-v0").unwrapped.render() is None


def test_wrong_use_is_explained():
    env = _make("cartpole-v0").unwrapped
    with pytest.raises(UsageError, match=r"call reset\(\) first"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(UsageError, match=r"2 is no action of Discrete\(2\)"):
        env.step(2)
    while not any(env.step(0)[2:4]):
        pass
    with pytest.raises(UsageError, match="it has ended"):
        env.step(0)
    with pytest.raises(UsageError, match="from 0 to 2 into the split, not 3"):
        env.reset(options={"task": 3})
    with pytest.raises(UsageError, match=r"no reset option called 'tsk'; did you mean task\?"):
        env.reset(options={"tsk": 3})
    with pytest.raises(UsageError, match="no option of suite bandit-v0 called 'arm'"):
        gymnasium.make("headstart/bandit-v0", arm=3)
    with pytest.raises(UsageError, match="has no render_mode 'rgb_array': it offers none"):
        hg.SuiteEnv("bandit-v0", render_mode="rgb_array", size=1)
    with pytest.raises(UsageError, match=r"not 1\.5"):
        env.reset(options={"task": 1.5})


def test_wrong_use_of_lanes_is_explained():
    envs = _vector("cartpole-v0", 2)
    with pytest.raises(UsageError, match=r"call reset\(\) first"):
        envs.step(np.zeros(2, int))
    envs.reset(seed=0)
    for wrong in (np.zeros(3, int), np.array([0, 2]), np.array([0.0, 1.0])):
        with pytest.raises(UsageError, match="are no actions of"):
            envs.step(wrong)
    with pytest.raises(UsageError, match=r"one index or 2 of them, not of shape \(3,\)"):
        envs.reset(options={"task": [0, 1, 2]})
    with pytest.raises(UsageError, match="at least one lane, not 0"):
        hg.SuiteVectorEnv("cartpole-v0", num_envs=0)


def test_spaces_of_all_kinds_and_their_observations():
    tree = {"none": (), "pair": (Discrete(3), MultiDiscrete((2, 4))), "box": Box((2,), 0.0, 255.0, np.uint8)}
    space = hg.space_of(tree)
    pair = spaces.Tuple([spaces.Discrete(3), spaces.MultiDiscrete([2, 4])])
    assert space == spaces.Dict({"pair": pair, "box": spaces.Box(0, 255, (2,), np.uint8)})
    obs = hg.to_gymnasium(
        tree, {"none": (), "pair": (np.int32(2), np.array([1, 3])), "box": np.array([0, 9])}
    )
    assert obs in space
    assert list(obs) == ["pair", "box"]
    assert hg.space_of(()) == spaces.Discrete(1)
    assert hg.to_gymnasium((), ()) in hg.space_of(())
    unbounded = hg.space_of(Box((1,)))
    assert np.isfinite(unbounded.low).all()
    assert np.isfinite(unbounded.sample()).all()


def test_one_line_registers_and_makes_it():
    """In a fresh interpreter, in the spelling that needs no import of headstart."""
    made = "gymnasium.make('headstart.gym:headstart/bandit-v0', size=1)"
    code = f"import gymnasium; print({made}.reset(seed=0)[1])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "{'task': 0}"
