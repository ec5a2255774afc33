"""`headstart list`: suites with their options, agents, and the priors that come with the package."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from headstart import _console, agents, suites
from headstart.cli import parse
from headstart.protocol import priors


@dataclass(frozen=True)
class ListOptions:
    """List suites, agents and priors."""

    what: Annotated[Literal["all", "suites", "agents", "priors"], tyro.conf.Positional] = "all"
    """which of them"""
    json: bool = False
    """print as JSON"""


def _suites() -> list[dict[str, Any]]:
    """A foreign simulator need not be installed to be listed: it is not loaded, but described by its builder."""
    return [
        {
            "name": name,
            "options": suites.options(name),
            "about": suites.suite(name).about if name in suites.REGISTRY else suites.about(name),
        }
        for name in sorted((*suites.REGISTRY, *suites.FOREIGN))
    ]


def _agents() -> list[dict[str, Any]]:
    def about(name: str) -> str:
        build = agents.entry(name).build
        return (build.__doc__ or "").strip().splitlines()[0]

    return [{"name": name, "about": about(name)} for name in sorted(agents.REGISTRY)]


def _priors() -> list[dict[str, Any]]:
    found = {name: priors.describe(path) for name, path in priors.shipped().items()}
    return [
        {"name": name} | {key: about[key] for key in ("suite", "agent", "steps", "tasks", "fingerprint")}
        for name, about in found.items()
    ]


def listing(args: list[str]) -> None:
    """Print what there is."""
    options: ListOptions = parse(ListOptions, args, "list")
    make = {"suites": _suites, "agents": _agents, "priors": _priors}
    found = {what: rows() for what, rows in make.items() if options.what in ("all", what)}
    if options.json:
        print(json.dumps(found))
        return
    for what, rows in found.items():
        columns = list(rows[0]) if rows else ["name"]
        cells = [[_cell(row[column]) for column in columns] for row in rows]
        _console.table(what, columns, cells)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items())
    if isinstance(value, int):
        return f"{value:,}"
    return "endless" if value is None else str(value)
