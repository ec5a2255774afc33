"""A report's figures, each drawn from one group of a summary, with a caption and its content in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.reports import canvas
from headstart.reports.canvas import Line, Look
from headstart.reports.headline import decimals, digits, number, parts


@dataclass(frozen=True)
class Drawing:
    """One figure of the page."""

    name: str
    title: str
    caption: str
    alt: str
    svg: str


def told(lines: Sequence[Line], what: str, x: str) -> str:
    """The lines in words: where each begins and ends."""
    d = digits(max(float(np.ptp(line.y)) for line in lines) / 10)
    each = [
        f"{line.name} from {number(float(line.y[0]), d)} to {number(float(line.y[-1]), d)}" for line in lines
    ]
    return f"Line chart of {what} by {x}: {'; '.join(each)}."


def array(values: Any) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _scale(shown: Sequence[dict[str, Any]], top: dict[str, Any] | None) -> tuple[float, float, bool]:
    """(low, high, whether random play lies off it): the range of scores; of the others if it is far below."""
    means = {a["name"]: a["mean"] for a in [*shown, *([top] if top else [])]}
    core = [m for name, m in means.items() if name != "random"] or list(means.values())
    span = (max(core) - min(core)) or abs(core[0]) or 1.0
    far = len(core) > 2 and min(means.values()) < min(core) - 0.6 * span
    edge = min(core) - 0.14 * span if far else min(means.values()) - 0.06 * span
    return edge, max(means.values()) + 0.06 * span, far


def scores(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Mean scores with their intervals, the ceiling as a line; far weaker random play only as an arrow."""
    import matplotlib as mpl

    agents = [a for a in group["agents"] if a["mean"] is not None]
    shown = [a for a in agents if a["role"] != "ceiling"]
    top = next((a for a in agents if a["name"] == group["ceiling"]), None)
    if not shown:
        return None
    edge, end, far = _scale(shown, top)
    d = decimals(group["agents"])
    left = 12 + 6.2 * max(len(a["name"]) for a in shown)
    right = 14 + 6.4 * max(5, *(len(number(a["mean"], d)) for a in shown))
    with mpl.rc_context(canvas.settings()):
        figure, axes = canvas.frame(
            62 + 19.0 * len(shown), left, right, bottom=38.0, top=20.0 if top else 8.0
        )
        axes.grid(visible=False)
        axes.grid(axis="x", color=canvas.GRID, linewidth=0.8)
        axes.set(ylim=(len(shown) - 0.4, -0.6), xlim=(edge, end), yticks=[])
        axes.set_xlabel("mean score", color=canvas.MUTED, fontsize=canvas.FONT)
        for y, a in enumerate(shown):
            _dot(axes, a, float(y), style[a["name"]], (number(a["mean"], d), right - 4.0))
        if top:
            axes.axvline(top["mean"], color=canvas.INK, lw=1.2, ls=canvas.DASHES[1])
            label, where = f"{top['name']} {number(top['mean'], d)}", ("data", "axes fraction")
            canvas.write(
                axes, label, (top["mean"], 1.0), (4.0, 10.0), within=where, colour=canvas.INK, align="right"
            )
        svg = canvas.to_svg(figure, name)
    said = "; ".join(f"{a['name']} {number(a['mean'], d)}" for a in agents)
    caption = "Mean score of each agent; bars are 95 % bootstrap intervals."
    caption += f" The dashed line is {top['name']}, which is shown the task." if top else ""
    caption += " An arrow marks what lies off the scale." if far else ""
    return Drawing(name, "Scores", caption, f"Dot chart of mean scores: {said}.", svg)


def _dot(axes: Any, agent: dict[str, Any], y: float, look: Look, value: tuple[str, float]) -> None:
    """One agent's line of the dot chart: name, interval and mean, value (and how far to the right that ends)."""
    left, right = axes.get_xlim()
    out, bold = agent["mean"] < left, agent["role"] == "learner"
    low, high = agent["mean_interval"] or (agent["mean"], agent["mean"])
    x = left + 0.02 * (right - left) if out else agent["mean"]
    if not out:
        axes.plot([low, high], [y, y], color=look.colour, lw=3.2, alpha=0.45, solid_capstyle="round")
    axes.plot([x], [y], "<" if out else "o", color=look.colour, ms=6.5 if bold else 5.2, clip_on=False)
    where = ("axes fraction", "data")
    canvas.write(
        axes, agent["name"], (0.0, y), (-8.0, 0.0), within=where, colour=look.colour, bold=bold, align="right"
    )
    canvas.write(
        axes, value[0], (1.0, y), (value[1], 0.0), within=where, colour=look.colour, bold=bold, align="right"
    )


def _trial_lines(group: dict[str, Any], key: str) -> list[Line]:
    """Every agent's curve over the episodes of a trial, with a band of one standard error over seeds."""
    lines: list[Line] = []
    for a in group["agents"]:
        values = array(a[key] or [])
        if len(values) < 2 or not np.isfinite(values).all():
            continue
        x, y = canvas.thin(values)
        low = high = None
        if key == "within" and a["within_se"] is not None:
            spread = canvas.thin(array(a["within_se"]))[1]
            low, high = y - spread, y + spread
        lines.append(Line(a["name"], x, y, low, high))
    return lines


def _trial(group: dict[str, Any], style: dict[str, Look], name: str) -> list[Drawing]:
    """Reward, regret and steps by episode of the trial."""
    unit = "pull" if parts(group["suite"])[0].endswith("bandit") else "episode"
    top = group["ceiling"]
    within = f"How an agent improves within a trial: mean reward of each {unit}, over all tasks."
    regret = f"What {top}, which is shown the task, has collected more, up to each {unit}; lower is better."
    kinds = (
        ("within", f"Reward by {unit}", f"reward per {unit}", within),
        ("regret", "Regret", f"reward behind {top}", regret),
        ("lengths", f"Steps by {unit}", f"steps per {unit}", f"Mean number of steps of each {unit}."),
    )
    found: list[Drawing] = []
    for key, title, what, caption in kinds:
        lines = _trial_lines(group, key)
        if not lines or (key == "lengths" and all(np.allclose(line.y, lines[0].y[0]) for line in lines)):
            continue
        if any(line.low is not None for line in lines):
            caption += " Bands: one standard error over seeds."
        if any(len(a[key] or []) > canvas.POINTS for a in group["agents"]):
            caption += f" Later {unit}s are averaged in small groups."
        svg = canvas.chart(lines, style, unit, what, name=f"{name}-{key}")
        found.append(Drawing(f"{name}-{key}", title, caption, told(lines, what, unit), svg))
    return found


def _learning(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Learning curves: mean over runs in bold, every run thin; the best rule and the ceiling as level lines."""
    lines: list[Line] = []
    faint: list[Line] = []
    for a in group["agents"]:
        if a["curve"] is None or len(a["curve"]["steps"]) < 2:
            continue
        x = array(a["curve"]["steps"])
        lines.append(Line(a["name"], x, array(a["curve"]["values"])))
        each = a["curve"]["runs"]
        faint += [Line(a["name"], x, array(run)) for run in each] if len(each) > 1 else []
    if not lines:
        return None
    end = max(line.x[-1] for line in lines)
    start = min(line.x[0] for line in lines)
    scale = (group["best_rule"], group["ceiling"])
    marks = [a for a in group["agents"] if a["name"] in scale and a["mean"] is not None]
    marked = [Line(a["name"], np.array([start, end]), np.full(2, a["mean"])) for a in marks]

    def ticks(axes: Any) -> None:
        axes.xaxis.set_major_formatter(lambda v, _: short(v))

    svg = canvas.chart(
        [*lines, *marked], style, "environment steps", "return", name=name, faint=faint, prepare=ticks
    )
    caption = "Mean return of the episodes (trials) that ended in training, by environment steps taken."
    caption += " Thin lines: single seeds." if faint else ""
    caption += f" Level lines: test scores of {' and '.join(a['name'] for a in marks)}." if marks else ""
    return Drawing(name, "Learning curve", caption, told(lines, "training return", "environment steps"), svg)


def short(v: float) -> str:
    """A number of steps on an axis.

    >>> short(2_500_000.0), short(40_000.0), short(0.0)
    ('2.5 M', '40 k', '0')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= size:
            return f"{v / size:g} {letter}"
    return f"{v:g}"


def _profile(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Performance profiles of all agents; none where there are too few tasks to speak of a distribution."""
    lines = [
        Line(a["name"], array(a["profile"]["thresholds"]), 100 * array(a["profile"]["values"]))
        for a in group["agents"]
        if a["profile"] is not None
    ]
    if not lines or group["tasks"] < 5:
        return None
    svg = canvas.legend_chart(lines, style, name)
    middle = len(lines[0].x) // 2
    tau = lines[0].x[middle]
    said = "; ".join(f"{line.name} {line.y[middle]:.0f} %" for line in lines)
    at = number(float(tau), digits(float(np.ptp(lines[0].x))))
    alt = f"Performance profiles. Share of scores above {at}: {said}."
    caption = "Share of tasks and runs whose score exceeds a threshold; higher is better."
    return Drawing(name, "Performance profiles", caption, alt, svg)


def drawings(group: dict[str, Any], style: dict[str, Look], name: str) -> list[Drawing]:
    """All figures a group's data allow.

    Args:
      group: one of `summary(...)["groups"]`.
      style: `looks` of all groups of the report.
      name: an identifier unique on the page.
    """
    found = [
        scores(group, style, f"{name}-scores"),
        *_trial(group, style, name),
        _learning(group, style, f"{name}-curve"),
        _profile(group, style, f"{name}-profile"),
    ]
    return [drawing for drawing in found if drawing is not None]
