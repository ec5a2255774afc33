"""The command line: `headstart list | train | evaluate | transfer | report | watch | levels | play | …`.

Nothing heavy is imported before a command is known. A user error ends with one sentence and exit code 2, a failed run with
one sentence and exit code 1; `--debug` shows the traceback.
"""

import contextlib
import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from headstart.commands import _environment as environments
from headstart.errors import HeadstartError, UsageError, unknown

COMMANDS: dict[str, tuple[str, str]] = {
    "contest": (
        "headstart.commands.contest:contest",
        "make an agent, score it, send it in; or hold a contest",
    ),
    "demo": (
        "headstart.commands.demo:demo",
        "an agent that learned to learn against textbook rules, with a report",
    ),
    "doctor": ("headstart.commands.doctor:doctor", "what this machine and installation can do"),
    "evaluate": ("headstart.commands.runs:evaluate", "score agents and priors on the same unseen tasks"),
    "levels": ("headstart.commands.levels:levels", "the platformer's levels: list them, check your own"),
    "list": ("headstart.commands.listing:listing", "suites, agents and priors"),
    "play": ("headstart.commands.play:play", "play a level of the platformer, or replay a tape of it"),
    "report": ("headstart.commands.runs:report", "one HTML page from stored results"),
    "retro": ("headstart.commands.retro:retro", "save states of an emulated game, as tasks"),
    "roms": ("headstart.commands.roms:roms", "import your own ROMs, list which are there"),
    "train": ("headstart.commands.runs:train", "train an agent on a suite's training tasks"),
    "transfer": (
        "headstart.commands.transfer:transfer",
        "learn unseen tasks from scratch and with priors, and compare",
    ),
    "watch": ("headstart.commands.watch:watch", "see one trial: as a film, or as text"),
}

_HELP = "usage: headstart COMMAND [options]     (headstart COMMAND --help lists a command's options)\n"


def _help() -> str:
    from headstart import __doc__ as about

    lines = [f"  {name:<10}{what}" for name, (_, what) in COMMANDS.items()]
    first = (about or "").splitlines()[0]
    return "\n".join(
        [first, "", _HELP, *lines, "", "  --version  print the version", "  --debug    show tracebacks"]
    )


def parse(kind: Any, args: list[str], command: str, default: Any = None) -> Any:
    """Options of a command from its dataclass.

    Raises:
      UsageError: for an option or value that is not understood, in one sentence.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            extra = {} if default is None else {"default": default}
            return tyro.cli(kind, args=args, prog=f"headstart {command}", **extra)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(f"{_sentence(complaint.getvalue())}; see headstart {command} --help.") from None


def _sentence(box: str) -> str:
    """What tyro draws as a box of several parts: its first part, and the options it thinks were meant."""
    lines = box.splitlines()
    framed = [line for line in lines if line.startswith("│")] or lines[
        2:
    ]  # plain where there is no Unicode: title, rule
    parts = re.split(r"[─-]{5,}", " ".join(line.strip("│ ") for line in framed))
    first = re.sub(r"^Error parsing [\w.-]+: (?!invalid)", "", " ".join(parts[0].split())).rstrip(".")
    stray = re.match(r"Unrecognized options: (\S+?)(,|$)", first)
    if stray is None:
        return first
    near = re.findall(r"(?:^|\s)(--[\w.-]+)", " ".join(p.partition(":")[2] for p in parts[1:-1]))
    hint = f" (did you mean {' or '.join(near[:3])}?)" if near else ""
    return f"there is no option {stray[1]}{hint}"


def _run(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return
    if args[0] == "--version":
        print(importlib.import_module("headstart").__version__)
        return
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if name in environments.COMMANDS:
        rest = environments.as_suite(rest)
    module, function = COMMANDS[name][0].split(":")
    command: Callable[[list[str]], None] = getattr(importlib.import_module(module), function)
    command(rest)


def main() -> None:
    """Entry point: run the command in `sys.argv` and exit with 0, 1 (failed run) or 2 (wrong use)."""
    debug = "--debug" in sys.argv
    args = [arg for arg in sys.argv[1:] if arg != "--debug"]
    try:
        _run(args)
        sys.stdout.flush()
    except HeadstartError as error:
        _stop(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        _stop("interrupted.", 130, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # what no rule foresaw: a full disk under a picture, memory, a mistake of ours
        what = " ".join(str(error).split())[:300]
        _stop(f"{type(error).__name__}: {what} (--debug shows where)", 1, debug)


def _stop(sentence: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(f"headstart: {sentence}", file=sys.stderr)
    raise SystemExit(code) from None


__all__ = ["COMMANDS", "main", "parse"]

if __name__ == "__main__":
    main()
