"""A worker between a server and an evaluation, both in this process: what it hands over, what it does when either fails."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from headstart.contest import archive
from headstart.contest.contests import Contest, Level
from headstart.contest.evaluation import Episode, Job, Verdict
from headstart.contest.remote import Remote
from headstart.contest.server import LocalWorkers, make_app
from headstart.contest.store import Store
from headstart.contest.worker import work_once
from headstart.errors import RunError, UsageError

Beat = Callable[[int], bool]


class Wire(httpx.BaseTransport):
    """Carries requests to an application in this process; the first `down` of them find nobody there."""

    def __init__(self, store: Store) -> None:
        self.app, self.down = make_app(store), 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.down > 0:
            self.down -= 1
            raise httpx.ConnectError("nobody there")
        return asyncio.run(self._carry(request, request.read()))

    async def _carry(self, request: httpx.Request, content: bytes) -> httpx.Response:
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=content)
        answer = await httpx.ASGITransport(self.app).handle_async_request(sent)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "data")
    made.add_contest(Contest("cup", "Cup", "bandit-v0", 100, (7,), 60.0, (Level("one", "first\nlevel"),)))
    yield made
    made.close()


@pytest.fixture
def wire(store: Store) -> Wire:
    return Wire(store)


@pytest.fixture
def remote(store: Store, wire: Wire) -> Remote:
    return Remote("http://here", store.users.new_token(store.users.add("hand", "worker")), transport=wire)


def sent(store: Store, folder: Path) -> str:
    (folder / "agent").mkdir()
    (folder / "agent" / "submission.toml").write_text("mine")
    data = archive.pack(folder / "agent")
    return store.submit(store.contest("cup"), store.users.add("Ada"), "agent", data).id


def verdict(out: Path, status: str = "budget") -> Verdict:
    (out / "log").write_bytes(b"said \xff\0")
    (out / "best.gif").write_bytes(b"GIF89a")
    episodes = [Episode(2.0, 60, True), Episode(4.0, 40, False)]
    return Verdict(status, 3.0, episodes, 100, "", out / "log", (out / "best.gif",))


def test_a_job_is_played_and_told(store: Store, remote: Remote, tmp_path: Path) -> None:
    key, seen = sent(store, tmp_path), list[Job]()

    def evaluate(folder: Path, job: Job, out: Path, heartbeat: Beat) -> Verdict:
        assert (folder / "submission.toml").read_text() == "mine"
        assert heartbeat(50)
        seen.append(job)
        return verdict(out)

    assert work_once(remote, evaluate, "none")
    assert seen == [Job("bandit-v0", "first\nlevel", 7, 100, 60.0, "none")]
    assert store.submission(key).state == "scored"
    assert store.score(key, "public") == (3.0, None)
    with store.database.read() as c:
        job, spent = c.exec_driver_sql("select id, spent from jobs").one()
        assert c.exec_driver_sql("select name, kind from films").one() == ("best", "gif")
    assert (spent, store.queue.log(job)) == (100, "said \ufffd\ufffd")
    assert store.queue.episodes(job) == [[2.0, 60, True], [4.0, 40, False]]
    assert not work_once(remote, evaluate, "none"), "there is nothing left"


def test_an_archive_that_unpacks_badly_is_a_verdict(store: Store, remote: Remote, tmp_path: Path) -> None:
    key = sent(store, tmp_path)
    store.archive(key).write_bytes(b"gone wrong on disk")
    assert work_once(remote, lambda *_: pytest.fail("it must not be played"), "none")
    ended = store.submission(key)
    assert (ended.state, ended.reason) == ("failed", "refused: the archive is no readable ZIP file.")


def test_an_evaluation_that_cannot_be_made_is_a_verdict(store: Store, remote: Remote, tmp_path: Path) -> None:
    key = sent(store, tmp_path)

    def evaluate(*_: object) -> Verdict:
        raise RunError("no sandbox is left.")

    assert work_once(remote, evaluate, "none")
    assert store.submission(key).reason == "error: no sandbox is left."


def test_a_job_that_went_to_another_is_not_counted(store: Store, remote: Remote, tmp_path: Path) -> None:
    key = sent(store, tmp_path)

    def evaluate(folder: Path, job: Job, out: Path, heartbeat: Beat) -> Verdict:
        with store.database.write() as c:
            c.exec_driver_sql("update jobs set until = 0")
        assert store.queue.lease("another") is not None
        return verdict(out)

    assert work_once(remote, evaluate, "none")
    assert store.submission(key).state == "running"
    assert store.queue.waiting()["leased"] == 1


def test_a_server_that_is_away_for_a_while_loses_nothing(
    store: Store, wire: Wire, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, slept = sent(store, tmp_path), list[float]()
    monkeypatch.setattr("headstart.contest.remote.time.sleep", slept.append)

    def evaluate(folder: Path, job: Job, out: Path, heartbeat: Beat) -> Verdict:
        wire.down = 4
        return verdict(out)

    assert work_once(remote, evaluate, "none")
    assert slept == [0.2, 0.4, 0.8, 1.6]
    assert store.score(key, "public")[0] == 3.0
    wire.down = 10_000
    with pytest.raises(RunError, match="does not answer"):
        remote.insist("GET", "/contests", seconds=0.1)


def test_a_wrong_token_ends_the_worker(wire: Wire) -> None:
    with pytest.raises(UsageError, match="this token is not known"):
        work_once(Remote("http://here", "hs_wrong", transport=wire), lambda *_: pytest.fail("no"), "none")
    with pytest.raises(UsageError, match="a token is needed"):
        Remote("http://here", "")
    with pytest.raises(UsageError, match="begins with http"):
        Remote("ftp://here", "t")


def test_local_workers_are_started_again(tmp_path: Path) -> None:
    async def watch() -> int:
        note = tmp_path / "starts"
        crew = LocalWorkers(["sh", "-c", f"echo x >> {note}"], 1, {"PATH": "/usr/bin:/bin"})
        task = asyncio.create_task(crew.keep(0.05))
        for _ in range(200):
            await asyncio.sleep(0.05)
            if note.is_file() and len(note.read_text().split()) >= 2:
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(note.read_text().split())

    assert asyncio.run(watch()) >= 2
