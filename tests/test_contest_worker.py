"""A worker between a server and an evaluation, both in this process: what it hands over, what it does when either fails."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from headstart.contest import archive, queue
from headstart.contest.archive import Limits
from headstart.contest.contests import Contest, Level
from headstart.contest.evaluation import Episode, Job, Verdict
from headstart.contest.remote import Remote
from headstart.contest.server import LocalWorkers, make_app
from headstart.contest.store import Store
from headstart.contest.web import ServerConfig
from headstart.contest.worker import EvaluatorError, work, work_once
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
    assert seen == [Job("bandit-v0", "first\nlevel", 7, 100, 60.0, "none", seen[0].noise)]
    assert store.submission(key).state == "scored"
    assert store.score(key, "public") == (3.0, None)
    with store.database.read() as c:
        job, spent = c.exec_driver_sql("select id, spent from jobs").one()
        assert c.exec_driver_sql("select name, kind from films").one() == ("best", "gif")
    assert (spent, store.queue.log(job)) == (100, "said \ufffd\ufffd")
    assert store.queue.episodes(job) == [[2.0, 60, True], [4.0, 40, False]]
    assert not work_once(remote, evaluate, "none"), "there is nothing left"


def test_the_noise_is_the_submissions_own_and_the_servers_secret(tmp_path: Path) -> None:
    """The same archive, level and seed meet the same noise; whatever differs, also the server's key, gives another."""
    found: dict[object, int] = {}
    for server in ("one", "two"):
        store = Store(tmp_path / server)
        levels = (Level("a", "a"), Level("b", "b"))
        store.add_contest(Contest("cup", "Cup", "bandit-v0", 100, (7, 8), 60.0, levels))
        ada = store.users.add("Ada")
        for place, data in enumerate((b"first", b"first", b"second")):
            store.submit(store.contest("cup"), ada, "agent", data)
            for _ in range(4):
                lease = store.queue.lease("worker")
                found[server, place, lease.label, lease.seed] = lease.noise
        store.close()
    first, again = ([n for (s, p, *_), n in found.items() if (s, p) == ("one", place)] for place in (0, 1))
    assert first == again
    assert len(set(found.values())) == 2 * 2 * 4
    assert all(0 <= noise < 1 << 64 for noise in found.values())


def test_an_archive_that_unpacks_badly_is_a_verdict(store: Store, remote: Remote, tmp_path: Path) -> None:
    key = sent(store, tmp_path)
    store.archive(key).write_bytes(b"gone wrong on disk")
    assert work_once(remote, lambda *_: pytest.fail("it must not be played"), "none")
    ended = store.submission(key)
    assert (ended.state, ended.reason) == ("failed", "refused: the archive is no readable ZIP file.")


def test_an_archive_may_be_as_large_as_the_server_says(
    store: Store, wire: Wire, remote: Remote, tmp_path: Path
) -> None:
    key = sent(store, tmp_path)
    for upload, state in ((100, "failed"), (1000, "scored")):
        wire.app = make_app(store, ServerConfig(Limits.of(upload)))
        assert work_once(remote, lambda folder, job, out, beat: verdict(out), "none")
        assert store.submission(key).state == state
        store.rerun(key)
    assert Limits.of(128 << 20) == Limits(packed=128 << 20, unpacked=512 << 20)


def broken(*_: object) -> Verdict:
    raise RunError("no sandbox is left.")


def free(store: Store) -> None:
    """As if the lease of every job had run out."""
    with store.database.write() as c:
        c.exec_driver_sql("update jobs set until = 0")


def test_a_broken_evaluator_gives_the_job_back(store: Store, remote: Remote, tmp_path: Path) -> None:
    """It rests as long as a lease holds; then a worker that is whole plays it, and nothing is lost."""
    key = sent(store, tmp_path)
    with pytest.raises(EvaluatorError, match="no sandbox is left"):
        work_once(remote, broken, "none")
    assert store.submission(key).state == "running"
    assert not work_once(remote, broken, "none"), "it rests"
    free(store)
    assert work_once(remote, lambda folder, job, out, beat: verdict(out), "none")
    assert store.submission(key).state == "scored"


def test_what_no_evaluator_can_play_is_given_up(store: Store, remote: Remote, tmp_path: Path) -> None:
    key = sent(store, tmp_path)
    for _ in range(queue.ATTEMPTS):
        assert store.submission(key).state in ("queued", "running")
        with pytest.raises(EvaluatorError):
            work_once(remote, broken, "none")
        free(store)
    assert not work_once(remote, lambda *_: pytest.fail("no more"), "none")
    ended = store.submission(key)
    assert (ended.state, ended.reason) == (
        "failed",
        f"abandoned: given up after {queue.ATTEMPTS} tries, of which the last said: no sandbox is left.",
    )


@pytest.mark.parametrize("where", ["unpacking", "playing"])
def test_a_full_disk_is_the_evaluators_fault(
    store: Store, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    key = sent(store, tmp_path)

    def full(*_: object) -> Verdict:
        raise OSError(28, "No space left on device")

    if where == "unpacking":
        monkeypatch.setattr(archive, "_write", full)
    with pytest.raises(EvaluatorError, match="No space left on device"):
        work_once(remote, full, "none")
    assert store.submission(key).state == "running"


def test_a_broken_worker_rests_longer_and_longer(
    store: Store, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(store, tmp_path)
    store.queue.seconds = -1.0  # a lease that has run out at once: nothing rests but the worker
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    def evaluate(folder: Path, job: Job, out: Path, heartbeat: Beat) -> Verdict:
        tried.append(now[0])
        return broken() if len(tried) < 9 else verdict(out)

    tried = list[float]()
    # The worker's own name for the module: other threads of this process keep the real clock.
    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: now[0])
    monkeypatch.setattr("headstart.contest.worker.time", clock)
    work(remote, evaluate, "none", lambda: len(tried) < 9)
    assert [b - a for a, b in itertools.pairwise(tried)] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert set(slept) == {1.0}, "it looks every second whether it is wanted"


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
    clock = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr("headstart.contest.remote.time", clock)

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
