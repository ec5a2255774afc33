"""The contest's database and data folder: SQLite or PostgreSQL, and files beside it.

The database is written by one transaction at a time, so that no two of them can cross: on SQLite by BEGIN IMMEDIATE in its
write-ahead log, on PostgreSQL under an advisory lock. Reading waits for nobody and sees one moment. What is answered has
been synced to disk.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from headstart.contest import auth
from headstart.contest import schema as t
from headstart.errors import RunError, UsageError

_WRITING = 0x48454144
"""the advisory lock of whoever writes to PostgreSQL"""


def _engine(url: str) -> sa.Engine:
    """A pool of connections.

    Raises:
      UsageError: for an address that is none, a database of another kind, or one whose driver is not installed.
    """
    try:
        engine = sa.create_engine(
            url, pool_size=8, max_overflow=24, pool_pre_ping=not url.startswith("sqlite")
        )
    except (ArgumentError, ImportError) as error:
        kind = url.partition(":")[0]
        if kind == "postgresql+psycopg" and isinstance(error, ImportError):
            raise UsageError("PostgreSQL needs psycopg: pip install 'headstart[postgres]'.") from None
        raise UsageError(f"the database {kind}:… cannot be used ({error}).") from None
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise UsageError(f"the database is SQLite or PostgreSQL, not {engine.dialect.name}.")
    (_as_sqlite if engine.dialect.name == "sqlite" else _as_postgresql)(engine)
    return engine


def _writes(connection: sa.Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", False))


def _as_sqlite(engine: sa.Engine) -> None:
    """Write-ahead mode, and transactions begun by us."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.isolation_level = None  # sqlite3 would begin transactions of its own, and too late
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=20000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _as_postgresql(engine: sa.Engine) -> None:
    """Whoever writes waits for who does."""

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        if _writes(connection):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITING})")


def _bring_up_to_date(c: sa.Connection) -> None:
    """Make what is missing; in folders of earlier versions that is also the key of a submission."""
    t.metadata.create_all(c)
    if "key" not in {column["name"] for column in sa.inspect(c).get_columns("submissions")}:
        c.exec_driver_sql('ALTER TABLE submissions ADD COLUMN "key" VARCHAR(64)')
    t.submission_keys.create(c, checkfirst=True)


class Database:
    """The database and the data folder."""

    def __init__(self, folder: Path, url: str = "", clock: Callable[[], float] = time.time) -> None:
        """Open, and make what is missing.

        Args:
          folder: for archives, films, the server's key and SQLite's file; made if need be.
          url: SQLAlchemy's address of a database; empty for SQLite in the folder.
          clock: seconds since 1970.

        Raises:
          RunError: if the folder or the database cannot be used.
        """
        self.folder, self.clock = folder, clock
        try:
            for name in ("submissions", "films"):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
        except OSError as error:
            raise RunError(f"the data folder {folder} cannot be used ({error.strerror}).") from error
        self.key = auth.server_key(folder)
        self.engine = _engine(url or f"sqlite:///{folder / 'contest.sqlite'}")
        self._writer = self.engine.execution_options(writes=True)
        at_once = {"isolation_level": "REPEATABLE READ"} if self.engine.dialect.name == "postgresql" else {}
        self._reader = self.engine.execution_options(**at_once)
        try:
            with self.write() as c:
                _bring_up_to_date(c)
        except SQLAlchemyError as error:
            raise RunError(f"the database cannot be opened ({str(error).splitlines()[0][:200]}).") from None

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """A consistent view."""
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """A transaction that is kept whole, or not at all where the block raises."""
        with self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


__all__ = ["Database"]
