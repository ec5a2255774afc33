"""The contest's tables.

    users ── tokens, sessions                      who may do what
    contests ── levels                             what is played
    submissions ── jobs ── outcomes, films         what was sent in, and what came out of it
            └── standings                          one score a submission and board

Times are seconds since 1970 by the server's clock. A job is one submission on one level with one seed; that triple is
unique, so no score can be counted twice.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(40), nullable=False, unique=True),
    Column("role", String(12), nullable=False),
    Column("reference", Boolean, nullable=False, default=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("user", ForeignKey("users.id"), nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user", ForeignKey("users.id"), nullable=False),
    Column("expires", Float, nullable=False, index=True),
)

contests = Table(
    "contests",
    metadata,
    Column("slug", String(40), primary_key=True),
    Column("settings", JSON, nullable=False),
    Column("state", String(12), nullable=False),
    Column("final_shown", Boolean, nullable=False, default=False),
    Column("version", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
)

levels = Table(
    "levels",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("contest", ForeignKey("contests.slug"), nullable=False),
    Column("board", String(8), nullable=False),
    Column("place", Integer, nullable=False),
    Column("label", String(60), nullable=False),
    Column("content", Text, nullable=False),
    UniqueConstraint("contest", "board", "label"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("contest", ForeignKey("contests.slug"), nullable=False, index=True),
    Column("user", ForeignKey("users.id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("name", String(60), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("version", Integer, nullable=False, default=0),
    Column("key", String(64)),
    UniqueConstraint("contest", "user", "number"),
)
submission_keys = Index(
    "submissions_key", submissions.c.contest, submissions.c.user, submissions.c.key, unique=True
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("submission", ForeignKey("submissions.id"), nullable=False),
    Column("level", ForeignKey("levels.id"), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("board", String(8), nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("worker", String(60), nullable=False, default=""),
    Column("lease", String(32), nullable=False, default=""),
    Column("until", Float, nullable=False, default=0.0),
    Column("spent", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("verdict", String(20), nullable=False, default=""),
    Column("score", Float),
    Column("message", Text, nullable=False, default=""),
    Column("curve", JSON),
    UniqueConstraint("submission", "level", "seed"),
    Index("jobs_queue", "state", "until", "id"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("episodes", JSON, nullable=False),
    Column("log", Text, nullable=False),
)

films = Table(
    "films",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("job", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("name", String(40), nullable=False),
    Column("kind", String(8), nullable=False),
    UniqueConstraint("job", "name"),
)

standings = Table(
    "standings",
    metadata,
    Column("submission", ForeignKey("submissions.id"), primary_key=True),
    Column("board", String(8), primary_key=True),
    Column("score", Float, nullable=False),
    Column("error", Float),
    Column("low", Float),
    Column("high", Float),
)

audits = Table(
    "audits",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("who", String(40), nullable=False),
    Column("what", Text, nullable=False),
)
