"""What the contest remembers: contests and submissions, with their users and the queue of evaluations beside them.

Archives and films lie in the data folder, written whole before the row that names them.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import insert, select, update

from headstart.contest import auth, contests
from headstart.contest import schema as t
from headstart.contest.contests import BOARDS, Board, Contest
from headstart.contest.database import Database
from headstart.contest.queue import Queue, drop_films, stop, touch
from headstart.contest.users import DAY, User, Users
from headstart.errors import UsageError
from headstart.results import write_bytes


class Submission(NamedTuple):
    """One agent that was sent in."""

    id: str
    contest: str
    user: int
    author: str
    reference: bool
    number: int
    name: str
    digest: str
    size: int
    created: float
    state: str
    reason: str
    version: int


class Film(NamedTuple):
    """A film's kind, and whether it shows a level that only organisers may see."""

    kind: str
    hidden: bool


_SUBMISSION = (
    t.submissions.c.id,
    t.submissions.c.contest,
    t.submissions.c.user,
    t.users.c.name.label("author"),
    t.users.c.reference,
    t.submissions.c.number,
    t.submissions.c.name,
    t.submissions.c.digest,
    t.submissions.c.size,
    t.submissions.c.created,
    t.submissions.c.state,
    t.submissions.c.reason,
    t.submissions.c.version,
)


class Store:
    """Contests and submissions; `users` and `queue` hold the rest."""

    def __init__(
        self, folder: Path, url: str = "", clock: Callable[[], float] = time.time, lease: float = 60.0
    ) -> None:
        """Open, and make what is missing; `lease` is the queue's, the rest is as in `Database`."""
        self.database = Database(folder, url, clock)
        self.users = Users(self.database)
        self.queue = Queue(self.database, lease)

    def close(self) -> None:
        """Let go of all connections."""
        self.database.close()

    # contests

    def add_contest(self, contest: Contest) -> None:
        """A new contest, or, before anything was sent to it, a changed one.

        Raises:
          UsageError: if submissions have been made to it.
        """
        used = select(t.submissions.c.id).where(t.submissions.c.contest == contest.slug).limit(1)
        with self.database.write() as c:
            if c.execute(used).first():
                raise UsageError(
                    f"contest {contest.slug} has submissions; give the changed one another name."
                )
            c.execute(sa.delete(t.levels).where(t.levels.c.contest == contest.slug))
            c.execute(sa.delete(t.contests).where(t.contests.c.slug == contest.slug))
            row = {"slug": contest.slug, "settings": contests.settings(contest), "state": contest.state}
            c.execute(insert(t.contests).values(**row, created=self.database.clock()))
            for board in BOARDS:
                for place, level in enumerate(contest.levels(board)):
                    what = {"contest": contest.slug, "board": board, "place": place}
                    c.execute(insert(t.levels).values(**what, label=level.label, content=level.content))

    def contest(self, slug: str) -> Contest:
        """A contest by its name in addresses.

        Raises:
          UsageError: if there is none.
        """
        with self.database.read() as c:
            row = c.execute(select(t.contests).where(t.contests.c.slug == slug)).first()
            query = select(t.levels).where(t.levels.c.contest == slug).order_by(t.levels.c.place)
            levels = c.execute(query).all()
        if row is None:
            raise UsageError(f"there is no contest called {slug[:50]!r}.")
        kept = dict(row.settings)
        rows = tuple(contests.Reference(**r) for r in kept.pop("references"))
        of: dict[Board, tuple[contests.Level, ...]] = {
            board: tuple(contests.Level(lv.label, lv.content) for lv in levels if lv.board == board)
            for board in BOARDS
        }
        state = {"state": row.state, "final_shown": row.final_shown, "version": row.version}
        seeds = tuple(kept.pop("seeds"))
        return Contest(
            slug=slug, seeds=seeds, references=rows, public=of["public"], final=of["final"], **kept, **state
        )

    def contests(self) -> list[str]:
        """Names of all contests, the newest first."""
        with self.database.read() as c:
            return list(
                c.scalars(select(t.contests.c.slug).order_by(t.contests.c.created.desc(), t.contests.c.slug))
            )

    def set_state(self, slug: str, state: str) -> None:
        """Open or close a contest, or leave it to its dates."""
        self._change(slug, state=contests.check_state(state))

    def show_final(self, slug: str, shown: bool = True) -> None:
        """Make the final board public, or not."""
        self._change(slug, final_shown=shown)

    def _change(self, slug: str, **values: Any) -> None:
        self.contest(slug)
        with self.database.write() as c:
            touched = {"version": t.contests.c.version + 1} | values
            c.execute(update(t.contests).where(t.contests.c.slug == slug).values(**touched))

    def audit(self, who: str, what: str) -> None:
        """Write down what an organiser did."""
        with self.database.write() as c:
            c.execute(insert(t.audits).values(time=self.database.clock(), who=who, what=what[:2000]))

    def audits(self, last: int = 50) -> list[dict[str, Any]]:
        """The newest entries, newest first."""
        with self.database.read() as c:
            query = select(t.audits.c.time, t.audits.c.who, t.audits.c.what).order_by(t.audits.c.id.desc())
            return [dict(row) for row in c.execute(query.limit(last)).mappings()]

    # submissions

    def archive(self, submission: str) -> Path:
        """Where a submission's archive lies."""
        return self.database.folder / "submissions" / f"{submission}.zip"

    def submit(self, contest: Contest, user: User, name: str, data: bytes, key: str = "") -> Submission:
        """Take a submission in and queue its evaluations on the public board.

        Args:
          key: its sender's name for this sending, at most 64 characters. Sent again under it, since the answer was lost, it
            is still one submission. "" for none.

        Raises:
          UsageError: if the contest is closed, the user has had their tries, or something else was sent under the key.
        """
        one, now = auth.name(12), self.database.clock()
        row = {"id": one, "contest": contest.slug, "user": user.id, "key": key or None, "size": len(data)}
        row |= {"name": (name.strip() or "agent")[:60], "digest": hashlib.sha256(data).hexdigest()}
        write_bytes(self.archive(one), data)
        try:
            with self.database.write() as c:
                known = _sent_before(c, row)
                if known is None:
                    number = _next_number(c, contest, user, now)
                    c.execute(insert(t.submissions).values(**row, number=number, created=now, state="queued"))
                    enqueue(c, one, contest.slug, "public", contest.seeds, now)
        except BaseException:
            self.archive(one).unlink(missing_ok=True)
            raise
        if known is not None:
            self.archive(one).unlink()
        return self.submission(known or one)

    def submission(self, key: str) -> Submission:
        """A submission by its id.

        Raises:
          UsageError: if there is none.
        """
        found = self._submissions(t.submissions.c.id == key)
        if not found:
            raise UsageError(f"there is no submission {key[:20]!r}.")
        return found[0]

    def submissions(self, contest: str, user: User | None = None) -> list[Submission]:
        """Submissions to a contest, the newest first: all, or those of one user."""
        mine = () if user is None else (t.submissions.c.user == user.id,)
        return self._submissions(t.submissions.c.contest == contest, *mine)

    def score(self, key: str, board: Board) -> tuple[float | None, float | None]:
        """A submission's score on a board and its standard error; None while there is none."""
        p = t.standings.c
        with self.database.read() as c:
            row = c.execute(select(p.score, p.error).where(p.submission == key, p.board == board)).first()
        return (None, None) if row is None else (row.score, row.error)

    def film_of(self, key: str) -> Film | None:
        """What is known of a film; levels given as text, and the final's, are hidden."""
        query = (
            select(t.films.c.kind, t.levels.c.content, t.levels.c.board)
            .select_from(t.films.join(t.jobs).join(t.levels))
            .where(t.films.c.id == key)
        )
        with self.database.read() as c:
            row = c.execute(query).first()
        return None if row is None else Film(row.kind, "\n" in row.content or row.board == "final")

    def withdraw(self, key: str, state: str, reason: str) -> None:
        """Take a submission off the board: "cancelled" by its author, or "disqualified". What ran is kept."""
        with self.database.write() as c:
            stop(c, key, "skipped")
            c.execute(sa.delete(t.standings).where(t.standings.c.submission == key))
            mine = t.submissions.c.id == key
            c.execute(update(t.submissions).where(mine).values(state=state, reason=reason[:500]))
            touch(c, key)

    def rerun(self, key: str, board: Board = "public") -> None:
        """Forget what a submission's evaluations on a board gave, and queue them again; the other board keeps its own.

        Raises:
          UsageError: for the final board, if the contest has none, or the submission is not one that was scored; while
            evaluations on the other board go on, whose end would be taken for this one's.
        """
        one = self.submission(key)
        contest = self._with_final(one.contest) if board == "final" else self.contest(one.contest)
        if board == "final" and one.state != "scored":
            raise UsageError(
                f"submission {key} is {one.state}; the final is played by those that are scored."
            )
        j = t.jobs.c
        mine = (j.submission == key, j.board == board)
        ended = select(j.id).where(*mine)
        others = select(j.id).where(j.submission == key, j.board != board, j.state != "ended").limit(1)
        with self.database.write() as c:
            if c.execute(others).first():
                raise UsageError(f"submission {key} is being played on the other board; wait for its end.")
            films = drop_films(c, t.films.c.job.in_(ended))
            c.execute(sa.delete(t.outcomes).where(t.outcomes.c.job.in_(ended)))
            c.execute(sa.delete(t.jobs).where(*mine))
            p = t.standings.c
            c.execute(sa.delete(t.standings).where(p.submission == key, p.board == board))
            if board == "public":
                again = {"state": "queued", "reason": ""}
                c.execute(update(t.submissions).where(t.submissions.c.id == key).values(**again))
            enqueue(c, key, one.contest, board, contest.seeds, self.database.clock())
        self.queue.remove_films(films)

    def start_final(self, slug: str, chosen: Sequence[str]) -> int:
        """Queue the final board's jobs of the chosen submissions that have none yet; how many submissions those are.

        Raises:
          UsageError: if the contest has no final levels.
        """
        contest = self._with_final(slug)
        there = select(t.jobs.c.submission).where(t.jobs.c.board == "final")
        with self.database.write() as c:
            begun = set(c.scalars(there))
            fresh = [key for key in chosen if key not in begun]
            for key in fresh:
                enqueue(c, key, slug, "final", contest.seeds, self.database.clock())
        return len(fresh)

    def _with_final(self, slug: str) -> Contest:
        contest = self.contest(slug)
        if not contest.final:
            raise UsageError(f"the contest {slug} has no levels for a final board.")
        return contest

    def _submissions(self, *where: Any) -> list[Submission]:
        query = select(*_SUBMISSION).join(t.users).where(*where)
        with self.database.read() as c:
            rows = c.execute(query.order_by(t.submissions.c.created.desc())).all()
        return [Submission(*row) for row in rows]


def _sent_before(c: sa.Connection, row: dict[str, Any]) -> str | None:
    """The submission that came under the same key; None if there is none.

    Raises:
      UsageError: if its archive is another.
    """
    s = t.submissions.c
    if row["key"] is None:
        return None
    same = [s[name] == row[name] for name in ("contest", "user", "key")]
    found = c.execute(select(s.id, s.digest).where(*same)).first()
    if found is None:
        return None
    if found.digest != row["digest"]:
        raise UsageError(f"you have sent something else under the key {row['key']}; take a new key.")
    return found.id


def _next_number(c: sa.Connection, contest: Contest, user: User, now: float) -> int:
    """The number of a user's next submission, from 1.

    Raises:
      UsageError: if there may be none: the contest is closed, or the day's tries are used up.
    """
    free = user.organises or user.reference
    if not (contest.is_open(now) or free):
        raise UsageError(f"the contest {contest.title} takes no submissions now.")
    s, count = t.submissions.c, sa.func.count()
    mine = (s.contest == contest.slug, s.user == user.id)
    recent = c.scalar(select(count).where(*mine, s.created > now - DAY)) or 0
    if recent >= contest.tries_a_day and not free:
        raise UsageError(
            f"{contest.tries_a_day} submissions a day are allowed, and you have made {recent}; try again later."
        )
    return (c.scalar(select(sa.func.max(s.number)).where(*mine)) or 0) + 1


def enqueue(
    c: sa.Connection, submission: str, contest: str, board: Board, seeds: Sequence[int], now: float
) -> None:
    """Queue one job a level and seed."""
    query = select(t.levels.c.id).where(t.levels.c.contest == contest, t.levels.c.board == board)
    levels = c.scalars(query.order_by(t.levels.c.place)).all()
    fixed = {"submission": submission, "board": board, "state": "waiting", "created": now}
    c.execute(insert(t.jobs), [fixed | {"level": level, "seed": seed} for seed in seeds for level in levels])
    touch(c, submission)


__all__ = ["Film", "Store", "Submission", "enqueue"]
