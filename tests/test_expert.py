"""The expert: stored tapes replayed give the suite's own score, and stand in the table as a mark on the scale."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart import suites
from headstart.envs.platformer import Platformer
from headstart.errors import UsageError
from headstart.protocol.expert import expert, tapes
from headstart.protocol.transfer import TransferOptions, transfer
from headstart.reports.summary import summary
from headstart.results import Curve, Result, from_json, load_all
from headstart.tasks import Expert, Split, Suite

ROWS = 2


@pytest.fixture(scope="module")
def platformer() -> tuple[Suite, Split]:
    suite = suites.suite("platformer")
    return suite, suite.split("test", ROWS)


@pytest.fixture(scope="module")
def found(platformer: tuple[Suite, Split]) -> list[Result]:
    return expert(*platformer, budget=1_000_000)


def test_the_score_is_that_of_the_tape_pressed_step_by_step(
    platformer: tuple[Suite, Split], found: list[Result]
) -> None:
    """The slow twin: one level, one step after another, in an environment built here."""
    suite, split = platformer
    assert suite.expert is not None
    assert isinstance(suite.env, Platformer)
    env = dataclasses.replace(suite.env, sticky=0.0)
    task = jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), split.tasks)
    step = jax.jit(env.step)
    state, total, ended = env.reset(task, jr.key(0)), 0.0, False
    for action in tapes(suite, split)[1]:
        assert not ended, "nothing is pressed after the end"
        state, out = step(task, state, jnp.int32(action), jr.key(5))
        total, ended = total + float(out.reward), bool(out.terminated)
    assert ended
    np.testing.assert_allclose(found[1].scores, [total], rtol=1e-5)


def test_an_expert_finishes_every_level_for_nearly_all_there_is(found: list[Result]) -> None:
    for result in found:
        assert result.facts["ended"] is True
        # 9000 for the way, 1000 less a thousandth for every 18 frames
        wanted = 9000 + 1000 * (1 - 4 * result.spent / 18_000)
        assert wanted - 1 < result.scores[0] < wanted + 1000 * 4 / 18_000


def test_no_tape_no_expert(platformer: tuple[Suite, Split]) -> None:
    suite, split = platformer
    cart = suites.suite("cartpole")
    with pytest.raises(UsageError, match="suite cartpole-v0 keeps no best known plays; leave the expert out"):
        expert(cart, cart.split("test", 2), 100)
    assert suite.expert is not None
    first = split.labels[0]
    lacking = Expert(lambda name: suite.expert.tape(name) if name != first else None, suite.expert.env)  # pyright: ignore
    with pytest.raises(UsageError, match=f"of 1 of the 2 test tasks of platformer-v0 \\({first} is one\\)"):
        expert(dataclasses.replace(suite, expert=lacking), split, 100)


def test_the_expert_is_a_mark_in_the_table_and_in_json(tmp_path: Path, found: list[Result]) -> None:
    options = TransferOptions(suite="platformer", agents=("expert",), tasks=ROWS, budget=5000, run=tmp_path)
    played = transfer(options)
    assert [r.scores for r in played] == [r.scores for r in found]
    assert [r.budget for r in played] == [5000] * ROWS
    kept = load_all(tmp_path / "runs")
    assert {r.facts["task"]: r.scores for r in kept} == {r.facts["task"]: r.scores for r in played}
    rivals: list[Any] = [
        dataclasses.replace(
            r,
            agent="ppo",
            seed=seed,
            scores=[100.0 + seed],
            curve=Curve([100], [100.0 + seed]),
            facts=r.facts | {"lanes": 8},
        )
        for r in played
        for seed in (0, 1, 2)
    ]
    told = [from_json(json.loads(json.dumps(dataclasses.asdict(r))), "test") for r in [*rivals, *played]]
    (group,) = summary(told)["transfers"]
    assert group["ceiling"] == "expert"
    assert group["best"] == "ppo", "a mark on the scale wins nothing"
    assert group["notes"] == [], "neither its one run nor its lanes are a fault"
    row = next(a for a in group["agents"] if a["name"] == "expert")
    assert (row["role"], row["kind"], row["runs"], row["missing"]) == ("ceiling", "knows the tasks", ROWS, 0)
    assert row["mean"] == pytest.approx(np.mean([r.scores for r in played]))
