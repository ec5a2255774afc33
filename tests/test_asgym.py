"""Any Gymnasium environment as a suite: names, tasks, roles, the whole way through `headstart train` and `transfer`."""

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import headstart as hs
from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.cli import COMMANDS
from headstart.commands._environment import as_suite
from headstart.commands.runs import show
from headstart.errors import RunError, UsageError
from headstart.hosts.lanes import WorkerLanes
from headstart.hosts.processes import Process
from headstart.loops import either
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol.adaptation import AdaptOptions, Contender, adapt
from headstart.suites import suite
from headstart.tasks import Scale

MODULE = '''
import contextlib, os
import gymnasium as gym
import numpy as np


class Door(gym.Env):
    """Which of two doors pays is the task; an episode is four choices."""

    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, door=0, pay=1.0):
        self.door, self.pay, self.t = door, pay, 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(2, self.t / 4, np.float32), self.pay * (action == self.door), self.t == 4, False, {}


def house(doors=2, kinds=3, **rest):
    """One whose doors are so many, and which shows no more than one of so many kinds."""
    env = Door(**rest)
    env.action_space, env.observation_space = gym.spaces.Discrete(doors), gym.spaces.Discrete(kinds)
    env.reset = lambda **_: (0, {})
    return env


class Frail(Door):
    """Its process dies at the very first step, and never again."""

    def step(self, action):
        with contextlib.suppress(FileExistsError):
            open(mark, "x").close()
            os._exit(3)
        return super().step(action)


class Strange(Door):
    observation_space = gym.spaces.Sequence(gym.spaces.Discrete(3))


mark = os.path.join(os.path.dirname(__file__), "mark")
'''


@pytest.fixture
def doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "doors.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.json").write_text(json.dumps([{"door": 0}, {"door": 0, "pay": 2.0, "name": "rich"}]))
    (tmp_path / "test.json").write_text(json.dumps([{"door": 0, "pay": 3.0}]))
    (tmp_path / "valid.json").write_text(json.dumps([{"door": 0, "pay": 1.5}]))
    return tmp_path


NAME = "asgym:env=doors:Door,train=train.json,valid=valid.json,test=test.json"
SMALL = PPOConfig(NetworkConfig(torso=(), actor=(), critic=()), unroll=8, epochs=2, minibatches=1, lr=0.1)


def test_a_suite_has_the_tasks_of_its_files(doors: Path) -> None:
    loaded = suite(NAME)
    train, test = loaded.split("train"), loaded.split("test")
    assert (train.size, test.size, loaded.split("valid").size) == (2, 1, 1)
    assert train.labels == ("door=0", "rich")
    assert not set(train.digests) & set(test.digests)
    assert loaded.env.spec.horizon == 10_000
    assert suite(f"{NAME},horizon=9").env.spec.horizon == 9
    same = suite(NAME).split("train")
    assert same.fingerprint == train.fingerprint


def test_without_files_there_is_one_task_of_every_role() -> None:
    loaded = suite("asgym:CartPole-v1")
    assert loaded.name == "asgym-v0"
    assert loaded.env.spec.horizon == 500
    assert loaded.split("train").digests == loaded.split("test").digests


def test_one_file_is_split_by_place(doors: Path) -> None:
    (doors / "all.json").write_text(json.dumps([{"pay": float(i)} for i in range(16)]))
    loaded = suite("asgym:env=doors:Door,train=all.json")
    sizes = {role: loaded.split(role).size for role in ("train", "valid", "test")}
    assert sizes == {"train": 10, "valid": 2, "test": 4}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asgym:env=doors:Window", "doors:Window cannot be made"),
        ("asgym:env=windows:make", "windows:make cannot be made: No module named 'windows'"),
        ("asgym:env=Nothing-v7", "Nothing-v7 cannot be made: Environment `Nothing` doesn't exist"),
        ("asgym:env=doors:Strange", "no network fits a space of kind Sequence"),
        ("asgym:env=doors:np", "doors:np cannot be made"),
        (f"{NAME},by=magic", "by make or by reset, not by 'magic'"),
        ("asgym:env=doors:Door,train=none.json", "there is no file of tasks at none.json"),
        ("asgym:env=doors:Door,train=doors.py", "doors.py cannot be read as tasks"),
        ("asgym:env=doors:Door,train=empty.json", r"empty.json holds no tasks"),
        ("asgym:env=doors:Door,train=train.json,test=train.json", "task door=0 is given twice"),
    ],
)
def test_what_cannot_be_played_is_refused_in_a_sentence(doors: Path, name: str, message: str) -> None:
    (doors / "empty.json").write_text("[]")
    with pytest.raises(UsageError, match=message) as error:
        suite(name)
    assert "\n" not in str(error.value)


def test_a_role_without_tasks_is_refused(doors: Path) -> None:
    loaded = suite("asgym:env=doors:Door,train=train.json,test=test.json")
    with pytest.raises(UsageError, match="has no valid tasks"):
        loaded.split("valid")


def test_a_run_is_interrupted_resumed_and_scored(doors: Path) -> None:
    seen: list[Any] = []
    options: dict[str, Any] = {
        "suite": NAME,
        "agent": "ppo",
        "steps": 480,
        "lanes": 4,
        "chunks": 3,
        "run": doors / "run",
    }

    def watch(progress: Any) -> None:
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(RunError, match="--resume"):
        hs.train(config=SMALL, watch=watch, **options)
    trained = hs.train(config=SMALL, watch=watch, resume=True, **options)
    assert [progress.steps for progress in seen] == [160, 320, 320, 480]
    assert 0 < seen[0].metrics["simulating"] < 1
    assert trained.result.facts["deaths"] == 0
    assert "unrewarded" not in trained.result.facts
    assert trained.result.scores[0] > 4.0, "of 6, and 3 by chance"
    assert len(trained.prior.seen) == 2
    (played,) = hs.evaluate(NAME, [trained.prior])
    assert played.scores[0] > 8.0, "of 12"


def test_a_resumed_run_remembers_deaths_and_rewards(
    doors: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt, after a kill before its result was written, and where nothing is left to train."""
    options: dict[str, Any] = {
        "suite": NAME.replace("Door", "Frail"),
        "agent": "ppo",
        "steps": 96,
        "lanes": 4,
        "chunks": 3,
        "evaluate_on": 0,
        "run": doors / "run",
    }

    def interrupt(progress: Any) -> None:
        if progress.steps > 32:
            raise KeyboardInterrupt

    with pytest.raises(RunError, match="--resume"):
        hs.train(config=SMALL, watch=interrupt, **options)
    whole = hs.train(config=SMALL, resume=True, **options)
    assert whole.result.facts["deaths"] == 1
    (doors / "run" / "result.json").unlink()
    again = hs.train(config=SMALL, resume=True, **options)
    assert again.result.facts == whole.result.facts
    monkeypatch.setattr(either, "start", None)  # no simulator is started for what is finished
    finished = hs.train(config=SMALL, resume=True, **options)
    assert finished.result == again.result
    for kept, loaded in zip(*map(jax.tree.leaves, (again.prior.state, finished.prior.state)), strict=True):
        np.testing.assert_array_equal(kept, loaded)
    assert not caplog.records, "of rewards that were paid before it was resumed"
    with pytest.raises(UsageError, match="another lanes"):
        hs.train(config=SMALL, resume=True, **options | {"lanes": 2})


def test_deaths_in_scoring_are_counted_and_told(
    doors: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = dataclasses.replace(suite(NAME.replace("Door", "Frail")), scale=Scale(2.0, 12.0))
    first, second = (hs.evaluate(loaded, ["random"])[0] for _ in range(2))
    assert (first.facts["deaths_in_scoring"], second.facts["deaths_in_scoring"]) == (1, 0)
    assert first.scores == [0.0], "the episode ended with the simulator"
    (told,) = caplog.records
    assert told.getMessage().startswith("simulators of asgym-v0:env=doors:Frail")
    assert "(1 in all)" in told.getMessage()
    assert second.facts["normalised"] == pytest.approx((second.scores[0] - 2.0) / 10.0)
    show([second])
    assert "normalised" in (shown := capsys.readouterr().out)
    assert f"{second.facts['normalised']:.3f}" in shown
    (adapted,) = adapt(
        loaded, Contender("random", "random", agents.entry("random").config), AdaptOptions(64, 2, (0,))
    )
    assert adapted.facts["normalised"] == pytest.approx((adapted.scores[0] - 2.0) / 10.0)


def test_transfer_adapts_to_the_test_tasks(doors: Path) -> None:
    found = hs.transfer(
        hs.TransferOptions(
            suite="asgym:env=doors:Door,train=train.json,test=test.json",
            agents=("random", "ppo", "ppo-joint"),
            budget=240,
            seeds=1,
            lanes=2,
            train_steps=320,
            train_lanes=4,
            snapshots=1,
            run=doors / "transfer",
        ),
        configs={"ppo": SMALL},
    )
    assert [result.agent for result in found] == ["random", "ppo", "ppo-joint"]
    assert all(result.facts["deaths"] == 0 and result.facts["episodes"] > 40 for result in found)
    assert found[-1].facts["chosen"]["rule"] == "the last: there are no valid tasks to choose on"
    scores = {result.agent: result.scores[0] for result in found}
    assert abs(scores["random"] - 6.0) < 1.5, "half of 12"
    assert scores["ppo-joint"] > scores["random"] + 1.0


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"doors": 3},
            r"task 1 of doors:house takes Discrete\(3\), unlike the task its network is built for",
        ),
        (
            {"kinds": 4},
            r"task 1 of doors:house shows Discrete\(4\), unlike the task its network is built for",
        ),
    ],
)
def test_tasks_of_other_spaces_than_the_first_are_refused(
    doors: Path, task: dict[str, int], message: str
) -> None:
    (doors / "mixed.json").write_text(json.dumps([{}, task]))
    loaded = suite("asgym:env=doors:house,train=mixed.json,test=test.json")
    env: Any = loaded.env
    with (
        closing(env.open(loaded.split("train").tasks, 2, 0, True)) as lanes,
        pytest.raises(UsageError, match=message),
    ):
        lanes.reset(0)


def test_rewards_that_stay_zero_are_told(doors: Path) -> None:
    (doors / "poor.json").write_text(json.dumps([{"pay": 0.0}]))
    trained = hs.train(
        config=SMALL,
        suite="asgym:env=doors:Door,train=poor.json,test=test.json",
        agent="ppo",
        steps=64,
        lanes=4,
        chunks=1,
    )
    assert trained.result.facts["unrewarded"] is True
    assert trained.result.scores == []


def test_env_on_the_command_line_is_a_suite() -> None:
    words = [
        "--env",
        "my_pkg:make",
        "--train-tasks",
        "a.json",
        "--test-tasks=b.json",
        "--task-by",
        "reset",
        "--json",
    ]
    assert as_suite(words) == ["--json", "--suite", "asgym:env=my_pkg:make,train=a.json,test=b.json,by=reset"]
    assert as_suite(["--suite", "bandit", "--train-tasks", "5"]) == [
        "--suite",
        "bandit",
        "--train-tasks",
        "5",
    ]
    assert as_suite(["--env=X", "--train-tasks", "5"]) == ["--train-tasks", "5", "--suite", "asgym:env=X"]
    for wrong in (["--env"], ["--env", "x", "--suite", "y"], ["--env", "x,y"]):
        with pytest.raises(UsageError):
            as_suite(wrong)
    assert {"roms", "retro"} <= set(COMMANDS)


def test_the_documented_environment_is_the_one_the_examples_test_runs() -> None:
    root = Path(__file__).parents[1]
    code = (root / "examples" / "06_own_gymnasium.py").read_text().split("'''")[1].strip()
    assert code in (root / "docs" / "hosts.md").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) <= 25


def test_the_workers_end_with_their_run(doors: Path) -> None:
    loaded = suite(NAME)
    lanes = loaded.env.open(loaded.split("train").tasks, 2, 0, False)  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(lanes, WorkerLanes)
    lanes.reset(1)
    worker = lanes._posts[0].worker
    assert isinstance(worker, Process)
    process = worker._process
    assert np.asarray(lanes.step(np.zeros(2, np.int32)).reward).shape == (2,)
    del worker, lanes
    assert process.poll() is not None
