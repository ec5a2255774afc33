"""Adaptation runs as numbers: who learned unseen tasks how fast, and what their priors were worth.

Every (task, seed) pair is an adaptation of its own and the tasks are given, so that errors and intervals are those of
other seeds on these very tasks (`aggregate`'s scheme "runs").
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from headstart.reports import aggregate, headline, measures
from headstart.reports.contenders import (
    CEILINGS,
    Contender,
    Task,
    contenders_of,
    curves_of,
    edges_of,
    family,
    is_adaptation,
    scores_of,
    task_of,
    tasks_of,
)
from headstart.results import Result

SHOWN = 24
"""tasks at most whose own curves and rows are given"""


def matrix(found: Sequence[Result]) -> dict[str, aggregate.Scores]:
    """Scores `[seeds, tasks]` of each contender, NaN where a run failed or is missing.

    Contenders come in the order of the results, with all tasks that any of them played; those that share a name but
    not their settings are told apart by what differs.
    """
    contenders = contenders_of(found)
    tasks = tasks_of(contenders)
    return {c.name: scores_of(c, tasks) for c in contenders}


def _kind(result: Result) -> str:
    """How a contender uses experience, in the words of `docs/concepts.md`."""
    if result.agent in CEILINGS:
        return "knows the tasks"
    if result.prior is None:
        return "no prior"
    if not result.facts.get("frozen"):
        return "fine-tuned"
    remembers = headline.flat(result.config).get("network.memory", "none") != "none"
    return "in context" if remembers else "frozen"


def _learner(name: str) -> str:
    """A contender's learner, as transfer's names tell it."""
    return name.removesuffix("-frozen").removesuffix("-joint")


def _per_task(scores: aggregate.Scores) -> list[dict[str, Any]]:
    """Mean and standard error over seeds, task by task."""
    columns = [scores[:, m : m + 1] for m in range(scores.shape[1])]
    return [{"mean": aggregate.mean(x), "se": aggregate.standard_error_over_runs(x)} for x in columns]


def _about(contender: Contender, tasks: Sequence[Task]) -> dict[str, Any]:
    """What is known of a contender without its curves or comparison."""
    first, scores = contender.first, scores_of(contender, tasks)
    failed = [r for r in contender.results if not r.scores]
    role = "ceiling" if first.agent in CEILINGS else "rule" if first.prior is None else "learner"
    return {
        "name": contender.name,
        "contender": first.agent,
        "role": role,
        "kind": _kind(first),
        "suite": first.suite,
        "seeds": sorted({r.seed for r in contender.results}),
        "training_seeds": sorted(
            {r.prior["seed"] for r in contender.results if r.prior and "seed" in r.prior}
        ),
        "runs": len(contender.results),
        "failed": len(failed),
        "unrewarded": sum(bool(r.facts.get("unrewarded")) for r in contender.results),
        "normalised": _normalised(contender.results),
        "reasons": sorted({str(r.facts.get("failed", "no score")) for r in failed}),
        "missing": scores.size - len(contender.results),
        "mean": aggregate.mean(scores),
        "se": aggregate.standard_error_over_runs(scores),
        "iqm": aggregate.iqm(scores),
        "mean_interval": None,
        "iqm_interval": None,
        "per_task": _per_task(scores),
        "episodes": sum(int(r.facts.get("episodes", 0)) for r in contender.results),
        "chosen": _chosen(first),
        "config": headline.flat(first.config),
        "prior": first.prior,
        "budget": first.budget,
        "lanes": first.facts.get("lanes"),
        "spent": [r.spent for r in contender.results],
        "curve": None,
        "task_curves": [],
        "measures": None,
    }


def _normalised(found: Sequence[Result]) -> float | None:
    """Mean score on the suite's published scale, where there is one."""
    placed = [r.facts["normalised"] for r in found if "normalised" in r.facts]
    return float(np.mean(placed)) if placed else None


def _chosen(result: Result) -> dict[str, Any] | None:
    """How the prior was chosen: `steps`, `rule`, and pairs of training steps and score: `tried` (adapting to valid tasks),
    `trained` (return in training), and, where they were asked for, `train` and `test` (adapting to such tasks).
    """
    chosen = result.facts.get("chosen")
    if not chosen:
        return None
    pairs = {
        name: sorted((int(steps), score) for steps, score in chosen.get(name, {}).items())
        for name in ("tried", "trained", "train", "test")
    }
    return {"rule": chosen["rule"], "steps": chosen["steps"]} | pairs


def _reference(agent: dict[str, Any], agents: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The contender from scratch to hold this one against: of the same learner, else of its settings, else the best."""
    scratch = [a for a in agents if a["role"] == "rule" and math.isfinite(a["mean"])]
    same = [a for a in scratch if a["contender"] == _learner(agent["contender"])]
    alike = [a for a in scratch if a["config"] == agent["config"]]
    return next(iter([*same, *alike, *scratch]), None)


def _with_curves(
    agents: Sequence[dict[str, Any]], curves: dict[str, measures.Curves], edges: Float[np.ndarray, " E"]
) -> None:
    """Add learning curves with their bands, and each prior's measures."""
    for i, agent in enumerate(agents):
        mine = curves[agent["name"]]
        there = measures.played(mine)
        if not there.any():
            continue
        low = high = None
        if measures.repeated(there):
            low, high = np.quantile(measures.replicates(mine, seed=100 + i), [0.025, 0.975], axis=0)
        agent["curve"] = {"values": measures.mean_curve(mine), "low": low, "high": high}
        agent["task_curves"] = [
            measures.mean_curve(mine[:, m : m + 1]) for m in range(min(SHOWN, mine.shape[1]))
        ]
    for agent in agents:
        over = _reference(agent, agents) if agent["role"] == "learner" else None
        if over is None or agent["curve"] is None or over["curve"] is None:
            continue
        found = measures.compare(curves[agent["name"]], curves[over["name"]], edges)
        agent["measures"] = {"over": over["name"]} | found if found else None


def _with_intervals(agents: Sequence[dict[str, Any]], scores: dict[str, aggregate.Scores]) -> None:
    """Add bootstrap intervals of mean and interquartile mean, and the difference to the reference."""
    known = {name: x for name, x in sorted(scores.items()) if measures.repeated(np.isfinite(x))}
    sample = aggregate.bootstrap(known, scheme="runs") if known else {}
    for agent in agents:
        if agent["name"] in known:
            agent["mean_interval"] = aggregate.interval(sample[agent["name"]].mean)
            agent["iqm_interval"] = aggregate.interval(sample[agent["name"]].iqm)


def difference(x: Float[np.ndarray, "S M"], y: Float[np.ndarray, "R M"]) -> dict[str, Any]:
    """Mean score of x less that of y over the tasks both have played, and its 95 % interval (None without repetitions)."""
    shared = np.isfinite(x).any(axis=0) & np.isfinite(y).any(axis=0)
    if not shared.any():
        return {"difference": math.nan, "difference_interval": None}
    pair = {"x": x[:, shared], "y": y[:, shared]}
    between = None
    if all(measures.repeated(np.isfinite(z)) for z in pair.values()):
        sample = aggregate.bootstrap(pair, scheme="runs")
        between = aggregate.interval(sample["x"].mean - sample["y"].mean)
    return {
        "difference": aggregate.mean(pair["x"]) - aggregate.mean(pair["y"]),
        "difference_interval": between,
    }


def _train_sizes(agents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Score against the number of training tasks, for contenders whose priors saw several; None is an endless number."""
    found: list[dict[str, Any]] = []
    for contender in dict.fromkeys(a["contender"] for a in agents if a["prior"] is not None):
        mine = [a for a in agents if a["contender"] == contender and math.isfinite(a["mean"])]
        points = {
            a["prior"].get("tasks"): a for a in reversed(mine)
        }  # the best of each size: agents are sorted
        if len(points) < 2:
            continue
        order = sorted(points, key=lambda size: math.inf if size is None else size)
        sizes = [
            {"tasks": n, "name": points[n]["name"]} | {k: points[n][k] for k in ("mean", "mean_interval")}
            for n in order
        ]
        found.append({"contender": contender, "name": mine[0]["name"], "points": sizes})
    return found


def _group(found: Sequence[Result], siblings: int) -> dict[str, Any]:
    contenders = contenders_of(found)
    tasks, edges = tasks_of(contenders), edges_of(found)
    agents = [_about(c, tasks) for c in contenders]
    agents.sort(key=lambda a: -np.nan_to_num(a["mean"], nan=-np.inf))
    scores = {c.name: scores_of(c, tasks) for c in contenders}
    _with_intervals(agents, scores)
    if edges is not None:
        _with_curves(agents, {c.name: curves_of(c, tasks, edges) for c in contenders}, edges)
    for agent in agents:
        if agent["measures"] is not None:
            agent["measures"] |= difference(scores[agent["name"]], scores[agent["measures"]["over"]])
    ranked = [a["name"] for a in agents if a["role"] != "ceiling" and math.isfinite(a["mean"])]
    first = contenders[0].first
    group = {
        "suite": family(first.suite),
        "suites": sorted({r.suite for r in found}),
        "split": first.split,
        "fingerprints": sorted({r.fingerprint for r in found}),
        "budget": first.budget,
        "tasks": [name for _, name in tasks],
        "steps": None if edges is None else edges[1:],
        "ceiling": next(
            (a["name"] for a in agents if a["role"] == "ceiling" and math.isfinite(a["mean"])), None
        ),
        "best": next(iter(ranked), None),
        "lead": difference(scores[ranked[0]], scores[ranked[1]]) | {"over": ranked[1]}
        if ranked[1:]
        else None,
        "train_sizes": _train_sizes(agents),
        "agents": agents,
    }
    return group | {"headline": headline.transfer_sentence(group), "notes": _notes(group, siblings)}


def _notes(group: dict[str, Any], siblings: int) -> list[str]:
    """What a reader must know before believing a comparison of this group."""
    notes: list[str] = []
    if siblings > 1:
        notes.append(
            f"This report holds {siblings} sets of runs on {group['split']} tasks of {group['suite']} that differ in tasks "
            "or budget. They are kept apart, and scores must not be compared across them."
        )
    for a in group["agents"]:
        if a["failed"]:
            why = "; ".join(a["reasons"])
            notes.append(f"{a['failed']} of {a['runs']} runs of {a['name']} failed and are left out ({why}).")
        if a["unrewarded"]:
            notes.append(
                f"{a['unrewarded']} of {a['runs']} runs of {a['name']} were never paid a reward; most often that is the "
                "wrong scenario or task."
            )
        if a["missing"]:
            notes.append(
                f"{a['name']} lacks {a['missing']} runs; it is compared over the tasks that both have played."
            )
        trained = (a["prior"] or {}).get("suite", a["suite"])
        if family(trained) != family(a["suite"]):
            notes.append(f"{a['name']} was trained on another suite, {trained}.")
    looked = sorted({a["contender"] for a in group["agents"] if a["chosen"] and a["chosen"]["test"]})
    if looked:
        notes.append(
            f"The priors of {', '.join(looked)} were also adapted to test tasks, for the picture of train against unseen "
            "score; no choice saw those scores."
        )
    if all(len(a["seeds"]) < 2 for a in group["agents"] if a["role"] != "ceiling"):
        notes.append("With one seed there are no intervals: nothing here tells luck from skill.")
    if len({a["lanes"] for a in group["agents"] if a["role"] != "ceiling"}) > 1:
        notes.append("The contenders differ in how many environments of a task they advance together.")
    return notes


def _together(found: Sequence[Result]) -> list[list[Result]]:
    """Results that share a table: one family of suites, role of tasks, budget, and set of tasks.

    A fingerprint covers the suite's options, so that the same tasks played in trials have another; where a suite comes
    with several fingerprints, those of its variants are matched by the tasks' names.
    """
    tasks: dict[tuple[str, str], set[Task]] = {}
    for r in found:
        tasks.setdefault((r.suite, r.fingerprint), set()).add(task_of(r))
    crowded = Counter(suite for suite, _ in tasks)
    several = {family(suite) for suite, count in crowded.items() if count > 1}
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for r in sorted(found, key=lambda r: (family(r.suite), r.split != "test", r.split, r.budget)):
        key = (family(r.suite), r.split, r.budget)
        named = tuple(sorted(tasks[r.suite, r.fingerprint])) if family(r.suite) in several else ()
        groups.setdefault((*key, named), []).append(r)
    return list(groups.values())


def groups(found: Sequence[Result]) -> list[dict[str, Any]]:
    """What a report says of adaptation runs, a table's worth each.

    Returns:
      A group: `suite` (without the trial option), `suites`, `split`, `fingerprints`, `budget`, `tasks` (names), `steps`
      (`[G]`, ends of the cells of all curves), `headline`, `notes`, `best`, `lead` (the best's difference to the next,
      `over`), `ceiling`, `train_sizes` and `agents`, sorted by mean. A contender has `mean`, `se`, `iqm` and intervals,
      `runs`, `failed`, `unrewarded` (runs), `normalised` (mean, or None), `per_task`, `curve` (`values`, `low`, `high`:
      `[G]`), `task_curves` (`[M, G]`, of the first
      `SHOWN` tasks), `chosen`, `prior`, `config`, and, if it has a prior, `measures` against `over`: see
      `measures.compare`.
    """
    parts = _together(found)
    siblings = Counter((family(part[0].suite), part[0].split) for part in parts)
    return [_group(part, siblings[family(part[0].suite), part[0].split]) for part in parts]


__all__ = ["SHOWN", "difference", "groups", "is_adaptation", "matrix"]
