"""What the templates are given: numbers as text, classes for colours, drawings."""

import datetime
from typing import Any

from headstart.contest import drawing
from headstart.contest.board import Job, Row, Standing
from headstart.contest.contests import Contest
from headstart.contest.queue import RANKED
from headstart.contest.store import Submission

_CURVES = 6
"""contestants whose curves a board draws"""


def number(value: float | int | None, decimals: int | None = None) -> str:
    """A number for people.

    >>> number(4692.04), number(0.5), number(None), number(1_000_000)
    ('4,692.0', '0.500', '–', '1,000,000')
    """
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if decimals is None:
        decimals = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:,.{decimals}f}".replace("-", "\u2212")


def moment(time: float | None) -> str:
    """A time for people, in UTC.

    >>> moment(0.0)
    '1970-01-01 00:00 UTC'
    """
    return "" if time is None else f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def size(count: int) -> str:
    """Bytes for people.

    >>> size(2048), size(5 << 20)
    ('2 KiB', '5 MiB')
    """
    return f"{count / (1 << 20):.3g} MiB" if count >= 1 << 20 else f"{-(-count // 1024)} KiB"


def duration(seconds: float) -> str:
    """A time span for people.

    >>> duration(59.0), duration(7200.0), duration(5400.0)
    ('59 s', '2 h', '1 h 30 min')
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if whole < 60:
        return f"{whole} s"
    return " ".join(
        part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part
    )


def when(contest: Contest, now: float) -> str:
    """One sentence on when a contest takes submissions."""
    if contest.state == "closed" or (
        contest.closes is not None and now >= contest.closes and contest.state != "open"
    ):
        return "closed"
    if contest.is_open(now):
        return (
            f"open until {moment(contest.closes)}" if contest.closes and contest.state != "open" else "open"
        )
    return f"opens {moment(contest.opens)}"


def _like(error: float | None, score: float) -> str:
    """A standard error with as many decimals as its score."""
    decimals = 3 if abs(score) < 10 else 2 if abs(score) < 100 else 1
    return "" if error is None else number(error, decimals)


def _line(row: Row, labels: tuple[str, ...], spans: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """A row of the board as text, classes and drawings."""
    least, most = spans["score"]
    low, high = spans["curve"]
    levels = [*row.levels, *[None] * (len(labels) - len(row.levels))]
    reach = f"from {number(row.curve[0], 0)} " if row.curve and row.curve[0] is not None else ""
    last = next((x for x in reversed(row.curve) if x is not None), None)
    return {
        "row": row,
        "score": number(row.score),
        "error": _like(row.error, row.score),
        "span": ""
        if row.low is None or row.high is None
        else f"{number(row.low, 0)} to {number(row.high, 0)}",
        "whisker": drawing.whisker(row.low, row.score, row.high, least, most),
        "spark": drawing.spark(row.curve, low, high, f"mean return {reach}to {number(last, 0)}"),
        "cells": [
            (n, number(x, 0), drawing.shade(x, *spans["level"])) for n, x in zip(labels, levels, strict=True)
        ],
    }


def _span(values: list[float], zero: bool = False) -> tuple[float, float]:
    found = [*values, 0.0] if zero else values
    return (min(found), max(found)) if found else (0.0, 1.0)


def board(standing: Standing, now: float) -> dict[str, Any]:
    """A board's page."""
    contest, rows = standing.contest, standing.rows
    spans = {
        "score": _span([x for r in rows for x in (r.low, r.score, r.high) if x is not None], zero=True),
        "curve": _span([x for r in rows for x in r.curve if x is not None], zero=True),
        "level": _span([x for r in rows for x in r.levels if x is not None], zero=True),
    }
    ranked = [r for r in rows if r.rank is not None][:_CURVES]
    drawn = [r for r in rows if any(r is one for one in ranked) or (r.rank is None and r.curve)]
    lines = [drawing.Line(r.name, r.curve, i) for i, r in enumerate(drawn)]
    about = f"Learning curves of {', '.join(line.name for line in lines)}: mean return over the budget"
    low, high = spans["level"]
    return {
        "contest": contest,
        "standing": standing,
        "when": when(contest, now),
        "open": contest.is_open(now),
        "lines": [_line(row, standing.labels, spans) for row in rows],
        "scale": [
            (f"h{k}", number(low + (k + 0.5) / drawing.SHADES * (high - low), 0))
            for k in range(drawing.SHADES)
        ],
        "chart": drawing.chart(lines, contest.budget, about, "curves"),
        "places": sum(row.rank is not None for row in rows),
        "wall": duration(contest.wall_clock),
    }


_WORDS = {
    "queued": "waiting for a worker",
    "running": "being evaluated",
    "scored": "scored",
    "failed": "ended early",
    "cancelled": "taken back",
    "disqualified": "disqualified",
}


def _job_words(job: Job) -> str:
    """An evaluation's state in words."""
    if job.state == "waiting":
        return "waiting"
    if job.state == "leased":
        return "running" if job.attempts == 1 else f"running, attempt {job.attempts}"
    return {"finished": "finished", "budget": "budget used up"}.get(job.verdict, job.verdict)


def submission(
    one: Submission,
    contest: Contest,
    jobs: list[Job],
    score: tuple[float | None, float | None],
    mine: bool,
    organises: bool,
) -> dict[str, Any]:
    """A submission's page; films of levels that were given as text, and of the final's, are the organisers'."""
    open_levels = {level.label for level in contest.public if "\n" not in level.content}
    public = [job for job in jobs if job.board == "public"]
    spent = sum(contest.budget if j.state == "ended" and j.verdict in RANKED else j.spent for j in public)
    whole = max(1, contest.budget * len(public))
    by_level: dict[str, list[Job]] = {}
    for job in jobs:
        by_level.setdefault(job.label, []).append(job)
    levels: list[dict[str, Any]] = []
    for i, (label, runs) in enumerate(by_level.items()):
        lines = [drawing.Line(f"seed {j.seed}", j.curve, k) for k, j in enumerate(runs) if j.curve]
        scores = [j.score for j in runs if j.score is not None]
        seen = organises or (label in open_levels and runs[0].board == "public")
        title = f"Learning curves on {label}, one a seed"
        levels.append(
            {
                "label": label,
                "board": runs[0].board,
                "mean": number(sum(scores) / len(scores)) if scores else "",
                "chart": drawing.chart(lines, contest.budget, title, f"level{i}"),
                "films": next((job.films for job in runs if job.films), []) if seen else [],
                "jobs": [(job, _job_words(job), job.verdict in RANKED) for job in runs],
            }
        )
    return {
        "one": one,
        "contest": contest,
        "levels": levels,
        "words": _WORDS.get(one.state, one.state),
        "live": one.state in ("queued", "running"),
        "spent": spent,
        "whole": whole,
        "share": round(100 * spent / whole),
        "ended": sum(job.state == "ended" and job.verdict in RANKED for job in public),
        "count": len(public),
        "score": "" if score[0] is None else number(score[0]),
        "error": _like(score[1], score[0] or 0.0),
        "reason": one.reason if mine or one.state == "disqualified" else one.reason.partition(":")[0],
    }


__all__ = ["board", "duration", "moment", "number", "size", "submission", "when"]
