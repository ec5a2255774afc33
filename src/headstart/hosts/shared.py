"""The memory that a run's workers share with it: one row a lane, in a file without a name that dies with its last user.

Only NumPy is imported here: a worker must not wait for JAX.
"""

import math
import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np

_ALIGN = 64


@dataclass(frozen=True)
class Layout:
    """What lies in the memory of `n` lanes and `workers` processes.

    `obs` is the shape and dtype of each leaf of an observation, in JAX's order; `action` that of an action.
    """

    obs: tuple[tuple[tuple[int, ...], str], ...]
    action: tuple[tuple[int, ...], str]
    n: int
    workers: int

    def fields(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of every array, by name."""
        found: dict[str, tuple[tuple[int, ...], str]] = {
            "action": ((self.n, *self.action[0]), self.action[1]),
            "reward": ((self.n,), "float32"),
            "terminated": ((self.n,), "bool"),
            "truncated": ((self.n,), "bool"),
            "row": ((self.n,), "int32"),
            "next": ((self.n,), "int32"),
            "episode": ((self.n,), "int32"),
            "busy": ((self.workers,), "float64"),
        }
        for i, (shape, dtype) in enumerate(self.obs):
            found[f"obs{i}"] = ((self.n, *shape), dtype)
            found[f"final{i}"] = ((self.n, *shape), dtype)
        return found


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return -(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGN) * _ALIGN


class Block:
    """The memory and the arrays in it; `fd` is what a worker is given to open the same."""

    def __init__(self, layout: Layout, fd: int | None = None) -> None:
        size = max(sum(_size(*field) for field in layout.fields().values()), mmap.PAGESIZE)
        self.layout = layout
        self.fd = _nameless(size) if fd is None else fd
        self._memory = mmap.mmap(self.fd, size)
        self._arrays: dict[str, np.ndarray] = {}
        offset = 0
        for name, (shape, dtype) in layout.fields().items():
            self._arrays[name] = np.ndarray(shape, dtype, self._memory, offset)
            offset += _size(shape, dtype)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    @property
    def obs(self) -> list[np.ndarray]:
        """What is seen next, a leaf each, `[N, ...]`."""
        return [self._arrays[f"obs{i}"] for i in range(len(self.layout.obs))]

    @property
    def final(self) -> list[np.ndarray]:
        """What was seen before a possible reset, a leaf each, `[N, ...]`."""
        return [self._arrays[f"final{i}"] for i in range(len(self.layout.obs))]

    def close(self) -> None:
        """Give the memory back; the arrays must not be touched afterwards."""
        self._arrays.clear()
        self._memory.close()
        os.close(self.fd)


def _nameless(size: int) -> int:
    """A file of `size` bytes without a name, in memory where the system has such."""
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size)
        return os.dup(file.fileno())
