"""`headstart train`, `headstart evaluate` and `headstart report`."""

import dataclasses
import json
import shlex
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from headstart import _console, agents, results
from headstart.cli import parse
from headstart.errors import UsageError
from headstart.protocol import evaluation, training
from headstart.protocol.training import TrainOptions
from headstart.results import Result
from headstart.tasks import Role


def _chosen(args: list[str], option: str, default: str) -> str:
    """The value of an option that decides which other options there are."""
    for i, arg in enumerate(args):
        if arg == option and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(f"{option}="):
            return arg.split("=", 1)[1]
    return default


def train(args: list[str]) -> None:
    """Train an agent; its settings are options too: `--settings.lr 1e-3`."""
    name = _chosen(args, "--agent", TrainOptions.agent)
    config = agents.entry(name).config
    fields = [
        (
            "options",
            Annotated[TrainOptions, tyro.conf.arg(name="")],
            dataclasses.field(default_factory=TrainOptions),
        ),
        ("settings", type(config), dataclasses.field(default=config)),
        ("json", bool, dataclasses.field(default=False)),
    ]
    kind = dataclasses.make_dataclass("Train", fields, frozen=True)
    kind.__doc__ = "Train an agent on a suite's training tasks. `--json` prints the result as JSON."
    chosen: Any = parse(kind, args, "train")
    with _console.progress(f"{name} on {chosen.options.suite}", quiet=chosen.json) as watch:
        command = "headstart train " + shlex.join(args)
        trained = training.train(chosen.options, chosen.settings, watch, command)
    if chosen.json:
        print(json.dumps(results.to_json(trained.result)))
        return
    if trained.result.scores:
        show([trained.result])
    if chosen.options.run:
        print(
            f"kept in {chosen.options.run}; score it on unseen tasks with: headstart evaluate "
            f"--suite {chosen.options.suite} --agents {chosen.options.run}"
        )


@dataclass(frozen=True)
class EvaluateOptions:
    """Score agents and priors on the same unseen tasks with the same random numbers."""

    suite: str = "bandit"
    """suite by name, options after a colon: bandit:arms=5,pulls=100"""
    agents: tuple[str, ...] = ()
    """rules, shipped priors, prior files or run folders; none means all the suite's rules"""
    tasks: int | None = None
    """how many tasks; None is a thousand, or all there are"""
    split: Role = "test"
    """role of the tasks"""
    task_seed: int = 0
    """another seed draws a fresh set that nobody tuned to"""
    seed: int = 0
    """of all randomness in play"""
    out: Path | None = None
    """file to store the results in, as JSON"""
    json: bool = False
    """print the results as JSON"""


def evaluate(args: list[str]) -> None:
    """Score agents on unseen tasks."""
    options: EvaluateOptions = parse(EvaluateOptions, args, "evaluate")
    from headstart.suites import suite

    if options.out:
        writable(options.out)
    whos = options.agents or suite(options.suite).rules
    found = evaluation.evaluate(
        options.suite,
        list(whos),
        tasks=options.tasks,
        split=options.split,
        task_seed=options.task_seed,
        seed=options.seed,
        command="headstart evaluate " + shlex.join(args),
    )
    plain = [results.to_json(result) for result in found]
    if options.out:
        results.write_text(options.out, json.dumps(plain) + "\n")
    if options.json:
        print(json.dumps(plain))
    else:
        show(found)


def writable(path: Path) -> None:
    """Make the folder a result is to go to, before hours are spent on it.

    Raises:
      UsageError: if nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name the file to write.")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}).") from error


def show(found: list[Result]) -> None:
    """Print scores as a table."""
    from headstart.reports import aggregate

    rows: list[list[str]] = []
    for result in found:
        scores = np.array([result.scores])
        low, high = aggregate.interval(aggregate.bootstrap({result.agent: scores})[result.agent].iqm)
        mean = f"{aggregate.mean(scores):.3f} ± {aggregate.standard_error(scores):.3f}"
        iqm = f"{aggregate.iqm(scores):.3f} [{low:.3f}, {high:.3f}]"
        rows.append([result.agent, mean, iqm, str(len(result.scores))])
    one = found[0]
    _console.table(
        f"{one.suite}, {one.split} tasks {one.fingerprint}",
        ["agent", "mean ± s.e.", "IQM [95 %]", "tasks"],
        rows,
    )


@dataclass(frozen=True)
class ReportOptions:
    """Make one self-contained HTML page from stored results."""

    results: tuple[Path, ...]
    """result files, or folders searched for result.json and *.result.json"""
    out: Path = Path("report.html")
    """the page"""
    title: str = ""
    """heading; empty for the usual one"""
    json: bool = False
    """print the report's figures as JSON as well"""


def report(args: list[str]) -> None:
    """Make a page from stored results."""
    options: ReportOptions = parse(ReportOptions, args, "report")
    from headstart.reports import filmed, page

    if not options.results:
        raise UsageError("a report needs at least one result file or folder: --results FOLDER.")
    found = [result for path in options.results for result in results.load_all(path)]
    titled = partial(page.report, title=options.title) if options.title else page.report
    films = filmed.found(options.results)
    written = titled(found, options.out, command="headstart report " + shlex.join(args), films=films)
    print(json.dumps(page.summary(found)) if options.json else f"report written to {written}")


__all__ = ["EvaluateOptions", "ReportOptions", "evaluate", "report", "show", "train", "writable"]
