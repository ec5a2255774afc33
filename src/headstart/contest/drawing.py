"""Drawings of the pages: inline SVG coloured by the style sheet's classes, since the pages allow no inline styles."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDE, HIGH = 640.0, 280.0
_LEFT, _TOP, _BOTTOM = 52.0, 14.0, 34.0
_GAP = 15.0  # units between two labels
SHADES = 9
"""steps of the heat map"""


class Line(NamedTuple):
    """A curve of a chart: equal windows of the budget, None where no episode ended."""

    name: str
    values: Sequence[float | None]
    style: int
    """index of its colour and dashes; references and contestants alike"""


def nice(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers from `low` to `high`, or a little beyond.

    >>> nice(0.0, 870.0)
    [0.0, 250.0, 500.0, 750.0, 1000.0]
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(k * size for k in (1.0, 2.0, 2.5, 5.0, 10.0) if k * size >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(k * step, 10) for k in range(first, last + 1)]


def short(number: float) -> str:
    """A number for an axis.

    >>> [short(x) for x in (0.0, 250.0, 12_000.0, 1_500_000.0, 0.25)]
    ['0', '250', '12k', '1.5M', '0.25']
    """
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{number:.4g}"


def _spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Places near those wanted (falling down the picture), at least `_GAP` apart, within the range if they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    at = low - _GAP
    for i in order:
        at = places[i] = max(wanted[i], at + _GAP)
    below = high + _GAP
    for i in reversed(order):
        below = places[i] = min(places[i], below - _GAP)
    return places


def _path(values: Sequence[float | None], x: Sequence[float], y: Sequence[float | None]) -> str:
    """An SVG path through the windows that have a value."""
    points = [(a, b) for v, a, b in zip(values, x, y, strict=True) if v is not None and b is not None]
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points) if points else ""


def _scales(ticks: Sequence[tuple[float, float]], budget: int, right: float, bottom: float) -> list[Markup]:
    """A line and a number for each tick (its value and height), and five numbers of steps below."""
    parts = [
        Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
            _LEFT, right, y, y
        )
        + Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>').format(
            _LEFT - 6, y + 4, short(value)
        )
        for value, y in ticks
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + share * (right - _LEFT)
        text = short(share * budget) + (" steps" if share == 1.0 else "")
        tick = '<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>'
        parts.append(Markup(tick).format(x, bottom + 18, text))
    return parts


def chart(lines: Sequence[Line], budget: int, title: str, key: str) -> Markup:
    """Learning curves with their names at their ends.

    Args:
      lines: what to draw; those without a value are left out.
      budget: steps at the right edge.
      title: read aloud instead of the picture.
      key: makes the picture's ids unique on its page.
    """
    lines = [line for line in lines if any(v is not None for v in line.values)]
    found = [v for line in lines for v in line.values if v is not None]
    if not found:
        return Markup("")
    high = max(HIGH, _TOP + _BOTTOM + _GAP * len(lines) + 10)
    most = max(found) if len(found) > 1 else found[0] + 1
    # a little below nothing needs no axis of its own
    least = min(found) if min(found) < -0.04 * abs(most) else 0.0
    ticks = nice(least, most)
    longest = min(20, max(len(line.name) for line in lines))
    right, bottom = WIDE - 30.0 - 7.2 * longest, high - _BOTTOM

    def up(value: float) -> float:
        return bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (bottom - _TOP)

    parts = _scales([(value, up(value)) for value in ticks], budget, right, bottom)
    ends = [next(v for v in reversed(line.values) if v is not None) for line in lines]
    places = _spread([up(v) for v in ends], _TOP, bottom)
    for line, last, place in zip(lines, ends, places, strict=True):
        n = len(line.values)
        x = [_LEFT + (k + 0.5) / n * (right - _LEFT) for k in range(n)]
        path = _path(line.values, x, [None if v is None else up(v) for v in line.values])
        name = line.name if len(line.name) <= 20 else line.name[:19] + "…"
        end_x = max(a for a, v in zip(x, line.values, strict=True) if v is not None)
        parts.append(
            Markup(
                '<g class="line c{}"><path d="{}"/><path class="leader" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'
                '<circle cx="{:.1f}" cy="{:.1f}" r="2.5"/><text x="{:.1f}" y="{:.1f}">{}</text></g>'
            ).format(
                line.style % 8,
                path,
                end_x,
                up(last),
                right + 8,
                place,
                end_x,
                up(last),
                right + 11,
                place + 4,
                name,
            )
        )
    return Markup(
        '<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-labelledby="{}-t"><title id="{}-t">{}</title>{}</svg>'
    ).format(WIDE, high, key, key, title, Markup("").join(parts))


def spark(values: Sequence[float | None], low: float, high: float, label: str) -> Markup:
    """A small curve for a table's cell; `low` and `high` are shared by all of them."""
    found = [v for v in values if v is not None]
    if not found:
        return Markup("")
    span = (high - low) or 1.0
    n = len(values)
    x = [2 + 116 * (k + 0.5) / n for k in range(n)]
    y = [None if v is None else 26 - 24 * (v - low) / span for v in values]
    path = _path(values, x, y)
    dot = Markup("")
    if len(found) == 1:
        k = next(i for i, v in enumerate(values) if v is not None)
        dot = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2"/>').format(x[k], y[k])
    return Markup(
        '<svg class="spark" viewBox="0 0 120 28" role="img" aria-label="{}"><path d="{}"/>{}</svg>'
    ).format(label, path, dot)


def whisker(low: float | None, score: float, high: float | None, least: float, most: float) -> Markup:
    """A score and its interval on a scale that a whole board shares; decoration beside the numbers."""
    span = (most - least) or 1.0

    def at(value: float) -> float:
        return 3 + 114 * (min(max(value, least), most) - least) / span

    bar = Markup("")
    if low is not None and high is not None:
        bar = Markup('<line x1="{:.1f}" x2="{:.1f}" y1="8" y2="8"/>').format(at(low), at(high))
    return Markup(
        '<svg class="whisker" viewBox="0 0 120 16" aria-hidden="true"><line class="rail" x1="3" x2="117" y1="8" y2="8"/>'
        '{}<circle cx="{:.1f}" cy="8" r="3.5"/></svg>'
    ).format(bar, at(score))


def shade(value: float | None, least: float, most: float) -> str:
    """The class of a heat map's cell.

    >>> [shade(x, 0.0, 10.0) for x in (None, 0.0, 5.0, 10.0)]
    ['h-none', 'h0', 'h4', 'h8']
    """
    if value is None:
        return "h-none"
    share = (value - least) / ((most - least) or 1.0)
    return f"h{min(SHADES - 1, max(0, int(share * SHADES)))}"


__all__ = ["SHADES", "Line", "chart", "nice", "shade", "short", "spark", "whisker"]
