"""Who keeps how far a run is while it is played, so that it need not begin again where its process or machine is lost.

    a process that plays its own runs:   a file beside the result to be            Files
    a Ray worker:                        an actor on the node of who asks          Distant → Shelf → Files, or Memory

Nothing here imports JAX: an actor that keeps bytes starts at once and is small.
"""

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from headstart.errors import RunError
from headstart.results import write_bytes

_ANSWER = 60.0
"""seconds within which an actor answers; on a machine that is very busy it takes some to start"""
_ROOM = 2 << 30
"""bytes of memory for all runs together, where there is no folder"""


class Pace(NamedTuple):
    """What keeping may cost a run."""

    seconds: float = 30.0
    """from one time to the next, at least"""
    share: float = 0.01
    """of the run's time, at most, but for a single time"""
    most: int = 256 << 20
    """bytes; a run that takes more is not kept, and begins again where it is lost"""


@runtime_checkable
class Keeper(Protocol):
    """Keeps bytes by a run's name. What it cannot do raises a RunError; nothing that was kept is lost by that."""

    @property
    def pace(self) -> Pace: ...

    def find(self, name: str) -> bytes | None:
        """What was kept last, if anything was."""
        ...

    def keep(self, name: str, data: bytes) -> None: ...

    def drop(self, name: str) -> None: ...


class Files:
    """A file a run in a run's folder, written whole or not at all."""

    def __init__(self, folder: Path, pace: Pace) -> None:
        self.pace = pace
        self._folder = folder

    def _place(self, name: str) -> Path:
        return self._folder / f"{name}.progress"

    def find(self, name: str) -> bytes | None:
        try:
            return self._place(name).read_bytes()
        except OSError:
            return None

    def keep(self, name: str, data: bytes) -> None:
        try:
            self._place(name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self._place(name).parent} cannot be made ({error.strerror}).") from error
        write_bytes(self._place(name), data)

    def drop(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self._place(name).unlink(missing_ok=True)


class Memory:
    """Bytes in this process, of all runs together no more than there is room for."""

    def __init__(self, pace: Pace, room: int = _ROOM) -> None:
        self.pace = pace
        self._room = room
        self._kept: dict[str, bytes] = {}

    def find(self, name: str) -> bytes | None:
        return self._kept.get(name)

    def keep(self, name: str, data: bytes) -> None:
        others = sum(len(kept) for other, kept in self._kept.items() if other != name)
        if others + len(data) > self._room:
            raise RunError(f"there is no room for {len(data)} bytes more among {self._room}.")
        self._kept[name] = data

    def drop(self, name: str) -> None:
        self._kept.pop(name, None)


class Shelf:
    """What the actor is: files, if the folder of who asks is here, or else memory; and a count of what it does.

    Args:
      folder: as who asks names it, from the root; None if there is none.
    """

    def __init__(self, folder: str | None, pace: Pace) -> None:
        here = folder is not None and os.path.isdir(folder)
        self._keeper: Keeper = Files(Path(folder), pace) if folder is not None and here else Memory(pace)
        self._kept = 0
        self._found: list[str] = []

    def find(self, name: str) -> bytes | None:
        found = self._keeper.find(name)
        if found is not None:
            self._found.append(name)
        return found

    def keep(self, name: str, data: bytes) -> None:
        self._keeper.keep(name, data)
        self._kept += 1

    def drop(self, name: str) -> None:
        self._keeper.drop(name)

    def told(self) -> tuple[int, list[str]]:
        """How often something was kept, and what was asked for again, a name each time."""
        return self._kept, list(self._found)


class Distant:
    """A keeper somewhere else: its actor. Who plays waits for the answer, so that what the network takes counts, too."""

    def __init__(self, actor: Any, pace: Pace) -> None:
        self.pace = pace
        self._actor = actor

    def find(self, name: str) -> bytes | None:
        return self._ask(self._actor.find, name)

    def keep(self, name: str, data: bytes) -> None:
        self._ask(self._actor.keep, name, data)

    def drop(self, name: str) -> None:
        self._ask(self._actor.drop, name)

    def _ask(self, method: Any, *args: Any) -> Any:
        ray: Any = importlib.import_module("ray")
        try:
            return ray.get(method.remote(*args), timeout=_ANSWER)
        except ray.exceptions.RayError as error:
            first = " ".join(str(error).split())[-200:]
            raise RunError(f"the actor that keeps runs did not ({type(error).__name__}: {first}).") from error


__all__ = ["Distant", "Files", "Keeper", "Memory", "Pace", "Shelf"]
