"""Results as numbers: grouped by tasks, pooled over seeds, compared; what pages show and `--json` prints."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from headstart.errors import UsageError
from headstart.reports import aggregate, headline, transfer
from headstart.results import Result

Role = Literal["ceiling", "learner", "rule"]

CEILINGS = ("best-arm", "oracle")
"""agents that are shown the task: marks on the scale, not contestants"""

_THRESHOLDS = 61
_CURVE_POINTS = 120


@dataclass(frozen=True)
class _Row:
    """The runs of one agent with one setting on one set of tasks."""

    name: str
    runs: list[Result]
    scores: Float[np.ndarray, "S M"]


def _array(values: Sequence[float | int | None]) -> Float[np.ndarray, " n"]:
    """What JSON stored as null is NaN again."""
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _plain(x: Any) -> Any:
    """Plain JSON values: arrays as lists, what is not finite as None."""
    if isinstance(x, np.ndarray):
        return [_plain(v) for v in x.tolist()]
    if isinstance(x, tuple | list):
        return [_plain(v) for v in x]
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    return None if isinstance(x, float) and not math.isfinite(x) else x


def role_of(result: Result) -> Role:
    """A ceiling by name, a learner if it has a prior or a learning curve, else a fixed rule."""
    if result.agent in CEILINGS:
        return "ceiling"
    return "rule" if result.prior is None and result.curve is None else "learner"


def _setting(result: Result) -> dict[str, Any]:
    """What makes two results of an agent differ in more than their seed."""
    prior = {k: v for k, v in (result.prior or {}).items() if k not in ("seed", "overlap")}
    return headline.flat(result.config) | headline.flat(prior, "prior.")


def _variants(results: Sequence[Result]) -> list[list[Result]]:
    """One agent's results by setting, copies dropped; two different results of one seed never share a row."""
    rows: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        for copy in itertools.count():
            row = rows.setdefault((json.dumps(_setting(result), sort_keys=True, default=str), copy), [])
            same = [r for r in row if (r.seed, r.prior) == (result.seed, result.prior)]
            if not same:
                row.append(result)
            if not same or np.array_equal(_array(same[0].scores), _array(result.scores), equal_nan=True):
                break
    return list(rows.values())


def _named(agent: str, variants: list[list[Result]]) -> list[tuple[str, list[Result]]]:
    """Every variant with a name of its own: the agent's, and the settings in which variants differ."""
    settings = [_setting(runs[0]) for runs in variants]
    keys = [
        k for k in dict.fromkeys(itertools.chain(*settings)) if len({str(s.get(k)) for s in settings}) > 1
    ]
    names = [" ".join([agent, *(f"{k}={s.get(k)}" for k in keys[:2])]) for s in settings]
    seen: Counter[str] = Counter()
    out: list[tuple[str, list[Result]]] = []
    for name, runs in zip(names, variants, strict=True):
        seen[name] += 1
        out.append((name if seen[name] == 1 else f"{name} ({seen[name]})", runs))
    return out


def _rows(results: Sequence[Result]) -> list[_Row]:
    agents = dict.fromkeys(r.agent for r in results)
    rows = [
        _Row(name, runs, np.stack([_array(r.scores) for r in runs]))
        for agent in agents
        for name, runs in _named(agent, _variants([r for r in results if r.agent == agent]))
    ]
    return sorted(rows, key=lambda row: -np.nan_to_num(aggregate.mean(row.scores), nan=-np.inf))


def _pooled(lists: Sequence[Sequence[float | int | None]]) -> tuple[Any, Any]:
    """Mean over runs and its standard error (None with one run); Nones where it was not measured alike."""
    if not lists[0] or len({len(values) for values in lists}) > 1:
        return None, None
    x = np.stack([_array(values) for values in lists])
    spread = x.std(axis=0, ddof=1) / math.sqrt(len(x)) if len(x) > 1 else None
    return x.mean(axis=0), spread


def _curves(runs: Sequence[Result]) -> dict[str, Any] | None:
    """Learning curves on one grid of steps that all runs reached, their mean, and each run's last value."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for result in runs:
        if result.curve is not None:
            steps, values = _array(result.curve.steps), _array(result.curve.values)
            there = np.isfinite(values)
            found += [(steps[there], values[there])] if there.any() else []
    if not found:
        return None
    start, end = max(s[0] for s, _ in found), min(s[-1] for s, _ in found)
    grid = np.unique(np.round(np.linspace(start, max(start, end), _CURVE_POINTS)))
    each = np.stack([np.interp(grid, s, v) for s, v in found])
    return {"steps": grid.astype(int), "values": each.mean(axis=0), "runs": each}


def _facts(runs: Sequence[Result]) -> dict[str, Any]:
    """Numeric facts, single or listed, averaged over runs."""
    out: dict[str, Any] = {}
    for name in runs[0].facts:
        values = [np.atleast_1d(np.array(r.facts.get(name), dtype=object)) for r in runs]
        numeric = all(isinstance(v, int | float) for v in itertools.chain(*values))
        if numeric and len({v.shape for v in values}) == 1:
            pooled = np.mean(np.stack(values).astype(np.float64), axis=0)
            out[name] = pooled if isinstance(runs[0].facts[name], list) else float(pooled[0])
    return out


def _about(row: _Row) -> dict[str, Any]:
    """What is known of an agent without comparing it."""
    within, within_se = _pooled([r.within for r in row.runs])
    lengths, _ = _pooled([r.lengths for r in row.runs])
    first = row.runs[0]
    return {
        "name": row.name,
        "role": role_of(first),
        "seeds": [r.seed for r in row.runs],
        "training_seeds": [r.prior.get("seed") for r in row.runs if r.prior is not None],
        "tasks": row.scores.shape[1],
        "missing": int(np.isnan(row.scores).sum()),
        "mean": aggregate.mean(row.scores),
        "se": aggregate.standard_error(row.scores),
        "iqm": aggregate.iqm(row.scores),
        "within": within,
        "within_se": within_se,
        "lengths": lengths,
        "curve": _curves(row.runs),
        "facts": _facts(row.runs),
        "config": headline.flat(first.config),
        "prior": first.prior,
        "budget": first.budget,
        "spent": [r.spent for r in row.runs],
    }


def _best(agents: Sequence[dict[str, Any]], role: Role) -> str | None:
    """The best of a role, agents being sorted by mean."""
    return next((a["name"] for a in agents if a["role"] == role and math.isfinite(a["mean"])), None)


def _thresholds(rows: Sequence[_Row]) -> Float[np.ndarray, " T"]:
    """Where profiles are drawn: from the lowest to the highest 0.5 % of any agent's scores."""
    found = [row.scores[np.isfinite(row.scores)] for row in rows]
    low, high = min(np.quantile(x, 0.005) for x in found), max(np.quantile(x, 0.995) for x in found)
    margin = 0.02 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, _THRESHOLDS)


def _compared(rows: Sequence[_Row], rival: str | None, ceiling: str | None) -> dict[str, dict[str, Any]]:
    """Intervals, profiles, and the comparison with the best rule (`rival`), an agent."""
    scores = {row.name: row.scores for row in rows if np.isfinite(row.scores).any()}
    known = [row for row in rows if row.name in scores]
    taus = _thresholds(known) if known else np.zeros(0)
    replicates = aggregate.bootstrap(scores, taus) if scores else {}
    won = aggregate.improvements(scores, rival) if rival is not None else {}
    alone = len(next(iter(scores.values()), np.zeros((1, 1)))[0]) == 1
    out: dict[str, dict[str, Any]] = {}
    for name, x in scores.items():
        sample = replicates[name]
        single = alone and x.size == 1  # one score tells nothing of its spread
        found = {
            "mean_interval": None if single else aggregate.interval(sample.mean),
            "iqm_interval": None if single else aggregate.interval(sample.iqm),
            "profile": {"thresholds": taus, "values": aggregate.profile(x, taus)},
            "versus": None,
        }
        if rival is not None and name != rival and name != ceiling:
            found["versus"] = {
                "over": rival,
                "probability": aggregate.probability_of_improvement(x, scores[rival]),
                "probability_interval": None if single else aggregate.interval(won[name]),
                "difference": aggregate.mean(x) - aggregate.mean(scores[rival]),
                "difference_interval": None
                if single
                else aggregate.interval(sample.mean - replicates[rival].mean),
            }
        out[name] = found
    return out


def _regret(agent: dict[str, Any], ceiling: dict[str, Any] | None) -> Any:
    """Σ_{j<=i} (ceiling's reward - own reward) of episode j, after each episode i of the trial."""
    if ceiling is None or agent is ceiling or agent["within"] is None or ceiling["within"] is None:
        return None
    same = len(agent["within"]) == len(ceiling["within"])
    return np.cumsum(ceiling["within"] - agent["within"]) if same else None


def _group(key: tuple[str, str, str], results: Sequence[Result], siblings: int) -> dict[str, Any]:
    suite, split, fingerprint = key
    if len({len(r.scores) for r in results}) > 1:
        raise UsageError(
            f"the results on {suite} ({split}, tasks {fingerprint}) hold different numbers of scores; "
            "evaluate every agent on the same tasks again."
        )
    rows = _rows(results)
    agents = [_about(row) for row in rows]
    rival, top = _best(agents, "rule"), _best(agents, "ceiling")
    ceiling = next((a for a in agents if a["name"] == top), None)
    compared = _compared(rows, rival, top)
    nothing = {"mean_interval": None, "iqm_interval": None, "profile": None, "versus": None}
    for agent in agents:
        agent |= compared.get(agent["name"], nothing) | {"regret": _regret(agent, ceiling)}
    group = {
        "suite": suite,
        "split": split,
        "fingerprint": fingerprint,
        "tasks": len(results[0].scores),
        "best_rule": rival,
        "best_learner": _best(agents, "learner"),
        "ceiling": top,
        "agents": agents,
    }
    return group | {"headline": headline.sentence(group), "notes": _notes(group, siblings)}


def _notes(group: dict[str, Any], siblings: int) -> list[str]:
    """What a reader must know before comparing numbers of this group, with each other or with another's."""
    notes: list[str] = []
    if siblings > 1:
        notes.append(
            f"This report holds {siblings} different sets of {group['split']} tasks of {group['suite']}. They are "
            "kept apart, and scores must not be compared across them; this one has fingerprint "
            f"{group['fingerprint']}."
        )
    for agent in group["agents"]:
        if agent["missing"]:
            notes.append(
                f"{agent['name']} has no score for {agent['missing']} of its runs' tasks; they are left out."
            )
        if agent["prior"] is not None:
            notes += _origin(group, agent)
    budgets = {a["budget"] for a in group["agents"] if a["role"] != "ceiling"}
    if len(budgets) > 1:
        notes.append("The agents had different budgets of steps; see the settings.")
    return notes


def _origin(group: dict[str, Any], agent: dict[str, Any]) -> list[str]:
    """Where a prior comes from, if it knows some of these tasks, perhaps, or another suite."""
    name, trained = agent["name"], headline.overlap(group, agent)
    notes: list[str] = []
    if trained == group["tasks"]:
        notes.append(f"{name} was trained on these very tasks.")
    elif trained:
        notes.append(f"{name} was trained on {trained} of these {group['tasks']} tasks.")
    elif trained is None:
        notes.append(f"Whether {name} was trained on some of these tasks is not stored.")
    if agent["prior"].get("suite", group["suite"]) != group["suite"]:
        notes.append(f"{name} was trained on another suite, {agent['prior']['suite']}.")
    return notes


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Everything a report says, as plain JSON values.

    Results are grouped by suite, split and fingerprint, and within a group by agent and settings; the runs
    of one agent with one setting are its seeds.

    Returns:
      `headline`: one sentence; `transfers`: of adaptation runs, see `transfer.groups`; `groups`: of evaluations,
      each with `suite`, `split`, `fingerprint`, `tasks`, `headline`,
      `notes`, `best_rule`, `best_learner`, `ceiling` and `agents`, sorted by mean: each with `mean`, `se`,
      `iqm`, their intervals, `versus` the best rule, `within`, `lengths`, `regret`, `curve`, `profile`,
      `facts`, `config`, `prior` and seeds; and `provenance`: versions, commits, commands, and `unnamed`, how many
      results name no command. What could not be computed is None.

    Raises:
      UsageError: if there are no results, one has no scores, or those on the same tasks differ in length.
    """
    if not results:
        raise UsageError("there are no results to report; evaluate or train something first.")
    adapted = transfer.groups([r for r in results if transfer.is_adaptation(r)])
    evaluated = [r for r in results if not transfer.is_adaptation(r)]
    for r in evaluated:
        if not r.scores:
            raise UsageError(
                f"the result of {r.agent} on {r.suite} (seed {r.seed}) holds no scores; evaluate it again."
            )
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for r in sorted(evaluated, key=lambda r: (r.suite, r.split != "test", r.split)):
        groups.setdefault((r.suite, r.split, r.fingerprint), []).append(r)
    siblings = Counter(key[:2] for key in groups)
    found = [_group(key, members, siblings[key[:2]]) for key, members in groups.items()]
    provenance: dict[str, Any] = {
        "versions": sorted({json.dumps(r.versions, sort_keys=True) for r in results}),
        "commits": sorted({r.commit for r in results if r.commit}),
        "commands": list(dict.fromkeys(r.command for r in results if r.command)),
        "unnamed": sum(not r.command for r in results),
    }
    provenance["versions"] = [json.loads(v) for v in provenance["versions"] if v != "{}"]
    first = [*adapted, *found][0]["headline"]
    return _plain({"headline": first, "transfers": adapted, "groups": found, "provenance": provenance})
