"""Training: what a run leaves, and that stopping it in any way and going on changes nothing."""

import csv
import errno
import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import agents, cli, results, suites
from headstart.agents import ppo
from headstart.agents.ppo import PPOConfig
from headstart.envs.bandit import Bandit, BanditTask
from headstart.envs.trial import Trial
from headstart.errors import RunError, UsageError
from headstart.loops import checkpoint
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import priors, training
from headstart.protocol.training import Progress, Trained, TrainOptions, train
from headstart.tasks import Suite
from headstart.types import Entry, Step

CHUNKS, UPDATES, UNROLL, LANES = 4, 8, 3, 4
STEPS = UPDATES * UNROLL * LANES
OPTIONS = TrainOptions("bandit:arms=2,pulls=3", "ppo", STEPS, LANES, seed=5, chunks=CHUNKS, evaluate_on=6)
NETWORK = NetworkConfig(torso=(), memory="gru", memory_size=4)
CONFIG = PPOConfig(NETWORK, unroll=UNROLL, epochs=1, minibatches=2, lr=1e-2)


@pytest.fixture(scope="module", autouse=True)
def _built_once() -> Iterator[None]:
    """One PPO for one config, so that the many runs of this file share their compiled programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo, "ENTRY", Entry(ppo.ENTRY.config, functools.cache(ppo.ppo)))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A run that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, train(OPTIONS, CONFIG, run=run)


def stopping(at: int, how: Callable[[], None]) -> Callable[[Progress], None]:
    """A watcher that does something when chunk `at` has been trained, before it is saved."""
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == at:
            how()

    return watch


def assert_same_run(run: Path, reference: Path) -> None:
    """Weights, curve and result, bit for bit; but for the run's name, when and by which command it was made."""
    assert (run / "curve.csv").read_bytes() == (reference / "curve.csv").read_bytes()
    with np.load(run / "prior.npz") as ours, np.load(reference / "prior.npz") as theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (run, reference))
    for data in (ours, theirs):
        for name in ("versions", "commit", "command"):
            data.pop(name)
    assert ours.pop("agent") == run.name
    assert theirs.pop("agent") == reference.name
    assert ours == theirs


def rows(run: Path) -> list[list[str]]:
    with (run / "curve.csv").open() as file:
        return list(csv.reader(file))


def test_what_a_run_leaves(whole: tuple[Path, Trained]) -> None:
    run, trained = whole
    names = {path.name for path in run.iterdir()}
    assert names == {"config.json", "curve.csv", "checkpoints", "prior.npz", "result.json"}
    about = json.loads((run / "config.json").read_text())
    assert about["suite"] == "bandit-v0:arms=2,pulls=3"
    assert about["settings"]["network"]["memory_size"] == 4
    assert about["settings"]["lr"] == 1e-2
    assert (about["agent"], about["steps"], about["lanes"], about["seed"]) == ("ppo", STEPS, LANES, 5)
    assert about["versions"]["jax"] == jax.__version__
    header, *lines = rows(run)
    assert header[:2] == ["steps", "return"]
    assert header[2:] == sorted(header[2:])
    assert [int(line[0]) for line in lines] == [STEPS * k // CHUNKS for k in range(1, CHUNKS + 1)]
    assert sorted(int(path.name) for path in (run / "checkpoints").iterdir()) == [6, 8]
    (result,) = results.load_all(run / "result.json")
    assert result == trained.result
    assert (result.agent, result.split, result.spent, result.budget) == ("run", "valid", STEPS, STEPS)
    assert len(result.scores) == 6
    assert result.curve is not None
    assert result.curve.values == [float(line[1]) for line in lines]
    found = priors.find(str(run))
    for a, b in zip(jax.tree.leaves(found.state), jax.tree.leaves(trained.prior.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (found.name, found.steps, found.tasks) == ("run", STEPS, None)


def test_the_same_without_a_folder(whole: tuple[Path, Trained]) -> None:
    seen: list[Progress] = []
    trained = train(OPTIONS, CONFIG, seen.append)
    for a, b in zip(jax.tree.leaves(trained.prior.state), jax.tree.leaves(whole[1].prior.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [progress.steps for progress in seen] == whole[1].result.curve.steps  # pyright: ignore
    assert {progress.budget for progress in seen} == {STEPS}


def test_training_has_changed_the_weights(whole: tuple[Path, Trained]) -> None:
    built = agents.entry("ppo").build(suites.suite(OPTIONS.suite).env.spec, CONFIG)
    fresh = built.init(jr.fold_in(jr.key(0), 1))
    assert not np.array_equal(
        fresh.network.policy_head.weight, whole[1].prior.state.network.policy_head.weight
    )


KILLER = """
import json, os, signal, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import orbax.checkpoint
from headstart import cli
from headstart.commands import runs
from headstart.reports import aggregate

def attempt(args, moment):
    # A fresh process that is killed just before its `moment`-th change to the file system.
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    changes = [0]
    def killer(event, found):
        if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir") and str(run) in str(found[0]):
            changes[0] += 1
            if changes[0] == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(killer)
    sys.argv = ["headstart", *args]
    try:
        cli.main()
    except SystemExit as stop:
        os._exit(stop.code)
    os._exit(0)

run, args, moments = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
for moment in moments:
    more = ["--resume"] if (run / "config.json").exists() else []
    print(json.dumps([moment, attempt([*args, *more], moment), sorted(p.name for p in run.glob("*"))]), flush=True)
"""


def command_line(run: Path) -> list[str]:
    """What `OPTIONS` and `CONFIG` are on the command line."""
    given = {
        "suite": OPTIONS.suite,
        "agent": "ppo",
        "steps": STEPS,
        "lanes": LANES,
        "seed": 5,
        "chunks": CHUNKS,
        "evaluate-on": 6,
        "run": run,
        "settings.network.memory": "gru",
        "settings.network.memory-size": 4,
        "settings.unroll": UNROLL,
        "settings.epochs": 1,
        "settings.minibatches": 2,
        "settings.lr": 1e-2,
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return ["train", *words, "--settings.network.torso", "--json"]


def _environment() -> dict[str, str]:
    cache = jax.config.values["jax_compilation_cache_dir"] or ""
    found = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    return found | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}


def test_killed_again_and_again_a_run_ends_as_if_it_never_was(
    whole: tuple[Path, Trained], tmp_path: Path
) -> None:
    # Before anything, between curve and checkpoint, within checkpoints, within the deletion of one, before the
    # prior, before the result: wherever these changes fall. The last attempt is left alone.
    moments = [1, 3, 9, 4, 14, 20, 2, 27, 0]
    command = [
        sys.executable,
        "-c",
        KILLER,
        str(tmp_path / "run"),
        json.dumps(command_line(tmp_path / "run")),
    ]
    ran = subprocess.run(
        [*command, json.dumps(moments)], env=_environment(), capture_output=True, text=True, timeout=300
    )
    attempts = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
    killed = [code == -signal.SIGKILL for _, code, _ in attempts]
    assert killed[:7] == [True] * 7, ran.stderr
    assert attempts[-1][1] == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert attempts[0][2] in ([], ["config.json.part"])
    assert "prior.npz" not in attempts[3][2]
    assert_same_run(tmp_path / "run", whole[0])


@pytest.mark.parametrize("chunk", [1, CHUNKS - 1])
def test_an_interrupt_saves_and_says_how_to_go_on(
    whole: tuple[Path, Trained], tmp_path: Path, capfd: pytest.CaptureFixture[str], chunk: int
) -> None:
    run = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)
    watch = stopping(chunk, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(RunError) as stopped:
        train(OPTIONS, CONFIG, watch, run=run)
    spent = STEPS * chunk // CHUNKS
    assert (
        str(stopped.value) == f"interrupted after {spent} of {STEPS} steps; go on with --run {run} --resume."
    )
    assert "Ctrl-C again stops at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert len(rows(run)) == 1 + chunk
    train(OPTIONS, CONFIG, run=run, resume=True)
    assert_same_run(run, whole[0])


def test_a_second_interrupt_stops_at_once_and_loses_one_chunk(
    whole: tuple[Path, Trained], tmp_path: Path
) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(
        RunError, match=f"interrupted after {STEPS // CHUNKS} of {STEPS} steps; go on with --run"
    ):
        train(OPTIONS, CONFIG, stopping(2, twice), run=tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 1 + 1
    train(OPTIONS, CONFIG, run=tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole[0])


def test_an_interrupt_of_a_run_without_a_folder_says_what_would_have_kept_it() -> None:
    with pytest.raises(
        RunError, match=f"interrupted after {STEPS // CHUNKS} of {STEPS} steps; give --run FOLDER"
    ):
        train(OPTIONS, CONFIG, stopping(1, lambda: signal.raise_signal(signal.SIGINT)))


def test_ctrl_c_on_the_command_line(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [word for word in command_line(run) if word != "--json"]
    child = subprocess.Popen(
        [sys.executable, "-m", "headstart.cli", *words], stderr=subprocess.PIPE, env=_environment(), text=True
    )
    assert child.stderr is not None
    first = child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=300)
    assert f"{STEPS // CHUNKS}/{STEPS} steps" in first
    assert child.returncode == 1, said
    last = said.splitlines()[-1]
    assert last.startswith("headstart: interrupted after")
    assert last.endswith(f"go on with --run {run} --resume.")
    assert "Traceback" not in said
    train(OPTIONS, CONFIG, run=run, resume=True)
    assert_same_run(run, whole[0])


def test_resuming_a_finished_run_repeats_its_result(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    run = shutil.copytree(whole[0], tmp_path / "run")
    (run / "result.json").unlink()
    train(OPTIONS, CONFIG, run=run, resume=True)
    assert_same_run(run, whole[0])


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("size", "what"), [(50, "curve.csv"), (700, "checkpoint")])
def test_a_disk_that_fills_up_in_the_middle(
    whole: tuple[Path, Trained], tmp_path: Path, capfd: pytest.CaptureFixture[str], size: int, what: str
) -> None:
    run = tmp_path / "run"
    disk = full_disk(size)
    try:
        with pytest.raises(RunError, match=rf"{what}.* could not be written \(File too large\)"):
            train(OPTIONS, CONFIG, stopping(2, disk.__enter__), run=run)
    finally:
        disk.__exit__(None, None, None)
    assert "Traceback" not in capfd.readouterr().err
    assert not list(run.glob("*.part"))
    train(OPTIONS, CONFIG, run=run, resume=True)
    assert_same_run(run, whole[0])


def test_a_folder_that_turns_read_only_in_the_middle(
    whole: tuple[Path, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        with pytest.raises(RunError, match=r"curve.csv could not be written \(Read-only file system\)"):
            train(OPTIONS, CONFIG, stopping(3, lambda: patch.setattr(Path, "replace", refuse)), run=run)
    train(OPTIONS, CONFIG, run=run, resume=True)
    assert_same_run(run, whole[0])


def test_a_folder_of_snapshots_that_cannot_be_made(tmp_path: Path) -> None:
    def occupy() -> None:
        (tmp_path / "run" / "priors").write_text("")

    with pytest.raises(RunError, match=r"run/priors cannot be made \(File exists\)"):
        train(OPTIONS, CONFIG, stopping(1, occupy), run=tmp_path / "run", snapshots=CHUNKS)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run cannot be made \(Not a directory\)"):
        train(OPTIONS, CONFIG, run=tmp_path / "file" / "run")


@dataclass(frozen=True)
class Breaking(Bandit):
    """Now and then the reward is not a number."""

    def step(self, task: BanditTask, state: tuple[()], action: Any, key: Any) -> tuple[tuple[()], Step]:
        state, out = super().step(task, state, action, key)
        bad = jr.bernoulli(jr.fold_in(key, 1), 1 / 40)
        return state, out._replace(reward=jnp.where(bad, jnp.nan, out.reward))


def breaking() -> Suite:
    env = Breaking(2)
    return Suite("breaking", Trial(env, 3), env.sample)


@pytest.fixture
def breaking_suite(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("breaking_suites")
    module.breaking = breaking  # pyright: ignore
    monkeypatch.setitem(sys.modules, "breaking_suites", module)
    monkeypatch.setitem(suites.REGISTRY, "breaking-v0", "breaking_suites:breaking")
    return "breaking-v0"


@pytest.mark.parametrize("good", [0, 2])
def test_a_reward_that_is_not_a_number_stops_the_run_and_keeps_what_was_good(
    tmp_path: Path, breaking_suite: str, good: int
) -> None:
    """The environment breaks by chance: of a few seeds, one goes well for `good` chunks."""
    for seed in range(30):
        run = tmp_path / str(seed)
        with pytest.raises(RunError) as stopped:
            train(OPTIONS, CONFIG, suite=breaking_suite, run=run, seed=seed, evaluate_on=0)
        if (len(rows(run)) - 1 if (run / "curve.csv").exists() else 0) == good:
            break
    else:
        raise AssertionError("no seed broke where it was to")
    said = str(stopped.value)
    assert f"training stopped at step {(good + 1) * STEPS // CHUNKS}: reward" in said
    assert "became infinite or not a number" in said
    assert (f"; the last good checkpoint is kept in {run};" in said) == (good > 0)
    assert checkpoint.latest(run / "checkpoints") == (good * UPDATES // CHUNKS or None)
    assert not (run / "prior.npz").exists()
    with pytest.raises(RunError, match=re.escape(said)):
        train(OPTIONS, CONFIG, suite=breaking_suite, run=run, seed=seed, evaluate_on=0, resume=True)


def test_an_absurd_step_size_stops_the_run(tmp_path: Path) -> None:
    config = PPOConfig(NETWORK, unroll=UNROLL, epochs=1, minibatches=2, lr=1e38)
    with pytest.raises(RunError, match="became infinite or not a number; try a smaller lr") as stopped:
        train(OPTIONS, config, run=tmp_path / "run")
    assert "checkpoint" not in str(stopped.value), "there is none"
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_rewards_that_break_only_in_the_end_leave_the_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RunError("rewards that are not finite")

    monkeypatch.setattr(training, "score", broken)
    with pytest.raises(RunError):
        train(OPTIONS, CONFIG, run=tmp_path / "run")
    assert priors.find(str(tmp_path / "run")).steps == STEPS


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"split": "test"}, "a test split is never trained on"),
        ({"agent": "ucb1"}, "ucb1 is a fixed rule and has nothing to train"),
        ({"suite": "bandot"}, r"no suite called 'bandot'; did you mean .*bandit"),
        ({"lanes": 0}, "lanes is at least 1, not 0"),
        ({"chunks": 0}, "chunks is at least 1"),
        ({"evaluate_on": -1}, "evaluate_on is at least 0"),
        ({"steps": 0}, "at least one step"),
        ({"steps": 5}, "less than one update"),
        ({"tasks": 0}, "at least one task"),
        ({"seed": -1}, "seed is between 0 and 4294967295, not -1"),
        ({"task_seed": 2**32}, "task_seed is between 0"),
        ({"lanes": 5}, "2 minibatches do not divide the 5 lanes"),
        ({"resume": True}, "resume needs the folder of the run"),
        ({"tensorboard": True}, "tensorboard needs the folder of the run"),
        ({"stepps": 5}, "no option of train called 'stepps'; did you mean steps?"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path: Path, chosen: dict[str, Any], said: str
) -> None:
    folder = {} if {"resume", "tensorboard"} & set(chosen) else {"run": tmp_path / "run"}
    config = None if chosen.get("agent") else CONFIG
    if chosen.get("agent"):
        config = agents.entry(chosen["agent"]).config
    with pytest.raises(UsageError, match=said):
        train(OPTIONS, config, **chosen, **folder)
    assert not (tmp_path / "run").exists()


def test_a_valid_split_may_be_trained_on_and_its_name_is_kept() -> None:
    trained = train(OPTIONS, CONFIG, split="valid", tasks=9, evaluate_on=0)
    split = suites.suite(OPTIONS.suite).split("valid", 9)
    assert trained.prior.fingerprint == split.fingerprint
    assert trained.prior.tasks == 9
    assert (trained.result.scores, trained.result.spent) == ([], STEPS)


def test_an_existing_folder_is_refused_and_left_alone(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    run = shutil.copytree(whole[0], tmp_path / "run")
    with pytest.raises(
        UsageError, match=r"run exists already; choose another folder, or go on with it by --resume"
    ):
        train(OPTIONS, CONFIG, run=run)
    assert_same_run(run, whole[0])


def test_an_empty_folder_or_one_killed_at_birth_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.json.part").write_text("{")
    with pytest.raises(UsageError, match=r"there is no run at .* to resume; leave --resume out to start one"):
        train(OPTIONS, CONFIG, run=tmp_path, resume=True)
    train(OPTIONS, CONFIG, run=str(tmp_path), evaluate_on=0)
    assert (tmp_path / "prior.npz").exists()


@pytest.fixture
def stopped(whole: tuple[Path, Trained], tmp_path: Path) -> Path:
    """A run that could be resumed."""
    run = shutil.copytree(whole[0], tmp_path / "run")
    for name in ("prior.npz", "result.json"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints" / "8")
    return run


def test_a_stopped_run_goes_on_from_its_newest_checkpoint(whole: tuple[Path, Trained], stopped: Path) -> None:
    seen: list[Progress] = []
    train(OPTIONS, CONFIG, seen.append, run=stopped, resume=True)
    assert len(seen) == 1
    assert_same_run(stopped, whole[0])


def test_a_resumed_run_need_not_be_told_again(whole: tuple[Path, Trained], stopped: Path) -> None:
    train(run=stopped, resume=True)
    assert_same_run(stopped, whole[0])


def test_a_resumed_run_need_not_be_told_again_on_the_command_line(
    whole: tuple[Path, Trained], stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = json.loads((stopped / "config.json").read_text())
    (stopped / "config.json").write_text(json.dumps(about | {"command": "headstart train as it was"}))
    monkeypatch.setattr(sys, "argv", ["headstart", "train", "--run", str(stopped), "--resume"])
    cli.main()
    assert_same_run(stopped, whole[0])
    (result,) = results.load_all(stopped / "result.json")
    assert result.command == "headstart train as it was", "the command that would make it again"
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seed", "6"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()


def test_an_early_run_is_resumed_though_options_and_settings_have_come_since(
    whole: tuple[Path, Trained], stopped: Path
) -> None:
    about = json.loads((stopped / "config.json").read_text())
    for name in ("options", "command", "level_replay"):
        del about[name]
    del about["settings"]["clip"], about["settings"]["network"]["activation"]
    (stopped / "config.json").write_text(json.dumps(about))
    (kept,) = (stopped / "checkpoints").rglob("about/metadata")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"settings": about["settings"]}))
    train(run=stopped, resume=True, evaluate_on=6)
    assert_same_run(stopped, whole[0])


@pytest.mark.parametrize(
    ("chosen", "what"),
    [
        ({"seed": 6}, "seed"),
        ({"steps": 2 * STEPS}, "steps"),
        ({"suite": "bandit:arms=3,pulls=3"}, "suite, fingerprint"),
        ({"tasks": 10}, "fingerprint, tasks"),
        ({"task_seed": 1}, "task_seed"),
        ({"chunks": 2}, "chunks"),
    ],
)
def test_a_run_is_not_resumed_with_other_options(stopped: Path, chosen: dict[str, Any], what: str) -> None:
    shutil.rmtree(stopped / "checkpoints")  # not even where no checkpoint would tell
    with pytest.raises(
        UsageError, match=f"has another {what}; resume it with the settings it was started with"
    ):
        train(OPTIONS, CONFIG, run=stopped, resume=True, **chosen)


def test_a_run_is_not_resumed_with_other_settings_or_a_foreign_checkpoint(stopped: Path) -> None:
    other = PPOConfig(NETWORK, unroll=UNROLL, epochs=1, minibatches=2, lr=1e-3)
    with pytest.raises(UsageError, match="has another settings; resume"):
        train(OPTIONS, other, run=stopped, resume=True)
    elsewhere = stopped.parent / "other"
    train(OPTIONS, other, run=elsewhere, evaluate_on=0)
    shutil.rmtree(stopped / "checkpoints")
    shutil.copytree(elsewhere / "checkpoints", stopped / "checkpoints")
    with pytest.raises(UsageError, match="belongs to a run with another settings"):
        train(OPTIONS, CONFIG, run=stopped, resume=True)


def test_damage_in_a_run_folder_is_named(whole: tuple[Path, Trained], stopped: Path) -> None:
    good = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}

    def resumed() -> str:
        with pytest.raises(UsageError) as refused:
            train(OPTIONS, CONFIG, run=stopped, resume=True)
        for path, data in good.items():
            path.write_bytes(data)
        return str(refused.value)

    (stopped / "curve.csv").unlink()
    assert "curve.csv cannot be read" in resumed()
    (stopped / "curve.csv").write_text("steps,return\n24,oops\n")
    assert "curve.csv cannot be read" in resumed()
    (stopped / "curve.csv").write_text("steps,return\n24,0.5\n")
    assert "curve.csv does not reach the checkpoint at step 72" in resumed()
    (stopped / "config.json").write_text('{"suite": "band')
    assert "config.json is damaged" in resumed()
    for path in (stopped / "checkpoints" / "6" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert (
        "checkpoints/6 is damaged or no headstart checkpoint; delete it to go on from the one before"
        in resumed()
    )
    train(OPTIONS, CONFIG, run=stopped, resume=True)
    assert_same_run(stopped, whole[0])


def test_tensorboard_events(tmp_path: Path, whole: tuple[Path, Trained]) -> None:
    from tensorboardX.proto import event_pb2

    run = tmp_path / "run"
    with pytest.raises(RunError):
        train(
            OPTIONS,
            CONFIG,
            stopping(2, lambda: signal.raise_signal(signal.SIGINT)),
            run=run,
            tensorboard=True,
        )
    train(OPTIONS, CONFIG, run=run, resume=True, tensorboard=True)
    assert_same_run(run, whole[0])
    found: dict[int, dict[str, float]] = {}
    for path in sorted((run / "events").iterdir()):
        for record in _records(path):
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(event.step, {})[value.tag] = value.simple_value
    header, *lines = rows(run)
    assert sorted(found) == [int(line[0]) for line in lines]
    for line in lines:
        for name, value in zip(header[1:], line[1:], strict=True):
            assert found[int(line[0])][name] == pytest.approx(float(value), rel=1e-6)


def _records(path: Path) -> Iterator[bytes]:
    """A TFRecord file: each record's length (8 bytes), a checksum (4), the record, a checksum (4)."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        yield data[at + 12 : at + 12 + size]
        at += 16 + size


def test_without_the_extra_tensorboard_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"need the extra `tracking`: pip install 'headstart\[tracking\]'"):
        train(OPTIONS, CONFIG, run=tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()
