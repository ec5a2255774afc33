"""Runs over Ray: a cluster of several nodes, one of them killed in the middle, and the table is that of one process."""

import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headstart import results, suites
from headstart.agents.ppo import PPOConfig
from headstart.errors import RunError, UsageError
from headstart.hosts import cluster
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import adaptation, fanout, keepers, training, transfer
from headstart.protocol.adaptation import adapt
from headstart.protocol.contenders import AdaptOptions, Contender, Plan, Run, named, plan_of
from headstart.results import Result

SUITE = suites.suite("bandit:arms=3,pulls=4")
CONFIG = PPOConfig(NetworkConfig(torso=(4,), memory="gru", memory_size=4), unroll=6, epochs=1, minibatches=1)
OPTIONS = AdaptOptions(budget=100, lanes=2, seeds=(0, 1), points=3)
SCRATCH = Contender("scratch", "ppo", CONFIG)
MAIN = [sys.executable, "-m", "headstart.cli"]


def plan() -> Plan:
    return plan_of(SUITE, SUITE.split("test", 3), SCRATCH, OPTIONS)


def test_a_plan_travels_as_bytes_and_is_made_once() -> None:
    """What a worker does, in this process: the same results, bit for bit."""
    blob = fanout._pack(plan(), "")
    assert fanout._unpacked(blob) is fanout._unpacked(bytes(bytearray(blob)))
    runs = [Run(2, 1), Run(0, 0)]
    there = [fanout._play(blob, [run])[0] for run in runs]
    here = {(r.facts["row"], r.seed): r for r in adapt(SUITE, SCRATCH, OPTIONS, plan().split)}
    assert [run for run, _ in there] == runs
    assert [result.scores for _, result in there] == [here[run].scores for run in runs]
    assert [result.curve for _, result in there] == [here[run].curve for run in runs]


def test_only_a_suite_that_has_a_name_travels() -> None:
    with pytest.raises(UsageError, match="no suite called 'my-own'"):
        fanout._pack(plan()._replace(suite=dataclasses.replace(SUITE, name="my-own")), "")


def test_a_worker_of_another_version_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = results.versions()
    monkeypatch.setattr(results, "versions", lambda: versions | {"jax": "0.0"})
    blob = fanout._pack(plan(), "other")
    monkeypatch.undo()
    with pytest.raises(RunError, match="a Ray worker has another jax than the machine that asks"):
        fanout._play(blob, [Run(0, 0)])


def same(a: list[Result], b: list[Result]) -> bool:
    """Whether two tables are the same to the last bit, whoever made them."""
    strip = [[dataclasses.replace(r, commit="", command="") for r in table] for table in (a, b)]
    return strip[0] == strip[1]


@pytest.fixture(autouse=True)
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> keepers.Memory:
    """What keeps runs under way where there is no cluster: this process."""
    found = keepers.Memory(keepers.Pace(seconds=0.0, share=1e9))
    if "slow" not in request.keywords:
        shelf = SimpleNamespace(drop=SimpleNamespace(remote=found.drop))
        monkeypatch.setattr(fanout, "_shelf", lambda ray, plan: shelf)
        monkeypatch.setattr(fanout, "Distant", lambda actor, pace: found)
    return found


class Raylike:
    """What `_spread` uses of Ray, in this process: tasks run when they are asked for, the last first."""

    class exceptions:  # noqa: N801
        class RayError(Exception): ...

        class RayTaskError(RayError):
            def __init__(self, cause: Exception) -> None:
                super().__init__(str(cause))
                self.cause = cause

    def __init__(self, lost: int | None = None) -> None:
        self.lost, self.asked, self.cancelled = lost, list[dict[str, Any]](), list[int]()
        self.tasks: dict[int, Any] = {}
        self.killed = False

    def remote(self, **needs: Any) -> Any:
        self.asked.append(needs)

        def submit(function: Any, *args: Any) -> int:
            self.tasks[len(self.tasks)] = lambda: function(*args)
            return len(self.tasks) - 1

        return lambda function: SimpleNamespace(remote=lambda *args: submit(function, *args))

    def put(self, value: Any) -> Any:
        return value

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}]

    def wait(self, references: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        assert timeout > 0.0
        return references[-num_returns:], references[:-num_returns]

    def get(self, reference: int) -> Any:
        if reference == self.lost:
            raise self.exceptions.RayError("The worker died unexpectedly. And more.")
        try:
            return self.tasks[reference]()
        except Exception as error:
            raise self.exceptions.RayTaskError(error) from error

    def cancel(self, reference: int, force: bool) -> None:
        assert force
        self.cancelled.append(reference)

    def kill(self, actor: Any) -> None:
        self.killed = True


def spread_by(ray: Raylike) -> Any:
    return lambda plan, runs, command: fanout._spread(ray, plan, runs, command, gpus=0.25)


def test_a_table_played_elsewhere_is_the_table_played_here(tmp_path: Path) -> None:
    ray, seen = Raylike(), list[Result]()
    here = adapt(SUITE, SCRATCH, OPTIONS, plan().split)
    options = dataclasses.replace(OPTIONS, run=tmp_path)
    there = adapt(SUITE, SCRATCH, options, plan().split, seen.append, spread=spread_by(ray))
    assert same(there, here)
    assert [(r.facts["row"], r.seed) for r in seen] == [(2, 1), (2, 0), (1, 1), (1, 0), (0, 1), (0, 0)]
    place = {"env_vars": {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.225"}}
    assert ray.asked == [{"num_cpus": 1, "num_gpus": 0.25, "max_retries": 5, "runtime_env": place}]
    assert ray.cancelled == []
    assert ray.killed
    again = Raylike()
    assert same(adapt(SUITE, SCRATCH, options, plan().split, spread=spread_by(again)), here)
    assert again.tasks == {}  # what is kept is not played again


def test_what_is_kept_of_a_run_is_not_played_again_and_forgotten_when_it_is_finished(
    memory: keepers.Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies in its third piece, and the next, which plays that one alone."""
    blob, run, played, chunks = fanout._pack(plan(), ""), Run(1, 0), list[int](), adaptation.either.chunks

    def dying(*args: Any) -> Any:
        played.append(args[5])
        if len(played) == 3:
            raise SystemExit
        return chunks(*args)

    monkeypatch.setattr(adaptation.either, "chunks", dying)
    with pytest.raises(SystemExit):
        fanout._play(blob, [run], memory)
    fanout._play(blob, [run], memory)
    assert played == [3, 3, 2, 2]
    name = named(plan(), run)
    assert memory.find(name)
    adapt(SUITE, SCRATCH, OPTIONS, plan().split, spread=spread_by(Raylike()))
    assert memory.find(name) is None


def test_a_run_lost_for_good_ends_the_others_and_keeps_what_is_finished(tmp_path: Path) -> None:
    ray, options = Raylike(lost=3), dataclasses.replace(OPTIONS, run=tmp_path)
    message = (
        r"row 1, seed 1 of scratch was lost 6 times with its Ray worker \(The worker died unexpectedly\)"
    )
    with pytest.raises(RunError, match=message):
        adapt(SUITE, SCRATCH, options, plan().split, spread=spread_by(ray))
    assert ray.cancelled == [0, 1, 2]
    assert len(list(tmp_path.rglob("*.result.json"))) == 2


def test_a_worker_s_own_error_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("the disk of the worker is on fire.")

    monkeypatch.setattr(fanout, "play_group", refuse)
    with pytest.raises(UsageError, match=r"^the disk of the worker is on fire"):
        adapt(SUITE, SCRATCH, OPTIONS, plan().split, spread=spread_by(Raylike()))


@contextlib.contextmanager
def answering_with(reply: bytes) -> Iterator[str]:
    """The address of something that says one thing to whoever calls."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                with line:
                    line.recv(100)
                    line.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_address_nobody_answers_is_one_sentence_quickly() -> None:
    begun = time.monotonic()
    with pytest.raises(
        UsageError, match=r"nobody answers at the Ray address 127.0.0.1:\d+ \(Connection refused"
    ):
        cluster.knock(f"127.0.0.1:{free_port()}")
    with pytest.raises(UsageError, match=r"nobody answers at the Ray address ray://nobody\.invalid:10001"):
        cluster.knock("ray://nobody.invalid:10001")
    assert time.monotonic() - begun < 20.0


def test_what_answers_but_is_no_ray_is_refused() -> None:
    for reply in (b"HTTP/1.0 400 Bad Request\r\n\r\n", b""):
        with answering_with(reply) as address, pytest.raises(UsageError, match="is no Ray head"):
            cluster.knock(address)
    with answering_with(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as address:
        cluster.knock(address)


@pytest.mark.parametrize("address", ["", "somewhere", "host:port", "10.0.0.1:99999", "http://a:1/x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"a Ray address is host:port, ray://host:port or auto, not"):
        cluster.knock(address)


def test_wrong_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"--fanout ray": False, "--lanes-on ray": False}
    with (
        pytest.raises(UsageError, match="give --fanout ray or --lanes-on ray as well"),
        cluster.joined("127.0.0.1:6379", given),
    ):
        pass
    with cluster.joined(None, given) as ray:
        assert ray is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for option in given:
        with (
            pytest.raises(
                UsageError, match=rf"^{option} needs the extra `ray`: pip install 'headstart\[ray\]'"
            ),
            cluster.joined(None, given | {option: True}),
        ):
            pass


def having(*nodes: dict[str, float], alive: bool = True) -> Any:
    return SimpleNamespace(nodes=lambda: [{"Alive": alive, "Resources": node} for node in nodes])


def test_a_cluster_without_what_a_run_needs_is_refused() -> None:
    fanout.over(having({}, {"CPU": 4.0}))
    with pytest.raises(UsageError, match=r"needs a CPU core and 0\.5 GPU of one node, which no"):
        fanout.over(having({"CPU": 4.0}), 0.5)
    single = {"CPU": 4.0, "GPU": 1.0}
    fanout.over(having(single, single), 1.0)
    with pytest.raises(UsageError, match="needs a CPU core and 2 GPU of one node"):
        fanout.over(having(single, single), 2.0)
    with pytest.raises(UsageError, match="needs a CPU core, which no node"):
        fanout.over(having({"CPU": 4.0}, alive=False))


def test_runs_without_a_node_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """All nodes vanish after the first result; nothing is ready ever after."""
    monkeypatch.setattr(fanout, "_PLACE", 0.05)
    ray = Raylike()
    nodes, wait = ray.nodes(), ray.wait

    def waited(references: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        if len(references) == 6:
            return wait(references, num_returns, timeout)
        nodes.clear()
        time.sleep(0.01)
        return [], references

    monkeypatch.setattr(ray, "wait", waited)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with pytest.raises(
        RunError, match=r"no node .* has had 1 CPU and 0\.25 GPU for .* and 5 runs of scratch wait"
    ):
        adapt(SUITE, SCRATCH, OPTIONS, plan().split, spread=spread_by(ray))
    assert ray.cancelled == [0, 1, 2, 3, 4]


def test_a_run_sees_only_its_part_of_a_gpu() -> None:
    assert fanout.variables(0.0) == {"JAX_PLATFORMS": "cpu"}
    assert fanout.variables(0.5) == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}
    assert fanout.variables(1.0) == fanout.variables(2.0) == {}


DOOR = """
import gymnasium as gym
import numpy as np


class Door(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, door=0):
        self.door = door

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), float(action == self.door) + self.np_random.random(), True, False, {}
"""


def test_a_foreign_suite_travels_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: keepers.Memory
) -> None:
    """What a worker does that was started in another folder: tasks and module are found where the asker has them."""
    (tmp_path / "fandoor.py").write_text(DOOR)
    (tmp_path / "train.json").write_text(json.dumps([{"door": 1}]))
    (tmp_path / "test.json").write_text(json.dumps([{"door": 0}]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    suite = suites.suite("asgym:env=fandoor:Door,train=train.json,test=test.json,per_worker=2")
    options = AdaptOptions(budget=48, lanes=4, seeds=(0,), points=2)
    door = plan_of(suite, suite.split("test"), SCRATCH, options)
    assert [fanout._cores(door, most) for most in (1.0, 8.0)] == [1, 2]
    assert fanout._cores(plan(), 8.0) == 1
    here = adapt(suite, SCRATCH, options, door.split)
    blob = fanout._pack(door, "")
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    ((_, there),) = fanout._play(blob, [Run(0, 0)], memory)
    assert same([there], here)
    assert memory.find(named(door, Run(0, 0))) is None  # which would be in the middle of an episode
    assert there.scores[0] > 0.0


def test_the_command_ends_with_one_sentence_and_code_2(tmp_path: Path) -> None:
    words = [
        "transfer",
        "--suite",
        "bandit",
        "--agents",
        "random",
        "--fanout",
        "ray",
        "--run",
        str(tmp_path / "run"),
    ]
    command = [*MAIN, *words, "--ray-address", f"127.0.0.1:{free_port()}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 2
    assert ran.stderr.startswith("headstart: nobody answers at the Ray address")
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


class Nodes:
    """A Ray cluster on this machine: a head that plays nothing, and node processes of one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "no_monitor": True, **self._own()}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add(), self.add()]

    def _own(self) -> dict[str, Any]:
        """Ports that are free now: a node that has to ask its agents for theirs gives up on a busy machine."""
        names = (
            "metrics_agent_port",
            "dashboard_agent_listen_port",
            "runtime_env_agent_port",
            "metrics_export_port",
        )
        rest = {"object_store_memory": 80_000_000, "include_log_monitor": False}
        return {name: free_port() for name in names} | rest

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, **self._own())

    def kill(self, first: bool = False) -> None:
        """A node process and its workers, at once: the last, or the first."""
        self.cluster.remove_node(self.nodes.pop(0 if first else -1), allow_graceful=False)


_PATIENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_worker_register_timeout_seconds": "180",
    "RAY_health_check_failure_threshold": "20",
    "RAY_worker_niceness": "0",
}
"""a busy machine needs longer to start a node than Ray would wait"""


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    for name, value in _PATIENT.items():
        monkeypatch.setenv(name, value)
    from ray._private import services
    from ray.cluster_utils import Cluster

    get, wait = services.get_node, Cluster._wait_for_node

    def patient(*args: Any) -> Any:
        until = time.monotonic() + 180.0
        while True:
            try:
                return get(*args)
            except RuntimeError:  # not there yet
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)

    monkeypatch.setattr(services, "get_node", patient)
    monkeypatch.setattr(Cluster, "_wait_for_node", lambda cluster, node: wait(cluster, node, 180.0))
    found = Nodes()
    yield found
    found.cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_node_is_killed_in_the_middle_and_the_table_is_complete_and_identical(
    nodes: Nodes, tmp_path: Path
) -> None:
    base = transfer.TransferOptions(
        suite="cartpole",
        agents=("random", "ppo"),
        budget=20_000,
        seeds=4,
        tasks=3,
        lanes=2,
        run=tmp_path / "here",
    )
    configs = {"ppo": PPOConfig(NetworkConfig(torso=(4,)), unroll=8, epochs=1, minibatches=1)}
    alone = transfer.transfer(base, configs=configs)
    seen: list[Result] = []

    def watch(result: Result) -> None:
        seen.append(result)
        if len(seen) == 14:  # of 24: two of PPO's runs have been played, others are being
            nodes.kill()

    spread = dataclasses.replace(base, fanout="ray", ray_address=nodes.cluster.address, run=tmp_path / "ray")
    found = transfer.transfer(spread, transfer.Watch(result=watch), configs=configs)
    assert len(nodes.nodes) == 1
    assert len(found) == len(seen) == 24
    assert same(found, alone)
    assert len(list((tmp_path / "ray" / "runs").rglob("*.result.json"))) == 24


def made(folder: Path) -> list[int]:
    """How many pieces of each run under way are kept in a folder."""
    kept = [path.read_bytes() for path in folder.rglob("*.progress")]
    return [len(json.loads(data[: data.find(b"\n")])["steps"]) for data in kept]


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore:os.fork:RuntimeWarning"
)
def test_a_run_whose_node_is_killed_goes_on_from_where_it_was_kept(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs on a node each, one of which is killed when both have played some of their hundred pieces."""
    suite, pieces = suites.suite("cartpole"), 100
    split = suite.split("test", 1)
    config = PPOConfig(NetworkConfig(torso=(4,)), unroll=8, epochs=1, minibatches=1)
    who = Contender("scratch", "ppo", config)
    options = AdaptOptions(budget=400_000, lanes=2, seeds=(0, 1), points=pieces)
    monkeypatch.setattr(fanout, "_PACE", keepers.Pace(seconds=0.0, share=1e9))
    shelves, shelf, killed, told = (
        list[Any](),
        fanout._shelf,
        list[list[int]](),
        list[tuple[int, list[str]]](),
    )
    monkeypatch.setattr(fanout, "_shelf", lambda *args: shelves.append(shelf(*args)) or shelves[0])

    def kill() -> None:
        until = time.monotonic() + 300.0
        while time.monotonic() < until and not killed:
            if len(found := made(tmp_path)) == 2 and min(found) >= 10:
                killed.append(found)
                nodes.kill()
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    with cluster.joined(nodes.cluster.address, {"--fanout ray": True}) as ray:
        killer.start()
        there = adapt(
            suite,
            who,
            dataclasses.replace(options, run=tmp_path),
            split,
            lambda _: told.append(ray.get(shelves[0].told.remote())),
            spread=fanout.over(ray),
        )
    killer.join()
    assert len(nodes.nodes) == 1
    assert max(killed[0]) < pieces
    kept, found = told[-1]
    assert len(found) == 1  # one run went on from what was kept
    # each piece but a run's last is kept once at most: none that was kept was played again; some that take
    # milliseconds are not kept, since Ray's actor cannot be reached for a moment after a node's death
    assert kept - 2 * (pieces - 1) <= 2 < min(killed[0])
    assert list(tmp_path.rglob("*.progress")) == []
    assert same(there, adapt(suite, who, options, split))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore:os.fork:RuntimeWarning"
)
def test_a_node_is_killed_in_the_middle_and_its_lanes_go_on_elsewhere(nodes: Nodes) -> None:
    """Two workers on a node each; the one whose node is lost is replaced on a node that joined meanwhile."""
    seen: list[int] = []

    def watch(progress: training.Progress) -> None:
        seen.append(progress.steps)
        if len(seen) == 2:
            nodes.nodes.append(nodes.add())
            nodes.kill(first=True)

    trained = training.train(
        suite="asgym:CartPole-v1",
        agent="ppo",
        config=PPOConfig(NetworkConfig(torso=(4,)), unroll=8, epochs=1, minibatches=1),
        steps=8 * 64,
        lanes=8,
        chunks=4,
        evaluate_on=0,
        lanes_on="ray",
        ray_address=nodes.cluster.address,
        watch=watch,
    )
    assert seen == [128, 256, 384, 512]
    assert trained.result.facts["deaths"] == 1
