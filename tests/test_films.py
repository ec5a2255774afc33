"""Films of adaptation: what is shown is what was played, small, beside its result, and in the page."""

import base64
import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
import pytest
from PIL import Image, ImageSequence

from headstart import agents, suites
from headstart.agents import ppo
from headstart.agents.ppo import PPOConfig
from headstart.errors import UsageError
from headstart.nets.actor_critic import NetworkConfig
from headstart.protocol import adaptation
from headstart.protocol.adaptation import AdaptOptions, Audience, Contender, adapt
from headstart.protocol.films import Footage
from headstart.protocol.priors import Prior
from headstart.protocol.transfer import TransferOptions, transfer
from headstart.reports import filmed, films
from headstart.reports.page import report
from headstart.results import Result, load_all
from headstart.types import Entry

SUITE = suites.suite("cartpole", episodes=3)
CONFIG = PPOConfig(NetworkConfig(torso=(4,)), unroll=32, epochs=1, minibatches=1, lr=0.02)


@pytest.fixture(scope="module", autouse=True)
def _built_once() -> Iterator[None]:
    """One PPO for one config, so that runs share their compiled programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo, "ENTRY", Entry(ppo.ENTRY.config, functools.cache(ppo.ppo)))
        yield


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result], list[Footage]]:
    """From scratch, and in context: the first of two tasks filmed with the first seed; and what was recorded."""
    run, seen = tmp_path_factory.mktemp("films"), list[Footage]()

    def film(footage: Footage) -> list[dict[str, Any]]:
        seen.append(footage)
        return films.keep(footage)

    agent = agents.entry("ppo").build(SUITE.env.spec, CONFIG)
    prior = Prior("ppo", CONFIG, agent.init(jr.key(1)), SUITE.name, "f", None, 5, 0)
    options = AdaptOptions(budget=1280, lanes=2, seeds=(0, 1), points=4, run=run / "runs", filmed=1)
    split = SUITE.split("test", 2)
    found: list[Result] = []
    for who in (Contender("ppo", "ppo", CONFIG), Contender("rl2", "ppo", CONFIG, prior, frozen=True)):
        found += adapt(SUITE, who, options, split, Audience(film=film))
    return run, found, seen


def test_one_run_a_contender_is_filmed_and_says_so(shown: tuple[Path, list[Result], list[Footage]]) -> None:
    _, found, seen = shown
    assert [(r.agent, r.facts["row"], r.seed) for r in found if "films" in r.facts] == [
        ("ppo", 0, 0),
        ("rl2", 0, 0),
    ]
    ppo, rl2 = (r.facts["films"] for r in found if "films" in r.facts)
    assert [(f["when"], f["steps"]) for f in ppo] == [("before", 0), ("during", 640), ("after", 1280)]
    assert [(f["when"], f["steps"]) for f in rl2] == [("before", 0), ("during", 1), ("after", 2)]
    assert len({f["return"] for f in ppo}) > 1, "its weights have changed, the luck has not"
    for footage, said in zip(seen, (ppo, rl2), strict=True):
        assert [take.total for take in footage.takes] == pytest.approx([f["return"] for f in said], abs=1e-3)


def test_episodes_of_a_trial_follow_each_other(shown: tuple[Path, list[Result], list[Footage]]) -> None:
    """In cart-pole every step but the last of an attempt brings 1, and the clock of an episode runs from 0."""
    _, _, seen = shown
    for take in seen[1].takes:
        clock = np.asarray(take.states.inner.t)
        assert clock.tolist() == list(range(len(clock)))
        assert take.total == pytest.approx(len(clock), abs=1)


def test_films_are_small_and_show_the_episode(shown: tuple[Path, list[Result], list[Footage]]) -> None:
    run, _, seen = shown
    stored = filmed.found([run])
    assert [(f.contender, f.when) for f in stored] == [
        (who, when) for who in ("ppo", "rl2") for when in ("before", "during", "after")
    ]
    for film, take in zip(stored, [t for footage in seen for t in footage.takes], strict=True):
        length = len(jax.tree.leaves(take.states)[0])
        if film.path.suffix == ".webp":
            with Image.open(film.path) as gif:
                count, width = len(list(ImageSequence.Iterator(gif))), gif.width
            # pictures that are alike are stored once
            assert 0.5 * length / film.speed <= count <= -(-length // film.speed) <= films.FRAMES
            assert width <= films.WIDTH
        assert film.path.stat().st_size < 1_000_000
        assert film.whole == (length <= films.FRAMES * films.FASTEST)


def test_the_page_shows_them(shown: tuple[Path, list[Result], list[Footage]]) -> None:
    run, found, _ = shown
    page = report(found, run / "page.html", films=filmed.found([run])).read_text()
    kind = "video/mp4" if (run / "runs" / "ppo" / "task-0-seed0.after.mp4").exists() else "image/webp"
    embedded = re.findall(rf'src="data:{kind};base64,([^"]+)"', page)
    assert len(embedded) == 6
    first = filmed.found([run])[0]
    assert first.path.read_bytes() in [base64.b64decode(data) for data in embedded]
    assert "Before, during and after" in page
    assert "In the end, after 1\u202f280 steps; return" in page
    assert "Episode 3 of a trial; return" in page
    assert "Before, during and after" not in report(found, run / "plain.html").read_text()


def test_kept_runs_are_played_again_only_for_a_film(
    shown: tuple[Path, list[Result], list[Footage]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = AdaptOptions(budget=1280, lanes=2, seeds=(0,), points=4, run=tmp_path)
    split, who = SUITE.split("test", 2), Contender("ppo", "ppo", CONFIG)
    plain = adapt(SUITE, who, options, split)
    played: list[int] = []
    group = adaptation._group
    monkeypatch.setattr(adaptation, "_group", lambda *args: played.append(len(args[1])) or group(*args))
    again = adapt(SUITE, who, dataclasses.replace(options, filmed=1), split, Audience(film=films.keep))
    assert len(played) == 1
    assert [r.scores for r in again] == [r.scores for r in plain], "filming changes nothing"
    (first, _) = load_all(tmp_path)
    assert len(first.facts["films"]) == 3


def test_a_film_that_fails_loses_no_score_and_is_made_again(
    shown: tuple[Path, list[Result], list[Footage]], tmp_path: Path
) -> None:
    def torn(footage: Footage) -> list[dict[str, Any]]:
        raise OSError(28, "No space left on device", str(footage.path))

    options = AdaptOptions(budget=1280, lanes=2, seeds=(0,), points=4, run=tmp_path, filmed=1)
    split, who = SUITE.split("test", 1), Contender("ppo", "ppo", CONFIG)
    (found,) = adapt(SUITE, who, options, split, Audience(film=torn))
    assert found.scores == shown[1][0].scores
    assert "No space left on device" in found.facts["unfilmed"]
    assert "films" not in found.facts
    (again,) = adapt(SUITE, who, options, split, Audience(film=films.keep))
    assert len(again.facts["films"]) == 3


def test_no_film_without_pictures_or_without_anybody_to_make_it(tmp_path: Path) -> None:
    options = TransferOptions(suite="bandit", agents=("random",), film=True, run=tmp_path)
    with pytest.raises(UsageError, match=r"give watch=Watch\(film=headstart\.reports\.films\.keep\)"):
        transfer(options)
