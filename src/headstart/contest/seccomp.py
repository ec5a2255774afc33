"""A filter of system calls for agents whose memory no control group counts: none that keeps memory no process maps.

    memfd_create, shmget    not there (ENOSYS), as in a kernel that was built without them
    another architecture's  not there, since its calls have other numbers
    all others              as they are

The guard adds up what processes map (`usage`); a file in memory or a segment of System V needs no map once it is filled.
"""

import platform
import struct

_ARCHITECTURES = {"x86_64": (0xC000003E, (319, 29)), "aarch64": (0xC00000B7, (279, 194))}
"""by machine: its name in the kernel's audit, its numbers of memfd_create and shmget"""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_ALLOW, _NOT_THERE = 0x7FFF0000, 0x00050000 | 38
_X32 = 0x40000000  # calls of x86-64's 32-bit twin begin here


def program(machine: str = "") -> bytes:
    """The filter as the kernel reads it, for this or another machine; empty where its calls are not known here."""
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        return b""
    architecture, forbidden = _ARCHITECTURES[machine]
    tests = [(_AT_LEAST, _X32), *((_EQUAL, number) for number in forbidden)]
    end = len(tests)
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 0, end + 2, architecture), (_LOAD, 0, 0, _NUMBER)]
    lines += [(test, end - i, 0, value) for i, (test, value) in enumerate(tests)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NOT_THERE)]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


__all__ = ["program"]
