"""`headstart transfer`: how much faster does an agent learn an unseen task because it has learned others?"""

import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

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


def matrix(found: list[Result]) -> dict[str, Any]:
    """Scores `[seeds, tasks]` of each contender, NaN where a run failed."""
    table: dict[str, Any] = {}
    for name in dict.fromkeys(result.agent for result in found):
        mine = [result for result in found if result.agent == name]
        seeds = sorted({result.seed for result in mine})
        rows = sorted({int(result.facts["row"]) for result in mine})
        scores = np.full((len(seeds), len(rows)), np.nan)
        for result in mine:
            if result.scores:
                scores[seeds.index(result.seed), rows.index(int(result.facts["row"]))] = result.scores[0]
        table[name] = scores
    return table


def show(found: list[Result]) -> None:
    """Print the scores of every contender; errors and intervals are over seeds, for these very tasks."""
    from headstart.reports import aggregate

    scores = matrix(found)
    played = {name: x for name, x in scores.items() if np.isfinite(x).any()}
    replicates = aggregate.bootstrap(played, scheme="runs") if played else {}
    rows: list[list[str]] = []
    for name, x in scores.items():
        mean = iqm = ""
        if name in played:
            low, high = aggregate.interval(replicates[name].iqm)
            mean = f"{aggregate.mean(x):.2f} ± {aggregate.standard_error_over_runs(x):.2f}"
            iqm = f"{aggregate.iqm(x):.2f} [{low:.2f}, {high:.2f}]"
        rows.append([name, mean, iqm, f"{x.size}", f"{np.isnan(x).sum()}"])
    one = found[0]
    title = f"{one.suite}, {one.split} tasks {one.fingerprint}, {one.budget:,} steps each"
    _console.table(title, ["contender", "score ± s.e.", "IQM [95 %]", "runs", "failed"], rows)


__all__ = ["matrix", "show", "transfer"]
