"""The transfer part of reports: measures with known answers, runs grouped as they must be, pages that say so."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.test_report import Page, bandits

from headstart.commands import transfer as commands
from headstart.reports import (
    aggregate,
    canvas,
    headline,
    measures,
    transfer,
    transfer_figures,
    transfer_section,
)
from headstart.reports.page import report
from headstart.reports.summary import summary
from headstart.results import Curve, Result, from_json, to_json

BUDGET = 1000
PRIOR = {"suite": "cartpole-v0", "fingerprint": "trained", "tasks": 100, "steps": 4000, "seed": 0}
CHOSEN = {"rule": "best of three", "steps": 4000, "tried": {"2000": 50.0, "4000": 60.0, "8000": 40.0}}
Shape = Callable[[float], float]


def run(agent: str, task: int, seed: int, shape: Shape, **changes: Any) -> Result:
    """A run whose curve is `shape` (of the share of the budget), shifted a little by task and seed."""
    facts = {
        "task": f"level-{task}",
        "row": task,
        "lanes": 8,
        "frozen": agent.endswith("frozen"),
        "episodes": 40,
    }
    joint = "joint" in agent or agent == "rl2"
    shift = 4.0 * task + float(np.random.default_rng([seed, task, *agent.encode()]).normal())
    steps = list(range(20, BUDGET + 1, 20))
    values = [shape((step - 10) / BUDGET) + shift for step in steps]
    base = Result(
        suite="cartpole-v0",
        split="test",
        fingerprint="0123456789abcdef",
        agent=agent,
        config={"lr": 3e-4, "network": {"memory": "none"}},
        seed=seed,
        budget=BUDGET,
        spent=BUDGET,
        scores=[float(np.mean(values))],
        curve=Curve(steps, values),
        facts=facts | ({"chosen": CHOSEN} if joint else {}) | changes.pop("facts", {}),
        prior=PRIOR if joint else None,
        versions={"headstart": "0.1.0"},
        commit="abcdef",
        command="headstart transfer",
    )
    return dataclasses.replace(base, **changes)


def runs(agent: str, shape: Shape, tasks: int = 3, seeds: int = 4, **changes: Any) -> list[Result]:
    both = itertools.product(range(tasks), range(seeds))
    return [run(agent, task, seed, shape, **changes) for task, seed in both]


def slow(t: float) -> float:
    return 100.0 * t


def fast(t: float) -> float:
    return min(100.0, 20.0 + 400.0 * t)


def flat(_: float) -> float:
    return 10.0


def trials(shape: Shape, **changes: Any) -> list[Result]:
    """RL² on the same tasks, played in trials: another suite, another fingerprint."""
    other = {"suite": "cartpole-v0:episodes=5", "fingerprint": "fedcba9876543210"}
    config = {"network": {"memory": "gru"}}
    return runs("rl2", shape, **other, config=config, facts={"frozen": True}, **changes)


def full() -> list[Result]:
    contenders = [runs("ppo", slow), runs("ppo-joint", fast), runs("ppo-joint-frozen", lambda _: 60.0)]
    contenders += [runs("random", flat, config={}), trials(lambda t: 30.0 + 40.0 * t)]
    return list(itertools.chain(*contenders))


@pytest.fixture(scope="module")
def group() -> dict[str, Any]:
    """What is said of `full`."""
    return only(full())


def only(results: Sequence[Result]) -> dict[str, Any]:
    (group,) = summary(results)["transfers"]
    return group


def by_name(group: dict[str, Any]) -> dict[str, Any]:
    return {a["name"]: a for a in group["agents"]}


def test_a_step_function_keeps_its_area_on_any_grid() -> None:
    rng = np.random.default_rng(0)
    steps = np.sort(rng.choice(np.arange(1, 1000), 30, replace=False)).tolist()
    values = rng.normal(size=30).tolist()
    exact = sum(v * (b - a) for v, (a, b) in zip(values, itertools.pairwise([0, *steps]), strict=True))
    for cells in (1, 7, 64):
        edges = np.linspace(0.0, steps[-1], cells + 1)
        assert measures.resample(steps, values, edges) @ np.diff(edges) == pytest.approx(exact)
    assert measures.resample(steps, values, np.array([0.0, *steps])) == pytest.approx(values), "its own grid"


def test_a_piece_without_an_end_keeps_the_last_value() -> None:
    edges = np.array([0.0, 1, 2, 3, 4, 5])
    values = [math.nan, 3.0, math.nan, math.nan, 5.0]
    assert measures.resample([1, 2, 3, 4, 5], values, edges).tolist() == [3.0, 3.0, 3.0, 3.0, 5.0]
    assert np.isnan(measures.resample([1, 2], [math.nan, math.nan], np.array([0.0, 1, 2]))).all()


def test_measures_have_their_closed_forms() -> None:
    """From scratch t, with the prior min(1, 4t + 0.2), on a fine grid: each measure by hand."""
    edges = np.linspace(0.0, 1000.0, 1001)
    t = (edges[1:] - 0.5) / 1000
    scratch, prior = t, np.minimum(1.0, 4 * t + 0.2)
    m = measures.measures(prior[None], scratch[None], edges)
    assert m.level[0] == pytest.approx(0.95)  # mean of t over its last tenth
    assert m.jump_start[0] == pytest.approx(0.4 - 0.05)  # means of both over the first tenth
    assert m.scratch_steps[0] == pytest.approx(950, abs=1)
    assert m.steps[0] == pytest.approx(187.5, abs=1)  # 4t + 0.2 = 0.95
    assert m.speedup[0] == pytest.approx(950 / 187.5, rel=0.01)
    assert m.area_ratio[0] == pytest.approx((0.2 * 0.6 + 0.8) / 0.5, rel=1e-3)
    never = measures.measures(0.5 * scratch[None], scratch[None], edges)
    assert never.steps[0] == math.inf
    assert never.speedup[0] == 0.0
    assert never.area_ratio[0] == pytest.approx(0.5)
    itself = measures.measures(scratch[None], scratch[None], edges)
    assert (itself.jump_start[0], itself.speedup[0], itself.area_ratio[0]) == (0.0, 1.0, pytest.approx(1.0))
    assert np.isnan(measures.measures(prior[None], -scratch[None], edges).area_ratio[0]), "no ratio to a loss"


def test_mean_curves_agree_with_drawing_runs_one_by_one() -> None:
    """The slow twin: replicate r of the mean curve, drawn and averaged by hand; failed runs left out."""
    rng = np.random.default_rng(1)
    curves = rng.normal(size=(4, 3, 5))
    curves[1, 2] = np.nan
    weights = aggregate.draws_of_runs(4, 3, resamples=20, seed=3)
    assert (weights.sum(axis=1) == 4).all()
    fast_ones = measures.mean_curves(curves, weights)
    for w, found in zip(weights, fast_ones, strict=True):
        pool = [curves[s, m] for s in range(4) for m in range(3) for _ in range(w[s, m])]
        assert found == pytest.approx(np.nanmean(np.array(pool), axis=0))
    assert measures.mean_curve(curves) == pytest.approx(np.nanmean(curves.reshape(-1, 5), axis=0))


def test_the_bands_of_curves_spread_as_the_standard_error_says() -> None:
    curves = np.random.default_rng(2).normal(size=(10, 8, 2)) + 50.0 * np.arange(8)[None, :, None]
    spread = measures.replicates(curves, seed=0).std(axis=0)
    wanted = [aggregate.standard_error_over_runs(curves[..., g]) for g in (0, 1)]
    assert spread == pytest.approx(np.array(wanted) * math.sqrt(0.9), rel=0.06), (
        "tasks, far apart, are not drawn"
    )


def test_an_interval_with_infinite_ends_invents_no_number() -> None:
    sample = np.concatenate([np.full(900, 5.0), np.full(100, np.inf)])
    assert measures.interval(sample) == (5.0, math.inf)
    assert measures.interval(np.arange(1001.0)) == pytest.approx(aggregate.interval(np.arange(1001.0)))
    assert all(math.isnan(v) for v in measures.interval(np.array([1.0, np.nan])))


def test_a_prior_is_held_against_its_learner_from_scratch(group: dict[str, Any]) -> None:
    agents = by_name(group)
    assert list(agents) == sorted(agents, key=lambda name: -agents[name]["mean"])
    over = {name: a["measures"] and a["measures"]["over"] for name, a in agents.items()}
    assert over == {"ppo-joint": "ppo", "ppo-joint-frozen": "ppo", "rl2": "ppo", "ppo": None, "random": None}
    m = agents["ppo-joint"]["measures"]
    assert m["steps"] == 200  # of the grid's ends, the first whose cell is at least about 95
    assert m["speedup"] == pytest.approx(m["scratch_steps"] / 200)
    assert m["speedup_interval"][0] <= m["speedup"] <= m["speedup_interval"][1]
    assert m["reached"] == 1.0
    assert m["difference"] == pytest.approx(agents["ppo-joint"]["mean"] - agents["ppo"]["mean"])
    low, high = m["difference_interval"]
    assert low < m["difference"] < high < low + 3
    frozen = agents["ppo-joint-frozen"]["measures"]
    assert (frozen["steps"], frozen["speedup"], frozen["reached"]) == (None, None, 0.0)
    assert frozen["steps_interval"] == [None, None]
    assert frozen["jump_start"] == pytest.approx(55.0, abs=2)
    kinds = {name: a["kind"] for name, a in agents.items()}
    assert kinds == {
        "ppo-joint": "fine-tuned",
        "ppo-joint-frozen": "frozen",
        "rl2": "in context",
        "ppo": "no prior",
        "random": "no prior",
    }


def test_a_level_reached_at_once_is_a_bound() -> None:
    at_once = by_name(only([*runs("ppo", slow), *runs("ppo-joint", lambda _: 120.0)]))["ppo-joint"][
        "measures"
    ]
    assert at_once["at_once"]
    assert at_once["steps"] == 20
    assert at_once["open_ended"], "no upper end can be told"
    assert headline.around_speedup(at_once).endswith("or more")


def test_trials_of_the_same_tasks_stand_in_one_table(group: dict[str, Any]) -> None:
    assert group["suite"] == "cartpole-v0"
    assert group["suites"] == ["cartpole-v0", "cartpole-v0:episodes=5"]
    assert group["tasks"] == ["level-0", "level-1", "level-2"]
    assert len(group["fingerprints"]) == 2
    assert group["notes"] == group["train_sizes"] == []


def test_a_prior_of_another_suite_is_named() -> None:
    mine = runs("ppo-joint", slow)
    assert not any("another suite" in note for note in only(mine)["notes"])
    foreign = PRIOR | {"suite": "cartpole-v0:mirrored=true"}
    other = only([dataclasses.replace(r, prior=foreign) for r in mine])
    assert "ppo-joint was trained on another suite, cartpole-v0:mirrored=true." in other["notes"]


def test_other_tasks_and_budgets_are_kept_apart() -> None:
    more = runs("ppo", slow, tasks=5, fingerprint="other")
    brief = [dataclasses.replace(r, budget=500) for r in runs("ppo", slow)]
    groups = summary([*full(), *more, *brief])["transfers"]
    assert [(g["budget"], len(g["tasks"]), len(g["agents"])) for g in groups] == [
        (500, 3, 1),
        (1000, 3, 5),
        (1000, 5, 1),
    ]
    assert all("must not be compared across them" in g["notes"][0] for g in groups)


def test_the_matrix_is_runs_by_tasks() -> None:
    found = runs("ppo", slow)
    table = transfer.matrix([*reversed(found), *runs("random", flat, tasks=2)])
    assert table["ppo"].shape == (4, 3)
    assert table["ppo"][2, 1] == next(r for r in found if (r.seed, r.facts["row"]) == (2, 1)).scores[0]
    assert np.isnan(table["random"][:, 2]).all()
    assert np.isfinite(table["random"][:, :2]).all()


def test_copies_count_once_and_settings_are_told_apart() -> None:
    ppo = runs("ppo", slow)
    assert by_name(only([*ppo, *ppo]))["ppo"]["runs"] == 12
    quick = [dataclasses.replace(r, config={"lr": 1e-3, "network": {"memory": "none"}}) for r in ppo]
    assert set(by_name(only([*ppo, *quick]))) == {"ppo lr=0.0003", "ppo lr=0.001"}
    clash = [dataclasses.replace(r, scores=[1.0]) for r in ppo]
    assert {name: a["runs"] for name, a in by_name(only([*ppo, *clash])).items()} == {
        "ppo": 12,
        "ppo (2)": 12,
    }
    again = [dataclasses.replace(r, prior=PRIOR | {"seed": 1}) for r in runs("ppo-joint", fast)]
    pooled = by_name(only([*runs("ppo-joint", fast), *again]))["ppo-joint"]
    assert (pooled["runs"], pooled["training_seeds"]) == (24, [0, 1])


def test_a_setting_that_older_results_lack_tells_nobody_apart() -> None:
    """Unless newer ones differ in it."""
    old, new = (
        runs("ppo", slow, seeds=1, config={"lr": 0.1}),
        runs("ppo", slow, seeds=3, config={"lr": 0.1, "new": False}),
    )
    (one,) = only([*old, *new[3:]])["agents"]
    assert one["name"] == "ppo"
    other = runs("ppo", fast, seeds=1, config={"lr": 0.1, "new": True})
    assert len(only([*old, *new, *other])["agents"]) > 1


def test_failed_and_missing_runs_are_left_out_and_said(tmp_path: Path) -> None:
    found = runs("ppo", slow)
    lost = dataclasses.replace(
        found[0], scores=[], curve=None, facts=found[0].facts | {"failed": "reward became infinite"}
    )
    joint = runs("ppo-joint", fast)[:8]  # two of three tasks
    group = only([lost, *found[1:], *joint])
    agents = by_name(group)
    assert (agents["ppo"]["runs"], agents["ppo"]["failed"]) == (12, 1)
    assert agents["ppo"]["mean"] == pytest.approx(np.mean([r.scores[0] for r in found[1:]]))
    shared = [r.scores[0] for r in found[1:8]]
    wanted = np.mean([r.scores[0] for r in joint]) - np.mean(shared)
    assert agents["ppo-joint"]["measures"]["difference"] == pytest.approx(wanted), (
        "over the tasks that both played"
    )
    assert agents["ppo-joint"]["measures"]["tasks"] == 2
    assert "1 of 12 runs of ppo failed and are left out (reward became infinite)." in group["notes"]
    assert any(note.startswith("ppo-joint lacks 4 runs") for note in group["notes"])
    nothing = [dataclasses.replace(lost, seed=seed) for seed in (0, 1)]
    assert only(nothing)["headline"] == "No run on cart-poles has a score."
    assert "No run on cart-poles has a score." in report(nothing, tmp_path / "page.html").read_text()


def test_runs_without_reward_and_published_scales_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [*runs("ppo", slow, facts={"normalised": 0.25}), *runs("ppo-joint", fast)]
    found[0] = dataclasses.replace(found[0], facts=found[0].facts | {"unrewarded": True})
    group = only(found)
    agents = by_name(group)
    assert (agents["ppo"]["unrewarded"], agents["ppo-joint"]["unrewarded"]) == (1, 0)
    assert (agents["ppo"]["normalised"], agents["ppo-joint"]["normalised"]) == (0.25, None)
    said = "1 of 12 runs of ppo were never paid a reward; most often that is the wrong scenario or task."
    assert said in group["notes"]
    page = report(found, tmp_path / "page.html").read_text()
    assert said in page
    assert ">0.250<" in page
    commands.say(found[0])
    assert "never a reward" in capsys.readouterr().err
    commands.show(found)
    shown = capsys.readouterr().out
    assert "0.250" in shown
    assert "normalised" in shown
    assert "never rewarded" in shown
    plain = [*runs("ppo", slow), *runs("ppo-joint", fast)]
    commands.show(plain)
    assert "never" not in capsys.readouterr().out
    assert "Normalised" not in report(plain, tmp_path / "plain.html").read_text()


def test_one_seed_has_no_intervals(tmp_path: Path) -> None:
    found = [*runs("ppo", slow, 1, seeds=1), *runs("ppo-joint", fast, 1, seeds=1)]
    group = only(found)
    joint = by_name(group)["ppo-joint"]
    assert joint["se"] is joint["iqm_interval"] is joint["curve"]["low"] is None
    assert joint["measures"]["speedup_interval"] is joint["measures"]["difference_interval"] is None
    assert "95 %" not in group["headline"]
    assert any("tells luck from skill" in note for note in group["notes"])
    report(found, tmp_path / "page.html")


def test_the_headline_says_who_learns_fastest(group: dict[str, Any]) -> None:
    m, d = by_name(group)["ppo-joint"]["measures"], 1
    speed = [headline.times(v) for v in (m["speedup"], *m["speedup_interval"])]
    gap = [headline.number(v, d) for v in (m["difference"], *m["difference_interval"])]
    assert group["headline"] == (
        f"ppo-joint learns 3 unseen cart-poles {speed[0]} times as fast as ppo from scratch (95 % interval {speed[1]} to "
        f"{speed[2]}): over 1\u202f000 steps it scores 96.0, {gap[0]} more ({gap[1]} to {gap[2]})."
    )
    same = only([*runs("ppo", slow), *runs("ppo-joint", lambda t: slow(t) + 0.01)])["headline"]
    assert "not told apart from" in same
    worse = only([*runs("ppo", slow), *runs("ppo-joint", flat)])["headline"]
    assert worse.startswith("ppo scores 53.8 over")
    assert "no prior does better" in worse
    frozen = only([*runs("ppo", slow), *runs("ppo-joint-frozen", lambda _: 120.0)])["headline"]
    assert "learns" not in frozen
    assert "at least" in frozen
    assert "or more)" in frozen
    assert only(runs("ppo", slow, tasks=1))["headline"].endswith("steps on one test task of cartpole.")


def test_test_score_against_training_tasks() -> None:
    found = runs("ppo", slow)
    for tasks, level in ((1, 5.0), (100, 60.0), (None, 90.0)):
        prior = PRIOR | {"tasks": tasks}
        found += [
            dataclasses.replace(r, prior=prior) for r in runs("ppo-joint", lambda _, level=level: level)
        ]
    group = only(found)
    assert set(by_name(group)) == {"ppo", "ppo-joint 1 task", "ppo-joint 100 tasks", "ppo-joint endless"}
    (series,) = group["train_sizes"]
    assert [p["tasks"] for p in series["points"]] == [1, 100, None]
    assert [round(p["mean"]) for p in series["points"]] == [9, 64, 94]
    names = [d.name for d in transfer_figures.drawings(group, canvas.looks([group]), "t")]
    assert names == ["t-scores", "t-curve", "t-choice", "t-sizes"]


def test_many_tasks_are_cut_and_said() -> None:
    group = only(runs("ppo", slow, tasks=transfer.SHOWN + 6, seeds=1))
    agent = by_name(group)["ppo"]
    assert len(agent["task_curves"]) == transfer.SHOWN
    assert len(agent["per_task"]) == transfer.SHOWN + 6
    shown = transfer_section.section(
        [group | {"steps": None, "agents": [agent | {"curve": None}]}], 0, canvas.looks([group])
    )
    assert shown["left_out"]
    assert len(shown["by_task"]) == transfer.SHOWN


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Result], Path]:
    """A page with adaptation runs, and evaluations beside them."""
    results = [*full(), *bandits()[:2]]
    return results, report(results, tmp_path_factory.mktemp("report") / "page.html")


def test_the_page_says_what_the_summary_says(rich: tuple[list[Result], Path]) -> None:
    results, path = rich
    page = Page(path.read_text())
    words = " ".join(page.words.split())
    numbers = summary([from_json(json.loads(json.dumps(to_json(r))), "test") for r in results])
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    (group,), agents = numbers["transfers"], numbers["transfers"][0]["agents"]
    d = headline.decimals(agents)
    for a in agents:
        assert f"{headline.number(a['mean'], d)} ± {headline.number(a['se'], d)}" in words
        for per_task in a["per_task"]:
            assert headline.number(per_task["mean"], d) in words
    for phrase in (
        "not reached",
        "Choice of prior",
        "Task by task",
        "level-2",
        "best of three",
        *group["suites"],
    ):
        assert phrase in words
    m = by_name(group)["ppo-joint"]["measures"]
    assert f"{headline.times(m['speedup'])} ×" in words
    assert " ".join(group["headline"].split()) in words
    assert page.open == []
    assert page.count("svg") == sum(
        a.get("role") == "img" and len(a["aria-label"]) > 25 for _, a in page.tags
    )
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert page.count("table") == page.count("caption") == 4


def test_the_best_of_each_task_is_bold(rich: tuple[list[Result], Path]) -> None:
    page = Page(rich[1].read_text())
    bold = [a for tag, a in page.tags if tag == "td" and a.get("class") == "num best"]
    assert len(bold) == 3, "one a task"


def test_the_order_of_the_results_does_not_matter(group: dict[str, Any]) -> None:
    assert only(full()[::-1]) == group


def test_train_against_unseen_score_over_joint_training(tmp_path: Path) -> None:
    known = {"trained": {"2000": 40.0, "4000": 70.0, "8000": 90.0}}
    asked = {
        "train": {"2000": 55.0, "4000": 75.0, "8000": 95.0},
        "test": {"2000": 1.0, "4000": 2.0, "8000": 3.0},
    }
    found = {}
    for name, more in (("free", known), ("asked", known | asked)):
        facts = {"chosen": CHOSEN | more}
        joint = [dataclasses.replace(r, facts=r.facts | facts) for r in runs("ppo-joint", fast)]
        group = only([*runs("ppo", slow), *joint])
        (drawing,) = [
            d for d in transfer_figures.drawings(group, canvas.looks([group]), "t") if d.name == "t-seen"
        ]
        found[name] = (group, drawing)
    group, free = found["free"]
    assert free.title == "Train against unseen"
    assert "ppo-joint, train from 40 to 90" in free.alt, "the return in training, where nothing else is known"
    assert "ppo-joint, valid from 50 to 40" in free.alt
    assert "test" not in free.alt
    assert not any("test tasks" in note for note in group["notes"])
    group, told = found["asked"]
    assert "ppo-joint, train from 55 to 95" in told.alt
    assert "ppo-joint, test from 1 to 3" in told.alt
    assert "which the choice did not see" in told.caption
    (note,) = [note for note in group["notes"] if "test tasks" in note]
    assert note.startswith("The priors of ppo-joint were also adapted to test tasks")


def test_aids_to_fine_tuning_tell_contenders_apart() -> None:
    plain = runs("ppo-joint", fast)
    helped = [
        dataclasses.replace(r, facts=r.facts | {"tuning": {"kickstart": 1.0, "fresh_heads": True}})
        for r in runs("ppo-joint", slow)
    ]
    assert set(by_name(only([*plain, *helped]))) == {
        "ppo-joint plainly",
        "ppo-joint + kickstart 1, fresh heads",
    }
