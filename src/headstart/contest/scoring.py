"""From episodes to a curve, from evaluations to a score with its error.

A level's score is the mean over seeds of what its evaluations are worth; a submission's score is the mean over levels. The
levels of a contest are fixed, so only runs count as chance:

    score = 1/M Σ_m x̄_m          error² = 1/M² Σ_m s²_m / S_m

with x̄_m and s²_m the mean and variance of the S_m runs of level m. The interval is Student's, 95 %, its degrees of freedom
those of Welch (1947) and Satterthwaite (1946): ν = (Σ v_m)² / Σ v²_m/(S_m - 1), v_m = s²_m/S_m.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

WINDOWS = 40
"""points of a learning curve: equal shares of the budget"""


class Score(NamedTuple):
    """A submission's score on one board; error and interval are None with a single run a level."""

    score: float
    error: float | None
    low: float | None
    high: float | None


def score(runs: Sequence[Sequence[float]]) -> Score:
    """The score of a submission from its evaluations: one sequence a level, one number a seed.

    >>> tuple(round(x, 3) for x in score([[1.0, 3.0], [4.0, 4.0]]))
    (3.0, 0.5, -3.353, 9.353)
    >>> score([[2.0], [4.0]])
    Score(score=3.0, error=None, low=None, high=None)
    """
    mean = float(np.mean([np.mean(level) for level in runs]))
    if any(len(level) < 2 for level in runs):
        return Score(mean, None, None, None)
    spread = np.array([np.var(level, ddof=1) / len(level) for level in runs])
    free = np.array([len(level) - 1 for level in runs], float)
    error = math.sqrt(spread.sum()) / len(runs)
    if error == 0.0:
        return Score(mean, 0.0, mean, mean)
    nu = float(spread.sum() ** 2 / (spread**2 / free).sum())
    half = float(stdtrit(nu, 0.975)) * error
    return Score(mean, error, mean - half, mean + half)


def curve(episodes: Sequence[tuple[float, int]], budget: int, windows: int = WINDOWS) -> list[float | None]:
    """Mean return of the episodes `(return, length)` that ended in each of `windows` equal shares of the budget.

    >>> curve([(1.0, 5), (3.0, 5), (9.0, 10)], budget=20, windows=4)
    [1.0, 3.0, None, 9.0]
    """
    if not episodes:
        return [None] * windows
    returns = np.array([reward for reward, _ in episodes], float)
    ends = np.cumsum([length for _, length in episodes])
    window = np.clip((ends - 1) * windows // budget, 0, windows - 1).astype(int)
    count = np.bincount(window, minlength=windows)
    total = np.bincount(window, weights=returns, minlength=windows)
    return [float(t / n) if n else None for t, n in zip(total, count, strict=True)]


def mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean of curves of equal length, window by window, over those that have an episode there.

    >>> mean_curve([[1.0, None], [3.0, None]])
    [2.0, None]
    """
    columns = [[x for x in column if x is not None] for column in zip(*curves, strict=True)]
    return [sum(column) / len(column) if column else None for column in columns]


__all__ = ["WINDOWS", "Score", "curve", "mean_curve", "score"]
