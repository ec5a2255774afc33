"""A budget says no at the right moment, and only then."""

import time

import pytest

from headstart.budget import Budget, Meter
from headstart.errors import BudgetSpentError, RunError, UsageError


@pytest.mark.parametrize("steps", [0, -1])
def test_a_budget_has_steps(steps: int) -> None:
    with pytest.raises(UsageError, match=f"at least one step, not {steps}"):
        Budget(steps)


@pytest.mark.parametrize("seconds", [0.0, -2.5])
def test_a_wall_clock_limit_is_positive(seconds: float) -> None:
    with pytest.raises(UsageError, match=f"positive, not {seconds} seconds"):
        Budget(10, seconds)


def test_every_step_of_the_budget_can_be_spent_and_not_one_more() -> None:
    meter = Meter(Budget(10))
    meter.spend(4)
    assert (meter.spent, meter.left) == (4, 6)
    with pytest.raises(BudgetSpentError, match="7 steps were asked for with 6 of 10 left"):
        meter.spend(7)
    assert (meter.spent, meter.left) == (4, 6), "a refused request counts nothing"
    meter.spend(6)
    assert meter.left == 0
    with pytest.raises(BudgetSpentError):
        meter.spend(1)


def test_a_resumed_run_goes_on_counting() -> None:
    assert Meter(Budget(10), spent=7).left == 3


def test_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    meter = Meter(Budget(10, seconds=5.0))
    now = 104.9
    meter.spend(1)
    assert meter.left == 9
    now = 105.0
    assert meter.left == 0
    with pytest.raises(BudgetSpentError):
        meter.spend(1)
    assert meter.spent == 1


def test_a_spent_budget_is_a_failed_run_not_a_wrong_use() -> None:
    assert issubclass(BudgetSpentError, RunError)
    assert (BudgetSpentError.exit_code, UsageError.exit_code) == (1, 2)
