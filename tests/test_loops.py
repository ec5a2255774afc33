"""The loop on the device and its checkpoints: the same bits whenever the same is asked, however it is cut or spread."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.envs.bandit import Bandit, BanditTask
from headstart.envs.trial import Trial
from headstart.errors import RunError, UsageError
from headstart.loops import checkpoint, either, jit
from headstart.nets.actor_critic import NetworkConfig
from headstart.types import Agent, TimeStep

ENV = Trial(Bandit(2), 3)
TASKS = BanditTask(np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.6]], np.float32))
KEY = jr.key(7)
LANES = 4


def recurrent() -> Agent:
    network = NetworkConfig(torso=(), memory="gru", memory_size=8, privileged=True)
    return agents.entry("ppo").build(ENV.spec, PPOConfig(network, unroll=4, epochs=1, minibatches=2, lr=1e-2))


def assert_same(a: Any, b: Any) -> None:
    """Every leaf, bit for bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def assert_close(a: Any, b: Any) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-4, atol=1e-5)


class Runs:
    """Chunks of one learner, compiled once for the whole file."""

    def __init__(self) -> None:
        self.agent = recurrent()

    def run(self, seed: int, *cuts: int) -> tuple[jit.Carry, jit.Log]:
        carry = jit.start(self.agent, ENV, TASKS, jr.key(seed), LANES)
        logs = []
        for updates in cuts:
            carry, log = jit.chunk(self.agent, ENV, TASKS, carry, jr.key(seed + 100), updates)
            logs.append(jax.device_get(log))
        return carry, jax.tree.map(lambda *parts: np.concatenate(parts), *logs)


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Runs()


def test_training_twice_gives_the_same_bits(runs: Runs) -> None:
    first, again = runs.run(0, 5, 5), runs.run(0, 5, 5)
    assert_same(first, again)
    assert int(first[0].update) == 10


def test_where_a_run_is_cut_does_not_change_it(runs: Runs) -> None:
    assert_same(runs.run(0, 5, 5), runs.run(0, 10))


def test_another_seed_is_another_run(runs: Runs) -> None:
    one, other = runs.run(0, 5), runs.run(1, 5)
    assert not np.array_equal(
        one[0].agent.network.policy_head.weight, other[0].agent.network.policy_head.weight
    )


def test_an_update_changes_the_weights_and_the_log_is_finite(runs: Runs) -> None:
    fresh = jit.start(runs.agent, ENV, TASKS, jr.key(0), LANES)
    carry, log = runs.run(0, 5)
    assert not np.array_equal(fresh.agent.network.policy_head.weight, carry.agent.network.policy_head.weight)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(log.metrics))


def test_seeds_side_by_side_are_the_seeds_one_by_one(runs: Runs) -> None:
    seeds = (0, 1, 2)
    carries = jit.starts(runs.agent, ENV, TASKS, jnp.stack([jr.key(seed) for seed in seeds]), LANES)
    keys = jnp.stack([jr.key(seed + 100) for seed in seeds])
    together = jit.chunks(runs.agent, ENV, TASKS, carries, keys, 5)
    for row, seed in enumerate(seeds):
        assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], together), runs.run(seed, 5))


def _recorder(unroll: int) -> Agent:
    """Random actions; its metrics are everything that happened."""

    def update(state: Any, rollout: Any, key: Any) -> tuple[Any, Any]:
        steps = rollout.transitions
        return state, {"reward": steps.reward, "last": steps.last, "first": steps.first}

    return (
        agents.entry("random")
        .build(ENV.spec, agents.entry("random").config)
        ._replace(update=update, unroll=unroll)
    )


def test_the_tally_of_episodes_against_a_slow_twin() -> None:
    agent, updates = _recorder(unroll=4), 6
    carry = jit.start(agent, ENV, TASKS, KEY, LANES)
    _, log = jit.chunk(agent, ENV, TASKS, carry, KEY, updates)
    total, length = [0.0] * LANES, [0] * LANES
    for u in range(updates):
        ended = []
        for t in range(agent.unroll):
            for n in range(LANES):
                assert bool(log.metrics["first"][u, t, n]) == (length[n] == 0)
                total[n] += float(log.metrics["reward"][u, t, n])
                length[n] += 1
                if log.metrics["last"][u, t, n]:
                    ended.append((total[n], length[n]))
                    total[n], length[n] = 0.0, 0
        assert int(log.episodes[u]) == len(ended)
        assert float(log.returns[u]) == sum(r for r, _ in ended)
        assert int(log.lengths[u]) == sum(k for _, k in ended) == 3 * len(ended)
    assert log.episodes.sum() == updates * 4 * LANES // 3
    assert 0 < float(log.returns.sum()) < int(log.lengths.sum())


TWO_DEVICES = """
import dataclasses, json, sys
import jax, jax.random as jr, numpy as np
from jax.sharding import Mesh
from headstart import agents
from headstart.agents.ppo import PPOConfig
from headstart.envs.bandit import Bandit, BanditTask
from headstart.envs.trial import Trial
from headstart.loops import jit
from headstart.nets.actor_critic import NetworkConfig

env = Trial(Bandit(2), 3)
tasks = BanditTask(np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.6]], np.float32))
mesh = Mesh(np.array(jax.devices()), ("lanes",))
for network in (NetworkConfig(torso=(8,)), NetworkConfig(torso=(), memory="gru", memory_size=8)):
    agent = agents.entry("ppo").build(env.spec, PPOConfig(network, unroll=4, epochs=1, minibatches=2, lr=1e-2))
    ended = []
    for place in (lambda carry: carry, lambda carry: jit.place(carry, mesh)):
        carry = place(jit.start(agent, env, tasks, jr.key(0), 8))
        spread = len(carry.tally.total.sharding.device_set)
        carry, log = jit.chunk(agent, env, tasks, carry, jr.key(1), 4)
        ended.append(jax.device_get((carry, log)))
    apart = [float(np.max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))))
             for a, b in zip(*map(jax.tree.leaves, ended)) if np.issubdtype(np.asarray(a).dtype, np.number)]
    print(json.dumps({"devices": len(jax.devices()), "spread": spread, "apart": max(apart), "leaves": len(apart)}))
"""


def child(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script run by a Python of its own, with the compiled programs of earlier runs."""
    cache = jax.config.values["jax_compilation_cache_dir"] or ""
    found = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), **environment}
    found["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=found, capture_output=True, text=True, timeout=300)


def test_lanes_over_two_devices_give_what_one_gives() -> None:
    ran = child(TWO_DEVICES, XLA_FLAGS="--xla_force_host_platform_device_count=2", JAX_PLATFORMS="cpu")
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(lines) == 2, "feed-forward and recurrent"
    for found in lines:
        assert found["devices"] == found["spread"] == 2
        assert found["leaves"] > 10
        assert found["apart"] < 1e-5


def test_lanes_that_the_devices_do_not_divide_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = jnp.ones(3, bool)
    nothing = jit.Carry(*[()] * len(jit.Carry._fields))
    carry = nothing._replace(timestep=TimeStep((), first, first, first, ()))
    assert either.place(carry) is carry
    assert caplog.messages == []
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert either.place(carry) is carry
    assert caplog.messages == ["3 lanes cannot be shared evenly by 2 devices: one of them does it all."]


STATE = {"weights": jnp.arange(6.0).reshape(2, 3), "count": jnp.int32(3), "seen": jnp.array([True, False])}
ABOUT = {"suite": "bandit-v0", "settings": {"lr": 1e-3}}


@contextmanager
def full_disk(size: int = 300) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_comes_back_whole_and_two_are_kept(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none") is None
    for step in (1, 2, 10):
        checkpoint.save(tmp_path, step, STATE | {"count": jnp.int32(step)}, ABOUT)
    assert checkpoint.latest(tmp_path) == 10
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 10]
    assert_same(checkpoint.load(tmp_path, 10, STATE, ABOUT), STATE | {"count": jnp.int32(10)})


def test_what_a_killed_save_left_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, STATE, ABOUT)
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.latest(tmp_path) == 1
    checkpoint.save(tmp_path, 2, STATE, ABOUT)
    assert checkpoint.latest(tmp_path) == 2


def test_a_damaged_foreign_newer_or_other_checkpoint_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, 1, STATE, ABOUT)
    with pytest.raises(UsageError, match="another settings; resume with the settings it was started with"):
        checkpoint.load(tmp_path, 1, STATE, ABOUT | {"settings": {"lr": 1.0}})
    with pytest.raises(UsageError, match="damaged or no headstart checkpoint"):
        checkpoint.load(tmp_path, 1, STATE | {"weights": jnp.zeros((5, 5))}, ABOUT)
    for path in (tmp_path / "1" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 8:
            os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UsageError, match="damaged or no headstart checkpoint"):
        checkpoint.load(tmp_path, 1, STATE, ABOUT)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "data.bin").write_bytes(b"something else")
    with pytest.raises(UsageError, match="damaged or no headstart checkpoint"):
        checkpoint.load(tmp_path, 2, STATE, ABOUT)
    with monkeypatch.context() as future:
        future.setattr(checkpoint, "SCHEMA", checkpoint.SCHEMA + 1)
        checkpoint.save(tmp_path, 3, STATE, ABOUT)
    with pytest.raises(UsageError, match="written by a newer headstart"):
        checkpoint.load(tmp_path, 3, STATE, ABOUT)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    big = {"weights": jnp.asarray(np.random.default_rng(0).normal(size=4000))}
    checkpoint.save(tmp_path, 1, big, ABOUT)
    with (
        full_disk(),
        pytest.raises(RunError, match=r"could not be written \(File too large\); the one before is kept"),
    ):
        checkpoint.save(tmp_path, 2, big, ABOUT)
    assert checkpoint.latest(tmp_path) == 1
    assert_same(checkpoint.load(tmp_path, 1, big, ABOUT), big)
    checkpoint.save(tmp_path, 2, big, ABOUT)  # room again
    assert checkpoint.latest(tmp_path) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_the_key_of_an_update_is_the_runs_and_its_number(runs: Runs) -> None:
    """So that a resumed run repeats the one never stopped: the carry holds no key."""
    carry = jit.start(runs.agent, ENV, TASKS, jr.key(0), LANES)
    assert not [x for x in jax.tree.leaves(carry) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
