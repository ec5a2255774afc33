"""`headstart transfer`: how much faster does an agent learn an unseen task because it has learned others?"""

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from headstart import _console, agents, results
from headstart.cli import parse
from headstart.errors import RunError
from headstart.protocol.training import Progress
from headstart.protocol.transfer import TransferOptions, Watch
from headstart.protocol.transfer import transfer as play
from headstart.results import Result


def _learners(args: list[str]) -> list[str]:
    """The learners among the contenders of a command line that have settings, each once."""
    named: list[str] = list(TransferOptions.agents)
    for i, arg in enumerate(args):
        if arg == "--agents":
            rest = args[i + 1 :]
            stop = next((j for j, word in enumerate(rest) if word.startswith("--")), len(rest))
            named = rest[:stop]
        elif arg.startswith("--agents="):
            named = [arg.partition("=")[2]]
    bare = [name.removesuffix("-frozen").removesuffix("-joint") for name in named]
    known = [name for name in dict.fromkeys(bare) if name in agents.REGISTRY]
    return [name for name in known if dataclasses.fields(agents.entry(name).config)]


def _options(args: list[str]) -> tuple[Any, list[str]]:
    """The command's options: transfer's own, and each learner's settings under its name."""
    learners, settings = _learners(args), list[Any]()
    for name in learners:
        config = agents.entry(name).config
        settings.append((name.replace("-", "_"), type(config), dataclasses.field(default=config)))
    kind: Any = dataclasses.make_dataclass("Settings", settings, frozen=True)
    kind.__doc__ = "Settings of the learners, each under its name."
    fields = [
        (
            "options",
            Annotated[TransferOptions, tyro.conf.arg(name="")],
            dataclasses.field(default_factory=TransferOptions),
        ),
        ("settings", kind, dataclasses.field(default_factory=kind)),
        ("json", bool, dataclasses.field(default=False)),
    ]
    command = dataclasses.make_dataclass("Transfer", fields, frozen=True)
    command.__doc__ = "Train priors, adapt to unseen tasks, compare. `--json` prints the results as JSON."
    return parse(command, args, "transfer"), learners


def transfer(args: list[str]) -> None:
    """Train priors, adapt to unseen tasks, compare; a line a finished run, then a table.

    Raises:
      RunError: in the end, if errors ended some of the runs.
    """
    from headstart.reports import films

    chosen, learners = _options(args)
    options: TransferOptions = chosen.options
    configs = {name: getattr(chosen.settings, name.replace("-", "_")) for name in learners}
    watch = Watch(film=films.keep) if chosen.json else Watch(_training(), say, films.keep)
    found = play(options, watch, command="headstart transfer " + shlex.join(args), configs=configs)
    if chosen.json:
        print(json.dumps([results.to_json(result) for result in found]))
    else:
        show(found)
        print(f"kept in {options.run}; a page of it: headstart report --results {options.run / 'runs'}")
    broken = [result.facts["failed"] for result in found if "raised" in result.facts]
    if broken:
        raise RunError(
            f"{len(broken)} of {len(found)} runs failed ({broken[0].rstrip('.')}); the others are whole, and the same "
            "call tries these again."
        )


def _training() -> Callable[[str, Progress], None]:
    """Lines of joint training, a learner's in its own words."""
    lines: dict[str, Callable[[Progress], None]] = {}

    def show(learner: str, progress: Progress) -> None:
        lines.setdefault(learner, _console.lines(f"joint training of {learner}"))(progress)

    return show


def say(result: Result) -> None:
    """One line for a run that is done."""
    if result.scores:
        said = f"{result.scores[0]:10.2f} over {result.facts['episodes']:,} episodes"
        said += ", never a reward: the wrong scenario or task?" if result.facts.get("unrewarded") else ""
    else:
        said = f"failed: {result.facts['failed']}"
    if "unfilmed" in result.facts:
        said += f" (not filmed: {result.facts['unfilmed']})"
    who = f"{result.agent}  {result.facts['task']}  seed {result.seed}"
    print(f"{who:<56}{said}", file=sys.stderr, flush=True)


_COLUMNS = ("contender", "score ± s.e.", "IQM [95 %]", "runs", "failed")
_SOMETIMES = (("normalised", "normalised", 3), ("never rewarded", "unrewarded", 0))
"""columns that are there where they say anything: name, figure, decimals"""


def show(found: list[Result]) -> None:
    """Print the scores of every contender; errors and intervals are over seeds, for these very tasks."""
    from headstart.reports import transfer as numbers
    from headstart.reports.headline import decimals, number, span

    for group in numbers.groups(found):
        d = decimals(group["agents"])
        more = [
            column
            for column in _SOMETIMES
            if any(agent[column[1]] not in (None, 0) for agent in group["agents"])
        ]
        rows = [
            [
                agent["name"],
                f"{number(agent['mean'], d)} ± {number(agent['se'], d)}",
                f"{number(agent['iqm'], d)} [{span(agent['iqm_interval'], d) or '–'}]",
                f"{agent['runs']}",
                f"{agent['failed']}",
                *(
                    "–" if agent[key] is None else number(float(agent[key]), digits)
                    for _, key, digits in more
                ),
            ]
            for agent in group["agents"]
        ]
        tasks = f"{group['split']} tasks {', '.join(group['fingerprints'])}"
        title = f"{group['suite']}, {tasks}, {group['budget']:,} steps each"
        _console.table(title, [*_COLUMNS, *(name for name, *_ in more)], rows)
        print(group["headline"])


__all__ = ["say", "show", "transfer"]
