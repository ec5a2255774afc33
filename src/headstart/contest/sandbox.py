"""Where a stranger's agent runs: bubblewrap, or Docker or Podman; unprotected only for code that is trusted.

In bubblewrap the agent has no network, a read-only system, a private /tmp of limited size, user, PID, IPC and mount
namespaces of its own, no capabilities and no way to new namespaces. It sees the interpreter, headstart and its own
folder, and the folder with the evaluator's socket, nothing else: no database, no other submission, no hidden level.

Memory and processes are limited by a control group where one can be made (as root; /tmp counts as memory there), by
resource limits, and by a guard that adds up the processes four times a second and kills them all. Where there is no group, a
filter of system calls (`seccomp`) leaves no memory that the guard does not see. The guard counts processor time, too.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.contest import _launch, containers, leftovers, seccomp, usage
from headstart.contest.cell import Cell, Limits, environment
from headstart.contest.cgroups import Group
from headstart.errors import RunError, UsageError

KINDS = ("bubblewrap", *containers.PROGRAMS, "none")

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


def choose(wanted: str = "auto", trusted: bool = False, images: Sequence[str] = ()) -> str:
    """The sandbox that is wanted, or the first that works here.

    Args:
      wanted: one of KINDS, or "auto".
      trusted: whether submissions may run without any.
      images: those that submissions may use in containers.

    Raises:
      UsageError: if it does not work, or none does and submissions are not trusted.
    """
    if wanted == "none" and not trusted:
        raise UsageError(
            "without a sandbox a submission can do all that you can; give --trust-submissions if all of it is your own."
        )
    if wanted != "auto":
        check(wanted, images)
        return wanted
    complaints: list[str] = []
    for kind in ["bubblewrap"] * bool(shutil.which("bwrap")) + containers.installed():
        try:
            check(kind, images)
            return kind
        except UsageError as error:
            complaints.append(str(error))
    if trusted:
        return "none"
    raise UsageError(
        " ".join(complaints)
        or "there is no sandbox for strangers' code: install bubblewrap (or Docker or Podman), or give "
        "--trust-submissions if all of it is your own."
    )


def _rlimits(limits: Limits, group: Group | None) -> dict[str, int | list[int]]:
    # Libraries reserve far more addresses than they use; the control group, or else the guard, counts what is used.
    return {
        "RLIMIT_AS": 4 * limits.memory if group else 2 * limits.memory,
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": [limits.cpu, limits.cpu + 5],  # a signal that says why, then one that cannot be ignored
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
    for name, value in environment("/contest/socket", "/tmp").items():
        words += ["--setenv", name, value]
    return [*words, "--"]


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


class Running:
    """An agent's process in its sandbox."""

    def __init__(self, kind: str, cell: Cell, limits: Limits) -> None:
        self._kind, self._limits, self._name = kind, limits, leftovers.fresh()
        self.reason = ""
        """which limit it broke: "memory", "processes" or "cpu-time"; "" if none"""
        self._home = leftovers.folder("home")
        self._group = (
            Group.make(self._name, limits.memory, limits.processes) if kind == "bubblewrap" else None
        )
        self._filter = _pipe_of(seccomp.program()) if kind == "bubblewrap" and not self._group else None
        read, write = os.pipe()
        try:
            self._process = subprocess.Popen(
                self._words(cell),
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                cwd=cell.folder,
                env=environment(str(cell.run / "socket"), str(self._home)) if kind == "none" else None,
                pass_fds=() if self._filter is None else (self._filter,),
                start_new_session=True,
            )
        except (OSError, UsageError) as error:
            os.close(read)
            self._clear()
            if isinstance(error, UsageError):
                raise
            raise RunError(f"the sandbox cannot be started: {error.strerror}.") from None
        finally:
            os.close(write)
            if self._filter is not None:
                os.close(self._filter)
        self.output = Output(read, limits.log)
        self._over = threading.Event()
        self._guard = threading.Thread(target=self._watch, daemon=True)
        self._guard.start()

    def _words(self, cell: Cell) -> list[str]:
        if self._kind in containers.PROGRAMS:
            return containers.words(self._kind, self._name, cell, self._limits)
        limits = {"limits": _rlimits(self._limits, self._group)}
        if self._kind == "none":
            del limits["limits"]["RLIMIT_NPROC"]  # counts all that the user runs
            return [*_launcher(_launch.__file__, limits), *_resolved(cell.command)]
        inside = [*_launcher(_LAUNCH, limits), *_resolved(cell.command)]
        outside = _launcher(_launch.__file__, {"groups": self._group.joins if self._group else []})
        filtered = [] if self._filter is None else ["--seccomp", str(self._filter)]
        words = bubblewrap(cell, self._limits)[1:]
        return [*outside, shutil.which("bwrap") or "bwrap", *filtered, *words, *inside]

    def _agents(self) -> list[int]:
        """The agent's processes: those below ours, and without a sandbox ours as well."""
        own = [self._process.pid] if self._kind == "none" else []
        return own + usage.below(self._process.pid)

    def _watch(self) -> None:
        while not self._over.wait(_WATCH) and self._process.poll() is None:
            pids, most = self._agents(), self._limits.memory
            used = usage.usage(pids)
            if self._group.killed() if self._group else used.memory > most and usage.shared_out(pids) > most:
                self._stop("memory")
            elif used.processes > self._limits.processes + 2:
                self._stop("processes")
            elif used.cpu >= self._limits.cpu:
                self._stop("cpu-time")

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.kill()

    def code(self) -> int | None:
        """The exit code; None while it runs."""
        code = self._process.poll()
        if code is not None and self._group and self._group.killed():
            self.reason = self.reason or "memory"
        elif code in (128 + signal.SIGXCPU, -signal.SIGXCPU):
            self.reason = self.reason or "cpu-time"
        return code

    def kill(self) -> None:
        """End it and everything it has started."""
        if self._kind in containers.PROGRAMS:
            containers.remove(self._kind, self._name)
        for pid in usage.below(self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
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


def _pipe_of(data: bytes) -> int | None:
    """The end of a pipe from which a few bytes can be read; None for none."""
    if not data:
        return None
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read


def _refusal() -> str:
    """What bubblewrap says where it cannot do what is needed: too old, or user namespaces are switched off; else ""."""
    words = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/"]
    words += ["--size", "65536", "--tmpfs", "/tmp", "--proc", "/proc", "true"]
    try:
        tried = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it cannot be run ({type(error).__name__})"
    return (tried.stderr.strip() or f"exit code {tried.returncode}") if tried.returncode else ""


def check(kind: str, images: Sequence[str] = ()) -> None:
    """Refuse a sandbox that this machine does not have, or that could not hold a fork bomb.

    Raises:
      UsageError: in one sentence.
    """
    if kind not in KINDS:
        raise UsageError(f"a sandbox is one of {', '.join(KINDS)}, not '{kind}'.")
    if kind in containers.PROGRAMS and (complaint := containers.refusal(kind, images)):
        raise UsageError(complaint)
    if kind != "bubblewrap":
        return
    if shutil.which("bwrap") is None:
        raise UsageError("bubblewrap (bwrap) is not installed; install it, or use Docker or Podman.")
    if os.geteuid() == 0 and not Group.possible():
        raise UsageError(
            "the number of root's processes can only be limited by control groups, and none can be made here; run as an "
            "ordinary user."
        )
    if complaint := _refusal():
        raise UsageError(
            f"bubblewrap (0.8 or newer is needed) cannot build a sandbox here: {complaint.splitlines()[-1]}"
        )


__all__ = ["KINDS", "Cell", "Limits", "Running", "check", "choose"]
