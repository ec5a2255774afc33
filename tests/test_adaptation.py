"""Adaptation: fresh, fine-tuned, frozen, in context; the meter, the score, what a folder keeps."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import agents, suites
from headstart.agents.ppo import PPOConfig
from headstart.errors import RunError, UsageError
from headstart.loops import jit
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import adaptation
from headstart.protocol.adaptation import AdaptOptions, Contender, adapt
from headstart.protocol.contenders import plan_of
from headstart.protocol.outcomes import unplayed
from headstart.protocol.priors import Prior
from headstart.results import Result
from headstart.tasks import Split

SUITE = suites.suite("bandit:arms=3,pulls=4")
CONFIG = PPOConfig(NetworkConfig(torso=(4,), memory="gru", memory_size=4), unroll=6, epochs=1, minibatches=1)
OPTIONS = AdaptOptions(budget=100, lanes=2, seeds=(0, 1), points=3)
SCRATCH = Contender("scratch", "ppo", CONFIG)


@pytest.fixture(scope="module")
def split() -> Split:
    return SUITE.split("test", 3)


@pytest.fixture(scope="module")
def found(split: Split) -> list[Result]:
    return adapt(SUITE, SCRATCH, OPTIONS, split)


@pytest.fixture(scope="module")
def prior() -> Prior:
    agent = agents.entry("ppo").build(SUITE.env.spec, CONFIG)
    train = SUITE.split("train", 5)
    return Prior("ppo", CONFIG, agent.init(jr.key(7)), SUITE.name, train.fingerprint, 5, 1, 7)


def test_a_result_for_every_task_and_seed_within_the_budget(found: list[Result], split: Split) -> None:
    assert [(r.facts["task"], r.seed) for r in found] == [(f"task-{i}", s) for i in range(3) for s in (0, 1)]
    for result in found:
        assert (result.suite, result.agent, result.fingerprint) == (SUITE.name, "scratch", split.fingerprint)
        # 8 updates of 12 steps fit into 100; 3 points of 3 updates are 36, 72, 96 steps
        assert (result.budget, result.spent) == (100, 96)
        assert result.curve is not None
        assert result.curve.steps == [36, 72, 96]


def test_the_score_is_the_mean_over_all_episodes_that_ended(found: list[Result], split: Split) -> None:
    """Played again with the plain loop: every reward of the run, in order."""
    agent = agents.entry("ppo").build(SUITE.env.spec, CONFIG)
    result = found[3]  # task 1, seed 1
    key = jr.fold_in(jr.key(1), 1)
    tasks = jax.tree.map(lambda leaf: jnp.asarray(leaf)[1:2], split.tasks)
    carry = jit.start(agent, SUITE.env, tasks, key, OPTIONS.lanes)
    rewards = []
    roll = jax.jit(lambda carry, k: jit.rollout(agent, SUITE.env, tasks, carry, k))
    for update in range(8):
        k_rollout, k_update = jr.split(jr.fold_in(key, update))
        carry, rollout, _ = roll(carry, k_rollout)
        state, _ = agent.update(carry.agent, rollout, k_update)
        carry = carry._replace(agent=state, update=carry.update + 1)
        rewards.append(np.asarray(rollout.transitions.reward))
    lanes = (
        np.concatenate(rewards).T.reshape(2, 12, 4).sum(axis=-1)
    )  # 48 steps a lane are 12 trials of 4 pulls
    np.testing.assert_allclose(result.scores, [lanes.mean() / 4], rtol=1e-6)
    assert result.facts["episodes"] == lanes.size * 4
    assert result.facts["unfinished"] == 0


def test_runs_side_by_side_are_runs_by_themselves(
    found: list[Result], split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = adapt(SUITE, SCRATCH, dataclasses.replace(OPTIONS, together=4), split)
    assert [r.scores for r in together] == [r.scores for r in found]


def test_a_frozen_contender_keeps_its_weights_and_a_free_one_does_not(prior: Prior, split: Split) -> None:
    scores = {}
    for frozen in (True, False):
        who = Contender("tuned", "ppo", dataclasses.replace(CONFIG, lr=0.1), prior, frozen)
        scores[frozen] = [
            r.scores for r in adapt(SUITE, who, dataclasses.replace(OPTIONS, budget=600, points=1), split)
        ]
    again = Contender("tuned", "ppo", dataclasses.replace(CONFIG, lr=0.2), prior, frozen=True)
    still = [r.scores for r in adapt(SUITE, again, dataclasses.replace(OPTIONS, budget=600, points=1), split)]
    assert scores[True] == still
    assert scores[True] != scores[False]


def test_finished_runs_are_found_again(
    tmp_path: Path, found: list[Result], split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dataclasses.replace(OPTIONS, run=tmp_path)
    kept = adapt(SUITE, SCRATCH, options, split)
    assert [r.scores for r in kept] == [r.scores for r in found]
    gone = tmp_path / "scratch" / "task-2-seed0.result.json"
    gone.unlink()
    played: list[int] = []
    group = adaptation._group
    monkeypatch.setattr(adaptation, "_group", lambda *args: played.append(len(args[1])) or group(*args))
    again = adapt(SUITE, SCRATCH, options, split)
    assert played == [1]
    assert [dataclasses.replace(r, commit="") for r in again] == [
        dataclasses.replace(r, commit="") for r in kept
    ]
    with pytest.raises(UsageError, match="has another config; choose another folder"):
        adapt(SUITE, dataclasses.replace(SCRATCH, config=dataclasses.replace(CONFIG, lr=1.0)), options, split)
    with pytest.raises(UsageError, match="has another number of lanes; choose another folder"):
        adapt(SUITE, SCRATCH, dataclasses.replace(options, lanes=1), split)
    early = json.loads(gone.read_text())  # when results did not name their lanes, and PPO had fewer settings
    del early["config"]["backtracking"]
    gone.write_text(json.dumps(early | {"facts": {"task": "task-2", "row": 2}}))
    assert len(adapt(SUITE, SCRATCH, options, split)) == 6


def test_a_failed_run_does_not_lose_the_others(split: Split) -> None:
    bad = dataclasses.replace(CONFIG, lr=1e38)
    found = adapt(SUITE, Contender("bad", "ppo", bad), dataclasses.replace(OPTIONS, points=1), split)
    assert len(found) == 6
    for result in found:
        assert result.scores == []
        assert "became infinite or not a number" in result.facts["failed"]


def test_a_run_that_raises_neither_stops_nor_loses_the_others_and_is_tried_again(
    tmp_path: Path, found: list[Result], split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All six begin in one program."""
    options = dataclasses.replace(OPTIONS, run=tmp_path, together=6)
    chunks, played = adaptation.either.chunks, list[int]()

    def stumble(*args: Any) -> Any:
        played.append(len(args[-1]))
        if 1 in np.asarray(args[-1]):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nwhile allocating 9 bytes")
        return chunks(*args)

    with monkeypatch.context() as patch:
        patch.setattr(adaptation.either, "chunks", stumble)
        some = adapt(SUITE, SCRATCH, options, split)
    assert [bool(r.scores) for r in some] == [True, True, False, False, True, True]
    for ours, alone in zip(some, found, strict=True):
        if ours.scores:
            np.testing.assert_allclose(ours.scores, alone.scores, rtol=1e-5)
        else:
            said = "RuntimeError: RESOURCE_EXHAUSTED: out of memory while allocating 9 bytes"
            assert ours.facts["failed"] == said
            assert "in stumble" in ours.facts["raised"]
    played.clear()
    monkeypatch.setattr(
        adaptation.either, "chunks", lambda *args: played.append(len(args[-1])) or chunks(*args)
    )
    again = adapt(SUITE, SCRATCH, options, split)
    assert set(played) == {2}, "only what had failed"
    for ours, alone in zip(again, found, strict=True):
        np.testing.assert_allclose(ours.scores, alone.scores, rtol=1e-5)


@pytest.mark.parametrize(("room", "expected"), [(None, [6]), (1 << 40, [6]), (9.0, [4, 2]), (0.5, [1] * 6)])
def test_on_an_accelerator_as_many_runs_go_together_as_its_memory_has_room_for(
    room: float | None, expected: list[int], split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`room`: free memory, in what one run holds."""
    plan = plan_of(SUITE, split, SCRATCH, OPTIONS)
    carry = jit.start(plan.agent, SUITE.env, split.tasks, jr.key(0), OPTIONS.lanes)
    held = jit.rollout(plan.agent, SUITE.env, split.tasks, carry, jr.key(0))
    one = sum(leaf.nbytes for leaf in jax.tree.leaves(held))

    class Device:
        def memory_stats(self) -> dict[str, int] | None:
            return None if room is None else {"bytes_limit": int(room * one) + 1000, "bytes_in_use": 1000}

    played: list[int] = []

    def play(plan: Any, runs: Any, *_: Any) -> list[Any]:
        played.append(len(runs))
        return [(run, unplayed(plan, run, "")) for run in runs]

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(adaptation, "play_group", play)
    adapt(SUITE, SCRATCH, OPTIONS, split)
    assert played == expected
    played.clear()
    adapt(SUITE, SCRATCH, dataclasses.replace(OPTIONS, together=5), split)
    assert played == [5, 1]


def test_what_cannot_be_carried_out_stops_everything(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("a replay of 3 steps is too small.")

    monkeypatch.setattr(adaptation.either, "chunks", refuse)
    with pytest.raises(UsageError, match="a replay of 3 steps is too small"):
        adapt(SUITE, SCRATCH, OPTIONS, split)


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path, split: Split) -> None:
    options, seen = dataclasses.replace(OPTIONS, run=tmp_path, together=1), []

    def interrupt(result: Result) -> None:
        seen.append(result)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(
        RunError, match=r"interrupted; 2 of scratch's 6 runs are kept in .*: the same call goes on"
    ):
        adapt(SUITE, SCRATCH, options, split, interrupt)
    assert len(list((tmp_path / "scratch").iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "a budget has at least one step, not 0"),
        ({"budget": 11}, "less than one update of scratch: 2 lanes x 6 steps"),
        ({"lanes": 0}, "lanes is at least 1, not 0"),
        ({"together": -1}, "together is at least 0, not -1"),
        ({"seeds": ()}, "at least one seed"),
    ],
)
def test_bad_options_are_refused(split: Split, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adapt(SUITE, SCRATCH, dataclasses.replace(OPTIONS, **options), split)


def test_a_prior_of_the_same_tasks_is_refused(prior: Prior, split: Split) -> None:
    cheat = dataclasses.replace(prior, seen=("0" * 12, split.digests[1]))
    with pytest.raises(UsageError, match="prior cheat was trained on 1 of the 3 tasks it is to be tested on"):
        adapt(SUITE, Contender("cheat", "ppo", CONFIG, cheat), OPTIONS, split)
