"""Adaptation runs as the page shows them: every number as text."""

import math
from collections.abc import Sequence
from typing import Any

from headstart.reports import canvas, transfer_figures
from headstart.reports.headline import (
    around_speedup,
    decimals,
    noun,
    number,
    parts,
    signed,
    span,
    times,
    verdict,
)
from headstart.reports.transfer import SHOWN


def _row(agent: dict[str, Any], look: canvas.Look, d: int) -> dict[str, Any]:
    """One line of the table of scores."""
    return {
        "name": agent["name"],
        "kind": agent["kind"],
        "role": agent["role"],
        "variable": look.variable,
        "dash": canvas.DASHES.index(look.dash),
        "thick": look.width > 2,
        "mean": number(agent["mean"], d),
        "se": "" if agent["se"] is None else number(agent["se"], d),
        "iqm": number(agent["iqm"], d),
        "iqm_span": span(agent["iqm_interval"], d),
        "runs": number(float(agent["runs"]), 0),
        "failed": agent["failed"],
        "normalised": "" if agent["normalised"] is None else number(agent["normalised"], 3),
    }


def _cell(label: str, value: str, around: str = "", judged: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "span": around, "verdict": judged}


def _steps(m: dict[str, Any]) -> dict[str, str]:
    """Steps to what learning from scratch ends with, or that they were not enough."""
    label = "Steps to that level"
    low, high = m["steps_interval"] or (None, None)
    last = "not reached" if high is None else number(high, 0)
    around = "" if low is None or m["steps_interval"] is None else f"{number(low, 0)} to {last}"
    if m["steps"] is None:
        return _cell(label, "not reached", "" if low is None else around)
    return _cell(
        label, f"{'≤ ' if m['at_once'] else ''}{number(m['steps'], 0)}", around if low != high else ""
    )


def _speedup(m: dict[str, Any]) -> dict[str, str]:
    label, between = "Speed-up", m["speedup_interval"]
    if m["speedup"] is None:
        return _cell(label, "–")
    judged = "" if between is None else "better" if between[0] > 1 else "worse" if between[1] < 1 else ""
    return _cell(label, f"{'≥ ' if m['at_once'] else ''}{times(m['speedup'])} ×", around_speedup(m), judged)


def _measures(agent: dict[str, Any], look: canvas.Look, d: int) -> dict[str, Any]:
    """One line of the table of transfer measures."""
    m = agent["measures"]
    gap, jump, area = m["difference_interval"], m["jump_start_interval"], m["area_ratio_interval"]
    ratio = "–" if m["area_ratio"] is None else number(m["area_ratio"], 2)
    cells = [
        _cell("Score more", signed(m["difference"], d), span(gap, d), verdict(gap)),
        _cell("Jump-start", signed(m["jump_start"], d), span(jump, d), verdict(jump)),
        _steps(m),
        _speedup(m),
        _cell("Area ratio", ratio, span(area, 2)),
    ]
    return {"name": agent["name"], "over": m["over"], "variable": look.variable, "cells": cells}


def _by_task(group: dict[str, Any], d: int) -> list[dict[str, Any]]:
    """Rows of the table of tasks; the best contender of each, ceilings apart, is marked."""
    rows: list[dict[str, Any]] = []
    for m, name in enumerate(group["tasks"][:SHOWN]):
        found = [agent["per_task"][m] for agent in group["agents"]]
        rivals = [
            x["mean"]
            for x, agent in zip(found, group["agents"], strict=True)
            if agent["role"] != "ceiling" and x["mean"] is not None
        ]
        best = max(rivals, default=math.inf)
        cells = [
            {
                "mean": number(x["mean"], d),
                "se": "" if x["se"] is None else number(x["se"], d),
                "best": x["mean"] == best,
            }
            for x in found
        ]
        rows.append({"name": name, "cells": cells})
    return rows


def section(groups: Sequence[dict[str, Any]], index: int, style: dict[str, canvas.Look]) -> dict[str, Any]:
    """Group `index` of `summary(...)["transfers"]` as the template wants it."""
    group = groups[index]
    agents = group["agents"]
    d = decimals(agents)
    _, options = parts(group["suite"])
    title = noun(group["suite"])
    rest = {k: v for k, v in options.items() if not (k == "arms" and "armed" in title)}
    alike = [g for g in groups if (g["suite"], g["split"]) == (group["suite"], group["split"])]
    budget = number(float(group["budget"]), 0)
    seeds = sorted({len(a["seeds"]) for a in agents if a["role"] != "ceiling"} or {1})
    rows = [_row(a, style[a["name"]], d) for a in agents]
    worth = [a for a in agents if a["measures"]]
    over = {a["measures"]["over"] for a in worth}
    name = f"t{index}"
    return {
        "template": "transfer.html.j2",
        "id": name,
        "title": f"Learning unseen {title}" if group["split"] != "train" else f"Learning {title}",
        "options": ", ".join(f"{v} {k}" if v.isdigit() else f"{k} {v}" for k, v in rest.items()),
        "which": f"{len(group['tasks'])} tasks, {budget} steps" if len(alike) > 1 else "",
        "suites": group["suites"],
        "split": group["split"],
        "fingerprints": group["fingerprints"],
        "tasks": number(float(len(group["tasks"])), 0),
        "seeds": str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}",
        "budget": budget,
        "headline": group["headline"],
        "notes": group["notes"],
        "rows": rows,
        "measures": [_measures(a, style[a["name"]], d) for a in worth],
        "measure_names": ("Score more", "Jump-start", "Steps to that level", "Speed-up", "Area ratio"),
        "over": next(iter(over)) if len(over) == 1 else "",
        "figures": transfer_figures.drawings(group, style, name),
        "multiples": transfer_figures.small_multiples(group, style, name),
        "legend": rows,
        "by_task": _by_task(group, d) if len(group["tasks"]) > 1 else [],
        "left_out": len(group["tasks"]) > SHOWN,
    }
