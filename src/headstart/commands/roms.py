"""`headstart roms`: a user's own ROMs, put where the emulator finds them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from headstart import _console
from headstart.cli import parse
from headstart.errors import UsageError
from headstart.hosts import roms as shelf


@dataclass(frozen=True)
class RomsOptions:
    """Import ROMs of your own, or list which are there. Headstart ships none and fetches none."""

    what: Annotated[Literal["import", "list"], tyro.conf.Positional] = "list"
    """import a folder, or list what is there"""
    folder: Annotated[Path | None, tyro.conf.Positional] = None
    """folder (or file, or zip) with your ROMs"""
    json: bool = False
    """print as JSON"""


def roms(args: list[str]) -> None:
    """Import or list."""
    options: RomsOptions = parse(RomsOptions, args, "roms")
    if options.what == "import":
        _take(options)
    else:
        _list(options)


def _take(options: RomsOptions) -> None:
    if options.folder is None:
        raise UsageError("name the folder with your ROMs: headstart roms import FOLDER.")
    found = shelf.take(options.folder)
    if options.json:
        print(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        print(one)
    count = sum(one.what == "imported" for one in found)
    print(f"{count} of {len(found)} files imported; headstart roms list shows what is there now.")


def _list(options: RomsOptions) -> None:
    there = shelf.imported()
    rows: list[dict[str, Any]] = [
        {"game": game, "there": game in there, "sha1": list(shelf.expected(game))}
        for game in dict.fromkeys((*shelf.SONIC, *there))
    ]
    if options.json:
        print(json.dumps(rows))
        return
    cells = [[row["game"], "yes" if row["there"] else "no", " or ".join(row["sha1"])] for row in rows]
    _console.table(
        "ROMs: the Sonic benchmark's, and others that are there", ["game", "there", "SHA-1"], cells
    )


__all__ = ["RomsOptions", "roms"]
