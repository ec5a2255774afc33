"""Live news of boards and submissions: one look at the database a second, however many watch.

A stream is server-sent events: `event: change` with the version that is now, once at the start and again with every new
one, and a comment every fifteen seconds, so that proxies keep the line open. A page carries the version it shows, so what
changed between the page and its stream is not missed. Who is refused a stream asks every few seconds instead (the pages'
script does).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from headstart.contest import schema as t
from headstart.contest.store import Store


class Topic(NamedTuple):
    """What a stream is about: a "contest" and its slug, or a "submission" and its id."""

    kind: str
    key: str


def versions(store: Store, topics: Iterable[Topic]) -> dict[Topic, int]:
    """The versions of contests and submissions; those that do not exist are left out."""
    found: dict[Topic, int] = {}
    wanted = {
        kind: [topic.key for topic in topics if topic.kind == kind] for kind in ("contest", "submission")
    }
    with store.database.read() as c:
        for kind, table, column in (
            ("contest", t.contests, t.contests.c.slug),
            ("submission", t.submissions, t.submissions.c.id),
        ):
            query = sa.select(column, table.c.version).where(column.in_(wanted[kind]))
            found |= {Topic(kind, row[0]): row[1] for row in c.execute(query)} if wanted[kind] else {}
    return found


@dataclass(eq=False)
class _Watcher:
    """One stream: what it is about, and the version it has been told."""

    topic: Topic
    told: int | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Pulse:
    """Streams, and the task that feeds them."""

    def __init__(self, store: Store, streams: int, seconds: float = 1.0) -> None:
        """`streams`: at most so many at once; `seconds`: between two looks at the database."""
        self.store, self.streams, self.seconds = store, streams, seconds
        self._watchers: set[_Watcher] = set()
        self._closing = False

    @property
    def full(self) -> bool:
        """Whether no further stream is taken."""
        return len(self._watchers) >= self.streams

    async def run(self) -> None:
        """Look at the database until cancelled; a look that fails is left out."""
        while True:
            await asyncio.sleep(self.seconds)
            topics = {watcher.topic for watcher in self._watchers}
            if not topics:
                continue
            with contextlib.suppress(SQLAlchemyError):
                found = await run_in_threadpool(versions, self.store, topics)
                for watcher in self._watchers:
                    version = found.get(watcher.topic, watcher.told)
                    if version != watcher.told:
                        watcher.told = version
                        watcher.news.set()

    def close(self) -> None:
        """End all streams."""
        self._closing = True
        for watcher in self._watchers:
            watcher.news.set()

    async def stream(self, topic: Topic) -> AsyncGenerator[bytes]:
        """Events about a topic until the listener leaves."""
        watcher = _Watcher(topic)
        self._watchers.add(watcher)
        try:
            yield b"retry: 3000\n\n"
            while not self._closing:
                try:
                    await asyncio.wait_for(watcher.news.wait(), 15.0)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                watcher.news.clear()
                if not self._closing:
                    yield f"event: change\ndata: {watcher.told}\n\n".encode()
        finally:
            self._watchers.remove(watcher)


__all__ = ["Pulse", "Topic", "versions"]
