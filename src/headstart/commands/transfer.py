"""`headstart transfer`: how much faster does an agent learn an unseen task because it has learned others?"""

import json
import shlex
import sys
from collections.abc import Callable

from headstart import _console, results
from headstart.cli import parse
from headstart.protocol.training import Progress
from headstart.protocol.transfer import TransferOptions, Watch
from headstart.protocol.transfer import transfer as play
from headstart.results import Result


def transfer(args: list[str]) -> None:
    """Train priors, adapt to unseen tasks, compare; a line a finished run, then a table."""
    quiet = "--json" in args
    rest = [arg for arg in args if arg != "--json"]
    options: TransferOptions = parse(TransferOptions, rest, "transfer")
    watch = Watch() if quiet else Watch(_training(), _say)
    found = play(options, watch, command="headstart transfer " + shlex.join(args))
    if quiet:
        print(json.dumps([results.to_json(result) for result in found]))
        return
    show(found)
    print(f"kept in {options.run}; a page of it: headstart report --results {options.run / 'runs'}")


def _training() -> Callable[[str, Progress], None]:
    """Lines of joint training, a learner's in its own words."""
    lines: dict[str, Callable[[Progress], None]] = {}

    def show(learner: str, progress: Progress) -> None:
        lines.setdefault(learner, _console.lines(f"joint training of {learner}"))(progress)

    return show


def _say(result: Result) -> None:
    """One line for a run that is done."""
    if result.scores:
        said = f"{result.scores[0]:10.2f} over {result.facts['episodes']:,} episodes"
    else:
        said = f"failed: {result.facts['failed']}"
    who = f"{result.agent}  {result.facts['task']}  seed {result.seed}"
    print(f"{who:<56}{said}", file=sys.stderr, flush=True)


def show(found: list[Result]) -> None:
    """Print the scores of every contender; errors and intervals are over seeds, for these very tasks."""
    from headstart.reports import transfer as numbers
    from headstart.reports.headline import decimals, number, span

    for group in numbers.groups(found):
        d = decimals(group["agents"])
        rows = [
            [
                agent["name"],
                f"{number(agent['mean'], d)} ± {number(agent['se'], d)}",
                f"{number(agent['iqm'], d)} [{span(agent['iqm_interval'], d) or '–'}]",
                f"{agent['runs']}",
                f"{agent['failed']}",
            ]
            for agent in group["agents"]
        ]
        tasks = f"{group['split']} tasks {', '.join(group['fingerprints'])}"
        title = f"{group['suite']}, {tasks}, {group['budget']:,} steps each"
        _console.table(title, ["contender", "score ± s.e.", "IQM [95 %]", "runs", "failed"], rows)
        print(group["headline"])


__all__ = ["show", "transfer"]
