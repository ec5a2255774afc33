"""Learning curves on one grid, and what a prior was worth: the measures of transfer (Taylor & Stone 2009, JMLR 10:1633).

A run's curve is a step function over its budget: the mean return of the episodes that ended in each piece. A piece in
which none ended keeps the value before it; pieces before the first end take the value of that end, for its episode was
being played in them. Curves of runs with other pieces meet on one grid, each cell holding the curve's mean over it, so
that areas are kept exactly. Runs without a curve are NaN and left out.

Intervals come from bootstrap replicates that draw runs afresh within every task; the tasks stay as they are. One
replicate of the mean curve gives one replicate of every measure, "never reached" being infinitely many steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from headstart.reports import aggregate

Curves = Float[np.ndarray, "S M G"]
"""S runs of M tasks on a grid of G cells"""

EDGE = 0.1
"""share of the budget that counts as its beginning, and as its end"""


def resample(
    steps: Sequence[int], values: Sequence[float], edges: Float[np.ndarray, " E"]
) -> Float[np.ndarray, " G"]:
    """A run's step function, `values[i]` from `steps[i-1]` (or 0) to `steps[i]`, averaged over each cell of a grid.

    Args:
      values: NaN where no episode ended.
      edges: `[G + 1]`, rising from 0, in steps; none beyond the last of `steps`.

    Returns:
      `[G]`; all NaN if no episode ended at all.

    >>> resample([2, 4], [1.0, 3.0], np.array([0.0, 1.0, 4.0])).round(2).tolist()
    [1.0, 2.33]
    """
    y = np.array(values, dtype=np.float64)
    there = np.flatnonzero(np.isfinite(y))
    if not there.size:
        return np.full(len(edges) - 1, np.nan)
    last = np.searchsorted(there, np.arange(len(y)), side="right") - 1
    y = y[there[np.maximum(last, 0)]]
    x = np.concatenate([[0.0], np.asarray(steps, dtype=np.float64)])
    area = np.concatenate([[0.0], np.cumsum(y * np.diff(x))])
    return np.diff(np.interp(edges, x, area)) / np.diff(edges)


def played(curves: Curves) -> Bool[np.ndarray, "S M"]:
    """Which runs have a curve."""
    return np.asarray(np.isfinite(curves).all(axis=-1))


def mean_curve(curves: Curves) -> Float[np.ndarray, " G"]:
    """Mean over all runs that have a curve; NaN if none has."""
    (mean,) = mean_curves(curves, played(curves).astype(np.int32)[None])
    return mean


def mean_curves(curves: Curves, weights: Int[np.ndarray, "R S M"]) -> Float[np.ndarray, "R G"]:
    """Mean curves in which run s of task m counts `weights[r, s, m]` times."""
    w = (weights * played(curves)).reshape(len(weights), -1).astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0/0 where a replicate drew no run that has a curve
        return w @ np.nan_to_num(curves).reshape(w.shape[1], -1) / w.sum(axis=1, keepdims=True)


def replicates(curves: Curves, seed: int) -> Float[np.ndarray, "R G"]:
    """Bootstrap replicates of the mean curve."""
    runs, tasks = curves.shape[:2]
    return mean_curves(curves, aggregate.draws_of_runs(runs, tasks, seed=seed))


def repeated(there: Bool[np.ndarray, "S M"]) -> bool:
    """Whether any task was played more than once; if not, nothing is known of the spread."""
    return bool((there.sum(axis=0) > 1).any())


def interval(values: Float[np.ndarray, " R"], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of replicates that may be infinite: two of them, never a number in between.

    >>> interval(np.array([1.0, 2.0, np.inf]))
    (1.0, inf)
    """
    if np.isnan(values).any():
        return float("nan"), float("nan")
    ranked = np.sort(values)
    last = len(ranked) - 1
    low, high = np.floor(last * (1 - level) / 2), np.ceil(last * (1 + level) / 2)
    return float(ranked[int(low)]), float(ranked[int(high)])


def reach(
    curves: Float[np.ndarray, "R G"], level: Float[np.ndarray, " R"], ends: Float[np.ndarray, " G"]
) -> Float[np.ndarray, " R"]:
    """Steps at the end of the first cell whose mean return is at least `level`; infinity where there is none."""
    over = curves >= level[:, None]
    return np.where(over.any(axis=1), ends[over.argmax(axis=1)], np.inf)


@dataclass(frozen=True)
class Measures:
    """What a prior was worth; each `[R]`, a number a pair of curves."""

    jump_start: Float[np.ndarray, " R"]
    """return in the first tenth of the budget, minus that from scratch"""
    level: Float[np.ndarray, " R"]
    """return from scratch in the last tenth of the budget"""
    scratch_steps: Float[np.ndarray, " R"]
    """steps from scratch to that level"""
    steps: Float[np.ndarray, " R"]
    """steps with the prior to that level, infinity where it is not reached"""
    speedup: Float[np.ndarray, " R"]
    """the former over the latter; 0 where it is not reached"""
    area_ratio: Float[np.ndarray, " R"]
    """area under the curve over that from scratch; NaN where the latter is not positive"""


def measures(
    prior: Float[np.ndarray, "R G"], scratch: Float[np.ndarray, "R G"], edges: Float[np.ndarray, " E"]
) -> Measures:
    """Compare mean curves with those of a contender that brings nothing.

    Jump-start, time to threshold and area ratio of Taylor & Stone (2009, §3.2). The threshold is what learning from
    scratch reaches in the end; both curves' steps to it are read off in the same way, since a noisy curve crosses a
    level sooner than a smooth one.
    """
    width = max(1, round(EDGE * prior.shape[1]))
    level = scratch[:, -width:].mean(axis=1)
    steps, scratch_steps = reach(prior, level, edges[1:]), reach(scratch, level, edges[1:])
    cells = np.diff(edges)
    area, scratch_area = prior @ cells, scratch @ cells
    ratio = np.divide(area, scratch_area, out=np.full(len(area), np.nan), where=scratch_area > 0)
    jump = prior[:, :width].mean(axis=1) - scratch[:, :width].mean(axis=1)
    return Measures(jump, level, scratch_steps, steps, scratch_steps / steps, ratio)


def compare(prior: Curves, scratch: Curves, edges: Float[np.ndarray, " E"]) -> dict[str, Any]:
    """Measures with their 95 % intervals, over the tasks that both have played.

    Returns:
      `jump_start`, `level`, `scratch_steps`, `steps` (None if not reached), `at_once` (reached in the first cell, so
      that `steps` is an upper bound and `speedup` a lower), `speedup`, `area_ratio`, each but `level` and
      `scratch_steps` with an `…_interval` (None without repetitions, its end infinite where the level may not be
      reached at all); `reached`, the share of replicates that reach the level; `open_ended`, whether the interval of
      the speed-up ends above in a lower bound; `tasks`, how many were compared.
    """
    shared = played(prior).any(axis=0) & played(scratch).any(axis=0)
    if not shared.any():
        return {}
    a, b = prior[:, shared], scratch[:, shared]
    point = measures(mean_curve(a)[None], mean_curve(b)[None], edges)
    found: dict[str, Any] = {
        "tasks": int(shared.sum()),
        "level": float(point.level[0]),
        "scratch_steps": float(point.scratch_steps[0]),
        "steps": float(point.steps[0]) if np.isfinite(point.steps[0]) else None,
        "at_once": bool(point.steps[0] == edges[1]),
        "speedup": float(point.speedup[0]) if np.isfinite(point.steps[0]) else None,
        "jump_start": float(point.jump_start[0]),
        "area_ratio": float(point.area_ratio[0]),
        "reached": None,
        "open_ended": False,
    }
    intervals = dict.fromkeys(
        ["jump_start_interval", "steps_interval", "speedup_interval", "area_ratio_interval"]
    )
    if repeated(played(a)) and repeated(played(b)):
        sample = measures(replicates(a, seed=1), replicates(b, seed=2), edges)
        intervals = {
            "jump_start_interval": interval(sample.jump_start),
            "steps_interval": interval(sample.steps),
            "speedup_interval": interval(sample.speedup),
            "area_ratio_interval": interval(sample.area_ratio),
        }
        found["reached"] = float(np.isfinite(sample.steps).mean())
        found["open_ended"] = bool(interval(sample.steps)[0] == edges[1])
    return found | intervals
