"""`--env`: a Gymnasium environment of the user's own, as the suite it stands for."""

from headstart.errors import UsageError

COMMANDS = ("train", "evaluate", "transfer")
"""those that take `--env`"""

_WORDS = {
    "--env": "env",
    "--train-tasks": "train",
    "--valid-tasks": "valid",
    "--test-tasks": "test",
    "--task-by": "by",
}


def as_suite(args: list[str]) -> list[str]:
    """Arguments with `--env` and its tasks rewritten as one `--suite asgym:…`; unchanged where there is no `--env`.

    >>> as_suite(["--env", "my_pkg:make", "--train-tasks", "a.json", "--agent", "ppo"])
    ['--agent', 'ppo', '--suite', 'asgym:env=my_pkg:make,train=a.json']

    Raises:
      UsageError: for tasks without a file, or a suite as well.
    """
    if not any(arg.split("=")[0] == "--env" for arg in args):
        return args
    if any(arg.split("=")[0] == "--suite" for arg in args):
        raise UsageError("--env stands for a suite; leave --suite out.")
    rest: list[str] = []
    chosen: dict[str, str] = {}
    given = iter(args)
    for arg in given:
        word, equals, value = arg.partition("=")
        if word not in _WORDS:
            rest.append(arg)
            continue
        value = value if equals else next(given, "")
        if not value or value.startswith("--"):
            raise UsageError(f"{word} needs a value after it.")
        if word == "--train-tasks" and value.isdigit():  # how many of them
            rest += [word, value]
        else:
            chosen[_WORDS[word]] = value
    if any("," in value for value in chosen.values()):
        raise UsageError("names of an environment and of its files are without commas.")
    options = ",".join(f"{name}={chosen[name]}" for name in _WORDS.values() if name in chosen)
    return [*rest, "--suite", f"asgym:{options}"]
