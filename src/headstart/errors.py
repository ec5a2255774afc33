"""What a user may be told. Each error is one clear sentence: what was wrong, what is allowed, what to do next."""

import difflib
from collections.abc import Iterable


class HeadstartError(Exception):
    """Any failure that headstart explains itself; the command line prints it as one sentence."""

    exit_code = 1


class UsageError(HeadstartError, ValueError):
    """The request cannot be carried out as it was made (exit code 2)."""

    exit_code = 2


class RunError(HeadstartError, RuntimeError):
    """A run that was asked for correctly has failed; what it had saved is kept (exit code 1)."""


class StoppedError(RunError):
    """Somebody interrupted; the same request goes on."""


class BudgetSpentError(RunError):
    """More steps were asked of a `Meter` than its budget holds."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in a registry, with the nearest names suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from: {', '.join(names)}."
    return UsageError(f"there is no {kind} called '{name}'; {hint}")
