"""Live news: who comes to a stream is told what is now, and every change after that."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart.contest.contests import Contest, Level
from headstart.contest.pulse import Pulse, Topic
from headstart.contest.store import Store

CUP = Topic("contest", "cup")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.add_contest(Contest("cup", "Cup", "none", 100, (0,), 60.0, (Level("one", "one"),)))
    yield made
    made.close()


async def versions(pulse: Pulse, count: int) -> list[int]:
    """What one who watches the cup is told."""
    told: list[int] = []
    stream = pulse.stream(CUP)
    async for event in stream:
        if event.startswith(b"event: change\n"):
            told.append(int(event.split(b"data: ")[1]))
        if len(told) == count:
            break
    await stream.aclose()
    return told


@contextlib.asynccontextmanager
async def beating(pulse: Pulse) -> Iterator[None]:
    task = asyncio.create_task(pulse.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_who_comes_later_is_told_what_is_now(store: Store) -> None:
    async def watch() -> None:
        pulse = Pulse(store, 10, seconds=0.02)
        async with beating(pulse), asyncio.timeout(5.0):
            first = asyncio.create_task(versions(pulse, 2))
            await asyncio.sleep(0.2)  # the topic is known by now, and somebody is watching it
            now = store.contest("cup").version
            assert await versions(pulse, 1) == [now]
            store.set_state("cup", "open")
            assert await first == [now, store.contest("cup").version]

    asyncio.run(watch())


def test_a_watcher_is_told_each_version_once_and_the_place_is_free_again(store: Store) -> None:
    async def watch() -> None:
        pulse = Pulse(store, 1, seconds=0.02)
        async with beating(pulse), asyncio.timeout(5.0):
            watching = asyncio.create_task(versions(pulse, 3))
            for state in ("open", "closed"):
                await asyncio.sleep(0.2)
                assert pulse.full
                store.set_state("cup", state)
            told = await watching
            assert told == sorted(set(told))
            assert not pulse.full

    asyncio.run(watch())


def test_closing_ends_streams(store: Store) -> None:
    async def watch() -> None:
        pulse = Pulse(store, 10, seconds=0.02)
        async with beating(pulse), asyncio.timeout(5.0):
            watching = asyncio.create_task(versions(pulse, 5))
            await asyncio.sleep(0.1)
            pulse.close()
            assert len(await watching) <= 1

    asyncio.run(watch())
