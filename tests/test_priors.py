"""Priors: they come back as they were kept, and what is none is refused with a reason."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
import pytest

from headstart import agents, suites
from headstart.agents.ppo import PPOConfig
from headstart.errors import RunError, UsageError
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import priors
from headstart.protocol.priors import Prior

SUITE = suites.suite("bandit:arms=2,pulls=3")
CONFIG = PPOConfig(
    NetworkConfig(torso=(5, 4), memory="lstm", memory_size=3, critic=(2,), privileged=True), lr=0.5
)


@pytest.fixture(scope="module")
def prior() -> Prior:
    state = agents.entry("ppo").build(SUITE.env.spec, CONFIG).init(jr.key(1))
    return Prior("ppo", CONFIG, state, SUITE.name, "0123456789abcdef", 100, 12_345, 7, "mine")


@pytest.fixture
def kept(prior: Prior, tmp_path: Path) -> Path:
    priors.save(prior, tmp_path / "kept.npz")
    return tmp_path / "kept.npz"


def changed(path: Path, **about: Any) -> Path:
    """The file with parts of its description replaced, or left out where None."""
    with np.load(path) as file:
        arrays = dict(file)
    told = json.loads(str(arrays.pop("about"))) | about
    told = {name: value for name, value in told.items() if value is not None}
    np.savez(path, about=np.array(json.dumps(told)), **arrays)
    return path


def test_a_prior_comes_back_as_it_was_kept(prior: Prior, kept: Path) -> None:
    found = priors.load(kept)
    assert found.name == "kept"
    assert dataclasses.replace(found, state=None, name="") == dataclasses.replace(prior, state=None, name="")
    assert jax.tree.structure(found.state) == jax.tree.structure(prior.state)
    for a, b in zip(jax.tree.leaves(found.state), jax.tree.leaves(prior.state), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert priors.describe(kept)["steps"] == 12_345
    assert not list(kept.parent.glob("*.part"))


def test_a_prior_is_found_by_file_and_by_folder(
    prior: Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run-0.5"
    run.mkdir()
    priors.save(prior, run / "prior.npz")
    assert priors.find(str(run)).name == "run-0.5"
    assert priors.find(str(run / "prior.npz")).name == "run-0.5"
    monkeypatch.chdir(run)
    assert priors.find(".").name == "run-0.5"


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no prior at"):
        priors.load(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"holds no prior; a run leaves one there when it is finished"):
        priors.find(str(tmp_path))
    with pytest.raises(
        UsageError, match="no agent, shipped prior or run folder called 'thomson'; did you mean thompson"
    ):
        priors.find("thomson")
    with pytest.raises(UsageError, match="cannot be looked at"):
        priors.find("x" * 5000)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_prior_is_refused(kept: Path, share: float) -> None:
    os.truncate(kept, int(kept.stat().st_size * share))
    with pytest.raises(UsageError, match="is damaged or no headstart prior"):
        priors.load(kept)


def test_a_flipped_byte_never_gives_other_weights(prior: Prior, kept: Path) -> None:
    whole, refused = kept.read_bytes(), 0
    for at in range(0, len(whole), len(whole) // 40):
        data = bytearray(whole)
        data[at] ^= 0xFF
        kept.write_bytes(data)
        try:
            found = priors.load(kept)
        except UsageError:
            refused += 1
        else:  # a byte that says nothing, such as a time of day
            for a, b in zip(jax.tree.leaves(found.state), jax.tree.leaves(prior.state), strict=True):
                np.testing.assert_array_equal(a, b)
    assert refused > 10


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"

    def refused() -> None:
        with pytest.raises(UsageError, match="is damaged or no headstart prior"):
            priors.load(foreign)

    foreign.write_text("hello")
    refused()
    np.savez(foreign, weights=np.zeros(3))
    refused()
    np.savez(foreign, about=np.array("[1, 2]"))
    refused()
    np.savez(foreign, about=np.array('{"agent": "ppo"}'))
    refused()
    np.savez(foreign, about=np.array([{"schema": 1}], dtype=object))
    refused()
    with foreign.open("wb") as file:
        np.save(file, np.zeros(3))
    refused()
    foreign.unlink()
    foreign.mkdir()
    refused()


def test_a_newer_prior_asks_for_an_upgrade(kept: Path) -> None:
    with pytest.raises(UsageError, match="written by a newer headstart; upgrade to read it"):
        priors.load(changed(kept, schema=priors.SCHEMA + 1))


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"agent": "pppo"}, "cannot be used: there is no agent called 'pppo'; did you mean ppo"),
        ({"suite": "bandit-v9"}, "cannot be used: there is no suite called 'bandit-v9'"),
        ({"config": {"lrr": 1.0}}, "cannot be used: there is no setting called 'lrr'; did you mean lr"),
        ({"config": {}}, "cannot be used: it holds weights of other shapes"),
        ({"config": {"network": 3}}, "describes settings that cannot be read"),
        ({"suite": "bandit-v0:arms=3,pulls=3"}, "cannot be used: it holds weights of other shapes"),
        ({"agent": None}, "lacks 'agent'; it is no complete headstart prior"),
        ({"steps": None}, "lacks 'steps'"),
    ],
)
def test_a_prior_that_does_not_fit_itself_is_refused(kept: Path, about: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        priors.load(changed(kept, **about))


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        ("bandit:arms=3,pulls=3", "whose action space is not that of bandit-v0:arms=3,pulls=3"),
        ("cartpole", "whose observation space is not that of cartpole-v0"),
    ],
)
def test_a_prior_plays_only_the_spaces_it_knows(prior: Prior, suite: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"prior mine was trained on bandit-v0:arms=2,pulls=3, {said}"):
        prior.build(suites.suite(suite))


def test_a_prior_plays_longer_trials_of_the_same_spaces(prior: Prior) -> None:
    assert prior.build(suites.suite("bandit:arms=2,pulls=9")).learns


def test_a_disk_without_room_keeps_the_prior_before(
    prior: Prior, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept.read_bytes()
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(
            RunError, match=r"could not be written \(No space left on device\); what was saved before"
        ):
            priors.save(dataclasses.replace(prior, steps=1), kept)
    assert kept.read_bytes() == before
    assert sorted(kept.parent.iterdir()) == [kept]
    with pytest.raises(RunError, match=r"could not be written"):
        priors.save(prior, kept.parent / "nowhere" / "kept.npz")


def test_plain_values_become_the_config_they_were() -> None:
    plain = json.loads(json.dumps(dataclasses.asdict(CONFIG)))
    assert priors.from_plain(agents.entry("ppo").config, plain) == CONFIG
    partly = priors.from_plain(PPOConfig(), {"network": {"torso": [7]}, "lr": 0.1})
    assert partly == PPOConfig(NetworkConfig(torso=(7,)), lr=0.1)
    with pytest.raises(UsageError, match="no setting called 'memry_size'; did you mean memory_size"):
        priors.from_plain(PPOConfig(), {"network": {"memry_size": 3}})


def test_shipped_priors_load_and_play_their_suite() -> None:
    found = priors.shipped()
    assert list(found) == sorted(found)
    for name, path in found.items():
        shipped = priors.find(name)
        assert shipped.name == name == path.stem
        assert path.stat().st_size < 2_000_000, "small enough to ship"
        shipped.build(suites.suite(shipped.suite))
