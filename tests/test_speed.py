"""The speed benchmark runs: every case in tiny size, its FLOPs counted right, its lines complete. No timing is judged."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _speed_worker, speed

from headstart.nets.actor_critic import ActorCritic, NetworkConfig
from headstart.types import Box, Discrete, Spec

KEYS = [
    *("name", "steps_per_second", "compile_seconds", "peak_rss_mb", "share_of_matmul_peak", "peer", "ratio"),
]


def test_the_command_knows_every_case_of_the_worker() -> None:
    assert set(speed.CASES) == set(_speed_worker.CASES)


@pytest.mark.parametrize("name", ["ppo-cartpole", "ppo-gru-bandit"])  # ppo-platformer compiles for 15 s
def test_a_training_case_counts_its_steps_and_goes_on_from_where_it_was(name: str) -> None:
    work = _speed_worker.CASES[name].tiny().compile()
    assert work.steps == 2 * 4 * 8
    first, second = (jax.device_get(work.run()) for _ in range(2))
    assert first.metrics["loss"].shape == (2,)
    assert (first.metrics["loss"] != second.metrics["loss"]).all(), "each run trains on, none is a repetition"


@pytest.mark.parametrize("name", ["env-bandit", "env-maze-rays"])
def test_a_playing_case_plays(name: str) -> None:
    work = _speed_worker.CASES[name].tiny().compile()
    assert work.steps == 4 * 3
    assert jnp.isfinite(work.run()[2])


def test_flops_are_those_of_the_products_written_out() -> None:
    spec = Spec(Box((3,)), Discrete(2), horizon=1)
    network = ActorCritic(jr.key(0), spec, NetworkConfig(torso=(5,), memory="gru", memory_size=7))
    forward = 3 * 5 + 5 * 21 + 7 * 21 + 7 * 2 + 7 * 1
    backward = 3 * 5 + 2 * (5 * 21 + 7 * 21 + 7 * 2 + 7 * 1)
    assert _speed_worker.flops_a_step(network, epochs=4) == 2 * (forward + 4 * (forward + backward))


def test_flops_agree_with_the_compilers_count() -> None:
    """One forward and backward pass of a plain network, whose products XLA counts itself."""
    spec = Spec(Box((16,)), Discrete(8), horizon=1)
    network = ActorCritic(jr.key(0), spec, NetworkConfig(torso=(64, 64), shared=True))
    obs = jnp.ones((32, 16))

    def loss(network: ActorCritic) -> jax.Array:
        _, features = network.step((), obs, jnp.zeros(32, bool))
        return network.policy(features).logits.sum() + network.value(features, None).sum()

    counted = jax.jit(jax.grad(loss)).lower(network).cost_analysis()["flops"]
    one_epoch = _speed_worker.flops_a_step(network, 1) - _speed_worker.flops_a_step(network, 0)
    assert counted == pytest.approx(32 * one_epoch, rel=0.1), "the rest is biases and activations"


def test_the_command_prints_a_complete_line_and_a_table() -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed",
        "--json",
        "--tiny",
        "--repeats",
        "2",
        "--case",
        "ppo-gru-bandit",
    ]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    ).stdout
    (line,) = map(json.loads, out.splitlines())
    assert list(line)[: len(KEYS)] == KEYS
    assert line["steps_per_second"] > 0
    assert 0 < line["share_of_matmul_peak"] < 1
    assert line["ratio"] == pytest.approx(line["steps_per_second"] / 7300, abs=0.006)
    assert "ppo-gru-bandit" in speed.table([line])
