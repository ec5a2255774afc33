"""What a sandbox is built around, and what the agent in it may use."""

from dataclasses import dataclass
from pathlib import Path

from headstart.contest import client


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
    cores: float = 4.0
    """processor time of all its processes together, as a multiple of the evaluation's wall clock"""
    cpu: int = 1 << 30
    """seconds of processor time of all its processes; an evaluation lowers it to `cores` times its wall clock"""
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
    image: str = ""
    """of a container"""


def environment(socket: str, home: str) -> dict[str, str]:
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


__all__ = ["Cell", "Limits", "environment"]
