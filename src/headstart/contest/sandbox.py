"""Where a stranger's agent runs: bubblewrap, or Docker or Podman; unprotected only for code that is trusted.

In bubblewrap the agent has no network, a read-only system, a private /tmp of limited size, user, PID, IPC and mount
namespaces of its own, no capabilities and no way to new namespaces. It sees the interpreter, headstart and its own
folder, and the folder with the evaluator's socket, nothing else: no database, no other submission, no hidden level.

Memory and processes are limited three times: by a control group where one can be made (as root; /tmp counts as memory
there), by resource limits, and by a guard that adds up the processes four times a second and kills them all.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.contest import _launch, client, leftovers
from headstart.contest.cgroups import Group
from headstart.errors import UsageError

KINDS = ("bubblewrap", "docker", "none")
IMAGE = "python:3.11-slim"
"""of a container, where the submission names none"""

_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin")
_ETC = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_SEALED = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_MASKED = (
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/pressure",
    "/proc/scsi",
    "/proc/timer_list",
)
"""what Docker seals and masks as well: bubblewrap leaves it open to an evaluator that is root"""
_WATCH = 0.25  # seconds between two looks of the guard
_LAUNCH = "/launch.py"


@dataclass(frozen=True)
class Limits:
    """What an agent may use."""

    memory: int = 4 << 30
    """bytes, of all its processes"""
    processes: int = 256
    """processes and threads"""
    disk: int = 1 << 30
    """bytes in its private /tmp"""
    files: int = 1024
    """files it has open, a process"""
    cpu: int = 24 * 3600
    """seconds of processor time a process"""
    log: int = 256 << 10
    """bytes of output that are kept: the first half and the last"""


@dataclass(frozen=True)
class Cell:
    """What a sandbox is built around."""

    folder: Path
    """the submission, read-only"""
    run: Path
    """the folder with the evaluator's socket, read-only"""
    command: tuple[str, ...]
    """what is run in the submission's folder; "python" is this interpreter"""
    image: str = IMAGE
    """of a container"""


def container() -> str | None:
    """The program that runs containers, if one is installed."""
    return shutil.which("docker") or shutil.which("podman")


def choose(trusted: bool = False) -> str:
    """The sandbox of this machine.

    Raises:
      UsageError: if there is none, unless submissions are trusted.
    """
    if shutil.which("bwrap"):
        return "bubblewrap"
    if container():
        return "docker"
    if trusted:
        return "none"
    raise UsageError(
        "there is no sandbox for strangers' code: install bubblewrap (or Docker or Podman), or give "
        "--trust-submissions if all of it is your own."
    )


def _environment(socket: str, home: str) -> dict[str, str]:
    """All that an agent finds in its environment."""
    return {
        client.SOCKET: socket,
        "HOME": home,
        "TMPDIR": home,
        "USER": "agent",
        "LOGNAME": "agent",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "JAX_PLATFORMS": "cpu",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
    }


def _rlimits(limits: Limits, group: Group | None) -> dict[str, int]:
    # Libraries reserve far more addresses than they use; the control group, or else the guard, counts what is used.
    return {
        "RLIMIT_AS": 4 * limits.memory if group else 2 * limits.memory,
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu,
        "RLIMIT_FSIZE": limits.disk,
        "RLIMIT_NOFILE": limits.files,
        "RLIMIT_NPROC": limits.processes,
    }


def _launcher(path: str, settings: Mapping[str, object]) -> list[str]:
    return [sys.executable, "-I", "-S", path, json.dumps(settings)]


def _resolved(command: Sequence[str]) -> list[str]:
    """The command with this interpreter for "python", and a full path."""
    program = sys.executable if command[0] in ("python", "python3") else shutil.which(command[0])
    if program is None:
        raise UsageError(f"submission.toml wants to run '{command[0]}', which is not installed here.")
    return [program, *command[1:]]


def _roots() -> list[Path]:
    """Folders that an agent's interpreter needs beyond /usr."""
    wanted = {Path(sys.base_prefix), Path(sys.prefix), Path(_launch.__file__).parents[1]}
    return sorted(root for root in wanted if not root.is_relative_to("/usr"))


def bubblewrap(cell: Cell, limits: Limits) -> list[str]:
    """The words that put a command, which is to follow, into bubblewrap."""
    words = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"]
    words += ["--new-session", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL", "--hostname", "agent"]
    words += ["--ro-bind", "/usr", "/usr"]
    for path in _SYSTEM:
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            words += ["--ro-bind", path, path]
    for path in _ETC:
        words += ["--ro-bind-try", path, path]
    words += ["--proc", "/proc"]
    for path in filter(os.path.exists, _SEALED):
        words += ["--ro-bind", path, path]
    for path in filter(os.path.exists, _MASKED):
        words += ["--ro-bind", "/dev/null", path] if os.path.isfile(path) else ["--tmpfs", path]
    words += ["--dev", "/dev", "--size", str(limits.disk), "--tmpfs", "/tmp"]
    for root in map(str, _roots()):  # after /tmp, below which they may lie
        words += ["--ro-bind-try", root, root]
    words += ["--size", str(min(limits.disk, 64 << 20)), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    words += ["--ro-bind", str(cell.folder), "/agent", "--ro-bind", str(cell.run), "/contest"]
    words += ["--ro-bind", _launch.__file__, _LAUNCH, "--remount-ro", "/", "--chdir", "/agent", "--clearenv"]
    for name, value in _environment("/contest/socket", "/tmp").items():
        words += ["--setenv", name, value]
    return [*words, "--"]


def docker(cell: Cell, limits: Limits, program: str, name: str) -> list[str]:
    """The words that run a submission in a container."""
    words = [program, "run", "--rm", "--name", name, "--network", "none", "--read-only"]
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534"]
    words += ["--memory", str(limits.memory), "--memory-swap", str(limits.memory)]
    words += ["--pids-limit", str(limits.processes), "--ulimit", f"nofile={limits.files}:{limits.files}"]
    words += ["--tmpfs", f"/tmp:rw,size={limits.disk}", "--workdir", "/agent"]
    words += ["--volume", f"{cell.folder}:/agent:ro", "--volume", f"{cell.run}:/contest:ro"]
    for key, value in _environment("/contest/socket", "/tmp").items():
        words += ["--env", f"{key}={value}"]
    return [*words, cell.image, *cell.command]


class Output:
    """The first and the last bytes a process wrote, read by a thread so that it never has to wait."""

    def __init__(self, descriptor: int, most: int) -> None:
        self._half, self._total = most // 2, 0
        self._head, self._tail = bytearray(), bytearray()
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            while chunk := pipe.read(1 << 16):
                self._total += len(chunk)
                room = self._half - len(self._head)
                self._head += chunk[:room]
                self._tail = (self._tail + chunk[room:])[-self._half :]

    def text(self, wait: float = 2.0) -> str:
        """What was written; waits for the rest."""
        self._thread.join(wait)
        left_out = self._total - len(self._head) - len(self._tail)
        gap = f"\n[... {left_out} bytes left out ...]\n".encode() if left_out > 0 else b""
        return (bytes(self._head) + gap + bytes(self._tail)).decode(errors="replace")


def _children(pid: int) -> list[int]:
    """All processes below one; those that go away meanwhile are left out."""
    found, waiting = list[int](), [pid]
    while waiting and len(found) < 10_000:
        parent = waiting.pop()
        with contextlib.suppress(OSError, ValueError):
            for task in os.listdir(f"/proc/{parent}/task"):
                below = [
                    int(word) for word in Path(f"/proc/{parent}/task/{task}/children").read_text().split()
                ]
                found += below
                waiting += below
    return found


def usage(pid: int) -> tuple[int, int]:
    """Bytes of memory of their own, and number, of the processes below one."""
    total, below = 0, _children(pid)
    for child in below:
        with contextlib.suppress(OSError, ValueError, IndexError):
            _, resident, shared, *_ = map(int, Path(f"/proc/{child}/statm").read_text().split())
            total += max(resident - shared, 0) * 4096
    return total, len(below)


class Running:
    """An agent's process in its sandbox."""

    def __init__(self, kind: str, cell: Cell, limits: Limits) -> None:
        self._limits, self.reason, self._name = limits, "", leftovers.fresh()
        self._container = container() if kind == "docker" else None
        self._home = leftovers.folder("home")
        self._group = (
            Group.make(self._name, limits.memory, limits.processes) if kind == "bubblewrap" else None
        )
        read, write = os.pipe()
        try:
            self._process = subprocess.Popen(
                self._words(kind, cell),
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                cwd=cell.folder,
                env=_environment(str(cell.run / "socket"), str(self._home)) if kind == "none" else None,
                start_new_session=True,
            )
        except OSError as error:
            os.close(read)
            self._clear()
            raise UsageError(f"the sandbox cannot be started: {error.strerror}.") from None
        finally:
            os.close(write)
        self.output = Output(read, limits.log)
        self._over = threading.Event()
        self._guard = threading.Thread(target=self._watch, daemon=True)
        self._guard.start()

    def _words(self, kind: str, cell: Cell) -> list[str]:
        if self._container:
            return docker(cell, self._limits, self._container, self._name)
        limits = {"limits": _rlimits(self._limits, self._group)}
        if kind == "none":
            del limits["limits"]["RLIMIT_NPROC"]  # counts all that the user runs
            return [*_launcher(_launch.__file__, limits), *_resolved(cell.command)]
        inside = [*_launcher(_LAUNCH, limits), *_resolved(cell.command)]
        outside = _launcher(_launch.__file__, {"groups": self._group.joins if self._group else []})
        return [*outside, shutil.which("bwrap") or "bwrap", *bubblewrap(cell, self._limits)[1:], *inside]

    def _watch(self) -> None:
        while not self._over.wait(_WATCH) and self._process.poll() is None:
            memory, processes = usage(self._process.pid)
            if memory > self._limits.memory or (self._group and self._group.killed()):
                self._stop("memory")
            elif processes > self._limits.processes + 2:
                self._stop("processes")

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.kill()

    def code(self) -> int | None:
        """The exit code; None while it runs."""
        code = self._process.poll()
        if code is not None and self._group and self._group.killed():
            self.reason = self.reason or "memory"
        return code

    def kill(self) -> None:
        """End it and everything it has started."""
        if self._container:
            subprocess.run(
                [self._container, "kill", self._name], capture_output=True, check=False, timeout=30
            )
        for pid in _children(self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, 9)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def close(self) -> None:
        """End it and clear up."""
        self._over.set()
        if self._process.poll() is None:
            self.kill()
        self._guard.join(5)
        self._clear()

    def _clear(self) -> None:
        if self._group:
            self._group.remove()
        shutil.rmtree(self._home, ignore_errors=True)


@functools.cache
def _refusal() -> str:
    """What bubblewrap says where it cannot do what is needed: too old, or user namespaces are switched off; else ""."""
    words = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/"]
    words += ["--size", "65536", "--tmpfs", "/tmp", "--proc", "/proc", "true"]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    return (tried.stderr.strip() or f"exit code {tried.returncode}") if tried.returncode else ""


def check(kind: str) -> None:
    """Refuse a sandbox that this machine does not have, or that could not hold a fork bomb.

    Raises:
      UsageError: in one sentence.
    """
    if kind not in KINDS:
        raise UsageError(f"a sandbox is one of {', '.join(KINDS)}, not '{kind}'.")
    if kind == "docker" and container() is None:
        raise UsageError("neither docker nor podman is installed; install one, or bubblewrap.")
    if kind != "bubblewrap":
        return
    if shutil.which("bwrap") is None:
        raise UsageError("bubblewrap (bwrap) is not installed; install it, or use Docker or Podman.")
    if os.geteuid() == 0 and not Group.possible():
        raise UsageError(
            "the number of root's processes can only be limited by control groups, and none can be made here; run as an "
            "ordinary user."
        )
    if _refusal():
        raise UsageError(
            f"bubblewrap (0.8 or newer is needed) cannot build a sandbox here: {_refusal().splitlines()[-1]}"
        )


__all__ = ["KINDS", "Cell", "Limits", "Running", "check", "choose", "usage"]
