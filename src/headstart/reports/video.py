"""Films of what an agent did: animated GIFs and WebPs, MP4s where ffmpeg is installed, and sheets of stills."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
from jaxtyping import PyTree, UInt8
from PIL import Image

from headstart.errors import RunError, UsageError
from headstart.tasks import Suite

_COLOURS = 255  # of a GIF's palette, shared by all frames


def _palette(frames: UInt8[np.ndarray, "T H W 3"]) -> Image.Image:
    """A palette for all frames, in which the colours of small things are not drowned by a large background.

    Like colours are taken together, sixteen steps a channel, and count by a small power of how often they occur.
    """
    sample = frames[:: max(1, len(frames) // 24)].reshape(-1, 3)
    step = (sample >> 4).astype(np.int32)
    _, group, count = np.unique(step @ np.array([256, 16, 1]), return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(group, sample[:, c]) / count for c in range(3)], axis=-1)
    weight = np.ceil(count**0.3).astype(int)
    row = np.round(mean).astype(np.uint8).repeat(weight, axis=0)
    return Image.fromarray(row[None]).quantize(_COLOURS)


def _write_gif(path: Path, frames: UInt8[np.ndarray, "T H W 3"], rate: float, hold: float) -> None:
    palette = _palette(frames)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    # A GIF's clock ticks in hundredths of a second.
    ticks = [max(2, round(100 / rate)) * 10] * len(images)
    ticks[-1] += round(1000 * hold)
    images[0].save(path, save_all=True, append_images=images[1:], duration=ticks, loop=0, optimize=False)


def _write_webp(path: Path, frames: UInt8[np.ndarray, "T H W 3"], rate: float, hold: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    times = [round(1000 / rate)] * len(images)
    times[-1] += round(1000 * hold)
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=times, loop=0, quality=50, method=2
    )


def _write_mp4(path: Path, frames: UInt8[np.ndarray, "T H W 3"], rate: float, hold: float) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise UsageError(f"writing {path.name} needs ffmpeg on the path; a .gif needs nothing.")
    frames = np.concatenate([frames, frames[-1:].repeat(round(hold * rate), axis=0)])
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate), "-i", "-"]
    command = [ffmpeg, "-y", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", "-crf", "18", str(path)]
    run = subprocess.run(
        command, input=frames[:, :height, :width].tobytes(), capture_output=True, check=False
    )
    if run.returncode:
        raise RunError(f"ffmpeg could not write {path.name}: {run.stderr.decode(errors='replace').strip()}")


def write_film(
    path: Path | str, frames: UInt8[np.ndarray, "T H W 3"], rate: float = 15.0, hold: float = 1.5
) -> Path:
    """Write frames as a film.

    Args:
      path: where to; ".gif", ".webp" (half the size, with some loss) or ".mp4" (which needs ffmpeg) says how.
      frames: red, green and blue, 0 to 255.
      rate: frames a second; 15 is an agent's step of four frames at 60 a second.
      hold: how long the last frame stays, in seconds.

    Raises:
      UsageError: for another ending, without ffmpeg for an MP4, or if there are no frames.
      RunError: if the disk is full or the folder cannot be written; a film that was there before is kept.
    """
    path = Path(path)
    writers = {".gif": _write_gif, ".webp": _write_webp, ".mp4": _write_mp4}
    if path.suffix not in writers:
        raise UsageError(f"a film is a .gif, a .webp or an .mp4, not '{path.suffix}'.")
    if len(frames) == 0:
        raise UsageError("a film has at least one frame.")
    if not rate > 0:
        raise UsageError(f"a film has a positive number of frames a second, not {rate}.")
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix](part, frames, rate, hold)
        part.replace(path)
    except OSError as error:
        raise RunError(f"{path} could not be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def trial_film(path: Path | str, suite: Suite, task: PyTree, states: PyTree, rate: float = 15.0) -> Path:
    """Write one trial as a film, with the suite's own pictures.

    Args:
      path: where to; ".gif" or ".mp4".
      suite: the suite the trial was played in.
      task: its task, without a leading axis.
      states: `[T, ...]`, the environment's state after the reset and after each step.
      rate: frames a second.

    Raises:
      UsageError: if the suite has no pictures, or for an ending that is no film's.
    """
    if suite.render is None:
        raise UsageError(f"suite {suite.name} has no pictures to make a film of.")
    return write_film(path, suite.render(task, states), rate)


def sheet(frames: UInt8[np.ndarray, "T H W 3"], columns: int, gap: int = 6) -> Image.Image:
    """Stills side by side, row by row, `gap` pixels apart."""
    count, height, width, _ = frames.shape
    rows = -(-count // columns)
    image = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for i, frame in enumerate(frames):
        image.paste(Image.fromarray(frame), (i % columns * (width + gap), i // columns * (height + gap)))
    return image
