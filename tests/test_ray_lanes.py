"""Lanes in actors of a Ray cluster: the steps are those of processes, and a worker that dies is replaced."""

import contextlib
import dataclasses
import json
import os
import pickle
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import headstart as hs
from headstart import results
from headstart.agents.ppo import PPOConfig
from headstart.errors import RunError, UsageError
from headstart.hosts import actors, cluster
from headstart.hosts.actors import Actor, Actors, Stepper, last_words
from headstart.hosts.lanes import Hire, Program, WorkerLanes
from headstart.hosts.processes import Process
from headstart.hosts.shared import Layout
from headstart.hosts.worker import Job
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol.fanout import variables
from headstart.suites import suite
from headstart.types import Box, Discrete, Spec, TimeStep

MODULE = '''
import os, sys
import gymnasium as gym
import numpy as np


class Toy(gym.Env):
    """Shows (steps taken, luck drawn every step, the task's kind); ends by luck; `fault` says what goes wrong."""

    observation_space = gym.spaces.Dict(
        {"t": gym.spaces.Box(0, 99, (2,), np.float64), "kind": gym.spaces.Discrete(9)}
    )
    action_space = gym.spaces.Discrete(3, start=1)

    def __init__(self, kind=0, fault=""):
        self.kind, self.fault = kind, fault

    def seen(self):
        return {"kind": self.kind, "t": np.array([self.t, self.np_random.random()])}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.kind = (options or {}).get("kind", self.kind)
        self.t = 0
        return self.seen(), {"pid": os.getpid()}

    def step(self, action):
        self.t += 1
        if self.fault == "raise" and self.t == 2:
            raise ValueError("the ball is gone")
        if self.fault == "exit" and self.t == 2:
            print("out of cheese", file=sys.stderr, flush=True)
            os._exit(3)
        if self.fault == "four":
            return self.seen(), 0.0, False, {}
        pay = float(action) * self.np_random.random()
        return self.seen(), pay, bool(self.np_random.random() < 0.1), False, {}
'''
SPEC = Spec({"kind": Discrete(9), "t": Box((2,), 0.0, 99.0)}, Discrete(3), 12, truncates=True)
LEAVES = (((), "int32"), ((2,), "float32"))
KINDS = tuple({"kind": kind} for kind in range(4))
noisy = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
pytestmark = noisy


PATIENT = {
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_worker_register_timeout_seconds": "180",
}
"""a busy machine needs longer to start a node than Ray would wait"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("toys")
    (folder / "raytoys.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def ray(toys: Path) -> Iterator[Any]:
    """A Ray of our own, as a command starts one, of four cores whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        import ray as module

        init = module.init
        patch.setattr(
            module, "init", lambda **options: init(**options, num_cpus=4, object_store_memory=80_000_000)
        )
        with contextlib.ExitStack() as stack:
            try:
                found = stack.enter_context(cluster.joined(None, {"--lanes-on ray": True}))
            except RunError as error:  # as it is where a machine is too busy for Ray
                pytest.skip(f"no Ray here: {error}")
            yield found


def lanes(
    hire: Hire,
    tasks: tuple[dict[str, Any], ...] = KINDS,
    by: str = "make",
    pinned: bool = False,
    episodes: int = 1,
    **kwargs: Any,
) -> Any:
    """Three lanes in two workers, closed at the context's end."""
    program = Program("raytoys:Toy", "raytoys:Toy", kwargs, by, LEAVES, per_worker=2, episodes=episodes)
    return closing(WorkerLanes(program, SPEC, tasks, 3, 5, pinned, hire))


def same(a: TimeStep, b: TimeStep) -> bool:
    """To the last bit, and of the same types."""
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)


slow = pytest.mark.slow
"""Whatever starts a Ray: it forks, which JAX forbids a process that has computed, as one of the whole suite has; so
`pytest --all tests/test_ray_lanes.py` runs them, in a process of their own."""


def agree(ray: Any, by: str, pinned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """150 steps of two seeds, by actors and by processes; drawn tasks are kept for three episodes, as in trials."""
    how: dict[str, Any] = {"by": by, "pinned": pinned, "episodes": 1 if pinned else 3}
    monkeypatch.setattr(
        actors, "_DIRECT", 90_000 if pinned else 12
    )  # a lane's bytes: its own part of the answer
    actions = np.random.default_rng(7).integers(0, 3, (150, 3)).astype(np.int32)
    with lanes(Process, **how) as near, lanes(Actors(ray), **how) as far:
        ended, rows = 0, set[int]()
        for seed in (3, 4):
            assert same(near.reset(seed), far.reset(seed))
            if seed == 4:  # what is to come is chosen
                for opened in (near, far):
                    opened.choose(np.array([0.0, 0.3, 0.0, 0.7]))
            for action in actions:
                here, there = near.step(action), far.step(action)
                assert same(here, there)
                assert np.array_equal(near.rows, far.rows)
                assert np.array_equal(near.episode, far.episode)
                ended, rows = ended + int(here.first.sum()), rows | set(near.rows.tolist())
        assert pinned or set(near.rows.tolist()) <= {1, 3}
        assert ended > 60
        assert rows == ({5 % 4, 6 % 4, 7 % 4} if pinned else {0, 1, 2, 3})
        assert far.busy > 0
        assert far.deaths == near.deaths == 0


def pid(opened: WorkerLanes, post: int) -> int:
    """The process of an actor."""
    import ray as module

    worker = opened._posts[post].worker
    assert isinstance(worker, Actor)
    return module.get(worker._actor.__ray_call__.remote(lambda _: os.getpid()))


WAYS = pytest.mark.parametrize(
    ("by", "pinned"), [("make", False), ("reset", True), ("make", True), ("reset", False)]
)


@slow
@WAYS
def test_the_steps_are_those_of_processes(
    ray: Any, by: str, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    agree(ray, by, pinned, monkeypatch)


@WAYS
def test_what_actors_tell_is_what_processes_show(
    toys: Path, by: str, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without Ray: the actors' messages, in this process."""
    agree(Lossy(lost=0, why=""), by, pinned, monkeypatch)


@slow
def test_an_actor_that_is_killed_is_replaced_and_its_episodes_are_truncated(
    ray: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"by": "reset", "episodes": 2}
    with lanes(Actors(ray), **how) as opened, lanes(Process, **how) as twin:
        before, action = opened.reset(0), np.zeros(3, np.int32)
        twin.reset(0)
        os.kill(pid(opened, 0), signal.SIGKILL)
        now, other = opened.step(action), twin.step(action)
        assert opened.deaths == 1
        assert now.first.tolist()[:2] == [True, True]
        assert now.discount.tolist()[:2] == [1.0, 1.0], "truncated, not terminated"
        assert not now.reward[:2].any()
        np.testing.assert_array_equal(now.final_obs["t"][:2], before.obs["t"][:2])
        assert now.obs["t"][:2, 0].tolist() == [0.0, 0.0]
        assert now.obs["kind"][:2].tolist() == before.obs["kind"][:2].tolist(), (
            "it is the trial's second episode"
        )
        assert opened.episode.tolist() == [1, 1, 0]
        assert not set(now.obs["t"][:2, 1]) & set(before.obs["t"][:2, 1]), "another attempt has other luck"
        assert now.reward[2] == other.reward[2], "the other worker's lane goes on"
        for _ in range(30):
            now, other = opened.step(action), twin.step(action)
            assert now.obs["t"][2, 1] == other.obs["t"][2, 1]
        assert opened.deaths == 1
    assert capfd.readouterr().out == "", "Ray does not print of it between a command's results"


@slow
def test_a_run_without_gpus_is_told_to_open_none(ray: Any) -> None:
    place = {"env_vars": variables(0.0)}
    asked = ray.remote(num_cpus=1, runtime_env=place)(lambda: os.environ.get("JAX_PLATFORMS"))
    assert ray.get(asked.remote(), timeout=120) == "cpu"


@slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", r"died 3 times .* an episode: ValueError: the ball is gone \(raytoys.py:\d+\)\.$"),
        ("exit", r"died 3 times .* an episode: Worker unexpectedly exits .*; it last said: out of cheese\.$"),
        ("four", r"breaks Gymnasium's interface: step\(\) returned 4 values \(the old gym's\)"),
    ],
)
def test_what_ends_a_run_is_told_in_the_workers_own_words(ray: Any, fault: str, message: str) -> None:
    with lanes(Actors(ray), fault=fault) as opened, pytest.raises(RunError, match=message) as error:
        push(opened, 6)
    assert "\n" not in str(error.value)


def push(opened: WorkerLanes, steps: int) -> None:
    opened.reset(0)
    for _ in range(steps):
        opened.step(np.zeros(3, np.int32))


@slow
def test_what_cannot_be_made_there_is_refused_at_once(ray: Any) -> None:
    with (
        lanes(Actors(ray), tasks=({"colour": "red"},)) as opened,
        pytest.raises(UsageError, match="cannot be made with colour"),
    ):
        opened.reset(0)


@slow
def test_a_cluster_without_a_free_core_is_told_and_not_waited_for(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "_PLACE", 1.0)
    begun = time.monotonic()
    with lanes(Actors(ray, 4.0)) as opened, pytest.raises(RunError, match="started no worker") as error:
        opened.reset(0)  # the first of the two takes all there is
    assert re.search(r"each takes 4 CPU, and [04] of 4 are free", str(error.value))
    assert time.monotonic() - begun < 20.0


@slow
def test_closing_ends_the_actors_and_frees_their_cores(ray: Any) -> None:
    with lanes(Actors(ray, 0.5)) as opened:
        opened.reset(0)
        process = pid(opened, 0)
    opened.close()  # twice does no harm
    end = time.monotonic() + 20
    while (alive(process) or ray.available_resources().get("CPU") != 4.0) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(process)
    assert ray.available_resources()["CPU"] == 4.0


def test_the_last_words_are_the_last_line_of_the_workers_own(tmp_path: Path) -> None:
    (tmp_path / "err").write_text(":job_id:01\nfirst\nout of cheese\n\n:actor_name:Stepper\n")
    assert actors.said_last(str(tmp_path / "err")) == "out of cheese"
    assert actors.said_last(str(tmp_path / "none")) == ""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


SMALL = PPOConfig(NetworkConfig(torso=(4,)), unroll=8, epochs=1, minibatches=1)


@slow
def test_training_goes_on_when_an_actor_is_killed(ray: Any, toys: Path) -> None:
    """The whole way through `train`, the second chunk without the worker that the first had."""
    killed: list[int] = []

    def watch(progress: Any) -> None:
        if not killed:
            (found,) = [one for one in stepping() if one != os.getpid()][:1]
            killed.append(found)
            os.kill(found, signal.SIGKILL)

    options: dict[str, Any] = {
        "suite": "asgym:env=raytoys:Toy,per_worker=2",
        "agent": "ppo",
        "steps": 128,
        "lanes": 4,
    }
    trained = hs.train(
        config=SMALL, watch=watch, chunks=4, evaluate_on=0, lanes_on="ray", ray_cpus=0.5, **options
    )
    assert trained.result.facts["deaths"] == 1
    assert trained.result.spent == 128
    assert trained.result.suite == "asgym-v0:env=raytoys:Toy,per_worker=2", (
        "where lanes are stepped is not told"
    )


def stepping() -> list[int]:
    """Processes of actors that step lanes."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"ray::Stepper"):
                found.append(int(entry.name))
        except OSError:
            continue
    return [one for one in found if alive(one)]


def test_a_node_of_another_version_refuses(tmp_path: Path) -> None:
    layout = Layout(LEAVES, ((), "int32"), 1, 1)
    job = Job("raytoys:Toy", {}, ({},), "make", 9, (0,), (0,), False, 0, layout, (), ())
    stepper = Stepper(job, results.versions() | {"numpy": "1.0"}, [], [slice(0, 1)])
    answer, *_ = pickle.loads(stepper.reset(0, 0, [0], [0], [-1]))
    assert answer == (
        "refused",
        "a Ray worker has another numpy than the machine that asks; install the same on every node.",
    )


class Lossy:
    """What an `Actor` uses of Ray, in this process; the first actors are lost with their nodes before they are there."""

    class exceptions:  # noqa: N801
        class RayError(Exception): ...

        class RayActorError(RayError): ...

        class GetTimeoutError(RayError): ...

    def __init__(self, lost: int, why: str) -> None:
        self.lost, self.why, self.made = lost, why, 0

    def remote(self, kind: Any) -> Any:
        return SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=lambda *given: self._make(kind, given))
        )

    def _make(self, kind: Any, given: Any) -> Any:
        self.made += 1
        number, made = self.made, kind(*given)

        def method(do: Any) -> Any:
            call = SimpleNamespace(remote=lambda *numbers: (number, lambda: do(*numbers)))
            return SimpleNamespace(remote=call.remote, options=lambda **_: call)

        home = SimpleNamespace(remote=lambda: (number, lambda: ("node", "")))
        return SimpleNamespace(home=home, reset=method(made.reset), step=method(made.step))

    def wait(self, references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        assert timeout >= 0.0
        return references, []

    def get(self, reference: Any, timeout: float = 0.0) -> Any:
        number, do = reference
        if number <= self.lost:
            raise self.exceptions.RayActorError(self.why)
        return do()

    def is_initialized(self) -> bool:
        return False


def test_a_node_lost_before_the_actor_was_there_is_no_death(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "_PAUSE", 0.0)
    ray = Lossy(lost=4, why="The actor died because its node has died.")
    with lanes(Actors(ray), by="reset") as opened, lanes(Process, by="reset") as twin:
        assert same(opened.reset(3), twin.reset(3))
        assert same(opened.step(np.ones(3, np.int32)), twin.step(np.ones(3, np.int32)))
        assert (opened.deaths, ray.made) == (0, 6)
    broken = Lossy(
        lost=99, why="The actor died because of an error raised in its creation task, No module 'headstart'"
    )
    with (
        lanes(Actors(broken)) as opened,
        pytest.raises(RunError, match=r"died 3 times .*: No module 'headstart'\.$"),
    ):
        opened.reset(0)


def test_lanes_that_nobody_else_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="suite bandit-v0 is a compiled program on the device"):
        cluster.check_lanes(suite("bandit"), "ray", 1.0)
    env: Any = dataclasses.replace(suite("asgym").env, name="procgen coinrun", by=None)
    threads = dataclasses.replace(suite("asgym"), env=env)
    with pytest.raises(UsageError, match="procgen coinrun is stepped by threads of this process"):
        cluster.check_lanes(threads, "ray", 1.0)
    for cpus in (-1.0, 1.5):
        with pytest.raises(UsageError, match="ray_cpus is a part of 1, or a whole number of cores"):
            cluster.check_lanes(suite("asgym"), "ray", cpus)
    cluster.check_lanes(suite("asgym"), "ray", 0.25)
    cluster.check_lanes(suite("bandit"), "here", 1.0)


def test_last_words_are_short() -> None:
    said = (
        "The actor died because of an error raised in its creation task, \x1b[36mray::Stepper.__init__()\x1b[39m\n"
        "  File ...\nModuleNotFoundError: No module named 'headstart'"
    )
    assert last_words(said).endswith("ModuleNotFoundError: No module named 'headstart'")
    assert "\x1b" not in last_words(said)
    killed = "ip: 1.2.3.4 Worker exit detail: It was killed. Some common causes include: (1) the moon."
    assert last_words(killed) == "It was killed"


@slow
def test_a_transfer_is_the_same_wherever_its_lanes_are_stepped(ray: Any, toys: Path, tmp_path: Path) -> None:
    """Joint training, the choice of a prior, adaptation: all of it on lanes in actors, and to the same bits."""
    del ray
    (toys / "train.json").write_text(json.dumps(KINDS[:3]))
    (toys / "valid.json").write_text(json.dumps([{"kind": 5}]))
    (toys / "test.json").write_text(json.dumps([{"kind": 4}]))
    files = ",".join(f"{role}={toys / role}.json" for role in ("train", "valid", "test"))
    options = hs.TransferOptions(
        suite=f"asgym:env=raytoys:Toy,horizon=12,{files}",
        agents=("ppo-joint",),
        budget=128,
        seeds=1,
        lanes=4,
        train_steps=128,
        train_lanes=4,
        snapshots=2,
        choose_tasks=1,
        choose_budget=64,
        run=tmp_path / "here",
    )
    far = dataclasses.replace(options, run=tmp_path / "there", lanes_on="ray", ray_cpus=0.5)
    here, there = (hs.transfer(one, configs={"ppo": SMALL}) for one in (options, far))
    assert [r.facts["task"] for r in there] == ["kind=4"]
    assert [r.scores for r in here] == [r.scores for r in there]
    assert [repr(r.curve) for r in here] == [repr(r.curve) for r in there]  # nan where no episode ended
    assert [r.suite for r in here] == [r.suite for r in there]
