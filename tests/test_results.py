"""The one format: what is written is read back, and what cannot be understood is refused."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from headstart import results
from headstart.errors import RunError, UsageError
from headstart.results import Curve, Result

RESULT = Result(
    suite="bandit-v0:arms=2",
    split="test",
    fingerprint="0123456789abcdef",
    agent="ucb1",
    config={"c": 0.2, "nested": {"sizes": [1, 2]}},
    seed=3,
    budget=100,
    spent=99,
    scores=[1.0, 2.5],
    within=[0.5, 1.25],
    lengths=[1.0, 1.0],
    curve=Curve([10, 20], [0.1, 0.30000000000000004]),
    facts={"finished_early": [0.5, 1.0]},
    prior={"suite": "bandit-v0", "steps": 5, "tasks": None},
    versions=results.versions(),
    commit="abc",
    command="headstart evaluate",
)


def test_a_result_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    results.save(RESULT, tmp_path / "result.json")
    assert results.load_all(tmp_path / "result.json") == [RESULT]
    assert json.loads((tmp_path / "result.json").read_text())["schema"] == results.SCHEMA
    assert list(tmp_path.iterdir()) == [tmp_path / "result.json"]


def test_what_is_not_finite_is_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    odd = dataclasses.replace(
        RESULT,
        scores=[1.0, math.nan],
        curve=Curve([10, 20], [math.nan, math.inf]),
        facts={"x": [(-math.inf, 1)]},
    )
    results.save(odd, tmp_path / "result.json")
    text = (tmp_path / "result.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    plain = json.loads(text)
    assert plain["scores"] == [1.0, None]
    assert plain["curve"]["values"] == [None, None]
    assert plain["facts"] == {"x": [[None, 1]]}
    (found,) = results.load_all(tmp_path / "result.json")
    assert math.isnan(found.scores[1])
    assert found.curve is not None
    assert all(map(math.isnan, found.curve.values))


def test_results_of_a_folder_a_list_and_a_file(tmp_path: Path) -> None:
    def named(name: str) -> Result:
        return dataclasses.replace(RESULT, agent=name)

    (tmp_path / "b" / "deep").mkdir(parents=True)
    results.save(named("one"), tmp_path / "b" / "deep" / "result.json")
    results.save(named("two"), tmp_path / "a.result.json")
    several = [results.to_json(named(name)) for name in ("three", "four")]
    (tmp_path / "b" / "more.result.json").write_text(json.dumps(several))
    (tmp_path / "b" / "config.json").write_text("not a result")
    assert [r.agent for r in results.load_all(tmp_path)] == ["two", "one", "three", "four"]
    assert [r.agent for r in results.load_all(tmp_path / "b" / "more.result.json")] == ["three", "four"]


def test_a_file_without_optional_fields_is_read(tmp_path: Path) -> None:
    plain = results.to_json(RESULT)
    for name in ("within", "lengths", "curve", "facts", "prior", "versions", "commit", "command"):
        del plain[name]
    found = results.from_json(plain | {"a field of tomorrow": 1}, "here")
    assert (found.scores, found.within, found.curve, found.facts) == (RESULT.scores, [], None, {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"schema": results.SCHEMA + 1},
            r"here was written by a newer headstart \(schema 2, this one reads up to 1\)",
        ),
        ({"schema": "1"}, "here holds no headstart result"),
        ({"schema": None}, "here holds no headstart result"),
        ({"agent": None, "seed": None}, "here lacks agent, seed; it is no complete headstart result"),
        ({"scores": "high"}, "here holds no readable scores"),
        ({"config": []}, "here holds no readable config"),
        ({"scores": ["high"]}, "here holds numbers that cannot be read"),
        ({"curve": {"steps": [1]}}, "here holds numbers that cannot be read"),
        ({"curve": [1, 2]}, "here holds numbers that cannot be read"),
    ],
)
def test_what_is_no_result_is_refused(change: dict[str, Any], said: str) -> None:
    plain = {name: value for name, value in (results.to_json(RESULT) | change).items() if value is not None}
    with pytest.raises(UsageError, match=said):
        results.from_json(plain, "here")
    with pytest.raises(UsageError, match="here holds no headstart result"):
        results.from_json([plain], "here")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no result at"):
        results.load_all(tmp_path / "none.json")
    with pytest.raises(UsageError, match="there are no results under"):
        results.load_all(tmp_path)
    (tmp_path / "result.json").write_text('{"schema": 1, "suite": "ban')
    with pytest.raises(UsageError, match=r"result.json cannot be read as results"):
        results.load_all(tmp_path)
    (tmp_path / "result.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"result.json cannot be read as results"):
        results.load_all(tmp_path)


def test_a_disk_without_room_keeps_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.save(RESULT, tmp_path / "result.json")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"result.json could not be written \(No space left on device\)"):
        results.save(dataclasses.replace(RESULT, seed=4), tmp_path / "result.json")
    assert results.load_all(tmp_path) == [RESULT]
    assert list(tmp_path.iterdir()) == [tmp_path / "result.json"]


def test_a_device_that_is_full() -> None:
    with pytest.raises(RunError, match="could not be written"):
        results.write_text(Path("/dev/full/x"), "text")


def test_versions_and_commit() -> None:
    found = results.versions()
    assert {"python", "headstart", "jax", "numpy"} <= set(found)
    assert all(found.values())
    commit = results.commit()
    assert commit == "" or len(commit.rstrip("+")) == 12
