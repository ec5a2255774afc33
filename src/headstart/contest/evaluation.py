"""One job of a contest: a stranger's agent, one level, one seed, one budget, and a verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headstart.errors import RunError


@dataclass(frozen=True)
class Job:
    """What one evaluation plays, and what it may use."""

    suite: str
    """a suite's name with its options; of a level's text only the game's options matter"""
    level: str
    """a level's text (more than one line), or the name of a task of the suite's test, valid or train split"""
    seed: int
    """of the environment's randomness, and told to the agent"""
    budget: int
    """steps, over all lanes"""
    wall_clock: float
    """seconds from the agent's start to the verdict at the latest"""
    sandbox: str
    """"bubblewrap", "docker" or "none" (only for code that is trusted)"""


class Episode(NamedTuple):
    """An episode as it was scored; `finished` is False for the one that the budget or a failure cut off."""

    reward: float
    length: int
    finished: bool


class Verdict(NamedTuple):
    """How an evaluation ended, and what it is worth."""

    status: str
    score: float
    episodes: list[Episode]
    spent: int
    message: str
    log: Path
    films: tuple[Path, ...]


def evaluate_submission(folder: Path, job: Job, out: Path, heartbeat: Callable[[int], bool]) -> Verdict:
    """Run one submission on one job.

    Args:
      folder: the unpacked submission.
      job: what to play.
      out: an existing folder for the log and the films.
      heartbeat: called with the steps spent at least every two seconds; False cancels.
    """
    raise RunError("evaluations are not there yet.")


__all__ = ["Episode", "Job", "Verdict", "evaluate_submission"]
