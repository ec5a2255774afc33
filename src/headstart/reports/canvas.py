"""What every figure is drawn with: agents' looks, axes, labels at line ends, SVG in the page's colours.

One agent has one colour and one line style in every figure of a report. Colours come from a set that stays
apart for colour-blind readers; line styles and direct labels tell agents apart without any colour. They are
written as CSS variables, so that one drawing serves light, dark and paper.
"""

import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PALETTE: tuple[tuple[str, str], ...] = (
    ("#0b62b0", "#6cb6ff"),
    ("#b5430a", "#ff9a62"),
    ("#00735a", "#3fd0a6"),
    ("#97276f", "#f08cc8"),
    ("#7a5c00", "#e0bb3c"),
    ("#5b46b8", "#b3a2ff"),
    ("#00707f", "#52d3e3"),
    ("#8a3324", "#f2968a"),
    ("#4d6b12", "#b2d35c"),
    ("#5a6472", "#aab4c2"),
)
"""(light, dark) colours of agents, each with at least 4.5:1 contrast to the page; learners come first"""

INK, MUTED, GRID = "#0000f1", "#0000f2", "#0000f3"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule"}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1.2)))
_WIDTH = 380.0  # of every drawing, in units that are CSS pixels at a phone's width
FONT = 11.0
_TENTH = re.compile(r"(\d+\.\d)\d+")  # a tenth of a unit is a tenth of a pixel: enough for coordinates
POINTS = 80  # points of a curve at most


@dataclass(frozen=True)
class Look:
    """How an agent is drawn everywhere."""

    colour: str
    """the stand-in that becomes a CSS variable"""
    variable: str
    dash: Any
    width: float


def looks(groups: Sequence[dict[str, Any]]) -> dict[str, Look]:
    """One look an agent for a whole report: learners first, then rules in order of merit; ceilings in ink."""
    agents = [a for group in groups for a in group["agents"]]
    found: dict[str, Look] = {}
    for i, name in enumerate(dict.fromkeys(a["name"] for a in agents if a["role"] == "ceiling")):
        found[name] = Look(INK, "--ink", DASHES[1 + i % 4], 1.2)
    learners = list(dict.fromkeys(a["name"] for a in agents if a["role"] == "learner"))
    rules = list(
        dict.fromkeys(a["name"] for a in agents if a["role"] == "rule" and a["name"] not in learners)
    )
    for i, name in enumerate([*learners, *rules]):
        learned = i < len(learners)
        dash = DASHES[i // len(PALETTE) % 5 if learned else (i + i // len(PALETTE)) % 5]
        colour = i % len(PALETTE)
        found[name] = Look(
            f"#00a0{colour:02x}", f"--agent{colour}", "-" if learned else dash, 2.4 if learned else 1.4
        )
    return found


def to_svg(figure: Any, name: str) -> str:
    """The figure as SVG for embedding: colours as CSS variables, unique ids, no fixed size, no metadata."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    text = re.sub(r"#00a0([0-9a-f]{2})", lambda m: f"var(--agent{int(m[1], 16)})", text)
    text = re.sub(r"'?DejaVu Sans'?(, [^;\"]*)?", "inherit", text)
    text = re.sub(r"font: ([^;\"]*?)([\d.]+)px inherit", r"font-size: \2px", text)
    text = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda m: _TENTH.sub(r"\1", m[0]), text)
    return re.sub(r"\n\s*", "\n", text).strip()


def frame(
    height: float, left: float, right: float, bottom: float = 40.0, top: float = 8.0, width: float = _WIDTH
) -> tuple[Any, Any]:
    """A figure of `width` × `height` units and its axes, margins in units."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    axes = figure.add_axes(box)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=FONT - 0.5, length=3, width=0.8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_axisbelow(True)
    return figure, axes


def settings() -> Any:
    """Matplotlib's settings: text stays text, names are never read as formulas, equal data give equal bytes."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "headstart",
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "font.size": FONT,
    }


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least `gap` apart, moved least from those wanted (rising), then pushed into range.

    Isotonic regression of wanted_i - i·gap by pooling adjacent violators.

    >>> _spread([10.0, 10.0, 40.0], 6.0, 0.0, 100.0)
    [7.0, 13.0, 40.0]
    """
    blocks: list[tuple[float, int]] = []  # (mean, size), means rising
    for i, y in enumerate(wanted):
        mean, size = y - i * gap, 1
        while blocks and blocks[-1][0] >= mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    span = gap * (len(wanted) - 1)
    means = [min(max(mean, low), max(low, high - span)) for mean, size in blocks for _ in range(size)]
    return [mean + i * gap for i, mean in enumerate(means)]


def _label_ends(
    axes: Any, height: float, ends: dict[str, tuple[float, float]], style: dict[str, Look]
) -> None:
    """Names beside the lines' right ends, pushed apart, each with a thin leader."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    scale = height / (high - low)
    order = sorted(ends, key=lambda name: ends[name][1])
    wanted = [(min(max(ends[n][1], low), high) - low) * scale for n in order]
    for name, y, place in zip(order, wanted, _spread(wanted, FONT + 1.3, 2.0, height - 2.0), strict=True):
        look = style[name]
        x = ends[name][0]
        end_x = (x - axes.get_xlim()[0]) / (right - axes.get_xlim()[0])
        leader = [(max(0.0, end_x), y / height), (1.0 + 5 / 200, place / height)]
        axes.plot(
            *zip(*leader, strict=True), color=look.colour, lw=0.6, transform=axes.transAxes, clip_on=False
        )
        write(
            axes,
            name,
            (1.0, place / height),
            (7.0, 0.0),
            colour=look.colour,
            bold=look.width > 2,
            size=FONT - 0.7,
        )


def write(
    axes: Any,
    text: str,
    place: tuple[float, float],
    shift: tuple[float, float] = (0.0, 0.0),
    *,
    within: Any = "axes fraction",
    colour: str = MUTED,
    bold: bool = False,
    size: float = FONT - 0.5,
    align: str = "left",
    up: str = "center",
) -> None:
    """Text at `place` (in the coordinates `within`), shifted by units."""
    axes.annotate(
        text,
        place,
        xycoords=within,
        xytext=shift,
        textcoords="offset points",
        ha=align,
        va=up,
        color=colour,
        fontsize=size,
        fontweight="bold" if bold else "normal",
    )


def thin(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Episode numbers and values, at most `POINTS`: exact at first, then means over widening windows."""
    edges = np.unique(np.round(np.geomspace(1, len(y) + 1, POINTS + 1)).astype(int))
    if len(y) <= POINTS:
        edges = np.arange(1, len(y) + 2)
    centre = (edges[:-1] + edges[1:] - 1) / 2
    return centre, np.array([y[a - 1 : b - 1].mean() for a, b in itertools.pairwise(edges)])


@dataclass(frozen=True)
class Line:
    """One agent's curve, with a band if `low` and `high` are given; all `[n]`."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def chart(
    lines: Sequence[Line],
    style: dict[str, Look],
    xlabel: str,
    ylabel: str,
    *,
    name: str,
    faint: Sequence[Line] = (),
    prepare: Callable[[Any], None] | None = None,
) -> str:
    """Lines with their names at their ends."""
    import matplotlib as mpl

    longest = max(len(line.name) for line in lines)
    right = min(150.0, 12 + 5.7 * longest)
    height = max(250.0, 62 + 12.6 * len(lines))
    with mpl.rc_context(settings()):
        figure, axes = frame(height, 40.0, right, top=24.0)
        for line in faint:
            axes.plot(line.x, line.y, color=style[line.name].colour, lw=0.7, alpha=0.35)
        for line in sorted(lines, key=lambda line: style[line.name].width):
            look = style[line.name]
            axes.plot(line.x, line.y, color=look.colour, lw=look.width, ls=look.dash, solid_capstyle="round")
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.16, lw=0)
        if max(line.x[-1] for line in lines) <= 12 and all(float(x).is_integer() for x in lines[0].x):
            axes.set_xticks(lines[0].x)
        if prepare is not None:
            prepare(axes)
        axes.margins(x=0.01)
        axes.set_xlabel(xlabel, color=MUTED, fontsize=FONT)
        write(axes, ylabel, (0.0, 1.0), (-34.0, 12.0), size=FONT, up="baseline")
        ends = {line.name: (float(line.x[-1]), float(line.y[-1])) for line in lines}
        _label_ends(axes, height - 64, ends, style)
        return to_svg(figure, name)


def legend_chart(lines: Sequence[Line], style: dict[str, Look], name: str) -> str:
    """Profiles end together at zero, so their names form a legend below instead."""
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    columns = 3 if max(len(line.name) for line in lines) <= 13 else 2
    rows = -(-len(lines) // columns)
    with mpl.rc_context(settings()):
        figure, axes = frame(236 + 15.0 * rows, 40.0, 12.0, bottom=44 + 15.0 * rows, top=24.0)
        for line in sorted(lines, key=lambda line: style[line.name].width):
            look = style[line.name]
            axes.plot(line.x, line.y, color=look.colour, lw=look.width, ls=look.dash)
        axes.set_ylim(0, 101)
        axes.margins(x=0)
        axes.set_xlabel("score threshold", color=MUTED, fontsize=FONT)
        write(axes, "% of scores above", (0.0, 1.0), (-34.0, 12.0), size=FONT, up="baseline")
        used = [style[line.name] for line in lines]
        figure.legend(
            [Line2D([], [], color=look.colour, lw=look.width, ls=look.dash) for look in used],
            [line.name for line in lines],
            loc="lower center",
            ncols=columns,
            frameon=False,
            fontsize=FONT - 0.7,
            labelcolor=[look.colour for look in used],
            handlelength=2.2,
            columnspacing=1.2,
            borderaxespad=0.1,
        )
        return to_svg(figure, name)


def small_chart(
    lines: Sequence[Line],
    style: dict[str, Look],
    *,
    name: str,
    range_x: tuple[float, float],
    range_y: tuple[float, float],
    prepare: Callable[[Any], None],
) -> str:
    """One of many small charts that share their axes; what the lines are is told once for all of them."""
    import matplotlib as mpl
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context(settings()):
        figure, axes = frame(132.0, 34.0, 9.0, bottom=20.0, top=6.0, width=190.0)
        for line in sorted(lines, key=lambda line: style[line.name].width):
            look = style[line.name]
            axes.plot(line.x, line.y, color=look.colour, lw=max(1.3, 0.8 * look.width), ls=look.dash)
        axes.set(xlim=range_x, ylim=range_y)
        axes.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        prepare(axes)
        return to_svg(figure, name)
