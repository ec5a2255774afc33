"""Suites by name: options in the string or as keywords, one canonical name, clear refusals."""

import re
from typing import Any

import pytest

from headstart.errors import UsageError
from headstart.suites import options, suite


@pytest.mark.parametrize(
    ("name", "chosen", "canonical"),
    [
        ("bandit-v0", {}, "bandit-v0"),
        ("bandit", {}, "bandit-v0"),
        ("bandit:", {}, "bandit-v0"),
        ("bandit-v0:arms=10,pulls=10", {}, "bandit-v0:arms=10,pulls=10"),
        ("bandit:pulls=10,arms=10", {}, "bandit-v0:arms=10,pulls=10"),
        ("bandit", {"pulls": 10, "arms": 10}, "bandit-v0:arms=10,pulls=10"),
        ("bandit:arms=10", {"arms": 3}, "bandit-v0:arms=3"),
        ("bandit:arms=5,pulls=100", {}, "bandit-v0"),
        ("bandit", {"arms": "7"}, "bandit-v0:arms=7"),
        ("gaussian-bandit:arms=2", {}, "gaussian-bandit-v0:arms=2"),
    ],
)
def test_every_spelling_has_one_canonical_name(name: str, chosen: dict[str, Any], canonical: str) -> None:
    loaded = suite(name, **chosen)
    assert loaded.name == canonical
    assert suite(canonical).name == canonical


def test_options_reach_the_environment() -> None:
    spec = suite("bandit:arms=7,pulls=12").env.spec
    assert (spec.action.n, spec.episodes, spec.steps) == (7, 12, 12)  # pyright: ignore[reportAttributeAccessIssue]
    assert options("bandit") == options("bandit-v0:arms=3") == {"arms": 5, "pulls": 100}


def test_two_settings_of_a_suite_have_other_fingerprints_and_one_setting_the_same() -> None:
    def fingerprint(name: str) -> str:
        return suite(name).split("test", 5).fingerprint

    assert fingerprint("bandit:arms=2") == fingerprint("bandit-v0:arms=2,pulls=100")
    assert fingerprint("bandit:arms=2") != fingerprint("bandit:arms=2,pulls=99")


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("bandid", {}, "there is no suite called 'bandid'; did you mean bandit-v0"),
        ("bandit-v9", {}, "there is no suite called 'bandit-v9'; did you mean bandit-v0"),
        ("qqqq", {}, "there is no suite called 'qqqq'; choose from: asgym-v0, bandit-v0, "),
        ("bandit:arm=3", {}, "no option of suite bandit-v0 called 'arm'; did you mean arms?"),
        ("bandit", {"pull": 3}, "no option of suite bandit-v0 called 'pull'; did you mean pulls?"),
        ("bandit:xyz=3", {}, "no option of suite bandit-v0 called 'xyz'; choose from: arms, pulls."),
        ("bandit:arms=many", {}, "option arms of suite bandit-v0 is of type int, not 'many'"),
        ("bandit:arms", {}, "option arms of suite bandit-v0 is of type int, not ''"),
        ("bandit:arms=0", {}, "at least one arm, not 0"),
        ("bandit:pulls=-1", {}, "at least one pull, not -1"),
    ],
)
def test_a_wrong_name_gets_one_clear_sentence(name: str, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        suite(name, **chosen)
    assert "\n" not in str(error.value)
