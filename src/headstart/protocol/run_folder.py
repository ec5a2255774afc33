"""The folder of a run: what the run was started with, so that who resumes it need not say it again, and its curve so far."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from headstart import agents
from headstart.errors import RunError, UsageError
from headstart.protocol.priors import from_plain
from headstart.results import write_text

_OWN = ("run", "resume", "processes")  # of the call that trains, not of the run


def make(path: Path) -> None:
    """Make a folder, if it is not there.

    Raises:
      RunError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path} cannot be made ({error.strerror}).") from error


def kept(options: Any) -> dict[str, Any]:
    """A run's options as config.json keeps them."""
    return {name: value for name, value in dataclasses.asdict(options).items() if name not in _OWN}


def read(run: Path) -> dict[str, Any]:
    """A run folder's config.json.

    Raises:
      UsageError: if it is missing or cannot be read.
    """
    config = run / "config.json"
    try:
        return dict(json.loads(config.read_text()))
    except FileNotFoundError:
        raise UsageError(f"there is no run at {run} to resume; leave --resume out to start one.") from None
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{config} is damaged or no headstart run's ({type(error).__name__}).") from error


def options_of(about: dict[str, Any], default: Any) -> Any:
    """The options of a run; those that an early run folder does not name as in `default`.

    Raises:
      UsageError: if one is named that does not exist.
    """
    names = {field.name for field in dataclasses.fields(default)} - set(_OWN)
    told = {name: about[name] for name in names if about.get(name) is not None}
    return from_plain(default, told | about.get("options", {}))


def settings_of(about: dict[str, Any]) -> Any:
    """The settings of a run's agent; those that came into being since it was started as they are by default.

    Raises:
      UsageError: if one is named that does not exist, or the agent does not.
    """
    return from_plain(agents.entry(about["agent"]).config, about.get("settings", {}))


def write_curve(run: Path, rows: list[list[float]], metrics: list[str]) -> None:
    """Write a run folder's curve.csv: steps, return and the learner's metrics, a row a chunk.

    Raises:
      RunError: if the disk is full or the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["steps", "return", *metrics])
    writer.writerows([[int(row[0]), *row[1:]] for row in rows])
    write_text(run / "curve.csv", text.getvalue())


def curve(run: Path, spent: int) -> tuple[list[str], list[list[float]]]:
    """The columns of a run folder's curve.csv, and its rows up to the checkpoint at step `spent`.

    Raises:
      UsageError: if it cannot be read, or does not reach the checkpoint.
    """
    file = run / "curve.csv"
    try:
        with file.open() as lines:
            names, *rows = list(csv.reader(lines)) or [[]]
        rows = [[float(x) for x in row] for row in rows]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be read ({type(error).__name__}); the run cannot be resumed."
        ) from error
    rows = [row for row in rows if row and row[0] <= spent]
    if not rows or rows[-1][0] != spent:
        raise UsageError(f"{file} does not reach the checkpoint at step {spent}; the run cannot be resumed.")
    return names, rows


__all__ = ["curve", "kept", "make", "options_of", "read", "settings_of", "write_curve"]
