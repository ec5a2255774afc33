"""Procgen through EnvPool: splits that are disjoint at first sight, lanes that begin again, the paper's scale."""

import importlib.util
import os
import subprocess
import sys

import jax
import jax.random as jr
import numpy as np
import pytest

from headstart import agents, suites
from headstart.errors import UsageError
from headstart.hosts import procgen as host
from headstart.hosts.procgen import Game, Levels, ProcgenLanes
from headstart.nets.actor_critic import ActorCritic
from headstart.suites import procgen as suite

needs_procgen = pytest.mark.skipif(
    not importlib.util.find_spec("envpool"), reason="the extra procgen is not installed"
)
MAZE = Game("maze", "easy")


def levels(*numbers: int) -> Levels:
    return Levels(np.array(numbers, np.int32))


def test_sixteen_games_have_a_horizon_and_the_paper_s_range_in_both_modes() -> None:
    assert len(host.HORIZONS) == 16
    assert set(host.HORIZONS) == set(suite.RANGES)
    for game, ranges in suite.RANGES.items():
        assert set(ranges) == set(host.MODES)
        for mode, (low, high) in ranges.items():
            assert suite.normalised(low, game, mode) == 0.0
            assert suite.normalised(high, game, mode) == 1.0
    assert suite.normalised(33.25, "starpilot") == pytest.approx(0.5)
    assert suite.normalised(8.5, "leaper", "hard") == pytest.approx(7 / 8.5)
    with pytest.raises(UsageError, match="no game of Procgen called 'conrun'; did you mean coinrun"):
        suite.normalised(1.0, "conrun")


def test_the_preset_is_the_paper_s() -> None:
    config = agents.configure("ppo-procgen")
    assert (config.unroll, config.epochs, config.minibatches, config.lr) == (256, 3, 8, 5e-4)
    assert (config.gamma, config.lam, config.clip, config.entropy_bonus) == (0.999, 0.95, 0.2, 0.01)
    network = jax.eval_shape(lambda: ActorCritic(jr.key(0), MAZE.spec, config.network))
    kernels = [leaf.shape for leaf in jax.tree.leaves(network) if len(leaf.shape) == 4]
    assert len(kernels) == 15  # three blocks of one convolution and two residual pairs
    assert network.policy_head.weight.shape == (15, 256)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host.require.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the extra `procgen`: pip install 'headstart\[procgen\]'"):
        suites.suite("procgen:coinrun")
    host.require.cache_clear()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("procgen:conrun", "no game of Procgen called 'conrun'"),
        ("procgen:maze,mode=memory", "modes easy and hard, not 'memory'"),
        ("procgen:maze,num_levels=-2", "num_levels of suite procgen is between 1 and 2000, not -2"),
        ("procgen:maze,test_levels=5000", "test_levels of suite procgen is between 1 and 2000, not 5000"),
        ("procgen:maze,start_level=-1", "training levels lie between 0 and 1048576"),
        ("procgen:maze,threads=-1", "has no -1 threads"),
    ],
)
def test_wrong_options_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        suites.suite(name)


@pytest.mark.parametrize(
    ("options", "size"), [("", 200), (",mode=hard", 500), (",mode=hard,num_levels=7", 7)]
)
def test_the_training_set_is_the_paper_s_for_the_mode(
    options: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "require", lambda: None)
    monkeypatch.setattr(host, "first_frames", lambda game, levels, plain: {n: b"%d" % n for n in levels})
    made = suites.suite(f"procgen:jumper{options},test_levels=20")
    suite._tables.cache_clear()
    assert made.split("train").size == size
    assert made.scale == suite.RANGES["jumper"]["hard" if "hard" in options else "easy"]


@needs_procgen
def test_qt_is_found_without_the_system_s() -> None:
    """In a process of its own, whose loader is told of no other folder."""
    script = "from headstart.hosts import procgen; procgen.require(); print('loaded')"
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.stdout == "loaded\n", ran.stderr
    assert ran.stderr == ""


@needs_procgen
def test_splits_are_disjoint_at_first_sight_and_what_is_dropped_is_a_repetition() -> None:
    """Drawn plain, and as agents see them; and what is passed over looks like something that was taken."""
    found = suites.suite("procgen:maze,num_levels=60,test_levels=40")
    frames = {}
    for role in ("train", "valid", "test"):
        numbers = found.split(role).tasks.level
        frames[role] = set(host.first_frames(MAZE, numbers.tolist(), plain=True).values())
    assert not frames["test"] & frames["train"]
    assert not frames["valid"] & frames["train"]
    assert not frames["test"] & frames["valid"]
    test = found.split("test").tasks.level.tolist()
    assert len(frames["test"]) == len(test) == 40  # nor do two of them look the same
    assert test[0] >= 1 << 21
    assert found.split("test").labels[0] == f"level-{test[0]}"
    seen = {
        role: host.first_frames(MAZE, found.split(role).tasks.level.tolist()) for role in ("train", "test")
    }
    assert not set(seen["train"].values()) & set(seen["test"].values())
    passed = [level for level in range(1 << 21, test[-1]) if level not in set(test)]
    assert passed  # small mazes repeat
    every = host.first_frames(MAZE, range(1 << 21, test[-1] + 1), plain=True)
    assert all(every[level] in frames["train"] | frames["valid"] | frames["test"] for level in passed)
    assert found.split("train").tasks.level.tolist() == list(range(60))


@needs_procgen
def test_lanes_begin_again_by_themselves_and_the_same_seed_is_the_same_game() -> None:
    lanes = ProcgenLanes(MAZE, levels(0, 1, 2, 4, 5), 4, 0, pinned=False, threads=1)
    rng = np.random.default_rng(0)
    actions = rng.integers(0, host.ACTIONS, (520, 4)).astype(np.int32)
    seen = []
    for _ in range(2):
        assert lanes.reset(7).first.all()
        total, ends, rows = np.zeros(4), 0, set(lanes.rows.tolist())
        for action in actions:
            now = lanes.step(action)
            total += now.reward
            ends += int(now.first.sum())
            apart = (now.final_obs != now.obs).any(axis=(1, 2, 3))
            assert not apart[~now.first].any()  # where an episode goes on the two are one
            assert apart[now.first].all()
            assert set(np.unique(now.discount)) <= {0.0, 1.0}
            rows |= set(lanes.rows.tolist())
        assert ends >= 4  # a maze ends after 500 steps
        assert rows <= {0, 1, 2, 3, 4}  # the missing level 3 is never played
        seen.append((total.tolist(), ends, now.obs.sum()))
    lanes.close()
    assert seen[0] == seen[1]


@needs_procgen
def test_a_pinned_lane_keeps_its_level() -> None:
    lanes = ProcgenLanes(MAZE, levels(3, 9, 4), 4, 1, pinned=True, threads=1)
    begun = lanes.reset(0)
    frames = host.first_frames(MAZE, [3, 4, 9])
    assert lanes.rows.tolist() == [1, 2, 0, 1]
    assert [begun.obs[i].tobytes() for i in range(4)] == [frames[level] for level in (9, 4, 3, 9)]
    lanes.close()


@needs_procgen
def test_levels_are_chosen_for_trials_alone() -> None:
    lanes = ProcgenLanes(MAZE, levels(0, 1, 2), 3, 0, pinned=False, threads=1, episodes=2)
    lanes.reset(0)
    begun = lanes.rows
    lanes.choose(np.array([0.0, 0.0, 1.0], np.float32))
    for _ in range(1001):  # a maze ends after 500 steps at most
        before, now = lanes.episode, lanes.step(np.zeros(3, np.int32))
        over = np.asarray(now.first) & (before == 1)
        begun = np.where(over, 2, begun)
        assert lanes.rows.tolist() == begun.tolist()
    assert begun.tolist() == [2, 2, 2]
    lanes.close()
    lanes = ProcgenLanes(MAZE, levels(0, 1, 2), 3, 0, pinned=False, threads=1)
    with pytest.raises(UsageError, match="levels of maze are drawn by EnvPool, but in trials of episodes=2"):
        lanes.choose(np.ones(3, np.float32) / 3)
    small = {"num_levels": 8, "test_levels": 2}
    chosen = {k: suites.suite("procgen:maze", **small, episodes=k).env for k in (0, 1, 2)}
    assert [env.drawn_by == "" for env in chosen.values()] == [False, False, True]  # pyright: ignore[reportAttributeAccessIssue]


@needs_procgen
def test_levels_far_apart_are_not_drawn_from() -> None:
    with pytest.raises(UsageError, match="2 levels of maze lie 1001 apart"):
        ProcgenLanes(MAZE, levels(0, 1000), 2, 0, pinned=False)
