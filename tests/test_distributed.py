"""One learner in two processes on the loopback: what it learns is what one process learns."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import headstart as hs
from headstart.agents.ppo import PPOConfig
from headstart.errors import UsageError
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import distributed
from headstart.protocol.distributed import Processes

SCRIPT = """
import json, sys
from pathlib import Path
import headstart as hs
from headstart.agents.ppo import PPOConfig
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol.distributed import Processes

index, coordinator, run = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
config = PPOConfig(NetworkConfig(torso=(8,)), unroll=4, epochs=1, minibatches=2, lr=1e-2)
trained = hs.train(None, config, **json.loads(sys.argv[4]), run=run, processes=Processes(2, index, coordinator))
import jax
print(json.dumps({"devices": jax.device_count(), "here": jax.local_device_count(), "spent": trained.result.spent,
                  "scores": trained.result.scores, "returns": trained.result.curve.values}))
"""
CONFIG = PPOConfig(NetworkConfig(torso=(8,)), unroll=4, epochs=1, minibatches=2, lr=1e-2)
RUN: dict[str, Any] = {
    "suite": "bandit:arms=2,pulls=3",
    "agent": "ppo",
    "steps": 256,
    "lanes": 8,
    "tasks": 5,
    "chunks": 4,
    "evaluate_on": 3,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pair(run: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What two processes, one device each, say of the run they trained together."""
    flags = "--xla_cpu_use_fusion_emitters=false"  # compiles faster, see conftest
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    words = [f"127.0.0.1:{free_port()}", str(run), json.dumps(settings)]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(index), *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=1500) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    alone = hs.train(None, CONFIG, **RUN)
    told = pair(tmp_path / "run", RUN)
    for one in told:
        assert (one["devices"], one["here"]) == (2, 1)
        assert one["spent"] == alone.result.spent == 256
        np.testing.assert_allclose(one["scores"], alone.result.scores, atol=1e-5)
        assert alone.result.curve is not None
        np.testing.assert_allclose(one["returns"], alone.result.curve.values, atol=1e-5)
    from headstart.protocol import priors

    together = priors.load(tmp_path / "run" / "prior.npz")
    leaves = list(zip(jax.tree.leaves(together.state), jax.tree.leaves(alone.prior.state), strict=True))
    assert len(leaves) > 5
    for a, b in leaves:
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)
    start = jax.tree.leaves(alone.prior.build(hs.suite(RUN["suite"])).init(jax.random.key(0)))
    assert not np.allclose(
        np.asarray(start[0]), np.asarray(leaves[0][0]), atol=1e-3
    )  # there was something to learn
    assert (tmp_path / "run" / "result.json").exists()
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def test_alone_there_is_nothing_to_join() -> None:
    distributed.join(Processes(), lanes=3, suite="asgym")
    assert distributed.first()
    assert distributed.any_of(True)
    assert not distributed.any_of(False)
    tree = {"a": np.ones(2)}
    assert distributed.whole(tree) is tree


def test_a_foreign_suite_has_one_learning_process() -> None:
    """Each would train the whole run by itself; it is refused before anybody is waited for."""
    with pytest.raises(
        UsageError, match="asgym:CartPole-v1 are stepped by one learning process: leave --processes"
    ):
        hs.train(
            None, CONFIG, suite="asgym:CartPole-v1", agent="ppo", processes=Processes(2, 0, "127.0.0.1:9")
        )


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 0, "a:1"), "of 0 processes none is number 0"),
        ((2, 2, "a:1"), "of 2 processes none is number 2; they count from 0"),
        ((2, 1, ""), "a coordinator is host:port, not ''"),
        ((2, 1, "somewhere"), "a coordinator is host:port, not 'somewhere'"),
    ],
)
def test_wrong_numbers_are_refused(numbers: tuple[int, int, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Processes(*numbers)
