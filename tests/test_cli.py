"""The command line, called in this process where that can be: what it prints, how it exits, how fast it says so."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import headstart
from headstart import cli
from headstart.commands import doctor
from headstart.results import load_all

BANDIT = "bandit:arms=2,pulls=3"
TINY = [
    *("train", "--suite", BANDIT, "--agent", "ppo", "--steps", "48", "--lanes", "4", "--chunks", "2"),
    *(
        "--evaluate-on",
        "5",
        "--settings.unroll",
        "3",
        "--settings.epochs",
        "1",
        "--settings.minibatches",
        "1",
    ),
    *("--settings.network.torso", "4"),
]


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["headstart", *map(str, args)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, trained by the command line."""
    run = tmp_path_factory.mktemp("cli") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["headstart", *TINY, "--run", str(run), "--settings.lr", "0.003"])
        cli.main()
    return run


def test_help_and_version_come_without_jax() -> None:
    script = (
        "import sys\nfrom headstart import cli\n"
        "for arg in ('--help', '--version'):\n    sys.argv = ['headstart', arg]\n    cli.main()\n"
        "heavy = {'jax', 'numpy', 'tyro', 'rich', 'equinox'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    for name, (_, about) in cli.COMMANDS.items():
        assert f"{name:<10}{about}" in ran.stdout
    assert ran.stdout.splitlines()[-1] == headstart.__version__


def test_without_a_command_there_is_help(call: Call) -> None:
    said = call()
    assert said == call("--help") == call("-h")
    assert said.code == 0
    assert "usage: headstart COMMAND" in said.out
    assert list(cli.COMMANDS) == sorted(cli.COMMANDS)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "train",
            ["--steps INT", "agent decisions summed over lanes", "--settings.lr FLOAT", "Adam's step size"],
        ),
        ("evaluate", ["--task-seed INT", "a fresh set that nobody tuned to", "--json"]),
        ("report", ["--results", "result files, or folders searched"]),
        ("watch", ["--out", "film to write, .gif or .mp4"]),
        ("demo", ["--tasks INT", "test tasks a suite"]),
        ("list", ["{all,suites,agents,priors}", "which of them"]),
        ("doctor", ["print as JSON"]),
    ],
)
def test_a_commands_help_comes_from_its_options_docs(call: Call, command: str, words: list[str]) -> None:
    said = call(command, "--help")
    assert said.code == 0
    text = " ".join(said.out.replace("│", " ").split())
    for word in words:
        assert word in text


def test_the_help_of_train_is_that_of_the_chosen_agent(call: Call) -> None:
    assert "--settings.clip" in call("train", "--agent", "ppo", "--help").out
    assert "--settings.clip" not in call("train", "--agent=reinforce", "--help").out


def test_lists(call: Call) -> None:
    from headstart import agents, suites

    found = json.loads(call("list", "--json").out)
    assert set(found) == {"suites", "agents", "priors"}
    assert [row["name"] for row in found["suites"]] == sorted((*suites.REGISTRY, *suites.FOREIGN))
    assert [row["name"] for row in found["agents"]] == list(agents.REGISTRY)
    assert all(row["about"] for row in found["suites"] + found["agents"])
    (only,) = json.loads(call("list", "suites", "--json").out).values()
    assert next(row for row in only if row["name"] == "bandit-v0")["options"] == {"arms": 5, "pulls": 100}
    shown = call("list", "agents").out
    assert "thompson" in shown
    assert "bandit-v0" not in shown


def test_doctor(call: Call) -> None:
    found = json.loads(call("doctor", "--json").out)
    assert found["backend"] == "cpu"
    assert found["cores"] >= 1
    assert found["versions"]["headstart"] == headstart.__version__
    assert "backend" in call("doctor").out


def test_doctor_says_how_to_install_what_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    missing = {"envpool", "ray"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else real(name))
    monkeypatch.setitem(doctor.EXTRAS, "tracking", ("json",))
    extras = json.loads(call("doctor", "--json").out)["extras"]
    assert list(extras) == ["contest", "postgres", "procgen", "ray", "retro", "tracking"]
    assert extras["procgen"] == "pip install 'headstart[procgen]'"
    assert extras["ray"] == "pip install 'headstart[ray]'"
    assert extras["tracking"] == "installed"
    shown = call("doctor").out
    assert re.search(r"extra ray .* pip install 'headstart\[ray\]'", shown)
    assert re.search(r"extra tracking .* installed", shown)


def test_doctor_knows_every_extra_but_that_of_the_backend() -> None:
    known = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(known) - {"cuda"}


def test_training_without_a_terminal_writes_plain_lines(call: Call, tmp_path: Path) -> None:
    said = call(*TINY, "--run", tmp_path / "run")
    assert said.code == 0
    first, second = said.err.splitlines()
    assert first.startswith(f"ppo on {BANDIT}  24/48 steps  return ")
    assert second.startswith(f"ppo on {BANDIT}  48/48 steps  return ")
    assert "steps/s" in second
    assert "\x1b" not in said.out + said.err
    assert "mean ± s.e." in said.out
    assert f"headstart evaluate --suite {BANDIT} --agents {tmp_path / 'run'}" in " ".join(said.out.split())


def test_training_as_json(call: Call) -> None:
    said = call(*TINY, "--json", "--settings.lr", "0.125", "--evaluate-on", "0")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["config"]["lr"] == 0.125
    assert found["config"]["network"]["torso"] == [4]
    assert found["scores"] == []
    assert found["command"].startswith("headstart train --suite")
    assert call(*TINY, "--evaluate-on", "0").code == 0, "nothing to show is nothing to fail at"


def test_a_run_folder_and_rules_are_evaluated_side_by_side(
    call: Call, run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "scores.result.json"
    args = ["evaluate", "--suite", BANDIT, "--agents", str(run_folder), "random", "--tasks", "7", "--json"]
    said = call(*args, "--out", out)
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert [one["agent"] for one in found] == ["run", "random"]
    assert [len(one["scores"]) for one in found] == [7, 7]
    assert found[0]["config"]["lr"] == 0.003
    assert found[0]["prior"]["steps"] == 48
    assert found[0]["command"] == f"headstart {' '.join(args)} --out {out}"
    assert [one.scores for one in load_all(out)] == [one["scores"] for one in found]
    fresh = json.loads(call(*args, "--task-seed", "9").out)
    assert fresh[0]["fingerprint"] != found[0]["fingerprint"]


def test_evaluate_without_agents_plays_the_suites_rules(call: Call) -> None:
    said = call(
        "evaluate", "--suite", "tabular-mdp:episodes=1,states=2,actions=2,horizon=2", "--tasks", "3", "--json"
    )
    from headstart.suites import suite

    assert [one["agent"] for one in json.loads(said.out)] == list(suite("tabular-mdp").rules)


def test_evaluate_prints_a_table(call: Call) -> None:
    said = call("evaluate", "--suite", BANDIT, "--agents", "random", "--tasks", "7")
    assert said.code == 0
    assert "bandit-v0:arms=2,pulls=3, test tasks" in said.out
    assert "random" in said.out
    assert "IQM [95 %]" in said.out
    one = json.loads(call("evaluate", "--suite", BANDIT, "--agents", "random", "--tasks", "7", "--json").out)[
        0
    ]
    mean, (low, high) = one["summary"]["mean"], one["summary"]["mean_interval"]
    assert mean == pytest.approx(sum(one["scores"]) / 7)
    assert one["summary"]["iqm_interval"][0] <= one["summary"]["iqm"] <= one["summary"]["iqm_interval"][1]
    assert f"{mean:.3f} ± {one['summary']['standard_error']:.3f} [{low:.3f}, {high:.3f}]" in said.out
    curve = said.out.partition("reward of episode")[2]
    for k in range(3):
        assert f"{one['within'][k]:.3f}" in curve
    assert "steps of episode" not in said.out, "a pull is a step"


def test_long_trials_are_shown_in_a_few_episodes(call: Call) -> None:
    said = call("evaluate", "--suite", "bandit:arms=2,pulls=100", "--agents", "random", "--tasks", "1")
    assert "reward of episode" in said.out
    header = said.out.partition("reward of episode")[2]
    assert re.findall(r"\b(?:1|2|4|7|14|27|52|100)\b", header)[:8] == [
        "1",
        "2",
        "4",
        "7",
        "14",
        "27",
        "52",
        "100",
    ]
    mazes = ("maze-small:obs=rays,horizon=9", "--agents", "random", "--tasks", "2")
    assert "steps of episode" not in call("evaluate", "--suite", *mazes).out, "all are cut off at nine"


def test_a_report_from_results(call: Call, run_folder: Path, tmp_path: Path) -> None:
    call(
        "evaluate",
        "--suite",
        BANDIT,
        "--agents",
        "random",
        "ucb1",
        "--tasks",
        "9",
        "--out",
        tmp_path / "a.result.json",
    )
    page = tmp_path / "page.html"
    said = call("report", "--results", tmp_path, run_folder, "--out", page)
    assert (said.code, said.out) == (0, f"report written to {page}\n")
    text = page.read_text()
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert "ucb1" in text
    assert "headstart evaluate --suite bandit:arms=2,pulls=3 --agents random ucb1" in text
    Image.new("RGB", (4, 4)).save(tmp_path / "the-second-trial.png")
    shown = ("--pictures", tmp_path / "the-second-trial.png")
    titled = call("report", "--results", tmp_path, "--out", page, "--title", "Two rules", "--json", *shown)
    assert "<figcaption>the second trial</figcaption>" in page.read_text()
    assert json.loads(titled.out)["groups"]
    assert "Two rules" in page.read_text()


def test_watch_prints_the_trial_that_evaluate_scores(call: Call, run_folder: Path) -> None:
    scores = json.loads(
        call("evaluate", "--suite", BANDIT, "--agents", run_folder, "--tasks", "6", "--json").out
    )
    for task in (0, 4):
        args = ("watch", "--suite", BANDIT, "--agent", run_folder, "--task", str(task))
        rows = json.loads(call(*args, "--json").out)
        assert [(row["step"], row["episode"]) for row in rows] == [(0, 0), (1, 1), (2, 2)]
        assert sum(row["reward"] for row in rows) == scores[0]["scores"][task]
    total = scores[0]["scores"][4]
    assert call(*args).out.splitlines()[-1] == f"total reward {total:.3f} in 3 episodes"


def test_a_film_shows_the_trial_to_its_end(call: Call, tmp_path: Path) -> None:
    maze = "maze-small:obs=rays,horizon=3,episodes=1"
    film = tmp_path / "trial.gif"
    said = call("watch", "--suite", maze, "--agent", "random", "--out", film, "--json")
    assert json.loads(said.out) == {"film": str(film)}
    with Image.open(film) as image:
        assert image.n_frames == 4, "the state after the reset and after each of three steps"


def test_debug_shows_where(call: Call) -> None:
    said = call("evaluate", "--suite", "bandot", "--debug")
    assert said.code == 2
    assert "Traceback" in said.err
    assert "UsageError" in said.err
    assert said.err.splitlines()[-1].startswith("headstart: there is no suite called 'bandot'")
    assert "Traceback" not in call("evaluate", "--suite", "bandot").err


def test_a_mistake_of_ours_is_one_sentence_too(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(args: list[str]) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("headstart.commands.doctor.doctor", broken)
    said = call("doctor")
    assert (said.code, said.err) == (
        1,
        "headstart: ZeroDivisionError: division by zero (--debug shows where)\n",
    )
    assert "Traceback" in call("doctor", "--debug").err


def test_an_interrupt_elsewhere_is_no_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.commands.doctor.doctor", interrupted)
    said = call("doctor")
    assert (said.code, said.err) == (130, "headstart: interrupted.\n")


def test_a_closed_pipe_is_no_error() -> None:
    script = "import sys\nfrom headstart import cli\nsys.argv = ['headstart', '--help']\ncli.main()\n"
    command = f'{sys.executable} -c "{script}" | true'
    ran = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_bar_is_shown_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from headstart import _console
    from headstart.protocol.training import Progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with _console.progress("learning") as show:
        show(Progress(1_000, 4_000, 0.5, {}))
        show(Progress(4_000, 4_000, 0.75, {}))
    said = capsys.readouterr().err
    assert "learning" in said
    assert "4,000/4,000 steps" in said
    assert "return 0.750" in said


def test_the_demo_in_small(call: Call, tmp_path: Path) -> None:
    args: list[Any] = [
        "demo",
        "--steps",
        "25600",
        "--tasks",
        "4",
        "--budget",
        "0",
        "--out",
        tmp_path / "demo",
    ]
    said = call(*args)
    assert said.code == 0, said.err
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in "".join(said.out.splitlines()[-2:])
    assert "rl2" in (tmp_path / "demo" / "report.html").read_text()


@pytest.mark.slow
def test_the_demo_learns_levels(call: Call, tmp_path: Path) -> None:
    args: list[Any] = ["demo", "--steps", "0", "--tasks", "4", "--budget", "4096", "--out", tmp_path / "demo"]
    said = call(*args)
    assert said.code == 0, said.err
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "ppo-platformer" in page
    assert "Before, during and after" in page
