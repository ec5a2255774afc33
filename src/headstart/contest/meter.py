"""What is counted in the trusted process: steps against the budget, episodes, and the score.

    score = Σ_{finished episodes} R / (n + left / horizon)

with n finished episodes and `left` steps of the budget unused: whoever stops early, by plan, crash or clock, is scored as if
the rest had been played in episodes of full length that bring nothing. With the budget played to its end that is the
mean return of all finished episodes (Nichol et al. 2018, arXiv:1804.03720). The episode that the end cut off is recorded,
and counts only where there is no finished one.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from headstart.budget import Budget, Meter
from headstart.errors import BudgetSpentError


class Episode(NamedTuple):
    """An episode as it was scored; `finished` is False for the one that the budget or a failure cut off."""

    reward: float
    length: int
    finished: bool


class Place(NamedTuple):
    """Where an episode lies in the record of actions: its lane, and the index of its first step."""

    lane: int
    first: int


class NotNowError(Exception):
    """A request at the wrong time; `name` is the error's name on the wire."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Ledger:
    """Counts the steps and episodes of N lanes that advance together."""

    def __init__(self, budget: int, lanes: int, horizon: int) -> None:
        self.meter = Meter(Budget(budget))
        self.horizon, self.lanes = horizon, lanes
        self.t = 0
        """steps so far, of each lane"""
        self.episodes: list[Episode] = []
        self.places: list[Place] = []
        self.playing: Bool[np.ndarray, " N"] = np.zeros(lanes, bool)
        self._ready = False
        self._reward = np.zeros(lanes)
        self._first = np.zeros(lanes, np.int64)
        self._none = bytes(lanes)

    @property
    def spent(self) -> int:
        return self.meter.spent

    def begin(self) -> Bool[np.ndarray, " N"]:
        """Begin an episode in every lane that is in none; which these are.

        Raises:
          NotNowError: `mid-episode`, if there is no such lane.
        """
        idle = ~self.playing
        if self._ready:
            raise NotNowError("mid-episode", "the episode has not ended; play on until it does.")
        self._reward[idle], self._first[idle] = 0.0, self.t
        self.playing[:], self._ready = True, True
        return idle

    def spend(self) -> None:
        """Count one step of every lane, before it is played.

        Raises:
          NotNowError: `episode-over`, or `budget` if fewer steps are left than there are lanes.
        """
        if not self._ready:
            raise NotNowError(
                "episode-over", "there is no episode to step, it has ended or not begun; reset first."
            )
        try:
            self.meter.spend(self.lanes)
        except BudgetSpentError:
            raise NotNowError("budget", f"the budget of {self.meter.budget.steps} steps is spent.") from None
        self.t += 1

    def record(self, reward: Float[np.ndarray, " N"], ended: UInt8[np.ndarray, " N"]) -> None:
        """Take in what the step brought; `ended` is not 0 where an episode ended."""
        self._reward += reward
        if ended.tobytes() == self._none:
            return
        for lane in np.flatnonzero(ended):
            self._close(int(lane), True)
        self.playing[ended > 0] = False
        self._ready = False

    def _close(self, lane: int, finished: bool) -> None:
        first = int(self._first[lane])
        self.episodes.append(Episode(float(self._reward[lane]), self.t - first, finished))
        self.places.append(Place(lane, first))

    def finish(self) -> None:
        """Record the episodes that were cut off."""
        for lane in np.flatnonzero(self.playing):
            if self.t > self._first[lane]:
                self._close(int(lane), False)
        self.playing[:], self._ready = False, False

    def score(self) -> float:
        """The score, 0 if nothing was played."""
        counted = [e.reward for e in self.episodes if e.finished] or [e.reward for e in self.episodes]
        if not counted:
            return 0.0
        left = self.meter.left if self.meter.left >= self.lanes else 0  # fewer cannot be played
        return sum(counted) / (len(counted) + left / self.horizon)


__all__ = ["Episode", "Ledger", "NotNowError", "Place"]
