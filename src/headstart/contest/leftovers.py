"""What an evaluation leaves behind where its process is killed, and how the next worker clears it away.

    a process that evaluates holds a lock on a file of its own, headstart-ID.lock, as long as it lives
    all it makes is named headstart-ID-…: folders in memory and in the temporary folder, control groups, containers
    sweep: who gets the lock of another's file knows that its owner is dead, and removes what bears its name

The kernel lets go of a lock however its holder ends, and knows no process by a number that another may have by now.
"""

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from headstart.contest import containers
from headstart.contest.cgroups import remove_all

_SHARED = Path("/dev/shm")


def memory() -> Path:
    """A folder that lies in memory, where there is one; else the temporary folder."""
    return _SHARED if os.access(_SHARED, os.W_OK) else Path(tempfile.gettempdir())


@functools.cache
def _owner() -> str:
    """This process's name, locked until it ends."""
    name = f"headstart-{os.urandom(6).hex()}"
    path = memory() / f"{name}.lock"
    handle = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600
    )  # stays open; children do not inherit it
    fcntl.flock(handle, fcntl.LOCK_EX)
    atexit.register(path.unlink, missing_ok=True)
    return name


def fresh(what: str = "group") -> str:
    """A name for something that is to be cleared away should this process be killed."""
    return f"{_owner()}-{what}-{os.urandom(4).hex()}"


def folder(what: str, where: Path | None = None) -> Path:
    """A new private folder of such a name."""
    made = (where or Path(tempfile.gettempdir())) / fresh(what)
    made.mkdir(mode=0o700)
    return made


@contextlib.contextmanager
def _dead(lock: Path) -> Generator[bool]:
    """Whether a lock file is our user's and its owner is dead; nobody else finds so meanwhile."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.fstat(handle).st_uid == os.geteuid()
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def sweep() -> list[str]:
    """Clear away what dead processes of this user have left; the names of what was there."""
    found: list[str] = []
    for lock in sorted(memory().glob("headstart-*.lock")):
        with _dead(lock) as dead:
            if not dead:
                continue
            pattern = f"{lock.stem}-*"
            found += containers.remove_all(pattern) + remove_all(pattern)
            for place in {memory(), Path(tempfile.gettempdir())}:
                for left in place.glob(pattern):
                    shutil.rmtree(left, ignore_errors=True)
                    found.append(left.name)
            lock.unlink(missing_ok=True)
    return found


__all__ = ["folder", "fresh", "memory", "sweep"]
