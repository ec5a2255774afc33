"""`headstart contest admin`: the organiser's desk."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from headstart import _console
from headstart.cli import parse
from headstart.commands.contest_server import database_url
from headstart.errors import UsageError

_Act = Literal[
    "add-contest",
    "add-user",
    "audit",
    "close",
    "disable",
    "disqualify",
    "enable",
    "export",
    "final",
    "hide-final",
]
_MoreActs = Literal["open", "rerun", "revoke", "schedule", "show-final", "status", "token", "users"]


@dataclass(frozen=True)
class AdminOptions:
    """Make contests, users and tokens; open, close, run again, disqualify, export."""

    what: Annotated[_Act | _MoreActs, tyro.conf.Positional]
    """what to do"""
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """whom or what: a contest's file or name, a user, a submission"""
    data: Path = Path("contest-data")
    """the data folder"""
    database: str = ""
    """SQLAlchemy's address of a database, or in $HEADSTART_DATABASE; empty for SQLite in the data folder"""
    role: Literal["contestant", "organiser", "worker"] = "contestant"
    """of a new user"""
    reference: bool = False
    """a new user whose submissions are rows of reference, outside the ranks"""
    days: float | None = None
    """days a token is good for; without it until it is revoked"""
    board: Literal["public", "final"] = "public"
    """which board to export, or to run a submission again on"""
    reason: str = ""
    """why a submission is disqualified"""
    format: Literal["json", "csv"] = "json"
    """of an export"""
    json: bool = False
    """print as JSON"""


def _one(options: AdminOptions, what: str) -> str:
    if len(options.names) != 1:
        raise UsageError(f"headstart contest admin {options.what} needs {what}.")
    return options.names[0]


def _people(options: AdminOptions, store: Any) -> Any:
    """What is done about users."""
    if options.what == "users":
        return store.users.every()
    name = _one(options, "one user's name")
    new = options.what == "add-user"
    user = store.users.add(name, options.role, options.reference) if new else store.users.named(name)
    if new or options.what == "token":
        return {"user": name, "role": user.role, "token": store.users.new_token(user, options.days)}
    if options.what == "revoke":
        return {"user": name, "revoked": store.users.revoke_tokens(user)}
    store.users.disable(name, options.what == "disable")
    return {"user": name, "disabled": options.what == "disable"}


def _contest(options: AdminOptions, store: Any) -> Any:
    """What is done about contests."""
    from headstart.contest import board, contests

    if options.what == "add-contest":
        path = Path(_one(options, "a contest's TOML file"))
        contest = contests.read(path)
        contests.check_playable(contest, str(path))
        store.add_contest(contest)
        return {"contest": contest.slug, "levels": len(contest.public), "final": len(contest.final)}
    slug = _one(options, "one contest's name")
    states = {"open": "open", "close": "closed", "schedule": "scheduled"}
    if options.what in states:
        store.set_state(slug, states[options.what])
        return {"contest": slug, "state": states[options.what]}
    if options.what == "final":
        return {"contest": slug, "started": store.start_final(slug, board.counted(store, slug))}
    store.show_final(slug, options.what == "show-final")
    return {"contest": slug, "final_shown": options.what == "show-final"}


def _submission(options: AdminOptions, store: Any) -> Any:
    """What is done about submissions."""
    one = store.submission(_one(options, "one submission's id"))
    if options.what == "rerun":
        store.rerun(one.id, options.board)
        return {"submission": one.id, "board": options.board, "state": store.submission(one.id).state}
    store.withdraw(one.id, "disqualified", options.reason or "by the organiser")
    return {"submission": one.id, "state": "disqualified"}


def _export(options: AdminOptions, store: Any) -> None:
    """Print a board, with every submission and evaluation of the contest where it is JSON."""
    from headstart.contest import board

    slug = _one(options, "one contest's name")
    found = board.standing(store, slug, options.board)
    if options.format == "csv":
        print(board.to_csv(found), end="")
        return
    every = [
        one._asdict() | {"jobs": [j._asdict() for j in board.jobs(store, one.id)]}
        for one in store.submissions(slug)
    ]
    print(json.dumps(board.to_json(found) | {"submissions": every}))


def _status(store: Any) -> Any:
    now = store.database.clock()
    found = [
        {
            "contest": c.slug,
            "open": c.is_open(now),
            "submissions": len(store.submissions(c.slug)),
            "budget": c.budget,
        }
        for c in map(store.contest, store.contests())
    ]
    return [row | {f"jobs {state}": n for state, n in store.queue.waiting().items()} for row in found]


_PEOPLE = {"add-user", "disable", "enable", "revoke", "token", "users"}
_ASKING = {"audit", "export", "status", "users"}


def admin(args: list[str]) -> None:
    """Do one thing at the organiser's desk."""
    options: AdminOptions = parse(AdminOptions, args, "contest admin")
    from headstart.contest.store import Store

    store = Store(options.data, database_url(options.database))
    try:
        if options.what == "export":
            _export(options, store)
            return
        if options.what in ("audit", "status"):
            found = store.audits() if options.what == "audit" else _status(store)
        elif options.what in _PEOPLE:
            found = _people(options, store)
        else:
            found = (_submission if options.what in ("disqualify", "rerun") else _contest)(options, store)
        if options.what not in _ASKING:
            final = " (final)" if options.what == "rerun" and options.board == "final" else ""
            store.audit("command line", f"{options.what} {' '.join(options.names)}{final}")
    finally:
        store.close()
    _print(options, found)


def _print(options: AdminOptions, found: Any) -> None:
    rows: Sequence[dict[str, Any]] = found if isinstance(found, list) else [found]
    if options.json:
        print(json.dumps(found))
    elif isinstance(found, dict):
        for key, value in found.items():
            print(f"{key}: {value}")
        if "token" in found:
            print("the token is shown this once; its owner keeps it in a private file.", file=sys.stderr)
    elif rows:
        _console.table(options.what, list(rows[0]), [[str(v) for v in row.values()] for row in rows])


__all__ = ["AdminOptions", "admin"]
