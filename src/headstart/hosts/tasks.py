"""Tasks of foreign simulators: dictionaries, known to the rest of the house by a digest of their content."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt32

from headstart.errors import UsageError
from headstart.tasks import Role, Table


class HostTask(NamedTuple):
    """The digest of a task's content, 128 bits; tables have a leading axis."""

    digest: UInt32[np.ndarray, "*m 4"]


def digest(task: Mapping[str, Any]) -> UInt32[np.ndarray, "4"]:
    """A digest of a task's content, whatever the order of its keys; its `name` does not count.

    >>> digest({"gravity": 9.8, "name": "earth"}).tolist() == digest({"gravity": 9.8}).tolist()
    True
    """
    content = {key: value for key, value in task.items() if key != "name"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], "<u4").astype(np.uint32)


def label(task: Mapping[str, Any]) -> str:
    """What a task is called: its `name`, or its content.

    >>> label({"gravity": 9.8, "wind": True})
    'gravity=9.8,wind=True'
    """
    return str(
        task.get("name") or ",".join(f"{key}={value}" for key, value in task.items()) or "the only task"
    )


@dataclass(frozen=True)
class Shelf:
    """A suite's tasks by role, and the way back from digests to dictionaries."""

    roles: Mapping[Role, tuple[dict[str, Any], ...]]
    shared: bool = False
    """whether one task may have several roles, where there is only one"""
    _known: dict[bytes, dict[str, Any]] = field(default_factory=dict[bytes, dict[str, Any]], repr=False)

    def __post_init__(self) -> None:
        for role, tasks in self.roles.items():
            for task in tasks:
                key = digest(task).tobytes()
                if key in self._known and not self.shared:
                    raise UsageError(
                        f"the task {label(task)} is given twice ({role}); give every task one role, once."
                    )
                self._known[key] = task

    @property
    def tables(self) -> dict[Role, Table]:
        """The tables a `Suite` holds."""
        return {role: _table(tasks) for role, tasks in self.roles.items()}

    def find(self, tasks: HostTask) -> tuple[dict[str, Any], ...]:
        """The dictionaries of a table `[M]`, without their names."""
        found = [
            self._known[np.ascontiguousarray(row).tobytes()] for row in np.asarray(tasks.digest, np.uint32)
        ]
        return tuple({key: value for key, value in task.items() if key != "name"} for task in found)


def _table(tasks: Sequence[Mapping[str, Any]]) -> Table:
    digests = np.zeros((len(tasks), 4), np.uint32)
    for row, task in enumerate(tasks):
        digests[row] = digest(task)
    return Table(tuple(label(task) for task in tasks), HostTask(digests))


def hold_out(tasks: Sequence[dict[str, Any]]) -> dict[Role, tuple[dict[str, Any], ...]]:
    """Roles for tasks that have none, by place: of every eight in a row five train, two test, one is valid.

    >>> {role: len(found) for role, found in hold_out([{"i": i} for i in range(16)]).items()}
    {'train': 10, 'valid': 2, 'test': 4}
    """
    cycle: tuple[Role, ...] = ("train", "train", "test", "train", "valid", "train", "test", "train")
    roles: dict[Role, tuple[dict[str, Any], ...]] = {}
    for wanted in ("train", "valid", "test"):
        roles[wanted] = tuple(task for i, task in enumerate(tasks) if cycle[i % len(cycle)] == wanted)
    return roles
