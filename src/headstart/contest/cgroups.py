"""Control groups, both versions: a kernel's own limit on the memory and the processes of a tree of processes."""

import contextlib
import os
import signal
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def _own(controller: str) -> Path | None:
    """The group this process is in, for one controller; None where there is none that can have children."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return _ROOT / controller / path.lstrip("/")
        if not names and (_ROOT / "cgroup.controllers").is_file():
            parent = _ROOT / path.lstrip("/")
            enabled = parent / "cgroup.subtree_control"
            if enabled.is_file() and controller in enabled.read_text().split():
                return parent
    return None


def _parents() -> list[Path]:
    """The groups in which new ones are made."""
    return sorted({parent for parent in (_own("memory"), _own("pids")) if parent is not None})


class Group:
    """A control group for one agent; `joins` are the files a process writes its number to in order to enter."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        old = (folders[0] / "tasks").is_file()
        self.joins = [str(folder / ("tasks" if old else "cgroup.procs")) for folder in folders]

    @staticmethod
    def make(name: str, memory: int, processes: int) -> "Group | None":
        """A new group with these limits (bytes; processes and threads); None where this user cannot make one."""
        made: list[Path] = []
        try:
            parents = _parents()
            if not parents:
                return None
            for parent in parents:
                (parent / name).mkdir()
                made.append(parent / name)
            limits = {"memory.limit_in_bytes": memory, "memory.max": memory, "memory.swap.max": 0}
            limits["pids.max"] = processes
            written = [_write(folder / file, limit) for folder in made for file, limit in limits.items()]
            if sum(written) >= 2:
                return Group(made)
        except (OSError, ValueError):
            pass
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return None

    @staticmethod
    def possible() -> bool:
        """Whether this user can make one."""
        group = Group.make(f"headstart-try-{os.urandom(4).hex()}", 1 << 30, 16)
        if group is not None:
            group.remove()
        return group is not None

    def killed(self) -> bool:
        """Whether the kernel has killed a process of the group because its memory was used up."""
        for folder in self._folders:
            for file in ("memory.oom_control", "memory.events"):
                with contextlib.suppress(OSError):
                    words = (folder / file).read_text().split()
                    if "oom_kill" in words and int(words[words.index("oom_kill") + 1]) > 0:
                        return True
        return False

    def remove(self) -> None:
        """End what still runs in the group, and remove it."""
        for folder in self._folders:
            _remove(folder)


def _remove(folder: Path, patience: float = 20.0) -> None:
    """Remove a group; a process may enter until then, and the kernel takes its time to let go of a dead one."""
    end = time.monotonic() + patience
    while folder.is_dir() and time.monotonic() < end:
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        _kill(folder)
        time.sleep(0.02)


def _kill(folder: Path) -> None:
    """Kill all processes of a group; 0 stands for one that this process cannot see."""
    with contextlib.suppress(OSError):
        for pid in filter(None, map(int, (folder / "cgroup.procs").read_text().split())):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def remove_all(pattern: str) -> list[str]:
    """End what runs in the groups whose names match a pattern, and remove them; their names."""
    try:
        found = [folder for parent in _parents() for folder in sorted(parent.glob(pattern))]
    except OSError:  # there are no control groups here
        return []
    for folder in found:
        _remove(folder)
    return [folder.name for folder in found]


def _write(file: Path, limit: int) -> bool:
    """Set a limit, where the group has such a file."""
    if not file.is_file():
        return False
    file.write_text(str(limit))
    return True


__all__ = ["Group", "remove_all"]
