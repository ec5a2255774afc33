"""The budget of an adaptation or a training run, and the meter that enforces it."""

import time
from dataclasses import dataclass

from headstart.errors import BudgetSpentError, UsageError


@dataclass(frozen=True)
class Budget:
    """How much experience a run may use."""

    steps: int
    """agent decisions after action repeat, summed over lanes; resets are free"""
    seconds: float | None = None
    """wall-clock limit in seconds; None for no limit"""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"a budget has at least one step, not {self.steps}.")
        if self.seconds is not None and self.seconds <= 0:
            raise UsageError(f"a budget's wall-clock limit is positive, not {self.seconds} seconds.")


class Meter:
    """Counts steps against a budget; the loop asks it before every piece of work."""

    def __init__(self, budget: Budget, spent: int = 0) -> None:
        self.budget = budget
        self.spent = spent
        self._start = time.monotonic()

    @property
    def left(self) -> int:
        """Steps that may still be taken; 0 once the wall-clock limit has passed."""
        seconds = self.budget.seconds
        if seconds is not None and time.monotonic() - self._start >= seconds:
            return 0
        return max(self.budget.steps - self.spent, 0)

    def spend(self, steps: int) -> None:
        """Count `steps` more.

        Raises:
          BudgetSpentError: if fewer are left; nothing is counted then.
          ValueError: if `steps` is negative: nothing is given back.
        """
        if steps < 0:
            raise ValueError(f"steps are spent, never given back: {steps}")
        if steps > self.left:
            raise BudgetSpentError(
                f"{steps} steps were asked for with {self.left} of {self.budget.steps} left."
            )
        self.spent += steps
