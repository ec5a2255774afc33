"""The sandbox holds: strangers' code sees nothing, reaches nobody, and cannot use up the machine.

Every case has hard limits of its own, far below what this machine has, and a time after which it is killed.
"""

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.contest import cgroups, manifest, sandbox, seccomp, usage
from headstart.contest.sandbox import Cell, Limits, Running
from headstart.errors import UsageError

SMALL = Limits(memory=200 << 20, processes=24, disk=4 << 20, files=32, cpu=20, log=4000)
SECONDS = 60.0

bubblewrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


def run(
    tmp_path: Path, code: str, limits: Limits = SMALL, kind: str = "bubblewrap"
) -> tuple[int | None, str, str]:
    """Exit code, output and the guard's reason of a script, which is killed if it does not end."""
    folder, place = tmp_path / "agent", tmp_path / "run"
    folder.mkdir(exist_ok=True)
    place.mkdir(exist_ok=True)
    (folder / "agent.py").write_text(code)
    running = Running(kind, Cell(folder, place, ("python", "-S", "agent.py")), limits)
    try:
        end = time.monotonic() + SECONDS
        while (code_ := running.code()) is None and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        running.close()
    return code_, running.output.text(), running.reason


@bubblewrap
def test_it_sees_no_files_network_processes_or_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    hidden = tmp_path / "hidden.txt"
    hidden.write_text("hidden level")
    code = f"""
import os, socket
def denied(what, *arguments):
    try:
        return repr(what(*arguments))
    except OSError as error:
        return type(error).__name__
print("hidden", denied(open, {str(hidden)!r}))
print("parent", denied(os.listdir, {str(tmp_path)!r}))
print("work", denied(os.listdir, {str(Path(__file__).parent)!r}))
print("shadow", denied(open, "/etc/shadow"))
for path in ("/agent/x", "/contest/x", "/x", "/usr/x", "/dev/x", "/etc/x", "/proc/sys/kernel/hostname"):
    print("write", path, denied(open, path, "w"))
writable = []
for root, folders, files in os.walk("/proc"):
    if root == "/proc":
        folders[:] = [f for f in folders if not f.isdigit() and f not in ("self", "thread-self")]
    for file in files:
        try:
            os.close(os.open(os.path.join(root, file), os.O_WRONLY))
        except OSError:
            continue
        if not os.path.samefile(os.path.join(root, file), "/dev/null"):
            writable.append(os.path.join(root, file))
print("writable", writable)
print("connect", denied(socket.create_connection, ("127.0.0.1", 22), 1))
print("interfaces", [name for _, name in socket.if_nameindex()])
print("pids", max(int(p) for p in os.listdir("/proc") if p.isdigit()) < 20)
print("kill", denied(os.kill, {os.getpid()}, 9) if {os.getpid()} > 20 else "ProcessLookupError")
print("namespace", denied(os.unshare, os.CLONE_NEWUSER) if hasattr(os, "unshare") else "OSError")
print("mount", os.path.exists("/usr/bin/unshare") and os.system("unshare -Ur true 2>/dev/null") != 0)
print("environment", sorted(os.environ))
print("capabilities", [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")])
"""
    status, said, _ = run(tmp_path, code)
    assert status == 0, said
    lines = dict(line.split(" ", 1) for line in said.splitlines() if not line.startswith("write"))
    for what in ("hidden", "parent", "work", "shadow"):
        assert lines[what] in ("FileNotFoundError", "PermissionError"), (what, lines[what])
    for line in said.splitlines():
        if line.startswith("write"):
            assert line.split()[-1] in ("OSError", "PermissionError"), line
    assert lines["writable"] == "[]"
    assert lines["connect"] in ("ConnectionRefusedError", "OSError")  # its own loopback, where nobody listens
    assert lines["interfaces"] == "['lo']"
    assert (lines["pids"], lines["kill"], lines["mount"]) == ("True", "ProcessLookupError", "True")
    assert "SECRET_TOKEN" not in lines["environment"]
    assert lines["capabilities"] == "['0000000000000000']"


@bubblewrap
def test_a_disk_filler_fills_its_own_small_disk(tmp_path):
    code = """
import os
for place in ("/tmp", "/dev/shm"):
    try:
        with open(place + "/a", "wb", 0) as f, open(place + "/b", "wb", 0) as g:
            for _ in range(100):
                f.write(bytes(1 << 18)); g.write(bytes(1 << 18))
    except OSError as error:
        print(place, type(error).__name__, sum(os.path.getsize(place + "/" + x) for x in "ab") <= 4 << 20)
"""
    status, said, _ = run(tmp_path, code)
    assert said.split() == ["/tmp", "OSError", "True", "/dev/shm", "OSError", "True"]
    assert status == 0


@bubblewrap
def test_a_memory_bomb_goes_off_inside(tmp_path):
    code = "x = []\nwhile True: x.append(bytearray(b'1') * (8 << 20))"
    status, said, reason = run(tmp_path, code)
    assert status not in (0, None)
    assert reason == "memory" or "MemoryError" in said


@bubblewrap
def test_a_memory_bomb_of_many_processes_goes_off_inside(tmp_path):
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        x = [bytearray(b'1') * (1 << 20) for _ in range(60)]
        time.sleep(600)
time.sleep(600)
"""
    begun = time.monotonic()
    status, _, reason = run(tmp_path, code)
    assert (status != 0, reason) == (True, "memory")
    assert time.monotonic() - begun < SECONDS


@bubblewrap
def test_a_fork_bomb_finds_an_end(tmp_path):
    code = """
import os, time
made = 0
try:
    for made in range(10_000):
        if os.fork() == 0:
            time.sleep(600)
except OSError as error:
    print(type(error).__name__, made < 24)
"""
    status, said, _ = run(tmp_path, code)
    assert said.split() == ["BlockingIOError", "True"]
    assert status == 0
    assert _none_left()


@bubblewrap
def test_who_runs_for_ever_is_killed_with_all_its_children(tmp_path):
    code = """
import os, signal, time
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        break
print("alive", flush=True)
time.sleep(600)
"""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "agent.py").write_text(code)
    running = Running("bubblewrap", Cell(folder, folder, ("python", "-S", "agent.py")), SMALL)
    try:
        end = time.monotonic() + SECONDS
        while running.output.text(0.02).count("alive") < 4 and time.monotonic() < end:
            time.sleep(0.02)
        assert running.code() is None
    finally:
        running.close()
    assert running.output.text().count("alive") == 4
    assert running.code() is not None
    assert _none_left()


def _none_left() -> bool:
    """Whether no agent of this process is left, after a moment."""
    for _ in range(100):
        if not usage.below(os.getpid()):
            return True
        time.sleep(0.05)
    return False


HIDDEN = {
    "shared pages": """
import mmap
x = []
while True:
    x.append(mmap.mmap(-1, 8 << 20)); x[-1].write(bytes(8 << 20)); time.sleep(0.02)
""",
    "shared pages of children that let go": """
import mmap
x = mmap.mmap(-1, 150 << 20)
for _ in range(8):
    if os.fork() == 0:
        y = mmap.mmap(-1, 60 << 20); y.write(bytes(60 << 20)); time.sleep(600)
x.write(bytes(150 << 20)); time.sleep(600)
""",
}


@pytest.fixture
def ungrouped(monkeypatch):
    """As if control groups could not be made."""
    monkeypatch.setattr(cgroups.Group, "make", staticmethod(lambda *_: None))


@bubblewrap
@pytest.mark.parametrize("code", HIDDEN.values(), ids=HIDDEN)
def test_shared_memory_is_counted_without_control_groups(tmp_path, ungrouped, code):
    status, _, reason = run(tmp_path, "import os, time\n" + code)
    assert (status != 0, reason) == (True, "memory")


@bubblewrap
def test_what_children_share_is_counted_once(tmp_path, ungrouped):
    code = """
import mmap, os, time
x, y = mmap.mmap(-1, 60 << 20), bytearray(b"1") * (60 << 20)
x.write(bytes(60 << 20))
for _ in range(5):
    if os.fork() == 0:
        x[:: 4096], sum(y[:: 4096]); time.sleep(1.5); os._exit(0)
time.sleep(1.5)
print("kept")
"""
    assert run(tmp_path, code) == (0, "kept\n", "")


@bubblewrap
@pytest.mark.skipif(not seccomp.program(), reason="system calls have other numbers here")
def test_memory_that_nobody_maps_cannot_be_had_without_control_groups(tmp_path, ungrouped):
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
try:
    os.memfd_create("x")
except OSError as error:
    print(error.errno)
print(libc.shmget(0, 1 << 20, 0o1600), ctypes.get_errno())
os.truncate(os.open("/tmp/x", os.O_CREAT | os.O_RDWR), 9)
print("the rest works")
"""
    assert run(tmp_path, code) == (0, "38\n-1 38\nthe rest works\n", "")


def test_the_filter_of_system_calls_is_what_the_kernel_reads():
    """Interpreted as the kernel does: which calls of which architecture pass."""
    for machine, architecture, denied in (
        ("x86_64", 0xC000003E, {319, 29, 0x40000000, 0x40000000 + 319}),
        ("aarch64", 0xC00000B7, {279, 194}),
    ):
        lines = list(struct.iter_unpack("<HBBI", seccomp.program(machine)))

        def passes(number: int, which: int, lines=lines) -> bool:
            at, held = 0, 0
            while True:
                code, yes, no, value = lines[at]
                if code == 0x20:
                    held, yes, no = {0: number, 4: which}[value], 0, 0
                if code == 0x06:
                    return value == 0x7FFF0000
                truth = {0x20: True, 0x15: held == value, 0x35: held >= value}[code]
                at += 1 + (yes if truth else no)

        assert {
            n for n in [*range(500), 0x40000000, 0x40000000 + 319] if not passes(n, architecture)
        } >= denied
        assert [n for n in range(500) if not passes(n, architecture)] == sorted(n for n in denied if n < 500)
        assert not any(passes(n, 0x40000003) for n in range(500)), "32-bit calls have other numbers"
    assert seccomp.program("pdp11") == b""


SPINNERS = {
    "one": "while True: pass",
    "many": "for _ in range(6):\n    if os.fork() == 0: break\nwhile True: pass",
    "one after the other": """
while True:
    if os.fork() == 0:
        end = time.process_time() + 0.3
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
""",
}


@bubblewrap
@pytest.mark.parametrize("code", SPINNERS.values(), ids=SPINNERS)
def test_processor_time_of_all_processes_together_has_an_end(tmp_path, code):
    begun = time.monotonic()
    status, _, reason = run(tmp_path, "import os, time\n" + code, replace(SMALL, cpu=1))
    assert (status != 0, reason) == (True, "cpu-time")
    assert time.monotonic() - begun < SECONDS


@bubblewrap
def test_the_kernel_ends_who_escapes_the_guard(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_WATCH", SECONDS)
    status, _, reason = run(tmp_path, "while True: pass", replace(SMALL, cpu=1))
    assert (status, reason) == (128 + signal.SIGXCPU, "cpu-time")


@bubblewrap
def test_of_much_output_the_beginning_and_the_end_are_kept(tmp_path):
    status, said, _ = run(tmp_path, "print('begin'); print('x' * 3_000_000); print('end')")
    assert status == 0
    assert said.startswith("begin\n")
    assert said.endswith("end\n")
    assert "bytes left out" in said
    assert len(said) < 4200


def test_a_trusted_agent_needs_no_sandbox_but_has_limits(tmp_path):
    code = """
import os, resource
print(os.getcwd().endswith("agent"), "SECRET" in os.environ, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    status, said, _ = run(tmp_path, code, kind="none")
    assert (status, said.split()) == (0, ["True", "False", "32"])


def test_without_a_sandbox_strangers_are_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="--trust-submissions"):
        sandbox.choose()
    with pytest.raises(UsageError, match="--trust-submissions"):
        sandbox.choose("none")
    assert sandbox.choose(trusted=True) == sandbox.choose("none", trusted=True) == "none"
    for kind, complaint in (
        ("docker", "docker is not installed"),
        ("podman", "podman is not installed"),
        ("bubblewrap", "bwrap"),
        ("jail", "one of"),
    ):
        with pytest.raises(UsageError, match=complaint):
            sandbox.choose(kind)


def test_a_bubblewrap_that_does_not_work_is_not_chosen(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "bwrap" else None)
    monkeypatch.setattr(cgroups.Group, "possible", staticmethod(lambda: True))
    monkeypatch.setattr(sandbox, "_refusal", lambda: "bwrap: no user namespaces here")
    with pytest.raises(UsageError, match="no user namespaces here"):
        sandbox.choose()
    assert sandbox.choose(trusted=True) == "none"


def test_root_is_refused_where_nothing_limits_its_processes(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cgroups.Group, "possible", staticmethod(lambda: False))
    with pytest.raises(UsageError, match="as an ordinary user"):
        sandbox.check("bubblewrap")


def test_groups_leave_nothing_behind():
    before = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", "headstart-*"], capture_output=True, check=False
    )
    cgroups.Group.possible()
    after = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", "headstart-try-*"], capture_output=True, check=False
    )
    assert set(after.stdout.split()) <= set(before.stdout.split())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "has no submission.toml"),
        ("name = ", "cannot be read"),
        ('name = "a"', "needs a command"),
        ('name = ""\ncommand = ["x"]', "needs a name"),
        ('name = "a"\ncommand = "python agent.py"', "a list of words"),
        ('name = "a"\ncommand = ["python"]\nlanes = 3', "lanes is one of"),
        ('name = "a"\ncommand = ["python"]\nlane = 2', "did you mean lanes"),
        (f'name = "a"\ncommand = {["x" * 999] * 5000}', "at most 100 words, not 5000"),
        ('name = "a"\ncommand = ["python"]\nimage = "--privileged"', "image names"),
    ],
)
def test_a_manifest_is_checked(tmp_path, text, complaint):
    if text is not None:
        (tmp_path / manifest.FILE).write_text(text)
    with pytest.raises(UsageError, match=complaint):
        manifest.read(tmp_path)


def test_a_manifest_is_read(tmp_path):
    (tmp_path / manifest.FILE).write_text('name = "a"\ncommand = ["python", "b.py"]\nlanes = 16\n')
    assert manifest.read(tmp_path) == manifest.Manifest("a", ("python", "b.py"), 16)
    assert Path(sys.executable).is_file()
