"""A contest's board, read from the store: who stands where, on which levels, and how they learned."""

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import select

from headstart.contest import schema as t
from headstart.contest import scoring
from headstart.contest.contests import Board, Contest
from headstart.contest.store import Store


class Row(NamedTuple):
    """One line of a board."""

    rank: int | None
    """None for a reference: it takes nobody's place"""
    name: str
    submission: str
    """"" for a constant"""
    title: str
    """what its author calls it, or where a constant comes from"""
    score: float
    error: float | None
    low: float | None
    high: float | None
    tries: int
    """submissions of its author; 0 for references"""
    created: float
    levels: tuple[float | None, ...]
    """mean over seeds, one a level of the board"""
    curve: tuple[float | None, ...]
    """mean return in each window of the budget, over levels and seeds"""


class Standing(NamedTuple):
    """A board at one moment."""

    contest: Contest
    board: Board
    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    running: int
    """submissions not yet ended"""
    waiting: int
    """evaluations not yet ended, of all contests"""
    version: int


class Job(NamedTuple):
    """One evaluation, as pages show it."""

    id: int
    board: Board
    label: str
    seed: int
    state: str
    verdict: str
    score: float | None
    spent: int
    attempts: int
    worker: str
    message: str
    started: float | None
    ended: float | None
    curve: list[float | None] | None
    films: list[tuple[str, str, str]]
    """(id, name, kind)"""


def _standings(c: sa.Connection, contest: Contest, board: Board) -> list[Any]:
    """Every scored submission of a contest, the newest first."""
    s, p, u = t.submissions.c, t.standings.c, t.users.c
    query = (
        select(
            s.id,
            s.user,
            u.name.label("author"),
            u.reference,
            s.name,
            s.created,
            p.score,
            p.error,
            p.low,
            p.high,
        )
        .select_from(t.standings.join(t.submissions).join(t.users))
        .where(s.contest == contest.slug, p.board == board, u.disabled == sa.false())
    )
    return list(c.execute(query.order_by(s.created.desc())))


def _chosen(rows: list[Any], counts: str) -> list[Any]:
    """The submission that counts for each contestant, and all of a reference's, one a name."""
    kept: dict[Any, Any] = {}
    for row in rows:
        whose = (row.user, row.name) if row.reference else row.user
        if whose not in kept or (counts == "best" and row.score > kept[whose].score):
            kept[whose] = row
    return sorted(kept.values(), key=lambda row: (-row.score, row.created))


def _runs(c: sa.Connection, submissions: list[str], board: Board) -> dict[str, list[Any]]:
    """Ended evaluations by submission: label, score, curve."""
    j = t.jobs.c
    query = (
        select(j.submission, t.levels.c.label, j.score, j.curve)
        .select_from(t.jobs.join(t.levels))
        .where(j.submission.in_(submissions), j.board == board, j.score.is_not(None))
    )
    found: dict[str, list[Any]] = {}
    for row in c.execute(query):
        found.setdefault(row.submission, []).append(row)
    return found


def _row(row: Any, runs: list[Any], labels: tuple[str, ...], tries: int) -> Row:
    scores: dict[str, list[float]] = {}
    for run in runs:
        scores.setdefault(run.label, []).append(run.score)
    means = tuple(sum(x) / len(x) if (x := scores.get(label)) else None for label in labels)
    curve = tuple(scoring.mean_curve([run.curve for run in runs if run.curve]))
    name = row.name if row.reference else row.author
    about = "reference" if row.reference else row.name
    spread = (row.score, row.error, row.low, row.high)
    return Row(None, name, row.id, about, *spread, tries, row.created, means, curve)


def standing(store: Store, slug: str, board: Board) -> Standing:
    """A contest's board as it stands.

    Raises:
      UsageError: if there is no such contest.
    """
    contest = store.contest(slug)
    labels = tuple(level.label for level in contest.levels(board))
    s = t.submissions.c
    live = s.state.in_(("queued", "running"))
    tries = select(s.user, sa.func.count()).where(s.contest == slug).group_by(s.user)
    with store.database.read() as c:
        chosen = _chosen(_standings(c, contest, board), contest.counts)
        runs = _runs(c, [row.id for row in chosen], board)
        count = {row[0]: int(row[1]) for row in c.execute(tries)}
        running = c.scalar(select(sa.func.count()).where(s.contest == slug, live)) or 0
        waiting = c.scalar(select(sa.func.count()).where(t.jobs.c.state != "ended")) or 0
    rows = [
        (r.reference, _row(r, runs.get(r.id, []), labels, 0 if r.reference else count.get(r.user, 0)))
        for r in chosen
    ]
    constants = contest.references if board == "public" else ()
    rows += [
        (True, Row(None, r.name, "", r.source, r.score, r.error, None, None, 0, 0.0, (), ()))
        for r in constants
    ]
    rows.sort(key=lambda row: -row[1].score)
    rank, ranked = 0, list[Row]()
    for reference, row in rows:
        rank += not reference
        ranked.append(row if reference else row._replace(rank=rank))
    return Standing(contest, board, labels, tuple(ranked), running, waiting, contest.version)


def counted(store: Store, slug: str) -> list[str]:
    """The submissions that count on the public board: those the final is played with."""
    return [row.submission for row in standing(store, slug, "public").rows if row.submission]


def jobs(store: Store, submission: str) -> list[Job]:
    """A submission's evaluations, public ones first, by level and seed."""
    j, f = t.jobs.c, t.films.c
    query = (
        select(
            j.id,
            j.board,
            t.levels.c.label,
            j.seed,
            j.state,
            j.verdict,
            j.score,
            j.spent,
            j.attempts,
            j.worker,
        )
        .add_columns(j.message, j.started, j.ended, j.curve)
        .select_from(t.jobs.join(t.levels))
        .where(j.submission == submission)
        .order_by(j.board.desc(), t.levels.c.place, j.seed)
    )
    with store.database.read() as c:
        rows = c.execute(query).all()
        shown = c.execute(
            select(f.job, f.id, f.name, f.kind).where(f.job.in_([row.id for row in rows]))
        ).all()
    films: dict[int, list[tuple[str, str, str]]] = {}
    for job, key, name, kind in shown:
        films.setdefault(job, []).append((key, name, kind))
    return [Job(*row, films=sorted(films.get(row.id, []), key=_played)) for row in rows]


def _played(film: tuple[str, str, str]) -> tuple[int, str]:
    """Where a film stands among others: the first episode, the best, the last."""
    order = ("first", "best", "last")
    return (order.index(film[1]) if film[1] in order else len(order)), film[1]


def rounded(value: float | None) -> float | None:
    """A number for exports: a millionth is enough."""
    return None if value is None else round(value, 6)


def to_json(standing: Standing) -> dict[str, Any]:
    """A board as plain JSON values."""
    rows: list[dict[str, Any]] = []
    for row in standing.rows:
        plain = row._asdict() | {"score": rounded(row.score), "error": rounded(row.error)}
        plain |= {
            "low": rounded(row.low),
            "high": rounded(row.high),
            "curve": [rounded(x) for x in row.curve],
        }
        plain["levels"] = {n: rounded(x) for n, x in zip(standing.labels, row.levels, strict=False)}
        rows.append(plain)
    contest = standing.contest
    about = {
        "contest": contest.slug,
        "board": standing.board,
        "suite": contest.suite,
        "budget": contest.budget,
    }
    return about | {"seeds": list(contest.seeds), "levels": list(standing.labels), "rows": rows}


def _cell(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula, nor for two cells."""
    text = f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
    return '"' + text.replace('"', '""') + '"'


def to_csv(standing: Standing) -> str:
    """A board as CSV: a line a row, a column a level."""
    heads = [
        "rank",
        "name",
        "agent",
        "score",
        "error",
        "low",
        "high",
        "tries",
        "submission",
        *standing.labels,
    ]
    lines = [",".join(_cell(head) for head in heads)]
    for row in standing.rows:
        levels = [*row.levels, *[None] * (len(standing.labels) - len(row.levels))]
        numbers = [rounded(x) for x in (row.score, row.error, row.low, row.high)]
        shown = ["" if x is None else str(x) for x in (*numbers, row.tries)]
        more = [_cell(row.submission), *("" if x is None else str(rounded(x)) for x in levels)]
        rank = "" if row.rank is None else str(row.rank)
        lines.append(",".join([rank, _cell(row.name), _cell(row.title), *shown, *more]))
    return "\r\n".join(lines) + "\r\n"


__all__ = ["Job", "Row", "Standing", "counted", "jobs", "standing", "to_csv", "to_json"]
