"""What the contest takes in: archives that are safe to unpack, contests as data, scores and limits."""

import io
import math
import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from headstart.contest import archive, auth, contests, scoring
from headstart.contest.contests import Contest, Level
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


def many(count: int) -> bytes:
    """An archive of many empty files, its directory written by hand: as small as they can be."""
    entry = (
        struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
        + b"a"
    )
    return entry * count


def ended(directory: bytes, count: int, size: int | None = None, zip64: bool = False) -> bytes:
    """A directory with the records that follow it, which may lie about it."""
    size = len(directory) if size is None else size
    if not zip64:
        return directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, 0, 0)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(directory), 1)
    most = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    return directory + record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *most, 0)


@pytest.mark.parametrize("claimed", [60_000, 3, 0])
@pytest.mark.parametrize("zip64", [False, True])
def test_a_directory_without_end_is_not_read(
    monkeypatch: pytest.MonkeyPatch, claimed: int, zip64: bool
) -> None:
    """`zipfile` takes what the directory holds, whatever the record says of it."""
    data = ended(many(60_000), claimed, zip64=zip64)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert len(file.infolist()) == 60_000
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UsageError, match="60000 entries, at most 2000 are allowed"):
        archive.check(data)


@pytest.mark.parametrize(
    "data",
    [
        ended(many(3), 3) + b"more",
        ended(many(3), 3, 1 << 20),
        ended(many(3), 3, 1 << 20, zip64=True),
        ended(many(3), 3)[:-1],
        ended(many(60_000), 60_000) + b"PK\5\6",
        ended(many(60_000), 60_000, zip64=True).replace(b"PK\6\6", b"PK\6\5"),
    ],
)
def test_records_that_can_be_read_in_two_ways_are_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="no readable ZIP"):
        archive.check(data)


def test_an_archive_with_a_comment_or_long_records_is_taken(tmp_path: Path) -> None:
    buffer = io.BytesIO(zipped(("agent.py", b"x")))
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = b"by hand"
    archive.check(buffer.getvalue())
    plain = zipped(("agent.py", b"x"))
    end = plain.rfind(b"PK\5\6")
    size, start = struct.unpack_from("<2L", plain, end + 12)
    long = plain[:start] + ended(plain[start:end], 2, zip64=True)
    record = long.rfind(b"PK\6\6")
    long = long[: record + 48] + struct.pack("<Q", start) + long[record + 56 :]
    assert size == end - start
    archive.unpack(long, tmp_path / "out")
    assert (tmp_path / "out" / "agent.py").read_bytes() == b"x"


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


def test_a_level_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "a.txt").write_bytes(b"\xff\xfe#")
    path = tmp_path / "cup.toml"
    path.write_text('title = "T"\nsuite = "platformer-v0"\nbudget = 10\n[public]\nfolder = "hidden"\n')
    with pytest.raises(UsageError, match=r"a\.txt cannot be read"):
        contests.read(path)


# limits


def test_a_bucket_fills_as_time_goes() -> None:
    clock = Clock()
    limiter = auth.Limiter(rate=0.5, burst=3.0, clock=clock)
    assert [limiter.allow("a") for _ in range(4)] == [True, True, True, False]
    assert limiter.allow("b")
    clock.now += 2.0
    assert [limiter.allow("a") for _ in range(2)] == [True, False]
    for i in range(20_000):
        limiter.allow(str(i))
    assert len(limiter._left) <= 10_000
