"""Bad input: one sentence on stderr, exit code 2 for wrong use and 1 for a failed run, never a traceback, nothing lost."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import cli

BANDIT = "bandit:arms=2,pulls=3"
TRAIN = ["train", "--suite", BANDIT, "--agent", "ppo", "--steps", "48", "--lanes", "4"]

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must fail; give back its one sentence."""

    def run(*args: Any, code: int = 2) -> str:
        monkeypatch.setattr(sys, "argv", ["headstart", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        assert stopped.value.code == code, err
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("headstart: ")
        assert "Traceback" not in line
        assert line.rstrip(")").endswith((".", "?"))
        return line.removeprefix("headstart: ")

    return run


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["evalute"], "there is no command called 'evalute'; did you mean evaluate?"),
        (
            ["zzz"],
            "there is no command called 'zzz'; choose from: contest, demo, doctor, evaluate, levels, list, play, report, "
            "retro, roms, train, transfer, watch.",
        ),
        (["evaluate", "--suite", "bandti"], "there is no suite called 'bandti'; did you mean"),
        (
            ["evaluate", "--suite", "bandit:arm=3"],
            "there is no option of suite bandit-v0 called 'arm'; did you mean arms?",
        ),
        (
            ["evaluate", "--suite", "bandit:arms=three"],
            "option arms of suite bandit-v0 is of type int, not 'three'.",
        ),
        (["evaluate", "--suite", "bandit:pulls=0"], "a bandit trial has at least one pull, not 0."),
        (["evaluate", "--suite", "bandit:arms=-1"], "a bandit has at least one arm, not -1."),
        (["evaluate", "--suite", "maze-small:episodes=0"], "a trial has at least one episode, not 0."),
        (["evaluate", "--suite", "tabular-mdp:episodes=0"], "at least 1"),
        (
            ["evaluate", "--suite", BANDIT, "--agents", "ucb"],
            "there is no agent, shipped prior or run folder called 'ucb'",
        ),
        (["evaluate", "--suite", BANDIT, "--agents", "ppo"], "ppo has to learn before it can be scored"),
        (["evaluate", "--suite", BANDIT, "--tasks", "0"], "a split has at least one task, not 0"),
        (
            ["evaluate", "--suite", BANDIT, "--tasks", "many"],
            "invalid literal for int() with base 10: 'many'",
        ),
        (["evaluate", "--suite", BANDIT, "--split", "exam"], "invalid choice 'exam' for argument '--split'"),
        (["evaluate", "--suite", BANDIT, "--seed", "-1"], "seed is between 0 and 4294967295, not -1."),
        (
            ["evaluate", "--tsks", "5"],
            "there is no option --tsks (did you mean --tasks?); see headstart evaluate --help.",
        ),
        (["evaluate", "oops"], "there is no option oops"),
        (["evaluate", "--out", "/dev", "--suite", BANDIT], "/dev is a folder; name the file to write."),
        (["evaluate", "--out", "/dev/null/x", "--suite", BANDIT], "/dev/null/x cannot be written"),
        (["train", "--agent", "pppo"], "there is no agent called 'pppo'; did you mean ppo"),
        (["train", "--agent", "ucb1", "--suite", BANDIT], "ucb1 is a fixed rule and has nothing to train"),
        (
            [*TRAIN, "--split", "test"],
            "a test split is never trained on; train on train, choose settings on valid.",
        ),
        ([*TRAIN, "--settings.lrr", "1"], "there is no option --settings.lrr (did you mean --settings.lr"),
        (
            [*TRAIN, "--settings.unroll", "0"],
            "PPO's unroll is at least 1, not 0; see headstart train --help.",
        ),
        ([*TRAIN, "--steps", "5"], "5 steps are less than one update of 4 lanes"),
        ([*TRAIN, "--lanes", "0"], "lanes is at least 1, not 0."),
        ([*TRAIN, "--steps", "5000", "--tasks", "0"], "a split has at least one task, not 0"),
        ([*TRAIN, "--resume"], "resume needs the folder of the run"),
        (
            [*TRAIN, "--resume", "--run", "/nowhere/at/all", "--settings.unroll", "12"],
            "there is no run at /nowhere/at/all",
        ),
        ([*TRAIN, "--agent"], "Missing value for argument '--agent'"),
        (["report"], "Missing from headstart report: --results"),
        (["report", "--results", "/nowhere"], "there is no result at /nowhere."),
        (["watch", "--suite", BANDIT, "--out", "film.gif"], "suite bandit-v0:arms=2,pulls=3 has no pictures"),
        (["watch", "--suite", BANDIT, "--task", "-1"], "tasks are counted from 0, not -1."),
        (["watch", "--suite", BANDIT, "--agent", "rl2"], "rl2 has to learn before it can be scored"),
        (["list", "everything"], "invalid choice 'everything'"),
        (["demo", "--tasks", "x"], "invalid literal for int()"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_wrong_use_is_one_sentence(refused: Refused, args: list[str], said: str) -> None:
    assert said in refused(*args)


def test_an_agent_that_cannot_play_the_suite(refused: Refused) -> None:
    for suite, agent in ((BANDIT, "psrl"), ("cartpole", "ucb1")):
        assert refused("evaluate", "--suite", suite, "--agents", agent, "--tasks", "2")


def test_a_task_set_smaller_than_asked_for(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    import jax.numpy as jnp

    from headstart import suites
    from headstart.envs.bandit import Bandit, BanditTask
    from headstart.envs.trial import Trial
    from headstart.tasks import ROLES, Suite, has_role, task_hash

    one = BanditTask(jnp.array([0.25, 0.75]))
    (role,) = [role for role in ROLES if bool(has_role(role, task_hash(one)))]
    module = types.ModuleType("single_suites")
    module.single = lambda: Suite("single", Trial(Bandit(2), 3), lambda key: one, rules=("random",))  # pyright: ignore
    monkeypatch.setitem(sys.modules, "single_suites", module)
    monkeypatch.setitem(suites.REGISTRY, "single-v0", "single_suites:single")
    for other in set(ROLES) - {role}:
        said = refused("evaluate", "--suite", "single", "--split", other, "--tasks", "1")
        assert said == f"suite single-v0 has too few distinct tasks to give {other} 1; ask for fewer."


def test_a_run_folder_that_exists(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    said = refused(*TRAIN, "--settings.unroll", "12", "--run", tmp_path)
    assert said == f"{tmp_path} exists already; choose another folder, or go on with it by --resume."
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_that_is_no_prior(refused: Refused, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"
    foreign.write_bytes(b"PK\x03\x04 nothing")
    args = ("evaluate", "--suite", BANDIT, "--agents", foreign, "--tasks", "2")
    assert f"{foreign} is damaged or no headstart prior" in refused(*args)
    np.savez(foreign, about=np.array(json.dumps({"schema": 99})))
    assert refused(*args) == f"{foreign} was written by a newer headstart; upgrade to read it."
    assert "holds no prior" in refused("evaluate", "--suite", BANDIT, "--agents", tmp_path, "--tasks", "2")


def test_a_prior_for_other_spaces(refused: Refused, tmp_path: Path) -> None:
    import jax.random as jr

    from headstart import agents, suites
    from headstart.protocol import priors

    suite, entry = suites.suite(BANDIT), agents.entry("ppo")
    state = entry.build(suite.env.spec, entry.config).init(jr.key(0))
    priors.save(priors.Prior("ppo", entry.config, state, suite.name, "f", None, 1, 0), tmp_path / "mine.npz")
    for other, space in (("bandit:arms=3", "action"), ("cartpole", "observation")):
        said = refused("evaluate", "--suite", other, "--agents", tmp_path / "mine.npz", "--tasks", "2")
        assert (
            f"prior mine was trained on bandit-v0:arms=2,pulls=3, whose {space} space is not that of" in said
        )


def test_a_result_that_is_damaged_foreign_or_newer(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    for text, said in (
        ('{"schema": 1, "sui', "cannot be read as results"),
        ('{"hello": 1}', "holds no headstart result."),
        ('{"schema": 99}', "was written by a newer headstart"),
        ('{"schema": 1}', "lacks suite, split, fingerprint"),
    ):
        file.write_text(text)
        assert said in refused("report", "--results", tmp_path, "--out", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_disk_that_is_full_at_the_end_of_an_evaluation(
    refused: Refused, tmp_path: Path, monkeypatch: Any
) -> None:
    import os

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    args = ["evaluate", "--suite", BANDIT, "--agents", "random", "--tasks", "2", "--out", tmp_path / "x.json"]
    assert "could not be written (No space left on device)" in refused(*args, code=1)
