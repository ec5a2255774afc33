"""The one format that runs write and that reports and leaderboards read.

A `Result` is one agent, one suite, one set of tasks, one seed. It is stored as JSON with a schema version; what is not
understood is refused with a sentence, never guessed at.
"""

import contextlib
import dataclasses
import functools
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

_KINDS: dict[str, type] = {
    "suite": str,
    "split": str,
    "fingerprint": str,
    "agent": str,
    "config": dict,
    "seed": int,
    "budget": int,
    "spent": int,
    "scores": list,
    "within": list,
    "lengths": list,
    "facts": dict,
}
"""What JSON must hold for a field, where a wrong kind would otherwise show only much later."""


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
    """where the weights came from: suite, split fingerprint and steps of training; of an evaluation also `overlap`, how many
    of the tasks played were trained on (None: not known)"""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    command: str = ""
    schema: int = SCHEMA


def versions() -> dict[str, str]:
    """Versions of headstart, Python and the numerical stack."""
    names = ("headstart", "jax", "jaxlib", "equinox", "optax", "numpy")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version()} | found


@functools.cache
def commit() -> str:
    """The commit of the working tree headstart runs from, "+" appended if it has changes; "" where it is installed."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # fails where headstart lies in somebody else's checkout
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return ""


def plain(value: Any) -> Any:
    """A value as JSON keeps it: tuples are lists, and what is not finite is None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def to_json(result: Result) -> dict[str, Any]:
    """A result as plain JSON values."""
    return plain(dataclasses.asdict(result))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
      RunError: if the disk is full or the folder cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        why = error.strerror or str(error)
        raise RunError(f"{path} could not be written ({why}); what was saved before is kept.") from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in UTF-8.

    Raises:
      RunError: if the disk is full or the folder cannot be written.
    """
    write_bytes(path, text.encode())


def save(result: Result, path: Path) -> None:
    """Store a result as JSON."""
    write_text(path, json.dumps(to_json(result), indent=1) + "\n")


def from_json(data: Any, where: str) -> Result:
    """Read a result from JSON values; `where` names the source in errors.

    Raises:
      UsageError: if it is no result, lacks a field, or was written by a newer headstart.
    """
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise UsageError(f"{where} holds no headstart result.")
    if data["schema"] > SCHEMA:
        raise UsageError(
            f"{where} was written by a newer headstart (schema {data['schema']}, this one reads up to {SCHEMA}); "
            "upgrade to read it."
        )
    known = {f.name: f for f in dataclasses.fields(Result)}
    needed = [n for n, f in known.items() if f.default is f.default_factory is dataclasses.MISSING]
    missing = [name for name in needed if name not in data]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}; it is no complete headstart result.")
    values = {name: value for name, value in data.items() if name in known}
    wrong = [n for n, kind in _KINDS.items() if n in values and not isinstance(values[n], kind)]
    if wrong:
        raise UsageError(f"{where} holds no readable {', '.join(wrong)}; it is no headstart result.")
    try:
        for name in ("scores", "within", "lengths"):
            values[name] = _floats(values.get(name, []))
        if values.get("curve") is not None:
            curve = values["curve"]
            values["curve"] = Curve([int(step) for step in curve["steps"]], _floats(curve["values"]))
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{where} holds numbers that cannot be read; it is no headstart result.") from None
    return Result(**values)


def _floats(values: list[float | None]) -> list[float]:
    """What `plain` made None is NaN again."""
    return [math.nan if value is None else float(value) for value in values]


def load_all(path: Path) -> list[Result]:
    """All results in a file (one, or a list of them) or in a folder (any depth: `result.json` and `*.result.json`).

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
