"""Statistics of scores: against rliable, closed forms, slow twins and simulated coverage."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats

from headstart.reports import aggregate


def rliable():
    """The oracle; its own imports warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rliable import library, metrics
    return library, metrics


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(7).gamma(2.0, size=(4, 30))


def test_point_estimates_are_rliables(scores: np.ndarray) -> None:
    library, metrics = rliable()
    other = np.round(scores[::-1] + 0.3, 1)
    rounded = np.round(scores, 1)  # so that there are ties
    assert aggregate.mean(scores) == pytest.approx(metrics.aggregate_mean(scores))
    assert aggregate.iqm(scores) == pytest.approx(metrics.aggregate_iqm(scores))
    assert aggregate.probability_of_improvement(rounded, other) == pytest.approx(
        metrics.probability_of_improvement(rounded, other)
    )
    taus = np.linspace(-1, 9, 41)
    assert aggregate.profile(scores, taus) == pytest.approx(library.score_distributions(scores, taus))


@pytest.mark.parametrize(("shape", "task_bootstrap"), [((4, 30), False), ((4, 30), True), ((1, 60), True)])
def test_intervals_are_rliables(shape: tuple[int, int], task_bootstrap: bool) -> None:
    """Within the Monte-Carlo error of either side's 2000 replicates."""
    library, metrics = rliable()
    x = np.random.default_rng(3).gamma(2.0, size=shape)
    np.random.seed(0)  # rliable draws from the global generator
    _, theirs = library.get_interval_estimates(
        {"x": x},
        lambda s: np.array([metrics.aggregate_mean(s), metrics.aggregate_iqm(s)]),
        task_bootstrap=task_bootstrap,
        reps=2000,
    )
    found = aggregate.bootstrap({"x": x}, resamples=2000, scheme="tasks" if task_bootstrap else "runs")["x"]
    for ours, (low, high) in zip([found.mean, found.iqm], theirs["x"].T, strict=True):
        assert aggregate.interval(ours) == pytest.approx((low, high), abs=0.08 * (high - low) + 1e-9)


@pytest.mark.parametrize("scheme", ["crossed", "tasks", "runs"])
@pytest.mark.parametrize("missing", [False, True])
def test_replicates_are_those_of_the_slow_twin(scheme: aggregate.Scheme, missing: bool) -> None:
    """Repeat every drawn cell as often as it was drawn, and take the plain statistic."""
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=(3, 11)), 1)
    if missing:
        x[1, 4] = x[0, 0] = np.nan
    taus = np.array([-9.0, -0.5, 0.0, 0.1, 9.0])
    drawn = rng.integers(0, 11, (20, 11), dtype=np.int32)
    weights = aggregate._weights(scheme, drawn, 3, rng)
    assert (weights.sum(axis=1) == x.size).all()
    found = aggregate._Sorted(x, taus).statistics(weights)
    for r, w in enumerate(weights):
        resampled = np.repeat(x.ravel(), w)[None]
        assert found.mean[r] == pytest.approx(aggregate.mean(resampled))
        assert found.iqm[r] == pytest.approx(aggregate.iqm(resampled))
        assert found.profile[r] == pytest.approx(aggregate.profile(resampled, taus))


def test_crossed_weights_are_whole_runs_times_whole_tasks() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.integers(0, 7, (50, 7), dtype=np.int32)
    weights = aggregate._weights("crossed", drawn, 4, rng).reshape(50, 4, 7)
    w_run, w_task = weights.sum(axis=2) / 7, weights.sum(axis=1) / 4
    assert weights == pytest.approx(w_run[:, :, None] * w_task[:, None, :])
    assert (w_task == aggregate._counts(drawn, 7)).all()


def test_agents_are_resampled_on_the_same_tasks() -> None:
    """Two agents a constant apart stay a constant apart in every replicate."""
    x = np.random.default_rng(0).normal(size=(1, 50))
    found = aggregate.bootstrap({"x": x, "y": x + 2.0}, resamples=100)
    assert found["y"].mean - found["x"].mean == pytest.approx(2.0)
    assert found["y"].iqm - found["x"].iqm == pytest.approx(2.0)


def test_a_seed_gives_the_same_replicates() -> None:
    scores = {"x": np.random.default_rng(0).normal(size=(2, 50))}
    once, again, other = (aggregate.bootstrap(scores, resamples=50, seed=seed)["x"].iqm for seed in (0, 0, 1))
    assert (once == again).all()
    assert (once != other).any()


def test_standard_error_of_one_run_is_the_textbooks() -> None:
    x = np.random.default_rng(0).normal(size=(1, 40))
    assert aggregate.standard_error(x) == pytest.approx(scipy.stats.sem(x[0]))
    assert aggregate.standard_error(x.T) == pytest.approx(scipy.stats.sem(x[0]))
    boot = aggregate.bootstrap({"x": x}, resamples=4000)["x"].mean
    assert boot.std() == pytest.approx(aggregate.standard_error(x), rel=0.08)


@pytest.mark.parametrize("sd", [(1.0, 1.0, 1.0), (0.0, 1.0, 2.0), (2.0, 0.3, 0.5)], ids=str)
def test_standard_error_is_right_where_runs_and_tasks_correlate(sd: tuple[float, float, float]) -> None:
    """Over 3000 experiments the mean of V is the variance of the estimated mean, σ_s²/S + σ_m²/M + σ²/SM,
    or a little more, since V is never less than either axis tells."""
    rng = np.random.default_rng(5)
    runs, tasks = 5, 8
    x = rng.normal(size=(3000, runs, 1)) * sd[0] + rng.normal(size=(3000, 1, tasks)) * sd[1]
    x += rng.normal(size=(3000, runs, tasks)) * sd[2]
    expected = sd[0] ** 2 / runs + sd[1] ** 2 / tasks + sd[2] ** 2 / (runs * tasks)
    estimated = np.mean([aggregate.standard_error(one) ** 2 for one in x])
    assert np.var(x.mean(axis=(1, 2))) == pytest.approx(expected, rel=0.1)
    assert 0.95 < estimated / expected < 1.2


def _coverage(scheme: aggregate.Scheme, runs: int, sd_run: float) -> float:
    """How often the 95 % interval of the mean holds the true mean 0, over 200 experiments of 40 tasks."""
    rng = np.random.default_rng(11)
    x = (
        rng.normal(size=(200, runs, 1)) * sd_run
        + rng.normal(size=(200, 1, 40))
        + rng.normal(size=(200, runs, 40))
    )
    inside = 0
    for i, one in enumerate(x):
        low, high = aggregate.interval(
            aggregate.bootstrap({"x": one}, resamples=300, seed=i, scheme=scheme)["x"].mean
        )
        inside += low <= 0 <= high
    return inside / len(x)


def test_intervals_cover_the_truth() -> None:
    assert 0.90 <= _coverage("crossed", 1, 0.0) <= 0.98
    assert 0.85 <= _coverage("crossed", 8, 1.0) <= 0.97  # few runs: any percentile interval is a little short


def test_drawing_runs_afresh_in_every_task_forgets_that_a_run_is_one_training() -> None:
    """Why "crossed" is the default: with an effect of the run, the published scheme covers far too rarely."""
    assert _coverage("tasks", 8, 1.0) < 0.8


def test_probability_of_improvement_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.5, 1, (1, 20_000)), rng.normal(0.0, 1, (1, 20_000))
    truth = scipy.stats.norm.cdf(0.5 / math.sqrt(2))
    assert aggregate.probability_of_improvement(x, y) == pytest.approx(truth, abs=0.015)
    replicates = aggregate.improvements({"x": x, "y": y}, "y", resamples=300)["x"]
    assert replicates.std() == pytest.approx(math.sqrt(truth * (1 - truth) / 20_000), rel=0.15)
    assert aggregate.probability_of_improvement(x, x) == 0.5
    low, high = aggregate.interval(replicates)
    assert low < truth < high


def test_improvement_replicates_are_those_of_the_slow_twin() -> None:
    """With all runs equal their draw does not matter, and a replicate is a weighted mean over tasks."""
    x = np.array([[1.0, 0.0, 2.0, 3.0]] * 3)
    y = np.array([[0.0, 0.0, 3.0, np.nan]] * 2)
    found = aggregate.improvements({"x": x, "y": y}, "y", resamples=20, seed=4)["x"]
    (drawn,) = aggregate._draw_tasks(np.random.default_rng([4, 0]), 4, 20, 4)
    worth = np.array([1.0, 0.5, 0.0, np.nan])
    assert found == pytest.approx([np.nanmean(worth[row]) for row in drawn])


def test_missing_scores_are_left_out() -> None:
    x = np.array([[1.0, np.nan, 3.0, 5.0, 100.0], [1.0, 2.0, 3.0, 5.0, np.nan]])
    kept = x[np.isfinite(x)]
    assert aggregate.mean(x) == pytest.approx(kept.mean())
    assert aggregate.iqm(x) == pytest.approx(scipy.stats.trim_mean(kept, 0.25))
    assert np.isfinite(aggregate.standard_error(x))
    assert np.isfinite(aggregate.bootstrap({"x": x}, resamples=50)["x"].iqm).any()
    nothing = np.full((1, 3), np.nan)
    assert math.isnan(aggregate.mean(nothing))
    assert math.isnan(aggregate.iqm(nothing))
    assert np.isnan(aggregate.profile(nothing, np.zeros(2))).all()
    assert math.isnan(aggregate.probability_of_improvement(nothing, x[:, :3]))
    assert math.isnan(aggregate.standard_error(np.ones((1, 1))))


def test_the_quartiles_are_not_looked_at() -> None:
    """The IQM does not move when what lies outside the middle half does."""
    x = np.arange(16.0)[None]
    spoiled = x.copy()
    spoiled[0, :4], spoiled[0, -4:] = -1e9, 1e9
    assert aggregate.iqm(spoiled) == aggregate.iqm(x) == 7.5
    assert aggregate.iqm(x + 3) == aggregate.iqm(x) + 3
