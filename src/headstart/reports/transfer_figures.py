"""The figures of adaptation runs: scores, learning curves, how priors were chosen, how many training tasks help."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.reports import canvas, figures, snapshots
from headstart.reports.canvas import Line, Look
from headstart.reports.figures import Drawing, array, short
from headstart.reports.headline import digits, number


def _learned(group: dict[str, Any]) -> list[dict[str, Any]]:
    return [a for a in group["agents"] if a["curve"] is not None]


def _learning(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Mean learning curves with bands, and where each prior reaches what learning from scratch ends with."""
    agents = _learned(group)
    if not agents:
        return None
    x = array(group["steps"])
    lines = [
        Line(a["name"], x, array(a["curve"]["values"]), *(_band(a["curve"]) or (None, None))) for a in agents
    ]
    reached = [a for a in agents if a["measures"] and a["measures"]["steps"] is not None]

    def marks(axes: Any) -> None:
        axes.xaxis.set_major_formatter(lambda v, _: short(v))
        for a in agents:
            if a["measures"]:
                axes.axhline(a["measures"]["level"], color=canvas.MUTED, lw=0.7, ls=canvas.DASHES[2])
        for a in reached:
            m = a["measures"]
            axes.plot([m["steps"]], [m["level"]], "o", color=style[a["name"]].colour, ms=5.5, clip_on=False)

    svg = canvas.chart(lines, style, "environment steps", "return", name=name, prepare=marks)
    caption = "Mean return of the episodes that ended in each piece of the budget, over all tasks and seeds."
    caption += (
        " Bands: 95 % bootstrap intervals over seeds." if any(line.low is not None for line in lines) else ""
    )
    if any(a["measures"] for a in agents):
        caption += " Dotted: what learning from scratch ends with; a dot marks where a prior reaches it."
    told = figures.told(lines, "mean return", "environment steps")
    return Drawing(name, "Learning curves", caption, told, svg)


def _band(curve: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    return (array(curve["low"]), array(curve["high"])) if curve["low"] is not None else None


def _choice(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Adaptation score on valid tasks against steps of joint training; the prior taken as a dot."""
    agents = [a for a in group["agents"] if a["chosen"] and len(a["chosen"]["tried"]) > 1]
    lines: list[Line] = []
    for a in agents:
        tried = np.array([array(pair) for pair in a["chosen"]["tried"]])
        lines.append(Line(a["name"], tried[:, 0], tried[:, 1]))
    lines = [line for line in lines if np.isfinite(line.y).all()]
    if not lines:
        return None
    taken = {a["name"]: a["chosen"]["steps"] for a in agents}

    def marks(axes: Any) -> None:
        axes.xaxis.set_major_formatter(lambda v, _: short(v))
        for line in lines:
            look, there = style[line.name], line.x == taken[line.name]
            axes.plot(line.x, line.y, "o", color=look.colour, ms=3.0)
            axes.plot(line.x[there], line.y[there], "o", color=look.colour, ms=8.0, clip_on=False)

    svg = canvas.chart(
        lines, style, "steps of joint training", "score on valid tasks", name=name, prepare=marks
    )
    caption = "How priors were chosen: score of adapting to valid tasks, by the steps of joint training behind the prior. "
    caption += (
        "The large dot was taken. Where a curve falls again, over-fitting to the training tasks begins."
    )
    told = figures.told(lines, "adaptation score on valid tasks", "steps of joint training")
    return Drawing(name, "Choice of prior", caption, told, svg)


def _sizes(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Test score against the number of training tasks, evenly spaced; contenders from scratch as level lines."""
    every = group["train_sizes"]
    if not every:
        return None
    sizes = {p["tasks"] for series in every for p in series["points"]}
    order = sorted(sizes, key=lambda n: float("inf") if n is None else n)
    looks: dict[str, Look] = {}
    lines: list[Line] = []
    for series in every:
        points = series["points"]
        spans = [p["mean_interval"] or (p["mean"], p["mean"]) for p in points]
        x = np.array([float(order.index(p["tasks"])) for p in points])
        low, high = array([s[0] for s in spans]), array([s[1] for s in spans])
        lines.append(Line(series["contender"], x, array([p["mean"] for p in points]), low, high))
        looks[series["contender"]] = style[series["name"]]
    over = {a["measures"]["over"] for a in group["agents"] if a["measures"]}
    for a in group["agents"]:
        if a["name"] in over:
            lines.append(Line(a["name"], np.array([0.0, len(order) - 1.0]), np.full(2, a["mean"])))
            looks[a["name"]] = style[a["name"]]

    def ticks(axes: Any) -> None:
        axes.set_xticks(range(len(order)), ["endless" if n is None else short(float(n)) for n in order])
        for line in lines[: len(every)]:
            axes.plot(line.x, line.y, "o", color=looks[line.name].colour, ms=5.0, clip_on=False)

    svg = canvas.chart(lines, looks, "training tasks", "score", name=name, prepare=ticks)
    caption = f"Score on {group['split']} tasks by the number of tasks the prior was trained on."
    caption += " Bands: 95 % bootstrap intervals over seeds. Level lines: from scratch."
    told = figures.told(lines, "score", "number of training tasks")
    return Drawing(name, "How many training tasks", caption, told, svg)


def drawings(group: dict[str, Any], style: dict[str, Look], name: str) -> list[Drawing]:
    """All full-size figures that a group of `summary(...)["transfers"]` allows; as `figures.drawings`."""
    seen = snapshots.of_transfer(group, style, f"{name}-seen")
    found = [
        figures.scores(group, style, f"{name}-scores"),
        _learning(group, style, f"{name}-curve"),
        seen or _choice(group, style, f"{name}-choice"),  # the former shows all that the latter does
        _sizes(group, style, f"{name}-sizes"),
    ]
    return [drawing for drawing in found if drawing is not None]


def _reach(lines: Sequence[Line]) -> tuple[float, float]:
    """From the lowest to the highest value of all lines, and a little more."""
    low, high = min(float(line.y.min()) for line in lines), max(float(line.y.max()) for line in lines)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def small_multiples(group: dict[str, Any], style: dict[str, Look], name: str) -> list[Drawing]:
    """A small chart of learning curves for each task, all on the same axes; none for a single task."""
    agents = _learned(group)
    if not agents or len(group["tasks"]) < 2:
        return []
    x = array(group["steps"])
    shown = len(agents[0]["task_curves"])
    lines = [[Line(a["name"], x, array(a["task_curves"][m])) for a in agents] for m in range(shown)]
    lines = [[line for line in each if np.isfinite(line.y).all()] for each in lines]
    every = [line for each in lines for line in each]
    drawn: list[Drawing] = []
    for m, each in enumerate(lines):
        svg = canvas.small_chart(
            each,
            style,
            name=f"{name}-task{m}",
            range_x=(0.0, float(x[-1])),
            range_y=_reach(every),
            prepare=_steps_below,
        )
        d = digits(np.ptp(_reach(every)) / 10)
        ends = "; ".join(f"{line.name} ends at {number(float(line.y[-1]), d)}" for line in each)
        drawn.append(
            Drawing(
                f"{name}-task{m}",
                group["tasks"][m],
                "",
                f"Learning curves on {group['tasks'][m]}: {ends}.",
                svg,
            )
        )
    return drawn


def _steps_below(axes: Any) -> None:
    axes.xaxis.set_major_formatter(lambda v, _: short(v))
    axes.yaxis.set_major_formatter(lambda v, _: short(v))
    axes.tick_params(labelsize=canvas.FONT - 1.5, pad=2)
