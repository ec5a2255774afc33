"""The one format that runs write and that reports and leaderboards read.

A `Result` is one agent, one suite, one set of tasks, one seed. It is stored as JSON with a schema version; what is not
understood is refused with a sentence, never guessed at.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.errors import RunError, UsageError

SCHEMA = 1
"""The version of the format written here; newer ones are refused, older ones are read."""


@dataclass(frozen=True)
class Curve:
    """A quantity along a run: `steps[i]` environment steps were spent when `values[i]` was measured."""

    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class Result:
    """What one run measured, and everything needed to run it again."""

    suite: str
    """canonical name, with options"""
    split: str
    """role of the tasks played: train, valid or test"""
    fingerprint: str
    """of the split's tasks"""
    agent: str
    """the name reports show"""
    config: dict[str, Any]
    """the agent's resolved settings"""
    seed: int
    budget: int
    """steps allowed, over all lanes"""
    spent: int
    """steps taken"""
    scores: list[float]
    """one a task, in the split's order: mean total reward of its episodes (trials)"""
    within: list[float] = field(default_factory=list)
    """within-trial curve, mean over tasks: total reward of episode 1 … K"""
    lengths: list[float] = field(default_factory=list)
    """within-trial curve, mean over tasks: steps of episode 1 … K"""
    curve: Curve | None = None
    """learning curve: mean return of the episodes that ended, along the run"""
    facts: dict[str, Any] = field(default_factory=dict)
    """further figures of the suite, such as success rates"""
    prior: dict[str, Any] | None = None
    """where the weights came from: suite, split fingerprint and steps of training"""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    command: str = ""
    schema: int = SCHEMA


def versions() -> dict[str, str]:
    """Versions of headstart, Python and the numerical stack."""
    names = ("headstart", "jax", "jaxlib", "equinox", "optax", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version()} | found


def commit() -> str:
    """The commit of the working tree headstart runs from, "+" appended if it has changes; "" outside a checkout."""
    here = Path(__file__).parent
    try:
        git = ["git", "-C", str(here)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "--", str(here)], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: they become None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def to_json(result: Result) -> dict[str, Any]:
    """A result as plain JSON values."""
    return _plain(dataclasses.asdict(result))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
      RunError: if the disk is full or the folder cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise RunError(f"{path} could not be written ({error.strerror}); what was saved before is kept.") from error


def save(result: Result, path: Path) -> None:
    """Store a result as JSON."""
    write_text(path, json.dumps(to_json(result), indent=1) + "\n")


def from_json(data: Any, where: str) -> Result:
    """Read a result from JSON values; `where` names the source in errors.

    Raises:
      UsageError: if it is no result, lacks a field, or was written by a newer headstart.
    """
    if not isinstance(data, dict) or "schema" not in data:
        raise UsageError(f"{where} holds no headstart result.")
    if data["schema"] > SCHEMA:
        raise UsageError(
            f"{where} was written by a newer headstart (schema {data['schema']}, this one reads up to {SCHEMA}); upgrade."
        )
    known = {f.name: f for f in dataclasses.fields(Result)}
    missing = [n for n, f in known.items() if n not in data and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}; it is no complete headstart result.")
    values = {name: value for name, value in data.items() if name in known}
    if values.get("curve") is not None:
        values["curve"] = Curve(**values["curve"])
    return Result(**values)


def load(path: Path) -> Result:
    """Read one stored result.

    Raises:
      UsageError: if there is no such file, or it is truncated, foreign or newer.
    """
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"there is no result at {path}.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a result ({error}).") from None
    return from_json(data, str(path))


def load_all(path: Path) -> list[Result]:
    """All results in a file, a folder (any depth, `*.result.json` or `result.json`), or a file holding a list of them.

    Raises:
      UsageError: if nothing is found or something cannot be read.
    """
    if path.is_dir():
        found = sorted({*path.rglob("result.json"), *path.rglob("*.result.json")})
        if not found:
            raise UsageError(f"there are no results under {path}; evaluate or train something first.")
        return [result for file in found for result in load_all(file)]
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"there is no result at {path}.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as results ({error}).") from None
    return [from_json(item, str(path)) for item in (data if isinstance(data, list) else [data])]
