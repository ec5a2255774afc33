"""Hostile agents, each through a whole evaluation: contained, logged, answered with a clear verdict, in bounded time.

Every case has hard limits of its own: of memory, processes and disk in the sandbox, of time in the job.
"""

import io
import os
import shutil
import socket
import stat
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from headstart.contest import archive, client, wire
from headstart.contest.environment import Game
from headstart.contest.evaluation import Job, Verdict, evaluate_submission
from headstart.contest.sandbox import Limits
from headstart.contest.store import Store
from headstart.errors import UsageError

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

LIMITS = Limits(memory=200 << 20, processes=24, disk=4 << 20, files=64, cpu=60, log=8000)

RAW = """
import os, socket, struct, sys, time
PREFIX = struct.Struct("<II")
HELLO = bytes.fromhex("{hello}")
RESET = bytes.fromhex("{reset}")
STEP = bytes.fromhex("{step}")
wire = socket.socket(socket.AF_UNIX)
wire.connect(os.environ["HEADSTART_CONTEST"])
def ask(data):
    wire.sendall(data)
    return wire.recv(1 << 16)
print(len(ask(HELLO)) > 50, flush=True)
""".format(
    hello=client.message({"do": "hello", "protocol": 1, "shared": False}).hex(),
    reset=client.message({"do": "reset"}).hex(),
    step=client.message({"do": "step"}, b"\x01\x00\x00\x00").hex(),
)
"""an agent's own few lines for the wire, without NumPy, so that the battery is quick"""


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The game's programs, once, so that no case has to wait for them."""
    Game("cartpole", "task-0", 0, 1).compile()


def evaluate(tmp_path: Path, code: str, budget: int = 40, seconds: float = 60.0) -> Verdict:
    folder, out = tmp_path / "agent", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (folder / "submission.toml").write_text('name = "foe"\ncommand = ["python", "-S", "agent.py"]\n')
    (folder / "agent.py").write_text(RAW + code)
    job = Job("cartpole", "task-0", 0, budget, seconds, "bubblewrap", 0)
    begun = time.monotonic()
    verdict = evaluate_submission(folder, job, out, lambda _: True, limits=LIMITS, films=False)
    assert time.monotonic() - begun < seconds + 60
    assert verdict.message
    assert f"[{verdict.status}] {verdict.message}" in verdict.log.read_text()
    return verdict


def test_an_honest_agent_for_comparison(tmp_path):
    code = """
reply = ask(RESET)
for _ in range(40):
    reply = ask(STEP)
    if reply[PREFIX.size + 5 + 4]:  # header of 4 bytes, reward of 4, then the end's flag
        ask(RESET)
print(ask(STEP))
"""
    verdict = evaluate(tmp_path, code.replace("5 + 4", f"{len(wire.OK)} + 4"))
    assert (verdict.status, verdict.spent) == ("budget", 40)
    assert "the budget of 40 steps is spent" in verdict.log.read_text()
    assert verdict.score > 5


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("ask(RESET)\nwire.sendall(os.urandom(8) + bytes(100))", "refused", "announced"),
        ("ask(RESET)\nask(PREFIX.pack(3, 3) + bytes([0xc1] * 3))", "refused", "unreadable"),
        ("wire.sendall(PREFIX.pack(2**31, 8) + bytes(1 << 20))", "refused", "was announced"),
        ("ask(RESET)\nwire.sendall(STEP[:-2])", "refused", "cut off"),
        (
            "ask(RESET)\nwire.sendall(STEP * 1000)\ntime.sleep(60)",
            "refused",
            "before the last one was answered",
        ),
        ("ask(RESET)\nprint(ask(STEP[:-4] + struct.pack('<i', 7)))", "refused", "outside the space"),
        ("ask(RESET)\nsys.exit('no idea')", "crashed", "exit code 1"),
        ("ask(RESET)\nos.kill(os.getpid(), 11)", "crashed", "exit code"),
        ("ask(RESET)\nask(STEP)", "finished", "after 1 of 40 steps"),
    ],
    ids=[
        "noise",
        "no-header",
        "huge",
        "truncated",
        "claiming-steps",
        "no-action",
        "crash",
        "fault",
        "leaves",
    ],
)
def test_the_verdict_says_what_happened(tmp_path, code, status, message):
    verdict = evaluate(tmp_path, code)
    assert (verdict.status, verdict.spent <= 1) == (status, True), verdict
    assert message in verdict.message


def test_a_slow_message_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "STALL", 0.6)
    verdict = evaluate(tmp_path, "for byte in STEP:\n    wire.sendall(bytes([byte]))\n    time.sleep(0.5)")
    assert (verdict.status, verdict.message) == ("refused", "a message was begun and not completed.")


def test_who_never_answers_runs_out_of_time(tmp_path):
    begun = time.monotonic()
    verdict = evaluate(tmp_path, "ask(RESET)\nask(STEP)\ntime.sleep(600)", seconds=6.0)
    assert (verdict.status, verdict.spent) == ("wall-clock", 1)
    assert len(verdict.episodes) == 1
    assert not verdict.episodes[0].finished
    assert time.monotonic() - begun < 60


def test_who_never_connects_runs_out_of_time(tmp_path):
    folder, out = tmp_path / "agent", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (folder / "submission.toml").write_text('name = "foe"\ncommand = ["sleep", "600"]\n')
    job = Job("cartpole", "task-0", 0, 40, 2.0, "bubblewrap", 0)
    verdict = evaluate_submission(folder, job, out, lambda _: True, limits=LIMITS, films=False)
    assert (verdict.status, verdict.score, verdict.spent) == ("wall-clock", 0.0, 0)


def test_a_reset_in_mid_episode_and_a_step_after_the_end_change_nothing(tmp_path):
    code = """
print(ask(STEP))
ask(RESET)
for _ in range(5):
    ask(STEP)
    print(ask(RESET))
while b"error" not in (reply := ask(STEP)):
    pass
print(reply)
"""
    verdict = evaluate(tmp_path, code)
    log = verdict.log.read_text()
    assert log.count("mid-episode") == 5
    assert log.count("episode-over") == 2
    assert len(verdict.episodes) == 1
    assert verdict.spent == verdict.episodes[0].length < 40


def test_there_is_no_second_connection(tmp_path):
    code = """
try:
    socket.socket(socket.AF_UNIX).connect(os.environ["HEADSTART_CONTEST"])
except OSError as error:
    print(type(error).__name__)
"""
    assert "FileNotFoundError" in evaluate(tmp_path, code).log.read_text()


def test_hidden_levels_and_the_evaluator_are_out_of_reach(tmp_path):
    (tmp_path / "hidden.txt").write_text("the hidden level")
    code = f"""
def seen(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__
print(seen({str(tmp_path / "hidden.txt")!r}), seen("/proc/{os.getpid()}/environ"))
print(sorted(os.listdir("/contest")))
try:
    open("/contest/observations", "r+b")
except OSError as error:
    print("read-only", type(error).__name__)
"""
    log = evaluate(tmp_path, code).log.read_text()
    assert "the hidden level" not in log
    assert "FileNotFoundError FileNotFoundError" in log
    assert "['observations']" in log
    assert "read-only OSError" in log


TRIED = """
def tried(what, *arguments):
    try:
        return repr(what(*arguments))
    except OSError as error:
        return type(error).__name__
"""
NETWORK = """
for address in [("127.0.0.1", {port}), ("8.8.8.8", 53), ("::1", {port})]:
    print("connect", tried(socket.create_connection, address, 2))
print("connect", tried(socket.socket(socket.AF_UNIX).connect, {socket!r}))
print("connect", tried(socket.socket(socket.AF_UNIX).connect, {abstract!r}))
print("packets", tried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW))
print("raw", tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1))
print([name for _, name in socket.if_nameindex()])
"""
PTRACE = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def ptraced(pid):
    return "attached" if libc.ptrace(16, pid, None, None) == 0 else os.strerror(ctypes.get_errno())
def read(pid):
    here = ctypes.create_string_buffer(8)
    one = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
    return libc.process_vm_readv(pid, one, 1, one, 1, 0)
print("evaluator:", ptraced({pid}), read({pid}), tried(open, "/proc/{pid}/mem"))
for pid in filter(str.isdigit, os.listdir("/proc")):
    print("seen:", open(f"/proc/{{pid}}/cmdline").read().split(chr(0))[0].rpartition("/")[2])
"""
DATABASE = """
import sqlite3
for name in ("contest.sqlite", "contest.sqlite-wal", "server.key", "submissions"):
    for root in ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/../../../../.."):
        print(tried(open, root + {folder!r} + "/" + name, "rb"))
try:
    sqlite3.connect("file:" + {folder!r} + "/contest.sqlite?mode=rw", uri=True).execute("update jobs set score = 9")
except sqlite3.OperationalError as error:
    print(error)
"""
KILL = """
print("evaluator:", tried(os.kill, {pid}, 9), tried(os.killpg, {pid}, 9))
print("init:", tried(os.kill, 1, 9), "everybody:", tried(os.kill, -1, 9))
print("going on:", len(ask(RESET)) > 8)
"""


def _outcome(tmp_path: Path, code: str, **what: object) -> list[str]:
    """What an agent has printed that tried something and then ended of its own will."""
    verdict = evaluate(tmp_path, TRIED + code.format(**what))
    assert (verdict.status, verdict.spent) == ("finished", 0), verdict.log.read_text()
    assert verdict.message == "the agent ended after 0 of 40 steps."
    return verdict.log.read_text().split("\n")[
        1:-3
    ]  # between RAW's line and an empty one before the verdict's


def test_there_is_no_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(f"\0headstart-{os.getpid()}")
            abstract.listen()
            where = {"port": server.getsockname()[1], "socket": str(tmp_path / "socket")}
            said = _outcome(tmp_path, NETWORK, **where, abstract=f"\0headstart-{os.getpid()}")
    assert [line.split()[0] for line in said[:7]] == ["connect"] * 5 + ["packets", "raw"]
    assert all(line.endswith("Error") for line in said[:7]), said
    assert said[7:] == ["['lo']"]


def test_nobody_is_traced(tmp_path):
    first, *seen = _outcome(tmp_path, PTRACE, pid=os.getpid())
    assert first == "evaluator: No such process -1 FileNotFoundError"
    assert {line.rstrip("0123456789.") for line in seen} == {"seen: bwrap", "seen: python"}


def test_there_is_no_database(tmp_path):
    store = Store(tmp_path / "data")
    (tmp_path / "data" / "submissions" / "other.zip").write_bytes(b"another's work")
    before = (tmp_path / "data" / "server.key").read_bytes()
    *tries, last = _outcome(tmp_path, DATABASE, folder=str(tmp_path / "data"))
    store.close()
    assert len(tries) == 16
    assert {*tries} <= {"FileNotFoundError", "PermissionError"}
    assert last == "unable to open database file"
    assert (tmp_path / "data" / "server.key").read_bytes() == before


def test_nobody_else_is_killed(tmp_path):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        said = _outcome(tmp_path, KILL, pid=os.getpid())
        assert said[0] == "evaluator: ProcessLookupError ProcessLookupError"
        assert said[1].startswith("init: ")
        assert said[2] == "going on: True"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_bombs_go_off_inside(tmp_path):
    code = """
import ctypes
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
except OSError as error:
    print("forks:", type(error).__name__, flush=True)
try:
    with open("/tmp/x", "wb", 0) as file:
        while True:
            file.write(bytes(1 << 20))
except OSError as error:
    print("disk:", type(error).__name__, flush=True)
x = []
while True:
    x.append(bytearray(b"1") * (8 << 20))
"""
    verdict = evaluate(tmp_path, code)
    log = verdict.log.read_text()
    assert "forks: BlockingIOError" in log
    assert "disk: OSError" in log
    assert verdict.status == "memory" or "MemoryError" in log


def test_a_cancelled_evaluation_ends_at_once(tmp_path):
    folder, out, beats = tmp_path / "agent", tmp_path / "out", []
    folder.mkdir()
    out.mkdir()
    (folder / "submission.toml").write_text('name = "slow"\ncommand = ["sleep", "600"]\n')

    def heartbeat(spent: int) -> bool:
        beats.append(time.monotonic())
        return len(beats) < 4

    job = Job("cartpole", "task-0", 0, 40, 600.0, "bubblewrap", 0)
    verdict = evaluate_submission(folder, job, out, heartbeat, limits=LIMITS, films=False)
    assert verdict.status == "cancelled"
    assert time.monotonic() - beats[3] < 30


def _archive(entry: zipfile.ZipInfo | str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("submission.toml", 'name = "a"\ncommand = ["python"]\n')
        file.writestr(entry, data)
    return buffer.getvalue()


def _link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("levels")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "data", "complaint"),
    [
        ("../../escaped", b"x", "leads out of its folder"),
        ("/etc/escaped", b"x", "leads out of its folder"),
        ("a\\..\\escaped", b"x", "no plain file"),
        (_link(), b"/etc/passwd", "link or a device"),
        ("bomb", bytes(64 << 20), "more than is allowed"),
    ],
    ids=["traversal", "absolute", "backslash", "link", "bomb"],
)
def test_a_hostile_archive_leaves_nothing(tmp_path, entry, data, complaint):
    with pytest.raises(UsageError, match=complaint):
        archive.unpack(_archive(entry, data), tmp_path / "inside" / "folder")
    assert not (tmp_path / "inside" / "folder").exists()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
