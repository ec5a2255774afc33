"""The transfer protocol, whole and small: train, choose, adapt, find again."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from headstart import cli, results
from headstart.agents.ppo import PPOConfig
from headstart.errors import RunError, UsageError
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import adaptation, choice, training, transfer
from headstart.protocol.transfer import TransferOptions
from headstart.results import Result

SMALL = PPOConfig(NetworkConfig(torso=(4,)), unroll=8, epochs=1, minibatches=1)
REMEMBERING = dataclasses.replace(SMALL, network=NetworkConfig(torso=(4,), memory="gru", memory_size=4))
CONFIGS = {"ppo": SMALL, "rl2": REMEMBERING}


def options(run: Path, **changes: object) -> TransferOptions:
    base = TransferOptions(
        suite="cartpole",
        agents=("random", "ppo-joint", "ppo-joint-frozen", "rl2"),
        budget=640,
        seeds=2,
        tasks=2,
        lanes=2,
        train_steps=256,
        train_tasks=(3,),
        train_lanes=4,
        trial=2,
        snapshots=2,
        choose_tasks=1,
        choose_budget=128,
        run=run,
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    run = tmp_path_factory.mktemp("transfer")
    return run, transfer.transfer(options(run), configs=CONFIGS)


def test_every_contender_plays_every_task_with_every_seed(played: tuple[Path, list[Result]]) -> None:
    _, found = played
    names = ["random", "ppo-joint", "ppo-joint-frozen", "rl2"]
    wanted = [(name, f"task-{row}", seed) for name in names for row in (0, 1) for seed in (0, 1)]
    assert [(r.agent, r.facts["task"], r.seed) for r in found] == wanted
    assert {r.budget for r in found} == {640}
    assert [r.facts["frozen"] for r in found[::4]] == [False, False, True, True]
    suites = ["cartpole-v0"] * 3 + ["cartpole-v0:episodes=2"]
    assert [r.suite for r in found[::4]] == suites


def test_a_prior_is_chosen_by_how_it_adapts_to_valid_tasks(played: tuple[Path, list[Result]]) -> None:
    run, found = played
    chosen = found[4].facts["chosen"]
    tried = chosen["tried"]
    assert sorted(map(int, tried)) == [128, 256]
    assert tried[str(chosen["steps"])] == max(tried.values())
    assert chosen["rule"] == "best mean score of 128 steps on 1 valid tasks"
    assert found[4].prior is not None
    assert found[4].prior["steps"] == chosen["steps"]
    assert found[4].prior["tasks"] == 3
    assert found[0].prior is None
    kept = {path.name for path in (run / "priors" / "ppo-3-tasks" / "priors").iterdir()}
    assert kept == {"000000000128.npz", "000000000256.npz"}


def test_what_is_there_is_not_done_again(
    played: tuple[Path, list[Result]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found = played

    def never(*_: object) -> None:
        raise AssertionError("trained or played again")

    monkeypatch.setattr(training, "_advance", never)
    monkeypatch.setattr(adaptation.jit, "chunks", never)
    again = transfer.transfer(options(run), configs=CONFIGS)
    assert [results.to_json(result) for result in again] == [results.to_json(result) for result in found]


def test_a_prior_of_ones_own_is_fine_tuned(played: tuple[Path, list[Result]], tmp_path: Path) -> None:
    run, _ = played
    stored = str(run / "priors" / "ppo-3-tasks" / "priors" / "000000000256.npz")
    own = options(tmp_path, agents=(stored, f"{stored}-frozen"), seeds=1)
    tuned = transfer.transfer(own)
    assert [r.agent for r in tuned[::2]] == ["000000000256.npz", "000000000256.npz-frozen"]
    assert tuned[0].prior is not None
    assert tuned[0].prior["steps"] == 256


def test_a_joint_training_that_diverges_fails_its_own_runs_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--suite", "cartpole", "--agents", "ppo-joint", "random", "--budget", "640", "--seeds", "2"]
    words += [
        "--tasks",
        "1",
        "--lanes",
        "2",
        "--train-steps",
        "256",
        "--train-lanes",
        "4",
        "--snapshots",
        "1",
    ]
    words += ["--settings.ppo.unroll", "8", "--settings.ppo.minibatches", "1", "--settings.ppo.lr", "1e38"]
    words += ["--run", str(tmp_path), "--tuning.fresh-heads"]
    monkeypatch.setattr("sys.argv", ["headstart", "transfer", *words, "--json"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    assert stopped.value.code == 1
    assert said.err.startswith(
        "headstart: 2 of 4 runs failed (joint training left no prior: training stopped at "
    )
    assert said.err.endswith("; the others are whole, and the same call tries these again.\n")
    found = [results.from_json(one, "here") for one in json.loads(said.out)]
    assert [(r.agent, bool(r.scores)) for r in found] == [
        ("ppo-joint", False), ("ppo-joint", False), ("random", True), ("random", True)
    ]  # fmt: skip
    assert "became infinite or not a number" in found[0].facts["failed"]
    kept = results.load_all(tmp_path / "runs" / "ppo-joint-fresh-heads")
    assert [r.facts["failed"] for r in kept] == [r.facts["failed"] for r in found[:2]]


def test_an_error_in_the_choice_fails_its_contender_alone(
    played: tuple[Path, list[Result]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found = played
    shutil.copytree(run / "priors", tmp_path / "priors")
    died = dataclasses.replace(
        found[4], scores=[], facts={"task": "task-0", "failed": "it died.", "raised": "…"}
    )
    monkeypatch.setattr(choice, "adapt", lambda *_: [died])
    wanted = options(tmp_path, agents=("ppo-joint", "random"), seeds=1, tasks=1)
    joint, random = transfer.transfer(wanted, configs=CONFIGS)
    said = "adapting the prior of step 128 to task-0 (valid) failed (it died)."
    assert joint.facts["failed"] == f"joint training left no prior: {said}"
    assert random.scores


def test_an_interrupted_joint_training_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_advance", interrupt)
    with pytest.raises(RunError, match="interrupted after 0 of 256 steps"):
        transfer.transfer(options(tmp_path, agents=("ppo-joint", "random")), configs=CONFIGS)
    assert not (tmp_path / "runs").exists()


WHEELS = """
import gymnasium as gym
import numpy as np

class Wheel(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, broken=False, size=1):
        self.broken, self.t = broken, 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        if self.broken:
            raise ValueError("the wheel is off")
        return np.zeros(2, np.float32), 1.0, self.t == 4, False, {}
"""


def test_a_simulator_that_dies_for_good_fails_its_own_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels.py").write_text(WHEELS)
    (tmp_path / "test.json").write_text(json.dumps([{"broken": True}, {"broken": False}]))
    (tmp_path / "train.json").write_text(json.dumps([{"broken": False, "size": 2}]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    name = "asgym:env=wheels:Wheel,train=train.json,test=test.json"
    wanted = options(tmp_path / "run", suite=name, agents=("random",), seeds=1, budget=64)
    died, whole = transfer.transfer(wanted)
    assert "the wheel is off" in died.facts["failed"]
    assert "raised" in died.facts
    assert whole.scores == [4.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": ("pppo",)}, "no agent, shipped prior or run folder called 'pppo'"),
        (
            {"agents": ("ppo-frozen",)},
            "neither bring anything nor learn anything; did you mean ppo-joint-frozen",
        ),
        ({"seeds": 0}, "seeds is at least 1, not 0"),
        ({"budget": 0}, "a budget has at least one step, not 0"),
        ({"suite": "cartpol"}, "there is no suite called 'cartpol'"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_trained(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        transfer.transfer(options(tmp_path, **changes), configs=CONFIGS)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_a_table_and_the_way_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--suite", "cartpole", "--agents", "random", "--budget", "640", "--seeds", "2", "--tasks", "2"]
    monkeypatch.setattr("sys.argv", ["headstart", "transfer", *words, "--run", str(tmp_path / "run")])
    cli.main()
    said = capsys.readouterr()
    assert "random  task-1  seed 1" in said.err
    assert "cartpole-v0, test tasks" in said.out
    assert "kept in" in said.out
    monkeypatch.setattr(
        "sys.argv", ["headstart", "transfer", *words, "--run", str(tmp_path / "run"), "--json"]
    )
    cli.main()
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 4
