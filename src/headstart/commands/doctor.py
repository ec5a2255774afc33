"""`headstart doctor`: what this machine and installation can do."""

import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from typing import Any

import jax

from headstart import _console, results
from headstart.cli import parse
from headstart.hosts import roms
from headstart.protocol import priors


@dataclass(frozen=True)
class DoctorOptions:
    """Show what this machine and installation can do."""

    json: bool = False
    """print as JSON"""


EXTRAS: dict[str, tuple[str, ...]] = {
    "contest": ("httpx", "msgpack", "python_multipart", "sqlalchemy", "starlette", "uvicorn"),
    "postgres": ("psycopg",),
    "procgen": ("envpool", "PyQt5"),
    "ray": ("ray",),
    "retro": ("stable_retro",),
    "tracking": ("tensorboardX",),
}
"""the modules that each extra installs"""


def _state_of(extra: str) -> str:
    """Whether an extra is there; else the command that installs it."""
    there = all(importlib.util.find_spec(module) is not None for module in EXTRAS[extra])
    return "installed" if there else f"pip install 'headstart[{extra}]'"


def _findings() -> dict[str, Any]:
    extras = {extra: _state_of(extra) for extra in EXTRAS}
    return {
        "versions": results.versions(),
        "commit": results.commit(),
        "backend": jax.default_backend(),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
        "cores": len(os.sched_getaffinity(0)),
        "folder_writable": os.access(".", os.W_OK),
        "free_disk_gib": round(shutil.disk_usage(".").free / 2**30, 1),
        "priors": sorted(priors.shipped()),
        "extras": extras,
        "games": roms.imported() if extras["retro"] == "installed" else [],
    }


def doctor(args: list[str]) -> None:
    """Print what was found."""
    options: DoctorOptions = parse(DoctorOptions, args, "doctor")
    found = _findings()
    if options.json:
        print(json.dumps(found))
        return
    from rich.markup import escape  # rich is slow to import

    extras = found.pop("extras")
    rows = [[name, _cell(value)] for name, value in found.items()]
    rows += [[f"extra {extra}", escape(state)] for extra, state in extras.items()]
    _console.table("headstart doctor", ["what", "found"], rows)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
