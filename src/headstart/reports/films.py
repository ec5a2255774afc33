"""Films of adaptation: an episode before, during and after, stored beside the result and shown in the report.

A film is small enough to be part of a page: at most `FRAMES` pictures, of at most `WIDTH` pixels across. A long episode is
shown at up to `FASTEST` times its speed, and what is longer still is cut off, which its caption tells.
"""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from headstart.protocol.films import Footage, Take
from headstart.reports import video

FRAMES = 150
"""pictures of a film at most"""
WIDTH = 320
"""pixels across at most"""
FASTEST = 4
"""times its own speed that an episode is shown at, at most"""
_RATE = 15.0  # pictures a second; an agent's step of four frames at 60 a second


def _pace(steps: int) -> tuple[int, int]:
    """How many times as fast an episode of so many states is shown, and how many of its states that covers.

    >>> _pace(100), _pace(450), _pace(10_000)
    ((1, 100), (3, 450), (4, 600))
    """
    speed = min(FASTEST, -(-steps // FRAMES))
    return speed, min(steps, speed * FRAMES)


def _small(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T h w 3"]:
    """Pictures of at most `WIDTH` pixels across, by leaving out whole rows and columns."""
    step = -(-frames.shape[2] // WIDTH)
    return frames[:, ::step, ::step]


def _shot(footage: Footage, take: Take, path: Path) -> dict[str, Any]:
    """Write one film; what a result says of it."""
    length = len(jax.tree.leaves(take.states)[0])
    speed, covered = _pace(length)
    states = jax.tree.map(lambda leaf: leaf[:covered:speed], take.states)
    video.write_film(path, _small(footage.suite.render(footage.task, states)), _RATE)
    about = {"when": take.when, "steps": take.steps, "return": round(take.total, 3), "file": path.name}
    return about | {"speed": speed, "whole": covered == length}


def keep(footage: Footage) -> list[dict[str, Any]]:
    """Store the films of a run beside its result, as MP4 where ffmpeg is installed, else as WebP.

    Returns:
      A line a film for the result's `facts["films"]`: `when`, `steps`, `return`, `file`, `speed`, `whole`.
    """
    if footage.path is None:
        return []
    ending = "mp4" if shutil.which("ffmpeg") else "webp"
    stem = footage.path.name.removesuffix(".result.json")
    return [
        _shot(footage, take, footage.path.with_name(f"{stem}.{take.when}.{ending}")) for take in footage.takes
    ]


__all__ = ["FASTEST", "FRAMES", "WIDTH", "keep"]
