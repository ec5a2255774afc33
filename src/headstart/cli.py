"""The command line: `headstart list | train | evaluate | report | watch | demo | doctor`.

Nothing heavy is imported before a command is known. A user error ends with one sentence and exit code 2, a failed run with
one sentence and exit code 1; `--debug` shows the traceback.
"""

import contextlib

import importlib
import io
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from headstart.errors import HeadstartError, UsageError, unknown

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("headstart.commands.demo:demo", "an agent that learned to learn against textbook rules, with a report"),
    "doctor": ("headstart.commands.doctor:doctor", "what this machine and installation can do"),
    "evaluate": ("headstart.commands.runs:evaluate", "score agents and priors on the same unseen tasks"),
    "list": ("headstart.commands.listing:listing", "suites, agents and priors"),
    "report": ("headstart.commands.runs:report", "one HTML page from stored results"),
    "train": ("headstart.commands.runs:train", "train an agent on a suite's training tasks"),
    "watch": ("headstart.commands.watch:watch", "see one trial: as a film, or as text"),
}

_HELP = "usage: headstart COMMAND [options]     (headstart COMMAND --help lists a command's options)\n"


def _help() -> str:
    from headstart import __doc__ as about

    lines = [f"  {name:<10}{what}" for name, (_, what) in COMMANDS.items()]
    first = (about or "").splitlines()[0]
    return "\n".join([first, "", _HELP, *lines, "", "  --version  print the version", "  --debug    show tracebacks"])


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
        words = re.sub(r"[─│╭╮╰╯]+", " ", complaint.getvalue())
        sentence = re.sub(r"\s+", " ", words).replace("Parsing error", "").strip()
        raise UsageError(f"{sentence.split(' For full helptext')[0].rstrip('.')}; see headstart {command} --help.") from None


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
        if debug:
            raise
        print(f"headstart: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("headstart: interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


__all__ = ["COMMANDS", "main", "parse"]

if __name__ == "__main__":
    main()
