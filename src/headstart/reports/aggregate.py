"""Statistics of scores `[S, M]`: S runs of one agent on M tasks (Agarwal et al. 2021, arXiv:2108.13264).

In this library a run plays *all* tasks, and all agents play the *same* tasks, so scores are correlated
along both axes. Standard errors therefore come from the two-way random-effects model, and the default
bootstrap ("crossed", the pigeonhole bootstrap of Owen 2007) draws whole runs and whole tasks, the same
tasks for every agent. Agarwal et al. draw runs afresh within every task, which holds where every (run,
task) pair is an adaptation of its own: "runs", with the tasks kept as they are, and "tasks", with tasks
drawn too. With one run, "crossed" and "tasks" are the same. Missing scores are NaN and left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Scheme = Literal["crossed", "tasks", "runs"]
Scores = Float[np.ndarray, "S M"]

RESAMPLES = 2000
_CELLS_AT_ONCE = 1 << 18  # bootstrap weights held at a time: a megabyte, so that they stay in cache


@dataclass(frozen=True)
class Bootstrap:
    """Bootstrap replicates of one agent, `R` of each; replicate `r` of all agents drew the same tasks."""

    mean: Float[np.ndarray, " R"]
    iqm: Float[np.ndarray, " R"]
    profile: Float[np.ndarray, "R T"]
    """share of scores above each threshold"""


def mean(scores: Scores) -> float:
    """Mean over all scores that are not missing; NaN if there are none.

    >>> mean(np.array([[1.0, 2.0, np.nan]]))
    1.5
    """
    found = scores[np.isfinite(scores)]
    return float(found.mean()) if found.size else float("nan")


def standard_error(scores: Scores) -> float:
    """Standard error of the mean under x_sm = μ + run_s + task_m + noise_sm, all four unknown.

    V = (MS_run + MS_task - MS_noise) / (S·M), by the mean squares of the two-way layout; never less than
    either axis alone tells. With one run it is the usual s/√M, with one task s/√S, and NaN with one score.
    Tasks that lack a score in any run are left out.
    """
    x = scores[:, np.isfinite(scores).all(axis=0)]
    runs, tasks = x.shape
    if x.size < 2:
        return float("nan")
    by_run, by_task = x.mean(axis=1), x.mean(axis=0)
    if runs == 1:
        return float(np.sqrt(by_task.var(ddof=1) / tasks))
    if tasks == 1:
        return float(np.sqrt(by_run.var(ddof=1) / runs))
    noise = x - by_run[:, None] - by_task[None, :] + x.mean()
    v_run, v_task = by_run.var(ddof=1) / runs, by_task.var(ddof=1) / tasks
    v_noise = np.square(noise).sum() / ((runs - 1) * (tasks - 1)) / x.size
    return float(np.sqrt(max(v_run + v_task - v_noise, v_run, v_task)))


def standard_error_over_runs(scores: Scores) -> float:
    """Standard error of the mean for these very tasks, each of whose runs is an adaptation of its own.

    V = Σ_m s²_m / S_m / M², with s²_m the variance over the S_m runs of task m; NaN where no task has two. Tasks with a
    single run are taken to vary like the others.

    >>> round(standard_error_over_runs(np.array([[0.0, 5.0], [2.0, 5.0]])), 3)
    0.5
    """
    runs = np.isfinite(scores).sum(axis=0)
    x = scores[:, runs > 0]
    runs = runs[runs > 0]
    if not (runs > 1).any():
        return float("nan")
    variances = np.array([np.nanvar(x[:, m], ddof=1) if runs[m] > 1 else np.nan for m in range(len(runs))])
    variances[np.isnan(variances)] = np.nanmean(variances)
    return float(np.sqrt(np.mean(variances / runs) / len(runs)))


def iqm(scores: Scores) -> float:
    """Interquartile mean: the mean of the middle half of all scores.

    >>> iqm(np.array([[0.0, 1.0, 2.0, 100.0]]))
    1.5
    """
    found = np.sort(scores[np.isfinite(scores)])
    cut = found.size // 4
    return float(found[cut : found.size - cut].mean()) if found.size else float("nan")


def profile(scores: Scores, thresholds: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Performance profile: the share of scores above each threshold τ.

    >>> profile(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([0.0, 2.0, 4.0])).tolist()
    [1.0, 0.5, 0.0]
    """
    found = np.sort(scores[np.isfinite(scores)])
    if not found.size:
        return np.full(thresholds.shape, np.nan)
    return 1.0 - np.searchsorted(found, thresholds, side="right") / found.size


def _wins(x: Scores, y: Float[np.ndarray, "Z M"]) -> Float[np.ndarray, "S Z M"]:
    """1 where a run of x beats a run of y on a task, ½ in a tie, 0 where it loses, NaN if one is missing."""
    gap = x[:, None, :] - y[None, :, :]
    return np.where(np.isnan(gap), np.nan, (1.0 + np.sign(gap)) / 2.0)


def probability_of_improvement(x: Scores, y: Float[np.ndarray, "Z M"]) -> float:
    """P(X > Y) + ½ P(X = Y) on the same task, averaged over tasks and pairs of runs (Mann-Whitney's U).

    >>> probability_of_improvement(np.array([[1.0, 2.0]]), np.array([[0.0, 2.0]]))
    0.75
    """
    wins = _wins(x, y)
    return float(np.nanmean(wins)) if np.isfinite(wins).any() else float("nan")


def interval(replicates: Float[np.ndarray, " R"], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap replicates; NaN where they are."""
    if not np.isfinite(replicates).all():
        return float("nan"), float("nan")
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _counts(drawn: Int[np.ndarray, "B D"], size: int) -> Int[np.ndarray, "B size"]:
    """How often each of `size` things was drawn, row by row."""
    rows = drawn.shape[0]
    flat = (drawn + np.arange(rows, dtype=drawn.dtype)[:, None] * size).ravel()
    return np.bincount(flat, minlength=rows * size).reshape(rows, size).astype(np.int32)


def _draw_tasks(
    rng: np.random.Generator, tasks: int, resamples: int, cells: int
) -> Iterator[Int[np.ndarray, "B M"]]:
    """Batches of resampled task indices, `resamples` rows in all."""
    batch = max(1, _CELLS_AT_ONCE // cells)
    for start in range(0, resamples, batch):
        yield rng.integers(0, tasks, (min(batch, resamples - start), tasks), dtype=np.int32)


def _weights(
    scheme: Scheme, drawn: Int[np.ndarray, "B M"], runs: int, rng: np.random.Generator
) -> Int[np.ndarray, "B SM"]:
    """How often each (run, task) cell counts in each replicate."""
    rows, tasks = drawn.shape
    if scheme == "crossed":
        w_task = _counts(drawn, tasks)
        if runs == 1:
            return w_task
        w_run = _counts(rng.integers(0, runs, (rows, runs), dtype=np.int32), runs)
        return (w_run[:, :, None] * w_task[:, None, :]).reshape(rows, runs * tasks)
    if scheme == "runs":
        drawn = np.broadcast_to(np.arange(tasks, dtype=np.int32), drawn.shape)
    picked = rng.integers(0, runs, (rows, runs, tasks), dtype=np.int32)
    return _counts((picked * tasks + drawn[:, None, :]).reshape(rows, runs * tasks), runs * tasks)


class _Sorted:
    """One agent's scores in rising order: weighted statistics are then sums over cumulated weights."""

    def __init__(self, scores: Scores, thresholds: Float[np.ndarray, " T"]) -> None:
        flat = scores.ravel()
        order = np.argsort(flat, kind="stable")
        self.order = order[: int(np.isfinite(flat).sum())]  # NaN sorts last
        x = flat[self.order]
        self.top = float(x[-1])
        self.rise = np.append(np.diff(x), 0.0)
        self.upto = np.searchsorted(x, thresholds, side="right")

    def statistics(self, weights: Int[np.ndarray, "B SM"]) -> Bootstrap:
        """With C_i the weight of the i smallest scores, n their total and k = ⌊n/4⌋, summation by parts gives

        mean = x_max - Σ_i C_i (x_{i+1} - x_i) / n
        IQM  = x_max - Σ_i (clip(C_i, k, n - k) - k) (x_{i+1} - x_i) / (n - 2k)
        """
        c = np.cumsum(weights.take(self.order, axis=1), axis=1, dtype=np.int32)
        n = c[:, -1:].copy()
        k = n // 4
        with np.errstate(invalid="ignore"):  # 0/0 where a replicate drew only missing scores
            mean_r = self.top - (c.astype(np.float64) @ self.rise) / n[:, 0]
            below = np.where(self.upto > 0, c[:, self.upto - 1], 0)
            profile_r = 1.0 - below / n
            np.clip(c, k, n - k, out=c)
            inner = (c.astype(np.float64) @ self.rise) - k[:, 0] * self.rise.sum()
            iqm_r = self.top - inner / (n - 2 * k)[:, 0]
        return Bootstrap(mean_r, iqm_r, profile_r)


def bootstrap(
    scores: Mapping[str, Scores],
    thresholds: Float[np.ndarray, " T"] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    scheme: Scheme = "crossed",
) -> dict[str, Bootstrap]:
    """Bootstrap replicates of mean, IQM and performance profile for agents that played the same tasks.

    Args:
      scores: `[S, M]` an agent; the number of runs S may differ, the M tasks are the same; no agent all NaN.
      thresholds: `[T]`, where the profile is wanted.
      resamples: R, how many replicates.
      seed: of the draws.
      scheme: what is drawn; see the module's docstring.

    Returns:
      A `Bootstrap` an agent. A difference between two agents' replicates is a replicate of their difference.
    """
    taus = np.zeros(0) if thresholds is None else thresholds
    ranked = {name: _Sorted(x, taus) for name, x in scores.items()}
    rngs = {name: np.random.default_rng([seed, 1 + i]) for i, name in enumerate(scores)}
    parts: dict[str, list[Bootstrap]] = {name: [] for name in scores}
    largest = max(x.size for x in scores.values())
    tasks = next(iter(scores.values())).shape[1]
    for drawn in _draw_tasks(np.random.default_rng([seed, 0]), tasks, resamples, largest):
        shared = _counts(drawn, tasks)  # the weights of every agent with one run
        for name, x in scores.items():
            alone = scheme == "crossed" and len(x) == 1
            weights = shared if alone else _weights(scheme, drawn, len(x), rngs[name])
            parts[name].append(ranked[name].statistics(weights))
    return {
        name: Bootstrap(
            np.concatenate([p.mean for p in found]),
            np.concatenate([p.iqm for p in found]),
            np.concatenate([p.profile for p in found]),
        )
        for name, found in parts.items()
    }


def draws_of_runs(
    runs: int, tasks: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Int[np.ndarray, "R S M"]:
    """How often each run counts in each replicate of scheme "runs": S draws afresh within every task.

    >>> draws_of_runs(3, 2, resamples=4).sum(axis=1).tolist()
    [[3, 3], [3, 3], [3, 3], [3, 3]]
    """
    rng = np.random.default_rng([seed, runs, tasks])
    drawn = np.empty((resamples, tasks), dtype=np.int32)
    return _weights("runs", drawn, runs, rng).reshape(resamples, runs, tasks)


def improvements(
    scores: Mapping[str, Scores], over: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Float[np.ndarray, " R"]]:
    """Crossed bootstrap replicates of every agent's probability of improvement over the agent named `over`.

    Both agents' runs are drawn apart, their tasks together.
    """
    y = scores[over]
    tasks = y.shape[1]
    wins = {name: _wins(x, y).reshape(-1, tasks).T for name, x in scores.items() if name != over}
    rngs = {name: np.random.default_rng([seed, 1 + i]) for i, name in enumerate(scores)}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in wins}
    for drawn in _draw_tasks(np.random.default_rng([seed, 0]), tasks, resamples, tasks):
        w_task = _counts(drawn, tasks).astype(np.float64)
        for name, won in wins.items():
            there = np.isfinite(won)
            pairs = [
                _counts(rngs[name].integers(0, n, (len(drawn), n), dtype=np.int32), n)
                for n in (len(scores[name]), len(y))
            ]
            w_pair = (pairs[0][:, :, None] * pairs[1][:, None, :]).reshape(len(drawn), -1)
            total = w_pair * (w_task @ np.where(there, won, 0.0))
            count = w_pair * (w_task @ there.astype(np.float64))
            with np.errstate(invalid="ignore"):
                parts[name].append(total.sum(axis=1) / count.sum(axis=1))
    return {name: np.concatenate(found) for name, found in parts.items()}
