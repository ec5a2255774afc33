"""Adaptation runs sorted into contenders: whose runs they are, on which tasks, with which scores and curves."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from headstart.reports import aggregate, headline, measures
from headstart.results import Result

CEILINGS = ("expert",)
"""contenders that know the tasks: marks on the scale"""
_CELLS = (10, 50)  # of the grid on which curves meet, at least and at most

Task = tuple[int, str]


@dataclass(frozen=True)
class Contender:
    """The runs of one contender with one setting."""

    name: str
    runs: dict[tuple[Any, ...], dict[Task, Result]]
    """what tells runs of a task apart (seeds, of the prior's training and its own) -> task -> result"""

    @property
    def results(self) -> list[Result]:
        return [result for run in self.runs.values() for result in run.values()]

    @property
    def first(self) -> Result:
        return self.results[0]


def is_adaptation(result: Result) -> bool:
    """Whether a result is one run on one task, written by `adapt`."""
    return "task" in result.facts and "row" in result.facts


def family(suite: str) -> str:
    """A suite's name without its trial option: learners in context play the same tasks in trials.

    >>> family("bandit-v0:arms=10,episodes=5"), family("platformer-v0:episodes=5")
    ('bandit-v0:arms=10', 'platformer-v0')
    """
    base, _, text = suite.partition(":")
    kept = [option for option in text.split(",") if option and not option.startswith("episodes=")]
    return ":".join([base, ",".join(kept)]) if kept else base


def task_of(result: Result) -> Task:
    """Row and name of the task a run played."""
    return int(result.facts["row"]), str(result.facts["task"])


def _younger(found: Sequence[Result]) -> dict[str, set[str]]:
    """By contender, the settings that some results lack and the others agree on: results from before there was such a
    setting, and those that leave it as it was.
    """
    configs: dict[str, list[dict[str, Any]]] = {}
    for result in found:
        configs.setdefault(result.agent, []).append(headline.flat(result.config))
    younger: dict[str, set[str]] = {}
    for agent, mine in configs.items():
        values = {
            key: [str(config[key]) for config in mine if key in config]
            for key in {k for c in mine for k in c}
        }
        younger[agent] = {k for k, v in values.items() if len(v) < len(mine) and len(set(v)) == 1}
    return younger


def _setting(result: Result, younger: dict[str, set[str]]) -> dict[str, Any]:
    """What makes two runs of a contender differ in more than their seed."""
    about = {"tasks": (result.prior or {}).get("tasks", 0), "trained on": (result.prior or {}).get("suite")}
    about |= {"frozen": result.facts.get("frozen"), "lanes": result.facts.get("lanes"), "suite": result.suite}
    about["tuning"] = result.facts.get("tuning")
    config = headline.flat(result.config)
    return about | {key: config[key] for key in config if key not in younger[result.agent]}


def contenders_of(found: Sequence[Result]) -> list[Contender]:
    """Results by contender and setting; copies dropped, two different results of one seed kept apart."""
    younger = _younger(found)
    cells: dict[tuple[str, str, int], dict[tuple[Any, ...], dict[Task, Result]]] = {}
    for result in found:
        key = json.dumps(_setting(result, younger), sort_keys=True, default=str)
        run = ((result.prior or {}).get("seed"), result.seed)
        for copy in itertools.count():
            row = cells.setdefault((result.agent, key, copy), {}).setdefault(run, {})
            same = row.setdefault(task_of(result), result)
            if same is result or np.array_equal(same.scores, result.scores, equal_nan=True):
                break
    names = _names([next(iter(next(iter(runs.values())).values())) for runs in cells.values()], younger)
    return [Contender(name, runs) for name, runs in zip(names, cells.values(), strict=True)]


def _names(firsts: Sequence[Result], younger: dict[str, set[str]]) -> list[str]:
    """A name of its own for each variant: the contender's, and the first two settings in which its variants differ."""
    names: list[str] = []
    for one in firsts:
        mine = [_setting(other, younger) for other in firsts if other.agent == one.agent]
        keys = [k for k in dict.fromkeys(itertools.chain(*mine)) if len({str(s.get(k)) for s in mine}) > 1]
        own = _setting(one, younger)
        said = [_said(key, own.get(key)) for key in keys[:2]]
        names.append(" ".join([one.agent, *said]))
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        names[i] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


def _said(key: str, value: Any) -> str:
    match key:
        case "tasks":
            return "endless" if value is None else f"{value} task{'' if value == 1 else 's'}"
        case "tuning":
            return "+ " + ", ".join(map(_aid, value, value.values())) if value else "plainly"
        case _:
            return f"{key}={value}"


def _aid(name: str, value: Any) -> str:
    """An aid to fine-tuning and its size."""
    words = name.replace("_", " ")
    return words if value is True else f"{words} {value:g}"


def tasks_of(contenders: Sequence[Contender]) -> list[Task]:
    """All tasks that any of the contenders played, in the split's order."""
    return sorted({task for c in contenders for run in c.runs.values() for task in run})


def scores_of(contender: Contender, tasks: Sequence[Task]) -> aggregate.Scores:
    """`[S, M]`, NaN where a run is missing or failed."""
    scores = np.full((len(contender.runs), len(tasks)), np.nan)
    for s, run in enumerate(contender.runs[key] for key in sorted(contender.runs, key=str)):
        for task, result in run.items():
            if result.scores:
                scores[s, tasks.index(task)] = result.scores[0]
    return scores


def curves_of(
    contender: Contender, tasks: Sequence[Task], edges: Float[np.ndarray, " E"]
) -> Float[np.ndarray, "S M G"]:
    """Learning curves on one grid, NaN where a run is missing or failed."""
    curves = np.full((len(contender.runs), len(tasks), len(edges) - 1), np.nan)
    for s, run in enumerate(contender.runs[key] for key in sorted(contender.runs, key=str)):
        for task, result in run.items():
            if result.curve is not None and result.scores:
                values = measures.resample(result.curve.steps, result.curve.values, edges)
                curves[s, tasks.index(task)] = values
    return curves


def edges_of(found: Sequence[Result]) -> Float[np.ndarray, " E"] | None:
    """The grid all curves meet on: up to the step that all reached, as fine as the coarsest of them."""
    curves = [r.curve for r in found if r.curve is not None and r.curve.steps and r.scores]
    if not curves:
        return None
    low, high = _CELLS
    cells = min(high, max(low, min(len(curve.steps) for curve in curves)))
    return np.linspace(0.0, min(curve.steps[-1] for curve in curves), cells + 1)
