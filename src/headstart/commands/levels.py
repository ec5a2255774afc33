"""`headstart levels`: the levels that come with the platformer, and whether a level is legal and can be finished."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from headstart import _console
from headstart.cli import parse
from headstart.commands.play import find, read, tape_beside
from headstart.envs.platformer import FRAMES
from headstart.envs.platformer_level import parse as parse_level
from headstart.envs.platformer_search import Report, SearchConfig, check
from headstart.envs.platformer_zones import ZONES
from headstart.errors import RunError, UsageError
from headstart.suites import _platformer_levels as stored


@dataclass(frozen=True)
class LevelsOptions:
    """List the shipped levels, or check levels: are they legal, can they be finished?"""

    what: Annotated[Literal["list", "check"], tyro.conf.Positional] = "list"
    """list the shipped levels, or check some"""
    files: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """level files, or names of shipped levels, to check"""
    rounds: int = SearchConfig.rounds
    """rounds after which the search for a way gives up"""
    seed: int = SearchConfig.seed
    """another seed searches elsewhere"""
    json: bool = False
    """print as JSON"""


def _row(name: str, which: str) -> dict[str, Any]:
    level = parse_level(stored.text(name), f"{name}.txt")
    tape = tape_beside(stored.folder() / f"{name}.txt")
    best = round(len(stored.tape(name)) * FRAMES / 60, 2) if tape.is_file() else None
    zone = ZONES[level.zone]
    return {
        "level": name,
        "set": which,
        "title": level.title,
        "world": zone.world,
        "columns": level.columns,
        "par": level.par,
        "best": best,
    }


def _list(options: LevelsOptions) -> None:
    there = {n: w for n, w in stored.index().items() if (stored.folder() / f"{n}.txt").is_file()}
    rows = [_row(name, which) for name, which in there.items()]
    if options.json:
        print(json.dumps(rows))
        return
    heads = ["level", "set", "title", "world", "tiles", "par, s", "best tape, s"]
    _console.table("levels", heads, [["" if v is None else str(v) for v in row.values()] for row in rows])


def _checked(file: str, config: SearchConfig) -> tuple[Path, Report]:
    """Check one level; a way that was found is stored beside it."""
    path = find(file)
    text, beside = read(path), tape_beside(path)
    tape = stored.read_tape(read(beside), beside.name) if beside.is_file() else None
    report = check(text, tape, path.name, config)
    if report.tape is not None and not report.stored:
        try:
            beside.write_text(stored.write_tape(report.tape))
        except OSError as error:
            raise RunError(f"{beside} cannot be written: {error.strerror}.") from None
    return path, report


def _told(path: Path, report: Report) -> str:
    if report.seconds is None:
        return f"{path.name}: legal, but no way to finish it was found: {report.obstacle}"
    if report.stored:
        return f"{path.name}: legal; its tape finishes it in {report.seconds:.2f} s"
    tape = tape_beside(path).name
    return f"{path.name}: legal; a way of {report.seconds:.2f} s was found and stored in {tape}"


def _check(options: LevelsOptions) -> None:
    if not options.files:
        raise UsageError("name the level files to check: headstart levels check my_level.txt.")
    if options.rounds < 1:
        raise UsageError(f"the search needs at least one round, not {options.rounds}.")
    config, stuck, rows = SearchConfig(rounds=options.rounds, seed=options.seed), list[str](), []
    for file in options.files:
        path, report = _checked(file, config)
        row = {"level": str(path), "seconds": report.seconds, "stored": report.stored}
        rows.append(row | {"column": report.column, "closed": report.closed})
        if not options.json:
            print(_told(path, report), flush=True)
        if report.tape is None:
            stuck.append(path.name)
    if options.json:
        print(json.dumps(rows))
    if stuck:
        raise RunError(
            f"no way to finish {', '.join(stuck)} was found in {options.rounds} rounds; "
            "allow more with --rounds, try another --seed, or make it easier."
        )


def levels(args: list[str]) -> None:
    """List or check levels."""
    options: LevelsOptions = parse(LevelsOptions, args, "levels")
    if options.what == "list" and options.files:
        raise UsageError("a list needs no files; did you mean headstart levels check?")
    {"list": _list, "check": _check}[options.what](options)
