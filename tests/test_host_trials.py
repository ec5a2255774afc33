"""Trials on foreign simulators: K episodes of one task, seen as RL² sees them, in processes, threads and actors alike."""

import importlib.util
import json
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tests.test_host_lanes import LEAVES, MODULE, SPEC
from tests.test_host_loop import ENV, KEY, LANES, START, TASKS, assert_agree

import headstart as hs
from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.hosts.env import HostEnv, Simulators
from headstart.hosts.lanes import Program, WorkerLanes
from headstart.hosts.processes import Process
from headstart.hosts.procgen import Game, Levels, ProcgenLanes
from headstart.hosts.pure import PureLanes
from headstart.hosts.trials import in_trials
from headstart.loops import host, jit
from headstart.loops.host import HostLoop
from headstart.nets.actor_critic import NetworkConfig
from headstart.suites import FOREIGN, options
from headstart.types import Agent, TimeStep

K = 3
TRIAL = Trial(ENV, K)
NETWORK = NetworkConfig(torso=(), memory="gru", memory_size=4, actor=(), critic=())
SMALL = PPOConfig(NETWORK, unroll=8, epochs=1, minibatches=1, lr=1e-2)


def test_rl2_is_refused_where_there_is_no_trial() -> None:
    for name in ("rl2", "rl2-retro"):
        with pytest.raises(
            UsageError, match="this suite plays single ones: give the suite its option episodes"
        ):
            agents.agent(name, ENV.spec)
        agents.agent(name, Trial(ENV, 1).spec)


def test_every_foreign_suite_plays_trials_when_asked() -> None:
    assert {options(name)["episodes"] for name in FOREIGN} == {0}


class SingleEpisodes:
    """A pure trial's lanes as a simulator shows them that knows nothing of trials, but stays on a task for K episodes."""

    def __init__(self, lanes: PureLanes, n: int) -> None:
        self._lanes, self.spec, self.episode = lanes, ENV.spec, np.zeros(n, np.int32)
        self.deaths, self.busy = 0, 0.0

    def reset(self, seed: int) -> TimeStep:
        now = self._lanes.reset(seed)
        self.episode = np.zeros_like(self.episode)
        return now._replace(obs=now.obs.obs, final_obs=now.obs.obs)

    def step(self, action: np.ndarray) -> TimeStep:
        then = self._lanes.step(action)
        ended = np.asarray(then.obs.ended)
        self.episode = (self.episode + ended) % K
        assert not self.episode[np.asarray(then.first)].any()
        return then._replace(obs=then.obs.obs, first=ended, final_obs=then.obs.obs)

    @property
    def rows(self) -> np.ndarray:
        return self._lanes.rows

    def choose(self, chances: np.ndarray) -> None:
        self._lanes.choose(chances)

    def close(self) -> None: ...


def trials_on_host(agent: Agent) -> HostEnv:
    def opened(tasks: Any, n: int, first: int, pinned: bool) -> SingleEpisodes:
        return SingleEpisodes(PureLanes(TRIAL, tasks, n, KEY, agent.unroll, first, pinned), n)

    return in_trials(HostEnv("single episodes", ENV.spec, opened), K)


def test_the_loops_agree_on_trials() -> None:
    """The device's `Trial` and the host's: the same observations, memory, episodes and weights."""
    agent = agents.entry("rl2").build(TRIAL.spec, SMALL)
    env = trials_on_host(agent)
    assert env.spec == TRIAL.spec
    twin = jit.start(agent, TRIAL, TASKS, START, LANES)
    twin, twin_log = jax.device_get(jit.chunk(agent, TRIAL, TASKS, twin, KEY, 8))
    with closing(HostLoop(agent, env, LANES)) as loop:
        carry, log = jax.device_get(loop.chunk(loop.start(TASKS, START), KEY, 8))
    assert 2 < int(log.episodes.sum()) < 8 * 8 * LANES / 12, "trials, of several episodes each, ended"
    assert_agree(carry._replace(lanes=()), twin._replace(lanes=()))
    mine = {name: log.metrics[name] for name in twin_log.metrics}
    assert_agree(log._replace(metrics=mine), twin_log)


def test_an_evaluation_on_the_host_tells_a_trial_s_episodes_apart() -> None:
    agent = agents.agent("random", TRIAL.spec)
    returns, lengths, _ = host.play(agent, trials_on_host(agent), TASKS, agent.init(KEY), KEY)
    assert returns.shape == lengths.shape == (3, K)
    np.testing.assert_array_equal(returns, lengths)  # one point a step
    assert (lengths >= 5).all()
    assert (lengths <= 12).all()


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toys.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@contextmanager
def toy_trials(n: int, **kwargs: Any) -> Generator[Simulators]:
    """Two lanes a process, episodes of three steps, trials of K of them, one of six kinds each."""
    kinds = tuple({"kind": kind} for kind in range(6))
    program = Program("toys:Toy", "toys:Toy", kwargs, "reset", LEAVES, per_worker=2, episodes=K)
    lanes = WorkerLanes(program, SPEC, kinds, n, 0, False, Process)
    env = in_trials(HostEnv("toys", SPEC, lambda *_: lanes), K)
    with closing(env.open((), n, 0, False)) as opened:
        yield opened


def test_a_lane_stays_on_its_task_for_a_trial_and_shows_what_was_done_and_paid(toys: Path) -> None:
    with toy_trials(3) as lanes:
        now, kinds = lanes.reset(5), list[list[int]]()
        assert now.first.all()
        assert now.obs.ended.all()
        assert now.obs.reward.tolist() == now.obs.action.tolist() == [0, 0, 0]
        for t in range(1, 6 * 3 * K + 1):
            kinds.append(now.obs.obs["kind"].tolist())
            now = lanes.step(np.array([0, 1, 2], np.int32))
            over, ended = t % (3 * K) == 0, t % 3 == 0
            assert now.first.tolist() == [over] * 3
            assert now.discount.tolist() == [0.0 if over else 1.0] * 3
            assert now.obs.ended.tolist() == [ended] * 3
            assert now.reward.tolist() == [1.0, 2.0, 3.0]
            assert now.obs.reward.tolist() == ([0.0] * 3 if over else [1.0, 2.0, 3.0])
            assert now.obs.action.tolist() == ([0] * 3 if over else [0, 1, 2])
            assert (now.obs.reward.dtype, now.obs.action.dtype) == (np.float32, np.int32)
        played = np.array(kinds).reshape(6, 3 * K, 3)
        assert (played == played[:, :1]).all(), "one task a trial"
        assert len(np.unique(played)) > 3, "and others in others"


def test_a_worker_that_dies_ends_an_episode_and_not_the_trial(toys: Path) -> None:
    (toys / "mark").touch()
    with toy_trials(2, fault="once") as lanes:
        before = lanes.reset(0)
        lanes.step(np.zeros(2, np.int32))
        (toys / "mark").unlink()
        now = lanes.step(np.zeros(2, np.int32))
        assert lanes.deaths == 1
        assert now.obs.ended.all()
        assert not now.first.any()
        assert now.discount.tolist() == [1.0, 1.0]
        assert lanes.episode.tolist() == [1, 1]
        np.testing.assert_array_equal(now.obs.obs["kind"], before.obs.obs["kind"])
        firsts = [lanes.step(np.zeros(2, np.int32)).first.tolist() for _ in range(3 * (K - 1))]
        assert firsts == [[False] * 2] * (3 * (K - 1) - 1) + [[True] * 2]


@pytest.mark.skipif(not importlib.util.find_spec("envpool"), reason="the extra procgen is not installed")
def test_a_lane_of_procgen_stays_on_its_level_for_a_trial() -> None:
    numbers = Levels(np.array([0, 1, 2, 900], np.int32))  # further apart than one range allows
    lanes = ProcgenLanes(Game("maze", "easy"), numbers, 3, 0, pinned=False, threads=1, episodes=2)
    seen = list[Any]()
    with closing(lanes):
        for _ in range(2):
            start, trace = lanes.reset(3), list[Any]()
            random = np.random.default_rng(0)
            for _ in range(1200):
                was = lanes.rows, lanes.episode
                now = lanes.step(random.integers(0, 9, 3).astype(np.int32))
                trace.append((was, now.first, now.obs.sum(axis=(1, 2, 3))))
                rows, episode = lanes.rows, lanes.episode
                ended = np.asarray(now.first)
                np.testing.assert_array_equal(episode, (was[1] + ended) % 2)
                assert (rows == was[0])[episode > 0].all(), "the second episode is of the first's level"
                assert (rows == was[0])[~ended].all()
            seen.append((start, trace))
    assert_agree(seen[0], seen[1])
    begun = {int(row) for (rows, _), _, _ in seen[0][1] for row in rows}
    assert len(begun) > 1


DOORS = '''
import gymnasium as gym
import numpy as np


class Door(gym.Env):
    """Which of two doors pays is the task, and nothing tells it but the pay; an episode is two choices."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, door=0, pay=1.0):
        self.door, self.pay, self.t = door, pay, 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t / 2, np.float32), self.pay * (action == self.door), self.t == 2, False, {}
'''


def test_rl2_transfers_on_a_foreign_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: joint training on trials, the choice of a prior, learning in context under the budget."""
    (tmp_path / "locked.py").write_text(DOORS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.json").write_text(json.dumps([{"door": 0}, {"door": 1}]))
    (tmp_path / "valid.json").write_text(json.dumps([{"door": 1, "pay": 1.5}]))
    (tmp_path / "test.json").write_text(json.dumps([{"door": 0, "pay": 2.0}]))
    suite = "asgym:env=locked:Door,train=train.json,valid=valid.json,test=test.json"
    chosen = hs.TransferOptions(
        suite=suite,
        agents=("random", "rl2"),
        budget=96,
        seeds=1,
        lanes=4,
        train_steps=256,
        train_lanes=8,
        trial=K,
        snapshots=1,
        choose_tasks=1,
        choose_budget=96,
        run=tmp_path / "run",
    )
    random, rl2 = hs.transfer(chosen, configs={"rl2": SMALL})
    assert (random.suite, rl2.suite) == (hs.suite(suite).name, hs.suite(suite, episodes=K).name)
    assert rl2.prior is not None
    assert rl2.prior["suite"] == rl2.suite
    assert rl2.facts["frozen"] is True
    assert (random.facts["episodes"], rl2.facts["episodes"]) == (48, 48)  # of two steps, in trials or not
    assert rl2.facts["unfinished"] == 0
    assert 0.0 < rl2.scores[0] < 4.0
    (found,) = hs.evaluate(rl2.suite, [tmp_path / "run" / "priors" / "rl2"])
    assert found.lengths == [2.0] * K
    assert found.scores[0] == pytest.approx(sum(found.within), abs=1e-3)
