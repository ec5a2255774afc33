"""The durable queue of evaluations: leases, heartbeats, verdicts.

    waiting ── lease ──▶ leased ── verdict ──▶ ended
       ▲                    │
       └── lease ran out ───┘   or was given back: the evaluator failed

A worker leases a job for a while and says now and then that it lives. If it is killed, its lease runs out and another
worker takes the job up. A verdict counts only under the lease that is in force, so a job ends once, whoever else still
works on it. With the last job of a board the submission's standing is written, in the same transaction.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import insert, or_, select, update

from headstart.contest import auth, chance, scoring
from headstart.contest import schema as t
from headstart.contest.database import Database
from headstart.results import write_bytes

RANKED = frozenset({"finished", "budget", "wall-clock", "cpu-time"})
"""verdicts that are worth their score; any other ends the submission"""
ERROR = "error"
"""the verdict on an evaluator, not on an agent"""
ATTEMPTS = 12
"""leases after which a job that no worker brings to an end is given up"""
_LIVE = ("queued", "running")
_MESSAGE = 500
_LOG = 1 << 18


class Lease(NamedTuple):
    """A job as a worker gets it."""

    job: int
    lease: str
    submission: str
    suite: str
    label: str
    level: str
    seed: int
    budget: int
    wall_clock: float
    until: float
    noise: int
    """of the environment (`chance`); for workers only"""


class Outcome(NamedTuple):
    """What a worker found out."""

    verdict: str
    score: float | None
    spent: int
    message: str
    episodes: Sequence[tuple[float, int, bool]]
    log: str


class Queue:
    """Jobs, leased one at a time."""

    def __init__(self, database: Database, seconds: float = 60.0) -> None:
        """`seconds`: how long a lease holds without a heartbeat."""
        self.database, self.seconds = database, seconds

    def lease(self, worker: str) -> Lease | None:
        """The oldest job that waits, or whose worker has fallen silent; None if there is none."""
        j, s = t.jobs.c, t.submissions.c
        with self.database.write() as c:
            now = self.database.clock()
            free = or_(j.state == "waiting", sa.and_(j.state == "leased", j.until < now))
            query = select(j.id, j.submission, j.attempts).where(free).order_by(j.id).limit(1)
            row = c.execute(query).first()
            if row is None:
                return None
            if row.attempts >= ATTEMPTS:
                self._abandon(c, row.id, row.submission)
                return None
            secret = secrets.token_hex(16)
            values = {"state": "leased", "lease": secret, "until": now + self.seconds, "worker": worker[:60]}
            values |= {"attempts": row.attempts + 1, "spent": 0, "started": now}
            c.execute(update(t.jobs).where(j.id == row.id).values(**values))
            c.execute(
                update(t.submissions)
                .where(s.id == row.submission, s.state == "queued")
                .values(state="running")
            )
            touch(c, row.submission)
            return self._leased(c, row.id)

    def _leased(self, c: sa.Connection, job: int) -> Lease:
        j, lv, s, k = t.jobs.c, t.levels.c, t.submissions.c, t.contests.c
        query = (
            select(j.lease, j.submission, k.settings, k.slug, j.board, lv.label, lv.content, j.seed, j.until)
            .add_columns(s.digest)
            .select_from(t.jobs.join(t.levels).join(t.submissions).join(t.contests, k.slug == lv.contest))
            .where(j.id == job)
        )
        row = c.execute(query).one()
        kept = row.settings
        return Lease(
            job=job,
            lease=row.lease,
            submission=row.submission,
            suite=kept["suite"],
            label=row.label,
            level=row.content,
            seed=row.seed,
            budget=int(kept["budget"]),
            wall_clock=float(kept["wall_clock"]),
            until=row.until,
            noise=chance.noise(self.database.key, row.slug, row.board, row.label, row.seed, row.digest),
        )

    def _abandon(self, c: sa.Connection, job: int, submission: str) -> None:
        said = c.scalar(select(t.jobs.c.message).where(t.jobs.c.id == job))
        last = f"of which the last said: {said}" if said else "over which workers died or fell silent"
        why = f"given up after {ATTEMPTS} tries, {last}"
        values = {"state": "ended", "verdict": "abandoned", "message": why, "ended": self.database.clock()}
        c.execute(update(t.jobs).where(t.jobs.c.id == job).values(**values))
        self._settle(c, job, submission)

    def beat(self, job: int, lease: str, spent: int) -> bool:
        """Hold a lease for another while; False if the job is no longer the worker's, or no longer wanted."""
        j = t.jobs.c
        with self.database.write() as c:
            until = self.database.clock() + self.seconds
            mine = (j.id == job, j.lease == lease, j.state == "leased")
            held = c.execute(update(t.jobs).where(*mine).values(until=until, spent=spent))
            if held.rowcount != 1:
                return False
            submission = c.scalar(select(j.submission).where(j.id == job))
            n = t.submissions.c
            c.execute(update(t.submissions).where(n.id == submission).values(version=n.version + 1))
            return True

    def owner(self, job: int, lease: str) -> str | None:
        """The submission of a job that is held under this lease; None if it is not."""
        j = t.jobs.c
        with self.database.read() as c:
            return c.scalar(select(j.submission).where(j.id == job, j.lease == lease, j.state == "leased"))

    def finish(self, job: int, lease: str, outcome: Outcome) -> bool:
        """Count a verdict; False if the lease is not in force, or no evaluation was made: then nothing is counted."""
        if outcome.verdict == ERROR:
            self._give_back(job, lease, outcome.message)
            return False
        j = t.jobs.c
        with self.database.write() as c:
            query = select(j.submission, t.contests.c.settings).select_from(
                t.jobs.join(t.levels).join(t.contests, t.contests.c.slug == t.levels.c.contest)
            )
            row = c.execute(query.where(j.id == job)).first()
            if row is None:
                return False
            budget = int(row.settings["budget"])
            values: dict[str, Any] = {
                "state": "ended",
                "ended": self.database.clock(),
                "verdict": outcome.verdict[:20],
            }
            values |= {"score": outcome.score, "spent": outcome.spent, "message": outcome.message[:_MESSAGE]}
            values["curve"] = scoring.curve([(e[0], e[1]) for e in outcome.episodes], budget)
            mine = (j.id == job, j.lease == lease, j.state == "leased")
            if c.execute(update(t.jobs).where(*mine).values(**values)).rowcount != 1:
                return False
            what = {"episodes": [list(e) for e in outcome.episodes], "log": outcome.log[-_LOG:]}
            c.execute(insert(t.outcomes).values(job=job, **what))
            self._settle(c, job, row.submission)
            return True

    def _give_back(self, job: int, lease: str, why: str) -> None:
        """Let a job rest as long as a lease holds, under one that nobody has; then it is anybody's."""
        j = t.jobs.c
        with self.database.write() as c:
            values = {"lease": secrets.token_hex(16), "until": self.database.clock() + self.seconds}
            mine = (j.id == job, j.lease == lease, j.state == "leased")
            c.execute(update(t.jobs).where(*mine).values(**values, message=why[:_MESSAGE]))

    def _settle(self, c: sa.Connection, job: int, submission: str) -> None:
        """After a job has ended: end the submission if it failed, write its standing if that was the last."""
        j, s = t.jobs.c, t.submissions.c
        ended = c.execute(select(j.verdict, j.message, j.board).where(j.id == job)).one()
        live = (s.id == submission, s.state.in_(_LIVE))
        if ended.verdict not in RANKED:
            stop(c, submission, "skipped")
            why = f"{ended.verdict}: {ended.message}".strip(": ")
            c.execute(update(t.submissions).where(*live).values(state="failed", reason=why[:_MESSAGE]))
        elif not self._unfinished(c, submission, ended.board):
            place_standing(c, submission, ended.board)
            c.execute(update(t.submissions).where(*live).values(state="scored"))
        touch(c, submission)

    def _unfinished(self, c: sa.Connection, submission: str, board: str) -> int:
        j = t.jobs.c
        bad = or_(j.state != "ended", j.verdict.not_in(RANKED))
        query = select(sa.func.count()).where(j.submission == submission, j.board == board, bad)
        return c.scalar(query) or 0

    def keep_film(self, job: int, lease: str, name: str, kind: str, data: bytes) -> bool:
        """Keep a film of a job that is held under this lease; False if it is not. The same film twice is kept once."""
        key = auth.name(16)
        path = self.film(key, kind)
        write_bytes(path, data)
        f, j = t.films.c, t.jobs.c
        try:
            with self.database.write() as c:
                held = c.scalar(select(j.id).where(j.id == job, j.lease == lease, j.state == "leased"))
                if held is None:
                    old = [(key, kind)]
                else:
                    old = drop_films(c, f.job == job, f.name == name)
                    c.execute(insert(t.films).values(id=key, job=job, name=name, kind=kind))
        except BaseException:
            path.unlink()
            raise
        self.remove_films(old)
        return held is not None

    def remove_films(self, films: Sequence[tuple[str, str]]) -> None:
        """Remove the files of films, (id, kind) each, whose rows are gone for good."""
        for key, kind in films:
            self.film(key, kind).unlink(missing_ok=True)

    def film(self, key: str, kind: str) -> Path:
        """Where a film lies."""
        return self.database.folder / "films" / f"{key}.{kind}"

    def waiting(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self.database.read() as c:
            rows = c.execute(select(t.jobs.c.state, sa.func.count()).group_by(t.jobs.c.state)).all()
        return {"waiting": 0, "leased": 0, "ended": 0} | {str(row[0]): int(row[1]) for row in rows}

    def log(self, job: int) -> str:
        """What the agent of an ended job has printed."""
        with self.database.read() as c:
            return c.scalar(select(t.outcomes.c.log).where(t.outcomes.c.job == job)) or ""

    def episodes(self, job: int) -> list[Any]:
        """Episodes of an ended job: [return, length, finished]."""
        with self.database.read() as c:
            return c.scalar(select(t.outcomes.c.episodes).where(t.outcomes.c.job == job)) or []


def stop(c: sa.Connection, submission: str, verdict: str) -> None:
    """End the jobs of a submission that are not ended yet; their workers learn it with the next heartbeat."""
    j = t.jobs.c
    left = (j.submission == submission, j.state != "ended")
    c.execute(update(t.jobs).where(*left).values(state="ended", verdict=verdict))


def drop_films(c: sa.Connection, *where: sa.ColumnElement[bool]) -> list[tuple[str, str]]:
    """Forget films; the (id, kind) of each, for `Queue.remove_films` once the transaction is kept."""
    gone = c.execute(sa.delete(t.films).where(*where).returning(t.films.c.id, t.films.c.kind))
    return [(key, kind) for key, kind in gone]


def place_standing(c: sa.Connection, submission: str, board: str) -> None:
    """Write the score of a submission whose jobs on a board have all ended."""
    j = t.jobs.c
    query = select(j.level, j.score).where(j.submission == submission, j.board == board)
    runs: dict[int, list[float]] = {}
    for level, score in c.execute(query.order_by(j.level, j.seed)):
        runs.setdefault(level, []).append(0.0 if score is None else score)
    values = scoring.score(list(runs.values()))._asdict()
    c.execute(insert(t.standings).values(submission=submission, board=board, **values))


def touch(c: sa.Connection, submission: str) -> None:
    """Note that a submission has changed, and with it its contest."""
    s, k = t.submissions.c, t.contests.c
    c.execute(update(t.submissions).where(s.id == submission).values(version=s.version + 1))
    mine = select(s.contest).where(s.id == submission).scalar_subquery()
    c.execute(update(t.contests).where(k.slug == mine).values(version=k.version + 1))


__all__ = [
    "ATTEMPTS",
    "ERROR",
    "RANKED",
    "Lease",
    "Outcome",
    "Queue",
    "drop_films",
    "place_standing",
    "stop",
    "touch",
]
