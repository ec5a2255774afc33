"""What a tree of processes uses: read from /proc, where no control group counts it.

Memory is what is not a file's: anonymous pages, shared ones among them, and what of them was swapped out. Added up a process
at a time that is cheap, and counts twice what two share; where it looks like too much, each page is shared out among those
who map it (the kernel's proportional set), which takes a walk through all of them.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_APIECE = ("RssAnon:", "RssShmem:", "VmSwap:")
_SHARED_OUT = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")


class Usage(NamedTuple):
    """Of several processes: bytes of memory, at most; how many they are; seconds of processor time."""

    memory: int
    processes: int
    cpu: float


def below(pid: int) -> list[int]:
    """All processes below one; those that go away meanwhile are left out."""
    found, waiting = list[int](), [pid]
    while waiting and len(found) < 10_000:
        parent = waiting.pop()
        with contextlib.suppress(OSError, ValueError):
            for task in os.listdir(f"/proc/{parent}/task"):
                children = Path(f"/proc/{parent}/task/{task}/children").read_text().split()
                found += map(int, children)
                waiting += map(int, children)
    return found


def _bytes(file: str, wanted: tuple[str, ...]) -> int:
    """The sum of some lines "Name:  12 kB" of a file; raises OSError where it cannot be read."""
    lines = (line.split() for line in Path(file).read_text().splitlines())
    return sum(int(words[1]) << 10 for words in lines if words and words[0] in wanted)


def _cpu(pid: int) -> float:
    """Seconds of a process and of those of its children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def usage(pids: Iterable[int]) -> Usage:
    """What processes use; shared memory counts for each that maps it."""
    memory, count, cpu = 0, 0, 0.0
    for pid in pids:
        count += 1
        with contextlib.suppress(OSError, ValueError, IndexError):
            cpu += _cpu(pid)
            memory += _bytes(f"/proc/{pid}/status", _APIECE)
    return Usage(memory, count, cpu)


def shared_out(pids: Iterable[int]) -> int:
    """Bytes of memory of processes, with each page that several map counted once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            try:
                total += _bytes(f"/proc/{pid}/smaps_rollup", _SHARED_OUT)
            except PermissionError:  # a process may hide its map, not its size
                total += _bytes(f"/proc/{pid}/status", _APIECE)
    return total


__all__ = ["Usage", "below", "shared_out", "usage"]
