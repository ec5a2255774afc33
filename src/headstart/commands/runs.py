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
from headstart.protocol import evaluation, run_folder, training
from headstart.protocol.training import TrainOptions
from headstart.results import Result
from headstart.tasks import Role

_EPISODES = 8  # of a trial that a table has room for


def _chosen(args: list[str], option: str, default: str) -> str:
    """The value of an option that decides which other options there are."""
    for i, arg in enumerate(args):
        if arg == option and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(f"{option}="):
            return arg.split("=", 1)[1]
    return default


def train(args: list[str]) -> None:
    """Train an agent; its settings are options too: `--settings.lr 1e-3`. A resumed run keeps those it was given."""
    run = _chosen(args, "--run", "") if "--resume" in args else ""
    about = run_folder.read(Path(run)) if run else {}
    default = run_folder.options_of(about, TrainOptions())
    name = _chosen(args, "--agent", default.agent)
    config = run_folder.settings_of(about) if about.get("agent") == name else agents.entry(name).config
    fields = [
        (
            "options",
            Annotated[TrainOptions, tyro.conf.arg(name="")],
            dataclasses.field(default_factory=lambda: default),
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
        print(json.dumps(_summed_up(trained.result)))
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
    if options.out:
        results.write_text(options.out, json.dumps([results.to_json(result) for result in found]) + "\n")
    if options.json:
        print(json.dumps([_summed_up(result) for result in found]))
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


def _figures(result: Result) -> dict[str, Any]:
    """Mean and interquartile mean of a result's scores; their 95 % intervals are None where one score tells no spread."""
    from headstart.reports import aggregate

    scores = np.array([result.scores])
    sample = aggregate.bootstrap({result.agent: scores})[result.agent]
    return {
        "mean": aggregate.mean(scores),
        "standard_error": aggregate.standard_error(scores),
        "mean_interval": aggregate.interval(sample.mean) if scores.size > 1 else None,
        "iqm": aggregate.iqm(scores),
        "iqm_interval": aggregate.interval(sample.iqm) if scores.size > 1 else None,
    }


def _summed_up(result: Result) -> dict[str, Any]:
    """A result as JSON, with a `summary` of its scores, if it has any."""
    return results.to_json(result) | {"summary": results.plain(_figures(result)) if result.scores else None}


def _by_episode(title: str, curves: dict[str, list[float]]) -> None:
    """Print what agents did in each episode of a trial, of long ones in a few."""
    n = min(len(curve) for curve in curves.values())
    shown = sorted({round(float(x)) for x in np.geomspace(1, n, min(n, _EPISODES))})
    rows = [[name, *(f"{curve[k - 1]:.3f}" for k in shown)] for name, curve in curves.items()]
    _console.table(f"{title} of episode", ["agent", *map(str, shown)], rows)


def show(found: list[Result]) -> None:
    """Print scores as a table, and how they come about within a trial of several episodes."""

    def around(ends: tuple[float, float] | None) -> str:
        return "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"

    rows: list[list[str]] = []
    for result in found:
        f = _figures(result)
        mean = f"{f['mean']:.3f} ± {f['standard_error']:.3f}{around(f['mean_interval'])}"
        iqm = f"{f['iqm']:.3f}{around(f['iqm_interval'])}"
        placed = [f"{result.facts['normalised']:.3f}"] if "normalised" in result.facts else []
        rows.append([result.agent, mean, iqm, str(len(result.scores)), *placed])
    one = found[0]
    _console.table(
        f"{one.suite}, {one.split} tasks {one.fingerprint}",
        ["agent", "mean ± s.e. [95 %]", "IQM [95 %]", "tasks", "normalised"][: len(rows[0])],
        rows,
    )
    if len(one.within) > 1:
        _by_episode("reward", {result.agent: result.within for result in found})
    if len(one.lengths) > 1 and len({steps for result in found for steps in result.lengths}) > 1:
        _by_episode("steps", {result.agent: result.lengths for result in found})
    for result in found:
        if seen := (result.prior or {}).get("overlap"):
            print(f"{result.agent} was trained on {seen} of these {len(result.scores)} tasks.")


@dataclass(frozen=True)
class ReportOptions:
    """Make one self-contained HTML page from stored results."""

    results: tuple[Path, ...]
    """result files, or folders searched for result.json and *.result.json"""
    out: Path = Path("report.html")
    """the page"""
    title: str = ""
    """heading; empty for the usual one"""
    pictures: tuple[Path, ...] = ()
    """pictures or films of trials to show (`headstart watch --out` makes them), captioned by their files' names"""
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
    pictures = {path.stem.replace("-", " "): path for path in options.pictures}
    films, command = filmed.found(options.results), "headstart report " + shlex.join(args)
    written = titled(found, options.out, pictures=pictures, command=command, films=films)
    print(json.dumps(page.summary(found)) if options.json else f"report written to {written}")


__all__ = ["EvaluateOptions", "ReportOptions", "evaluate", "report", "show", "train", "writable"]
