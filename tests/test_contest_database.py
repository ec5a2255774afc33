"""Users and the queue of evaluations, on SQLite and on a PostgreSQL server of our own."""

import importlib.util
import math
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.test_contest_store import Clock, contest, zipped

from headstart.contest import auth, board
from headstart.contest import schema as t
from headstart.contest.database import Database
from headstart.contest.queue import ATTEMPTS, Lease, Outcome
from headstart.contest.store import Store
from headstart.errors import RunError, UsageError


def initdb() -> Path | None:
    """PostgreSQL's programs are on the path, or where Debian keeps them."""
    found = shutil.which("initdb")
    kept = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return kept[-1] if kept else None


def answers(url: str) -> bool:
    engine = sa.create_engine(url)
    try:
        with engine.connect():
            return True
    except sa.exc.OperationalError:
        return False
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a PostgreSQL server that is ours alone: in a folder of its own, by a socket there, no network."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'headstart[postgres]'")
    programs = initdb()
    if programs is None:
        pytest.skip("PostgreSQL is not installed on this machine")
    folder = Path(tempfile.mkdtemp(prefix="headstart-pg-"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        shutil.chown(folder, "postgres")
        who = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder}
    words = ["--auth=trust", "--username=headstart", "--no-sync", "--encoding=UTF8", "--locale=C"]
    made = subprocess.run([programs, "-D", folder / "data", *words], capture_output=True, check=False, **who)
    assert made.returncode == 0, made.stderr.decode()
    settings = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        command = [programs.with_name("postgres"), "-D", folder / "data", *settings]
        server = subprocess.Popen(command, stdout=log, stderr=log, **who)
    try:
        url = f"postgresql+psycopg://headstart@/postgres?host={folder}"
        end = time.monotonic() + 60.0
        while not answers(url):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database; "" is SQLite in the data folder."""
    if request.param == "sqlite":
        yield ""
        return
    server = request.getfixturevalue("cluster")
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as c:
        c.exec_driver_sql("drop database if exists contest with (force)")
        c.exec_driver_sql("create database contest")
    engine.dispose()
    yield server.replace("/postgres?", "/contest?")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock, url: str) -> Iterator[Store]:
    made = Store(tmp_path / "data", url, clock=clock)
    made.add_contest(contest())
    yield made
    made.close()


def outcome(score: float, verdict: str = "finished") -> Outcome:
    return Outcome(verdict, score, 100, "", [(score, 50, True), (score, 50, True)], "said\n")


# users


def test_a_token_is_known_by_its_digest_only(store: Store, clock: Clock, tmp_path: Path) -> None:
    ada = store.users.add("Ada")
    token = store.users.new_token(ada, days=2)
    assert store.users.by_token(token) == ada
    secret = token.split("_", 2)[2]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with store.database.read() as c:
        kept += str(c.execute(sa.select(t.tokens)).all()).encode()
    assert auth.digest(secret).encode() in kept
    assert secret.encode() not in kept
    assert store.users.by_token(token[:-1] + ("a" if token[-1] != "a" else "b")) is None
    assert store.users.by_token("hs_" + "a" * 12 + "_" + secret) is None
    assert store.users.by_token("") is None
    clock.now += 2 * 86_400
    assert store.users.by_token(token) is None, "it has expired"
    assert (tmp_path / "data" / "server.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_who_is_disabled_or_revoked_is_out(store: Store) -> None:
    ada = store.users.add("Ada")
    token = store.users.new_token(ada)
    session = store.users.open_session(ada, token)
    assert store.users.by_session(session) == ada
    store.users.disable("Ada")
    assert store.users.by_token(token) is None
    assert store.users.by_session(session) is None
    store.users.disable("Ada", False)
    assert store.users.by_token(token) == ada
    assert store.users.revoke_tokens(ada) == 1
    assert store.users.by_token(token) is None


@pytest.mark.parametrize("name", ["", " a", "a/b", "<b>", "x" * 41, "a\n", "_a"])
def test_a_name_that_is_none_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="no user's name"):
        store.users.add(name)


def test_a_session_ends_with_the_token_that_opened_it(store: Store, clock: Clock) -> None:
    ada = store.users.add("Ada")
    short, long = (store.users.open_session(ada, store.users.new_token(ada, days)) for days in (2, None))
    clock.now += 2 * 86_400 - 1
    assert store.users.by_session(short) == ada
    clock.now += 1
    assert store.users.by_session(short) is None
    assert store.users.by_session(long) == ada
    clock.now += 12 * 86_400
    assert store.users.by_session(long) is None


# the queue


def drain(store: Store, score: Callable[[Lease], float]) -> int:
    count = 0
    while lease := store.queue.lease("w"):
        assert store.queue.finish(lease.job, lease.lease, outcome(score(lease)))
        count += 1
    return count


def test_a_submission_is_scored_when_its_last_job_ends(store: Store) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    assert (sent.state, sent.number) == ("queued", 1)
    assert store.archive(sent.id).read_bytes() == zipped()
    assert drain(store, lambda job: {"one": 1.0, "two": 4.0}[job.label] + 2 * job.seed) == 4
    assert store.submission(sent.id).state == "scored"
    with store.database.read() as c:
        rows = c.exec_driver_sql("select board, score, error from standings").all()
    assert [tuple(row) for row in rows] == [("public", 3.5, pytest.approx(math.sqrt(0.5)))]


def test_a_job_whose_worker_fell_silent_is_taken_up_and_counted_once(store: Store, clock: Clock) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    first = store.queue.lease("one")
    assert first is not None
    clock.now += 50
    assert store.queue.beat(first.job, first.lease, 10)
    clock.now += 50
    assert (other := store.queue.lease("two")) is not None
    assert other.job != first.job, "its heartbeat has held the lease"
    clock.now += 20
    again = store.queue.lease("two")
    assert again is not None
    assert (again.job, again.lease != first.lease) == (first.job, True)
    assert not store.queue.beat(first.job, first.lease, 11)
    assert not store.queue.finish(first.job, first.lease, outcome(5.0)), "another holds it now"
    assert store.queue.finish(again.job, again.lease, outcome(6.0))
    assert not store.queue.finish(again.job, again.lease, outcome(7.0)), "it has ended"
    assert store.submission(sent.id).state == "running"
    with store.database.read() as c:
        scores = c.exec_driver_sql("select score from jobs where score is not null").scalars().all()
    assert scores == [6.0]


def test_a_submission_that_crashes_is_not_tried_further(store: Store) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    lease = store.queue.lease("w")
    assert lease is not None
    store.queue.finish(lease.job, lease.lease, Outcome("crashed", 0.0, 3, "ValueError", [], "Traceback"))
    ended = store.submission(sent.id)
    assert (ended.state, ended.reason) == ("failed", "crashed: ValueError")
    assert store.queue.lease("w") is None
    assert store.queue.log(lease.job) == "Traceback"
    store.rerun(sent.id)
    assert drain(store, lambda _: 1.0) == 4
    assert store.submission(sent.id).state == "scored"


def test_a_job_that_kills_its_workers_is_given_up(store: Store, clock: Clock) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    first = store.queue.lease("w")
    for _ in range(ATTEMPTS):
        clock.now += 61
        lease = store.queue.lease("w")
    assert first is not None
    assert lease is None
    assert store.submission(sent.id).reason.startswith("abandoned: given up after")


def test_a_cancelled_submission_tells_its_worker(store: Store) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    lease = store.queue.lease("w")
    assert lease is not None
    store.withdraw(sent.id, "cancelled", "")
    assert not store.queue.beat(lease.job, lease.lease, 1)
    assert not store.queue.finish(lease.job, lease.lease, outcome(1.0))
    assert store.queue.lease("w") is None


def test_tries_are_limited_a_day_and_numbered(store: Store, clock: Clock) -> None:
    cup, ada = contest(slug="small", tries_a_day=2), store.users.add("Ada")
    store.add_contest(cup)
    assert [store.submit(cup, ada, "a", zipped()).number for _ in range(2)] == [1, 2]
    with pytest.raises(UsageError, match="2 submissions a day are allowed"):
        store.submit(cup, ada, "a", zipped())
    assert len(list((store.database.folder / "submissions").iterdir())) == 2, "what was refused is not kept"
    assert store.submit(cup, store.users.add("Bo"), "b", zipped()).number == 1
    clock.now += 86_401
    assert store.submit(cup, ada, "a", zipped()).number == 3


def test_what_is_sent_twice_under_one_key_is_one_submission(store: Store) -> None:
    cup, ada = contest(slug="small", tries_a_day=1), store.users.add("Ada")
    store.add_contest(cup)
    first = store.submit(cup, ada, "agent", zipped(), "k1")
    store.set_state("small", "closed")
    assert store.submit(cup, ada, "agent", zipped(), "k1") == first, "neither limits nor dates are against it"
    with pytest.raises(UsageError, match="sent something else"):
        store.submit(cup, ada, "agent", zipped(("more", b"")), "k1")
    store.set_state("small", "open")
    with pytest.raises(UsageError, match="1 submissions a day are allowed"):
        store.submit(cup, ada, "agent", zipped(), "k2")
    assert store.submit(cup, store.users.add("Bo"), "agent", zipped(), "k1").author == "Bo"
    assert store.submit(store.contest("cup"), ada, "agent", zipped(), "k1").contest == "cup"
    assert len(list((store.database.folder / "submissions").iterdir())) == 3
    assert store.queue.waiting()["waiting"] == 12


def test_a_data_folder_of_before_is_brought_up_to_date(store: Store, url: str, tmp_path: Path) -> None:
    cup, ada = store.contest("cup"), store.users.add("Ada")
    old = store.submit(cup, ada, "old", zipped())
    with store.database.write() as c:
        c.exec_driver_sql("drop index submissions_key")
        c.exec_driver_sql('alter table submissions drop column "key"')
    for _ in range(2):
        again = Store(tmp_path / "data", url)
        assert again.submission(old.id) == old
        sent = again.submit(cup, ada, "new", zipped(), "k")
        assert again.submit(cup, ada, "new", zipped(), "k") == sent
        again.close()
    assert [one.name for one in store.submissions("cup")] == ["new", "old"]


def test_a_closed_contest_takes_nothing(store: Store) -> None:
    store.set_state("cup", "closed")
    with pytest.raises(UsageError, match="takes no submissions now"):
        store.submit(store.contest("cup"), store.users.add("Ada"), "a", zipped())
    with pytest.raises(UsageError, match="scheduled, open or closed, not ajar"):
        store.set_state("cup", "ajar")


def test_the_final_is_played_once(store: Store) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    drain(store, lambda _: 1.0)
    assert [store.start_final("cup", [sent.id]) for _ in range(2)] == [1, 0]
    assert drain(store, lambda job: 8.0 if job.label == "end" else -1.0) == 2
    with store.database.read() as c:
        rows = c.exec_driver_sql("select board, score from standings order by board").all()
    assert [tuple(row) for row in rows] == [("final", 8.0), ("public", 1.0)]


def standings(store: Store) -> dict[str, float]:
    with store.database.read() as c:
        return {row.board: row.score for row in c.exec_driver_sql("select board, score from standings")}


def test_each_board_is_run_again_for_itself(store: Store) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    drain(store, lambda _: 1.0)
    store.start_final("cup", [sent.id])
    with pytest.raises(UsageError, match="is being played on the other board"):
        store.rerun(sent.id)
    drain(store, lambda _: 8.0)
    store.rerun(sent.id)
    assert (store.submission(sent.id).state, standings(store)) == ("queued", {"final": 8.0})
    assert drain(store, lambda _: 2.0) == 4
    store.rerun(sent.id, "final")
    assert (store.submission(sent.id).state, standings(store)) == ("scored", {"public": 2.0})
    assert drain(store, lambda _: 9.0) == 2
    assert standings(store) == {"public": 2.0, "final": 9.0}


def test_a_final_that_failed_can_be_played_again(store: Store) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    with pytest.raises(UsageError, match=r"is queued; .*scored"):
        store.rerun(sent.id, "final")
    drain(store, lambda _: 1.0)
    store.start_final("cup", [sent.id])
    lease = store.queue.lease("w")
    assert lease is not None
    store.queue.finish(lease.job, lease.lease, outcome(0.0, "memory"))
    assert store.start_final("cup", [sent.id]) == 0
    assert drain(store, lambda _: 1.0) == 0
    store.rerun(sent.id, "final")
    assert drain(store, lambda _: 5.0) == 2
    assert standings(store) == {"public": 1.0, "final": 5.0}


def test_a_contest_without_a_final_has_none_to_run_again(store: Store) -> None:
    store.add_contest(contest(slug="plain", final=()))
    sent = store.submit(store.contest("plain"), store.users.add("Ada"), "agent", zipped())
    drain(store, lambda _: 1.0)
    with pytest.raises(UsageError, match="plain has no levels for a final board"):
        store.rerun(sent.id, "final")


def test_films_go_with_what_they_show(store: Store) -> None:
    sent = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    folder = store.database.folder / "films"
    lease = store.queue.lease("w")
    assert lease is not None
    for body in (b"GIF89a", b"GIF89a again"):
        assert store.queue.keep_film(lease.job, lease.lease, "best", "gif", body)
    assert store.queue.keep_film(lease.job, lease.lease, "best", "mp4", b"film")
    assert [path.read_bytes() for path in folder.iterdir()] == [b"film"]
    store.rerun(sent.id)
    assert list(folder.iterdir()) == []


def test_a_film_is_kept_for_its_holder_only(store: Store) -> None:
    store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    lease = store.queue.lease("w")
    assert lease is not None
    assert not store.queue.keep_film(lease.job, "wrong", "best", "gif", b"GIF89a")
    assert list((store.database.folder / "films").iterdir()) == []
    assert all(store.queue.keep_film(lease.job, lease.lease, "best", "gif", b"GIF89a") for _ in range(2))
    with store.database.read() as c:
        assert len(c.exec_driver_sql("select * from films").all()) == 1


# many at once


def all_at_once(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in threads that begin together; what one raises is raised here."""
    gate, failed = threading.Barrier(count), list[BaseException]()

    def run(k: int) -> None:
        try:
            gate.wait(20)
            work(k)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if failed:
        raise failed[0]


def test_uploads_at_once_take_different_numbers_and_no_more_than_allowed(store: Store) -> None:
    cup, ada, refused = store.contest("cup"), store.users.add("Ada"), list[int]()

    def upload(k: int) -> None:
        try:
            store.submit(cup, ada, f"agent {k}", zipped())
        except UsageError:
            refused.append(k)

    all_at_once(8, upload)
    assert sorted(one.number for one in store.submissions("cup")) == [1, 2, 3, 4, 5]
    assert len(refused) == 3


def test_workers_at_once_get_every_job_once(store: Store) -> None:
    ada = store.users.add("Ada")
    sent = [store.submit(store.contest("cup"), ada, f"agent {k}", zipped()).id for k in range(5)]
    leased, counted = list[int](), list[bool]()

    def worker(k: int) -> None:
        while lease := store.queue.lease(f"worker {k}"):
            leased.append(lease.job)
            store.queue.beat(lease.job, lease.lease, 10)
            counted.append(store.queue.finish(lease.job, lease.lease, outcome(float(lease.seed))))

    all_at_once(6, worker)
    assert len(leased) == len(set(leased)) == 20
    assert all(counted)
    assert {store.submission(key).state for key in sent} == {"scored"}
    assert [store.score(key, "public")[0] for key in sent] == [0.5] * 5


def test_failures_withdrawals_and_leases_at_once_leave_nothing_behind(store: Store) -> None:
    """What one transaction locks another may want: none may wait for ever, none may fail."""
    ada = store.users.add("Ada")
    sent = [store.submit(store.contest("cup"), ada, f"agent {k}", zipped()).id for k in range(5)]

    def worker(k: int) -> None:
        for n in range(12):
            if lease := store.queue.lease(f"worker {k}"):
                store.queue.beat(lease.job, lease.lease, 1)
                store.queue.finish(
                    lease.job, lease.lease, outcome(1.0, "crashed" if n % 3 == k % 3 else "budget")
                )
            store.withdraw(sent[(n + k) % 5], "cancelled", "") if n == 11 - k else None
            assert len(board.standing(store, "cup", "public").rows) <= 1

    all_at_once(6, worker)
    drain(store, lambda _: 1.0)
    assert store.queue.waiting() | {"ended": 0} == {"waiting": 0, "leased": 0, "ended": 0}
    assert {store.submission(key).state for key in sent} <= {"scored", "failed", "cancelled"}


def test_a_reader_sees_one_moment(store: Store) -> None:
    count = sa.select(sa.func.count()).select_from(t.users)
    with store.database.read() as c:
        before = c.scalar(count)
        store.users.add("Ada")
        assert c.scalar(count) == before
    with store.database.read() as c:
        assert c.scalar(count) == before + 1


def test_a_database_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    wrongs = [("mysql://a/b", "cannot be used"), ("no address", "cannot be used")]
    if importlib.util.find_spec("psycopg") is None:
        wrongs.append(("postgresql+psycopg://a/b", r"headstart\[postgres\]"))
    for wrong, word in wrongs:
        with pytest.raises(UsageError, match=word):
            Database(tmp_path, wrong)
    (tmp_path / "contest.sqlite").write_text("this is no database at all" * 99)
    with pytest.raises(RunError, match="cannot be opened"):
        Database(tmp_path)
