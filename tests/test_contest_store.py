"""What the contest remembers: archives that are safe to unpack, contests as data, users, and the queue of evaluations."""

import io
import math
import random
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headstart.contest import archive, auth, contests, scoring
from headstart.contest.contests import Contest, Level
from headstart.contest.queue import ATTEMPTS, Lease, Outcome
from headstart.contest.store import Store
from headstart.errors import UsageError


class Clock:
    """Time that a test moves."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def contest(**changed: object) -> Contest:
    levels = (Level("one", "one"), Level("two", "two"))
    plain = {"slug": "cup", "title": "Cup", "suite": "platformer-v0", "budget": 100, "seeds": (0, 1)}
    return Contest(
        **plain | {"wall_clock": 60.0, "public": levels, "final": (Level("end", "end"),)} | changed
    )


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], manifest: bool = True) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in [*([("submission.toml", b"")] if manifest else []), *entries]:
            entry = zipfile.ZipInfo(name) if isinstance(name, str) else name  # the same bytes at any time
            file.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = Store(tmp_path / "data", clock=clock)
    made.add_contest(contest())
    yield made
    made.close()


def outcome(score: float, verdict: str = "finished") -> Outcome:
    return Outcome(verdict, score, 100, "", [(score, 50, True), (score, 50, True)], "said\n")


# archives


def test_an_archive_comes_out_as_it_went_in(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    (folder / "sub" / "__pycache__").mkdir(parents=True)
    (folder / "submission.toml").write_text("name = 'a'")
    (folder / "sub" / "weights.bin").write_bytes(bytes(range(256)) * 9)
    (folder / "sub" / "__pycache__" / "x.pyc").write_bytes(b"x")
    data = archive.pack(folder)
    assert data == archive.pack(folder), "the same files are the same bytes"
    archive.check(data)
    archive.unpack(data, tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"submission.toml", "sub/weights.bin"}
    assert (tmp_path / "out/sub/weights.bin").read_bytes() == bytes(range(256)) * 9


def special(kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("odd")
    entry.external_attr = (kind | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (zipped(("../up", b"x")), "leads out"),
        (zipped(("/etc/passwd", b"x")), "leads out"),
        (zipped(("a/../../up", b"x")), "leads out"),
        (zipped(("a\\b", b"x")), "no plain file's"),
        (zipped(("C:x", b"x")), "no plain file's"),
        (zipped(("a\nb", b"x")), "no plain file's"),
        (zipped(("n" * 300, b"x")), "too long"),
        (zipped(("/".join("abcdefghijklmnop"), b"x")), "folders deep"),
        (zipped((special(stat.S_IFLNK), b"/etc/passwd")), "link or a device"),
        (zipped((special(stat.S_IFCHR), b"")), "link or a device"),
        (zipped((special(stat.S_IFIFO), b"")), "link or a device"),
        (zipped(("Agent.py", b""), ("agent.py", b"")), "differ only in case"),
        (zipped(("bomb", bytes(8 << 20))), "more than is allowed"),
        (zipped(*((f"f{i}", b"") for i in range(2001))), "2002 entries"),
        (zipped(("agent.py", b""), manifest=False), "no submission.toml"),
        (b"PK not a zip", "no readable ZIP"),
        (b"", "no readable ZIP"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path: Path, data: bytes, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        archive.unpack(data, tmp_path / "out")
    with pytest.raises(UsageError, match=word):
        archive.check(data)
    assert list(tmp_path.rglob("*")) == []


def test_a_bomb_that_lies_about_its_size_is_stopped(tmp_path: Path) -> None:
    data = bytearray(zipped(("bomb", bytes(8 << 20))))
    lied, at = 0, data.find(b"PK\x01\x02")
    while at >= 0:  # uncompressed size in the central directory
        data[at + 24 : at + 28] = struct.pack("<I", 10)
        lied, at = lied + 1, data.find(b"PK\x01\x02", at + 4)
    assert lied == 2
    archive.check(bytes(data))
    with pytest.raises(UsageError):
        archive.unpack(bytes(data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bytes_gone_wrong_never_do_more_than_refuse(tmp_path: Path) -> None:
    good = zipped(("agent.py", b"print(1)\n" * 50))
    for seed in range(300):
        rng = random.Random(seed)
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        out = tmp_path / "in" / str(seed)
        try:
            archive.unpack(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]), out)
        except UsageError:
            assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_a_link_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "submission.toml").write_text("")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="link or a device"):
        archive.pack(tmp_path)


# scores


def test_a_score_has_the_error_of_its_runs() -> None:
    """With x ~ N(μ_m, σ), the 95 % interval covers the mean of the μ_m about 95 times in 100."""
    rng = random.Random(0)
    truth = [float(m) for m in range(5)]
    covered, errors, n = 0, 0.0, 1000
    for _ in range(n):
        got = scoring.score([[rng.gauss(m, 2.0) for _ in range(3)] for m in truth])
        assert got.low is not None
        assert got.high is not None
        assert got.error is not None
        covered += got.low <= 2.0 <= got.high
        errors += got.error**2
    assert 0.93 < covered / n < 0.975
    assert math.isclose(errors / n, 2.0**2 / 15, rel_tol=0.06)


def test_a_curve_is_that_of_a_slow_twin() -> None:
    rng = random.Random(1)
    episodes = [(rng.random(), rng.randint(1, 30)) for _ in range(40)]
    budget = sum(length for _, length in episodes)
    bins: list[list[float]] = [[] for _ in range(7)]
    step = 0
    for reward, length in episodes:
        step += length
        bins[next(k for k in range(7) if (k + 1) * budget >= 7 * step)].append(reward)
    slow = [sum(b) / len(b) if b else None for b in bins]
    assert scoring.curve(episodes, budget, 7) == pytest.approx(slow)


# contests as data


def test_a_contest_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "b.txt").write_text("second\nlevel")
    (tmp_path / "hidden" / "a.txt").write_text("first\nlevel")
    path = tmp_path / "autumn-cup.toml"
    path.write_text(
        'title = "Autumn"\nsuite = "platformer-v0"\nbudget = 1000\nseeds = 2\nopens = 2026-11-01T00:00:00Z\n'
        '[public]\nlevels = ["practice-1"]\n[final]\nfolder = "hidden"\n'
        '[[reference]]\nname = "Human"\nscore = 7438.2\nsource = "a paper"\n'
    )
    read = contests.read(path)
    assert (read.slug, read.seeds, read.opens) == ("autumn-cup", (0, 1), 1793491200.0)
    assert read.final == (Level("a", "first\nlevel"), Level("b", "second\nlevel"))
    assert not read.is_open(1793491199.0)
    assert read.is_open(1793491200.0)
    store = Store(tmp_path / "data")
    store.add_contest(read)
    assert store.contest("autumn-cup") == read
    store.close()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("budget = 0", "budget is a number of at least 1"),
        ("budget = true", "budget is a number"),
        ("seeds = 0", "seeds is how many"),
        ("seeds = [1, 1]", "seeds is how many"),
        ("opens = 2026-11-01", "with its zone"),
        ('counts = "worst"', "best or last"),
        ("bugdet = 3", "no setting bugdet"),
        ('title = ""', "title is a text"),
    ],
)
def test_a_contest_that_is_none_is_refused(tmp_path: Path, line: str, word: str) -> None:
    lines = {"title": 'title = "T"', "suite": 'suite = "platformer-v0"', "budget": "budget = 10"}
    lines[line.partition(" ")[0]] = line
    path = tmp_path / "cup.toml"
    path.write_text("\n".join(lines.values()) + '\n[public]\nlevels = ["one"]\n')
    with pytest.raises(UsageError, match=word):
        contests.read(path)


# users


def test_a_token_is_known_by_its_digest_only(store: Store, clock: Clock, tmp_path: Path) -> None:
    ada = store.users.add("Ada")
    token = store.users.new_token(ada, days=2)
    assert store.users.by_token(token) == ada
    secret = token.split("_", 2)[2]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
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
    token, session = store.users.new_token(ada), store.users.open_session(ada)
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


def test_a_bucket_fills_as_time_goes() -> None:
    clock = Clock()
    limiter = auth.Limiter(rate=0.5, burst=3.0, clock=clock)
    assert [limiter.allow("a") for _ in range(4)] == [True, True, True, False]
    assert limiter.allow("b")
    assert limiter.empty("a")
    clock.now += 2.0
    assert not limiter.empty("a")
    assert [limiter.allow("a") for _ in range(2)] == [True, False]
    for i in range(20_000):
        limiter.allow(str(i))
    assert len(limiter._left) <= 10_000


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


def test_a_film_is_kept_for_its_holder_only(store: Store) -> None:
    store.submit(store.contest("cup"), store.users.add("Ada"), "agent", zipped())
    lease = store.queue.lease("w")
    assert lease is not None
    assert not store.queue.keep_film(lease.job, "wrong", "best", "gif", b"GIF89a")
    assert list((store.database.folder / "films").iterdir()) == []
    assert all(store.queue.keep_film(lease.job, lease.lease, "best", "gif", b"GIF89a") for _ in range(2))
    with store.database.read() as c:
        assert len(c.exec_driver_sql("select * from films").all()) == 1
