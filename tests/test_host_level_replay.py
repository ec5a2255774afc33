"""Level replay on foreign simulators: the device's loop as a twin, chosen tasks lane by lane, whole runs."""

import dataclasses
import json
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.test_host_lanes import LEAVES, MODULE, SPEC
from tests.test_host_loop import ENV, KEY, LANES, START, TASKS, assert_agree, ppo
from tests.test_host_trials import DOORS, SMALL, TRIAL, K, trials_on_host

import headstart as hs
from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.errors import RunError, UsageError
from headstart.hosts.env import HostEnv
from headstart.hosts.lanes import Program, WorkerLanes
from headstart.hosts.processes import Process
from headstart.hosts.pure import on_host
from headstart.hosts.trials import in_trials
from headstart.loops import checkpoint, jit
from headstart.loops.host import HostLoop
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import level_replay as plr
from headstart.protocol.level_replay import LevelReplay, choosing
from headstart.types import Agent, Curriculum, Env

SUITE = hs.suite("cartpole")
REPLAY = LevelReplay(on=True, staleness=0.3)


def replaying(agent: Agent) -> Agent:
    return choosing(agent, REPLAY, SUITE, 3)


@pytest.fixture(scope="module")
def learner() -> Agent:
    return replaying(ppo())


def check_agreement(agent: Agent, pure: Env, foreign: HostEnv, updates: int) -> None:
    """The same episodes of the same tasks, the same scores of levels, weights and memory."""
    twin = jit.start(agent, pure, TASKS, START, LANES)
    twin, twin_log = jax.device_get(jit.chunk(agent, pure, TASKS, twin, KEY, updates))
    with closing(HostLoop(agent, foreign, LANES)) as loop:
        carry, _ = loop.chunk(loop.start(TASKS, START), KEY, updates - 2)
        carry, log = jax.device_get(loop.chunk(carry, KEY, 2))
    assert_agree(carry._replace(lanes=()), twin._replace(lanes=()))
    np.testing.assert_allclose(log.returns, twin_log.returns[-2:], rtol=1e-5)
    known = carry.curriculum
    assert known.seen.sum() >= 2, "levels were scored that could disagree"
    assert known.begun == twin_log.episodes.sum() > 2


def test_the_two_loops_agree(learner: Agent) -> None:
    check_agreement(learner, ENV, on_host(ENV, KEY, learner.unroll), 6)


def test_the_two_loops_agree_on_trials() -> None:
    agent = replaying(agents.entry("rl2").build(TRIAL.spec, SMALL))
    check_agreement(agent, TRIAL, trials_on_host(agent), 10)


def test_parts_and_staleness_are_a_function_of_the_seed(learner: Agent) -> None:
    env, found = on_host(ENV, KEY, learner.unroll, halves=2, staleness=1), list[Any]()
    for cuts in ((2, 2), (4,)):
        with closing(HostLoop(learner, env, LANES)) as loop:
            carry = loop.start(TASKS, START)
            for updates in cuts:
                carry, _ = loop.chunk(carry, KEY, updates)
            found.append(jax.tree.leaves(jax.device_get(carry)))
            assert int(carry.curriculum.begun) > 2
    assert all(np.array_equal(x, y) for x, y in zip(*found, strict=True))


def test_a_resumed_run_knows_the_levels_and_forgets_the_episodes_it_lost(
    learner: Agent, tmp_path: Path
) -> None:
    env = on_host(ENV, KEY, learner.unroll)
    with closing(HostLoop(learner, env, LANES)) as loop:
        carry, _ = loop.chunk(loop.start(TASKS, START), KEY, 3)
        checkpoint.save(tmp_path, 3, carry, {})
        kept = jax.device_get(carry.curriculum)
    assert np.asarray(kept.length).any(), "in the middle of episodes"
    found = list[Any]()
    for more in (0, 1000):  # what is left of lost episodes does not count
        with closing(HostLoop(learner, env, LANES)) as loop:
            fresh = loop.start(TASKS, START)
            again = jax.tree.map(jnp.asarray, checkpoint.load(tmp_path, 3, fresh, {}))
            assert_agree(jax.device_get(again.curriculum), kept)
            again = again._replace(curriculum=again.curriculum._replace(total=kept.total + more))
            onward, _ = loop.chunk(again, KEY, 2)
            found.append(jax.device_get(onward.curriculum))
    assert found[0].begun > kept.begun
    assert_agree(*found)


KINDS = tuple({"kind": kind} for kind in range(6))
CHANCES = np.array([0.1, 0.0, 0.7, 0.2, 0.0, 0.0], np.float32)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toys.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def toy_lanes(episodes: int, n: int = 3, first: int = 0, **kwargs: Any) -> WorkerLanes:
    """Two lanes a process, episodes of three steps of one of six kinds."""
    program = Program("toys:Toy", "toys:Toy", kwargs, "reset", LEAVES, per_worker=2, episodes=episodes)
    return WorkerLanes(program, SPEC, KINDS, n, first, False, Process)


def played(lanes: WorkerLanes, steps: int) -> np.ndarray:
    """The kind of every step; the rows say the same."""
    kinds = np.zeros((steps, 3), int)
    for t in range(steps):
        kinds[t] = lanes.step(np.zeros(3, np.int32)).obs["kind"]
        np.testing.assert_array_equal(kinds[t], lanes.rows)
    return kinds


def own_draws(seed: int, lane: int, episodes: int) -> list[int]:
    """The rows that a worker draws where nobody chooses: a number for the task, then one for the simulator's seed."""
    random = np.random.default_rng([seed, lane, 0])
    return [int(random.integers(6)) + 0 * int(random.integers(2**31)) for _ in range(episodes)]


def test_workers_draw_by_themselves_until_tasks_are_chosen_for_them(toys: Path) -> None:
    with closing(toy_lanes(1)) as lanes:
        begun = lanes.reset(5).obs["kind"]
        wanted = np.array([own_draws(5, lane, 8) for lane in range(3)]).T
        np.testing.assert_array_equal(begun, wanted[0])
        np.testing.assert_array_equal(played(lanes, 21)[2::3], wanted[1:8])
        traces = list[np.ndarray]()
        for _ in range(2):
            lanes.reset(6)
            now = lanes.rows
            lanes.choose(CHANCES)
            kinds = played(lanes, 3 * 100)
            assert (kinds[:2] == now).all(), "an episode under way goes on"
            traces.append(kinds[2::3])
        np.testing.assert_array_equal(*traces)
        share = np.bincount(traces[0].ravel(), minlength=6) / traces[0].size
        np.testing.assert_allclose(share, CHANCES, atol=0.09)
        assert (share[CHANCES == 0.0] == 0.0).all()
        lanes.choose(np.eye(6, dtype=np.float32)[4])
        assert (played(lanes, 7)[2:] == 4).all(), "what was drawn before another choice is not played"
        assert lanes.reset(5).obs["kind"].tolist() == wanted[0].tolist(), "a reset knows no choice"
        np.testing.assert_array_equal(played(lanes, 21)[2::3], wanted[1:8])


def test_a_task_is_chosen_for_a_trial(toys: Path) -> None:
    with closing(toy_lanes(K)) as lanes:
        lanes.reset(5)
        before = lanes.rows
        lanes.choose(np.eye(6, dtype=np.float32)[4])
        kinds = played(lanes, 3 * K)
        assert (kinds[:-1] == before).all()
        assert (kinds[-1] == 4).all()


def test_a_task_is_chosen_also_for_who_takes_a_dead_worker_s_place(toys: Path) -> None:
    (toys / "mark").touch()
    with closing(toy_lanes(1, fault="once")) as lanes:
        lanes.reset(0)
        lanes.choose(np.eye(6, dtype=np.float32)[4])
        (toys / "mark").unlink()
        lost = np.asarray(lanes.step(np.zeros(3, np.int32)).first)
        assert lanes.deaths == 1
        assert lost.any()
        assert (lanes.rows[lost] == 4).all()


def witness(unroll: int) -> Agent:
    """Its curriculum counts the rows it was shown, and those that are not of what was seen; it wants the third kind."""

    def update(known: Any, row_t: Any, rollout: Any, state: Any) -> Any:
        del state
        seen = jnp.concatenate([rollout.transitions.obs["kind"], rollout.timestep.obs["kind"][None]])
        return known[0].at[row_t].add(1), known[1] + (row_t != seen).sum()

    def act(state: Any, memory: Any, timestep: Any, key: Any) -> Any:
        del key
        return (
            memory,
            jnp.zeros(timestep.first.shape[0], jnp.int32),
            jnp.broadcast_to(state, timestep.first.shape),
        )

    def init(m: int, n: int) -> Any:
        del n
        return jnp.zeros(m, jnp.int32), jnp.int32(0)

    course = Curriculum(init, lambda known: jnp.eye(6)[2], update)
    return Agent(lambda key: jnp.int32(0), lambda n: (), act, unroll=unroll, curriculum=course)


@pytest.mark.parametrize("staleness", [0, 1])
def test_the_loop_tells_a_curriculum_which_rows_were_played(toys: Path, staleness: int) -> None:
    agent = witness(4)
    env = HostEnv("toys", SPEC, lambda _, n, first, __: toy_lanes(1, n, first), 2, staleness)
    with closing(HostLoop(agent, env, 4)) as loop:
        carry, _ = loop.chunk(loop.start(np.arange(6), START), KEY, 9)
    rows, wrong = jax.device_get(carry.curriculum)
    assert wrong == 0
    assert rows.sum() == 9 * 5 * 4
    assert rows[2] >= (9 * 5 - 5) * 4, "after the first episode, of three steps"


def pays_once(folder: Path) -> str:
    """Six doors of which one pays: asgym's name for them."""
    (folder / "paying.py").write_text(DOORS)
    tasks = [{"door": 0, "pay": 4.0 if i == 3 else 0.001 * i} for i in range(6)]
    (folder / "train.json").write_text(json.dumps(tasks))
    (folder / "test.json").write_text(json.dumps([{"door": 1}]))
    return "asgym:env=paying:Door,train=train.json,test=test.json,halves=2,stale=1"


CONFIG = PPOConfig(NetworkConfig(torso=(4,)), unroll=4, epochs=1, minibatches=1, lr=1e-4)


def test_training_returns_to_the_task_that_surprises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same way each time it is played, and each time it is resumed."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"suite": pays_once(tmp_path), "agent": "ppo", "steps": 1600, "lanes": 8}
    options |= {"chunks": 4, "evaluate_on": 0}
    train: Callable[..., Any] = partial(hs.train, None, CONFIG, **options)
    plain = train()
    one, again = (train(level_replay=LevelReplay(on=True)) for _ in range(2))
    assert one.result.curve == again.result.curve
    # an episode of the door that pays is 4 by chance, and one of six is that door's
    assert np.mean(plain.result.curve.values[1:]) == pytest.approx(4 / 6, abs=0.4)
    assert min(one.result.curve.values[1:]) > 2.0

    def stop(progress: Any) -> None:
        if progress.steps >= 800:
            raise KeyboardInterrupt

    with pytest.raises(RunError, match="interrupted"):
        train(stop, level_replay=LevelReplay(on=True), run=tmp_path / "run")
    with pytest.raises(UsageError, match="another level_replay"):
        train(level_replay=LevelReplay(), run=tmp_path / "run", resume=True)
    resumed = train(level_replay=LevelReplay(on=True), run=tmp_path / "run", resume=True)
    assert resumed.result.curve.values[:1] == one.result.curve.values[:1]  # the one chunk that was kept
    assert resumed.result.curve.values[1] > 2.0, "it need not find that door again"


def test_a_simulator_that_draws_its_tasks_is_refused() -> None:
    env = on_host(ENV, KEY, 8)
    taken = dataclasses.replace(SUITE, env=dataclasses.replace(env, drawn_by="luck"))
    with pytest.raises(
        UsageError, match=r"chooses training tasks, and those of cartpole-\S+ are drawn by luck"
    ):
        choosing(ppo(), REPLAY, taken, 3)
    trials = dataclasses.replace(SUITE, env=in_trials(taken.env, 2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="drawn by luck"):
        choosing(ppo(), REPLAY, trials, 3)
    assert choosing(ppo(), REPLAY, dataclasses.replace(SUITE, env=env), 3).curriculum


def test_what_is_left_of_another_episode_is_not_scored() -> None:
    known = plr.init(2, 1)._replace(total=jnp.array([100.0]), length=jnp.array([1], jnp.int32))
    row_t, advantage_t = jnp.array([[1], [1], [0]]), jnp.array([[2.0], [-4.0]])
    for begins, score in ((True, 3.0), (False, 106 / 3)):
        first_t, last_t = jnp.array([[begins], [False]]), jnp.array([[False], [True]])
        assert float(plr.update(known, row_t, first_t, last_t, advantage_t).score[1]) == pytest.approx(score)
