"""The contest's database and data folder: SQLite or PostgreSQL, and files beside it.

The database is opened for writing one transaction at a time: SQLite by BEGIN IMMEDIATE in its write-ahead log, PostgreSQL
by locking the rows. What is answered has been synced to disk.
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


def _engine(url: str) -> sa.Engine:
    """A pool of connections; on SQLite in write-ahead mode, its transactions begun by us."""
    try:
        engine = sa.create_engine(
            url, pool_size=8, max_overflow=24, pool_pre_ping=not url.startswith("sqlite")
        )
    except (ArgumentError, ImportError) as error:
        raise UsageError(f"the database {url.partition(':')[0]}:… cannot be used ({error}).") from None
    if engine.dialect.name != "sqlite":
        return engine

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.isolation_level = None  # sqlite3 would begin transactions of its own, and too late
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=20000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


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
        try:
            t.metadata.create_all(self.engine)
        except SQLAlchemyError as error:
            raise RunError(f"the database cannot be opened ({str(error).splitlines()[0][:200]}).") from None

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """A consistent view."""
        with self.engine.begin() as connection:
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
