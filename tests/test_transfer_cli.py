"""`headstart transfer` on the command line: settings of learners, sizes of training sets, and bad input."""

import json
import sys
from pathlib import Path
from typing import Any

import jax.random as jr
import pytest
from tests.test_bad_input import Refused, refused

from headstart import agents, cli, suites
from headstart.protocol import priors
from headstart.protocol.priors import Prior
from headstart.reports.summary import summary
from headstart.results import from_json

__all__ = ["refused"]

FEW = [
    "--tasks",
    "2",
    "--seeds",
    "1",
    "--lanes",
    "2",
    "--train-lanes",
    "4",
    "--trial",
    "2",
    "--snapshots",
    "1",
]
FEW += ["--choose-tasks", "1", "--train-steps", "128", "--choose-budget", "128", "--budget", "1024"]
PPO = ["--settings.ppo.unroll", "16", "--settings.ppo.epochs", "1", "--settings.ppo.minibatches", "1"]
RL2 = [word.replace(".ppo.", ".rl2.") for word in PPO]


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: Any
) -> list[dict[str, Any]]:
    monkeypatch.setattr(sys, "argv", ["headstart", "transfer", *map(str, words), "--json"])
    capsys.readouterr()
    cli.main()
    return json.loads(capsys.readouterr().out)


def test_rl2_with_fast_weights_by_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = ["--settings.rl2.network.memory", "fast", "--settings.rl2.network.memory-size", "8"]
    words = ["--suite", "cartpole", "--agents", "rl2", *FEW, *RL2, *memory, "--run", tmp_path]
    found = run(monkeypatch, capsys, *words)
    assert [r["config"]["network"]["memory"] for r in found] == ["fast", "fast"]
    assert {(r["prior"]["agent"], r["prior"]["suite"]) for r in found} == {("rl2", "cartpole-v0:episodes=2")}
    kept = priors.find(str(tmp_path / "priors" / "rl2"))
    assert kept.config.network.memory == "fast"


def test_several_sizes_of_training_sets_in_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--suite", "cartpole", "--agents", "ppo-joint", "--train-tasks", "1", "3", *FEW, *PPO]
    scores = ["--train-scores", "--test-scores", "--snapshots", "2"]
    found = run(monkeypatch, capsys, *words, *scores, "--run", tmp_path)
    assert [(r["agent"], r["prior"]["tasks"]) for r in found] == [("ppo-joint", n) for n in (1, 1, 3, 3)]
    (group,) = summary([from_json(r, "test") for r in found])["transfers"]
    assert {a["name"] for a in group["agents"]} == {"ppo-joint 1 task", "ppo-joint 3 tasks"}
    (series,) = group["train_sizes"]
    assert [p["tasks"] for p in series["points"]] == [1, 3]
    for agent in group["agents"]:
        chosen = agent["chosen"]
        assert [steps for steps, _ in chosen["tried"]] == [64, 128]
        for role in ("trained", "train", "test"):
            assert [steps for steps, _ in chosen[role]] == [64, 128], role
    assert all("the choice did not see it" in r["facts"]["chosen"]["looked_at_test"] for r in found)
    assert any("no choice saw those scores" in note for note in group["notes"])
    # what the train split's scores are of: tasks the prior was trained on, in a folder of their own
    kept = [
        json.loads(path.read_text()) for path in (tmp_path / "choice").rglob("tuned-train/*/*.result.json")
    ]
    assert {r["split"] for r in kept} == {"train"}
    assert len(kept) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "0"], "a budget has at least one step, not 0."),
        (["--budget", "-5"], "a budget has at least one step, not -5."),
        (["--choose-budget", "0"], "a budget has at least one step, not 0."),
        (["--agents", "ppo-joint", "jerk"], "jerk presses right, left and jump among 8 actions"),
        (["--agents", "ppo-joint", "ucb1"], "ucb1 plays trials of bandits only"),
        (["--agents", "expert"], "suite cartpole-v0 keeps no best known plays; leave the expert out."),
        (["--tuning.tries", "0"], "tries is at least 1, not 0"),
        (
            ["--agents", "rainbow-joint", "--tuning.kickstart", "1"],
            "kickstarting is an aid for ppo and rl2 alone",
        ),
        (["--settings.pppo.lr", "1"], "there is no option --settings.pppo.lr"),
        (["--agents", "ppo-joint", "--settings.rl2.lr", "1"], "there is no option --settings.rl2.lr"),
        (
            ["--suite", "bandit", "--agents", "random", "--film"],
            "suite bandit-v0 has no pictures to make films of",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_sentence_before_anything_is_trained(
    refused: Refused, tmp_path: Path, words: list[str], said: str
) -> None:
    assert said in refused("transfer", "--suite", "cartpole", "--run", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


def _kept(tmp_path: Path, suite_name: str, seen: tuple[str, ...] = ()) -> Path:
    suite, entry = suites.suite(suite_name), agents.entry("ppo")
    state = entry.build(suite.env.spec, entry.config).init(jr.key(0))
    path = tmp_path / "mine.npz"
    priors.save(Prior("ppo", entry.config, state, suite.name, "f", None, 1, 0, seen=seen), path)
    return path


def test_a_prior_that_saw_a_test_task_is_refused_before_anything_is_played(
    refused: Refused, tmp_path: Path
) -> None:
    digests = suites.suite("cartpole").split("test", 5).digests
    mine = _kept(tmp_path, "cartpole", ("0" * 12, digests[3]))
    words = [
        "transfer",
        "--suite",
        "cartpole",
        "--agents",
        "random",
        mine,
        "--tasks",
        "5",
        "--run",
        tmp_path / "run",
    ]
    said = refused(*words)
    assert said.startswith(
        "prior mine.npz was trained on 1 of the 5 tasks it is to be tested on (test of cartpole-v0)"
    )
    assert not (tmp_path / "run").exists()


def test_a_prior_of_other_spaces_is_refused_before_anything_is_played(
    refused: Refused, tmp_path: Path
) -> None:
    mine = _kept(tmp_path, "bandit:arms=2,pulls=3")
    words = ["transfer", "--suite", "cartpole", "--agents", "random", mine, "--run", tmp_path / "run"]
    said = refused(*words)
    assert said.startswith(
        "prior mine was trained on bandit-v0:arms=2,pulls=3, whose observation space is not that of"
    )
    assert not (tmp_path / "run").exists()


HEAD = "zone: fern-hill\nact: 1\npar: 40\n---\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "S.?G\n####\n", "mine.txt, line 5, column 3: '?' is no tile"),
        (HEAD + "...G\n####\n", "mine.txt has no start; draw one 'S'."),
        (HEAD + "S...\n####\n", "mine.txt has no goal; draw one 'G'."),
        ("fern hill\n", "mine.txt, line 1, column 1: there is no line '---'"),
    ],
)
def test_a_level_that_cannot_be_read(refused: Refused, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.txt").write_text(text)
    assert said in refused("levels", "check", tmp_path / "mine.txt")
