"""Runs under way: what is kept of them, when, and that one that goes on from there is one that was never stopped."""

import contextlib
import dataclasses
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import agents, results, suites
from headstart.agents.ppo import PPOConfig
from headstart.errors import RunError
from headstart.loops import jit
from headstart.nets.actor_critic import NetworkConfig
from headstart.nets.q_network import QNetworkConfig
from headstart.protocol import adaptation, underway
from headstart.protocol.adaptation import adapt, play_group
from headstart.protocol.contenders import AdaptOptions, Contender, Plan, Run, named, plan_of
from headstart.protocol.keepers import Files, Keeper, Memory, Pace, Shelf
from headstart.protocol.outcomes import Piece
from headstart.protocol.priors import Prior
from headstart.protocol.tuning import Tuning
from headstart.protocol.underway import Keeping, Underway, pack, stamp_of, unpack
from headstart.results import Result

SUITE = suites.suite("bandit:arms=3,pulls=4")
CONFIG = PPOConfig(NetworkConfig(torso=(4,), memory="gru", memory_size=4), unroll=6, epochs=1, minibatches=1)
OPTIONS = AdaptOptions(budget=100, lanes=2, seeds=(0, 1), points=4)
"""eight updates of twelve steps, in four pieces of two"""
SCRATCH = Contender("scratch", "ppo", CONFIG)
ALWAYS = Pace(seconds=0.0, share=1e9)
RUN = Run(1, 0)


class Killed(BaseException):
    """What takes a process away."""


def plan(contender: Contender = SCRATCH, options: AdaptOptions = OPTIONS) -> Plan:
    return plan_of(SUITE, SUITE.split("test", 3), contender, options)


def prior(seed: int) -> Prior:
    agent = agents.entry("ppo").build(SUITE.env.spec, CONFIG)
    train = SUITE.split("train", 5)
    return Prior("ppo", CONFIG, agent.init(jr.key(seed)), SUITE.name, train.fingerprint, 5, seed, seed)


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, dies: int = 0) -> Iterator[list[int]]:
    """The pieces that are played, by their updates; the process is killed in the middle of the `dies`-th."""
    played: list[int] = []
    chunks = adaptation.either.chunks

    def counting(*args: Any) -> Any:
        played.append(args[5])
        if len(played) == dies:
            raise Killed
        return chunks(*args)

    with monkeypatch.context() as patch:
        patch.setattr(adaptation.either, "chunks", counting)
        yield played


def bare(found: list[tuple[Run, Result]]) -> list[Any]:
    """Results without the command that made them; NaN is told as text, since it is not itself."""
    return [(run, str(dataclasses.replace(result, commit="", command=""))) for run, result in found]


def killed(plan: Plan, runs: list[Run], keeper: Keeper, patch: pytest.MonkeyPatch, dies: int) -> None:
    with counted(patch, dies), pytest.raises(Killed):
        play_group(plan, runs, "", keeper=keeper)


def again(plan: Plan, runs: list[Run], keeper: Keeper, patch: pytest.MonkeyPatch) -> tuple[int, list[Any]]:
    """How many pieces were played, tries among them, and what came of it."""
    with counted(patch) as played:
        found = bare(play_group(plan, runs, "", keeper=keeper))
    return len(played), found


@pytest.mark.parametrize("dies", [1, 2, 4])
def test_a_run_that_is_killed_goes_on_to_the_same_end(monkeypatch: pytest.MonkeyPatch, dies: int) -> None:
    whole, keeper = bare(play_group(plan(), [RUN], "")), Memory(ALWAYS)
    killed(plan(), [RUN], keeper, monkeypatch, dies)
    assert (keeper.find(named(plan(), RUN)) is None) == (dies == 1)
    assert again(plan(), [RUN], keeper, monkeypatch) == (4 - (dies - 1), whole)


def test_runs_side_by_side_that_tried_priors_go_on_and_try_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with the prior that it chose; runs in other company begin again, since a name is that of the first."""
    who = dataclasses.replace(SCRATCH, prior=prior(1), others=(prior(2), prior(3)))
    tuned = plan(who, dataclasses.replace(OPTIONS, budget=600, tuning=Tuning(tries=3)))
    runs, keeper = [RUN, Run(2, 1)], Memory(ALWAYS)
    count, whole = again(tuned, runs, Memory(Pace(1e9)), monkeypatch)
    assert count == 3 + 4
    killed(tuned, runs, keeper, monkeypatch, dies=3 + 3)
    assert again(tuned, runs, keeper, monkeypatch) == (2, whole)
    assert again(tuned, runs[:1], keeper, monkeypatch)[0] == 7


def test_a_replay_goes_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"capacity": 64, "warm_up": 16, "batch": 4, "atoms": 5, "network": QNetworkConfig((4,))}
    config = dataclasses.replace(agents.entry("rainbow").config, **small)
    rainbow = plan(Contender("rainbow", "rainbow", config), dataclasses.replace(OPTIONS, budget=160))
    whole, keeper = bare(play_group(rainbow, [RUN], "")), Memory(ALWAYS)
    killed(rainbow, [RUN], keeper, monkeypatch, dies=4)
    assert again(rainbow, [RUN], keeper, monkeypatch) == (1, whole)


def test_the_same_call_goes_on_from_files_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "_PACE", ALWAYS)
    options, split = dataclasses.replace(OPTIONS, run=tmp_path, together=1), plan().split
    whole = adapt(SUITE, SCRATCH, OPTIONS, split)
    with counted(monkeypatch, dies=4 + 3), pytest.raises(Killed):
        adapt(SUITE, SCRATCH, options, split)
    assert [path.name for path in tmp_path.rglob("*.progress")] == ["task-0-seed1.progress"]
    with counted(monkeypatch) as played:
        found = adapt(SUITE, SCRATCH, options, split)
    assert len(played) == 6 * 4 - 4 - 2
    assert bare([(RUN, r) for r in found]) == bare([(RUN, r) for r in whole])
    assert [path.suffix for path in tmp_path.rglob("*.*")] == [".json"] * 6


def test_who_is_told_to_stop_keeps_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, keeper = threading.Event(), Memory(Pace())
    chunks = adaptation.either.chunks

    def stopping(*args: Any) -> Any:
        stop.set()
        return chunks(*args)

    whole = bare(play_group(plan(), [RUN], ""))
    with monkeypatch.context() as patch:
        patch.setattr(adaptation.either, "chunks", stopping)
        assert play_group(plan(), [RUN], "", stop=stop, keeper=keeper) == []
    assert again(plan(), [RUN], keeper, monkeypatch) == (3, whole)


def test_a_run_that_is_filmed_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    filmed, keeper = plan(options=dataclasses.replace(OPTIONS, filmed=1)), Memory(ALWAYS)
    play_group(filmed, [Run(0, 0)], "", lambda footage: [], keeper=keeper)
    assert keeper.find(named(filmed, Run(0, 0))) is None
    play_group(filmed, [RUN], "", lambda footage: [], keeper=keeper)
    assert keeper.find(named(filmed, RUN)) is not None


def test_only_the_same_run_goes_on() -> None:
    stamps = [
        stamp_of(plan(), [RUN]),
        stamp_of(plan(), [Run(1, 1)]),
        stamp_of(plan(), [RUN, Run(1, 1)]),
        stamp_of(plan(options=dataclasses.replace(OPTIONS, points=3)), [RUN]),
        stamp_of(plan(options=dataclasses.replace(OPTIONS, budget=112)), [RUN]),
        stamp_of(plan(dataclasses.replace(SCRATCH, config=dataclasses.replace(CONFIG, lr=1.0))), [RUN]),
        stamp_of(plan(dataclasses.replace(SCRATCH, prior=prior(1))), [RUN]),
        stamp_of(
            plan(dataclasses.replace(SCRATCH, prior=dataclasses.replace(prior(1), state=prior(2).state))),
            [RUN],
        ),
    ]
    assert len(set(stamps)) == len(stamps)
    assert stamp_of(plan(), [RUN]) == stamps[0]


def some() -> Underway:
    """All sorts of arrays, a key and a half-precision one among them."""
    state = {
        "weights": jnp.arange(6, dtype=jnp.bfloat16).reshape(1, 2, 3),
        "none": jnp.zeros((1, 0)),
        "flag": jnp.array([True]),
        "key": jr.split(jr.key(3), 1),
    }
    tally = jit.Tally(jnp.ones((1, 2)), jnp.zeros((1, 2), jnp.int32))
    still: Any = ()
    carry = jit.Carry(state, still, still, still, tally, jnp.array([4], jnp.int32))
    log = jit.Log({"loss": np.array([[0.5, np.nan]], np.float32)}, *(np.arange(2)[None] for _ in range(3)))  # type: ignore[arg-type]
    return Underway(carry, np.array([[1.5]]), [Piece(12, log), Piece(24, log._replace(metrics={}))])


def shapes(now: Underway) -> jit.Carry:
    return jax.eval_shape(lambda carry: carry, now.carries)


def test_what_is_packed_is_what_is_unpacked() -> None:
    now = some()
    found = unpack("a", pack("a", now), shapes(now))
    assert found is not None
    assert found.carries.agent.pop("key") == now.carries.agent.pop("key")
    assert jax.tree.structure(found) == jax.tree.structure(now)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(now), strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        assert np.array_equal(one, other) or np.isnan(other).any()
    assert found.spent == 36


def test_what_is_another_s_or_damaged_is_nothing() -> None:
    now = some()
    data, like = pack("a", now), shapes(now)
    middle = len(data) - 5
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    for bad in (data[:-1], data[:40], b"", b"\n", b"[]\n", b"1\n", b"{}\n", flipped, b"\xff" * 99 + b"\n"):
        assert unpack("a", bad, like) is None
    assert unpack("b", data, like) is None
    assert unpack("a", data, like._replace(update=jax.ShapeDtypeStruct((2,), jnp.int32))) is None  # type: ignore[arg-type]
    assert unpack("a", data, like) is not None


def test_keeping_costs_no_more_than_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kept = [0.0], list[float]()

    class Slow(Memory):
        def keep(self, name: str, data: bytes) -> None:
            kept.append(clock[0])
            clock[0] += 0.1 if len(kept) < 3 else 2.0

    monkeypatch.setattr(underway.time, "monotonic", lambda: clock[0])
    keeping, now = Keeping(Slow(Pace(30.0, 0.01)), plan(), [RUN]), some()
    while clock[0] < 500.0:
        keeping.keep(now)
        clock[0] += 1.0
    # a tenth of a second is less than 1 % of the thirty there are; two seconds are that of two hundred
    assert kept[0] == 30.0
    assert np.diff(kept).tolist() == pytest.approx([30.1, 30.1, 202.0, 202.0], abs=2.1)


def test_a_run_that_is_too_large_is_not_kept_but_played(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Memory(ALWAYS._replace(most=100))
    assert again(plan(), [RUN], keeper, monkeypatch) == (4, bare(play_group(plan(), [RUN], "")))
    assert keeper.find(named(plan(), RUN)) is None


def test_a_run_does_not_fail_with_its_keeper(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Memory):
        def find(self, name: str) -> bytes | None:
            raise RunError("the shelf is on fire.")

        def keep(self, name: str, data: bytes) -> None:
            raise RunError("the shelf is on fire.")

    with caplog.at_level(logging.WARNING, "headstart"):
        count, found = again(plan(), [RUN], Broken(ALWAYS), monkeypatch)
    assert (count, found) == (4, bare(play_group(plan(), [RUN], "")))
    assert len(caplog.records) == 1
    assert "scratch/task-1-seed0 is not kept while it is played: the shelf is on fire." in caplog.text


def test_a_shelf_uses_the_folder_if_it_is_there(tmp_path: Path) -> None:
    for folder in (str(tmp_path), str(tmp_path / "elsewhere"), None):
        shelf = Shelf(folder, ALWAYS)
        assert shelf.find("who/one") is None
        shelf.keep("who/one", b"12")
        assert (tmp_path / "who" / "one.progress").exists() == (folder == str(tmp_path))
        assert shelf.find("who/one") == b"12"
        shelf.drop("who/one")
        shelf.drop("who/one")
        assert shelf.find("who/one") is None
        assert shelf.told() == (1, ["who/one"])


def test_there_is_an_end_of_room(tmp_path: Path) -> None:
    memory = Memory(ALWAYS, room=5)
    memory.keep("a", b"123")
    memory.keep("a", b"12345")
    with pytest.raises(RunError, match="no room for 1 bytes more among 5"):
        memory.keep("b", b"1")
    assert memory.find("a") == b"12345"
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(RunError, match="cannot be made"):
        Files(tmp_path, ALWAYS).keep("a/b", b"")


ASK = """
import sys
from pathlib import Path

import headstart as hs
from headstart.agents.ppo import PPOConfig
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import adaptation, keepers

adaptation._PACE = keepers.Pace(0.0, 1e9)
config = PPOConfig(NetworkConfig(torso=(4,)), unroll=8, epochs=1, minibatches=1)
options = hs.TransferOptions(
    suite="cartpole", agents=("ppo",), budget=400_000, seeds=1, tasks=1, lanes=2, run=Path(sys.argv[1])
)
hs.transfer(options, configs={"ppo": config})
"""


@pytest.mark.slow
def test_a_process_that_is_killed_and_called_again_makes_the_same_table(tmp_path: Path) -> None:
    """By SIGKILL, in the middle; the next process writes nothing that tells of fewer pieces than there were."""
    command = [sys.executable, "-c", ASK]

    def made() -> int:
        for path in (tmp_path / "killed").rglob("*.progress"):
            with contextlib.suppress(OSError, ValueError):
                return len(json.loads(path.read_bytes().partition(b"\n")[0])["steps"])
        return 0

    with subprocess.Popen([*command, str(tmp_path / "killed")]) as first:
        while first.poll() is None and made() < 20:
            time.sleep(0.01)
        first.kill()
    before, least = made(), 99
    assert first.returncode == -signal.SIGKILL
    assert before >= 20
    with subprocess.Popen([*command, str(tmp_path / "killed")]) as second:
        while second.poll() is None:
            least = min(least, made() or 99)
            time.sleep(0.01)
    assert second.returncode == 0
    assert least >= before
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    found = [results.load_all(tmp_path / name / "runs")[0] for name in ("killed", "whole")]
    assert bare([(RUN, found[0])]) == bare([(RUN, found[1])])
    assert list(tmp_path.rglob("*.progress")) == []
