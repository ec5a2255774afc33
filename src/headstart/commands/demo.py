"""`headstart demo`: an agent that learned to learn, against textbook rules, on tasks it has never seen.

First RL² is trained before your eyes on ten-pull bandits; then the priors that come with the package play bandits and
tabular MDPs, all on the same test tasks with the same random numbers as every rule; then PPO learns three levels of the
platformer from scratch, and with a prior from its training levels; then the report.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart import _console, suites
from headstart.cli import parse
from headstart.commands.runs import show, writable
from headstart.commands.transfer import say
from headstart.commands.transfer import show as show_transfer
from headstart.commands.watch import film
from headstart.errors import UsageError
from headstart.protocol import priors, training
from headstart.protocol.evaluation import evaluate
from headstart.protocol.priors import Prior
from headstart.protocol.training import TrainOptions
from headstart.protocol.transfer import TransferOptions, Watch, transfer
from headstart.results import Result

_LIVE = "bandit:arms=5,pulls=10"
_PRIOR = "ppo-platformer"


@dataclass(frozen=True)
class DemoOptions:
    """An agent that learned to learn, against textbook rules, with a report."""

    out: Path = Path("headstart-demo")
    """folder for the report"""
    steps: int = 1_500_000
    """steps of the training shown live; 0 leaves it out"""
    tasks: int = 1000
    """test tasks a suite"""
    budget: int = 200_000
    """steps of learning on each of three levels of the platformer; 0 leaves them out"""
    seed: int = 0
    """of all randomness"""
    json: bool = False
    """print the scores as JSON"""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _learn(options: DemoOptions) -> Prior:
    """Train RL² live on ten-pull bandits."""
    wanted = TrainOptions(_LIVE, "rl2", options.steps, lanes=128, seed=options.seed, chunks=20, evaluate_on=0)
    with _console.progress("RL² learns to learn on ten-pull bandits", quiet=options.json) as watch:
        return training.train(wanted, watch=watch).prior


def _best(found: list[Result], learned: set[str]) -> str:
    """One sentence: the learned agent against the best rule."""
    mean = {result.agent: float(np.mean(result.scores)) for result in found}
    ceiling = {"best-arm", "oracle"}
    rule = max((name for name in mean if name not in learned | ceiling), key=lambda name: mean[name])
    prior = max(learned & set(mean), key=lambda name: mean[name])
    return f"{prior} scores {mean[prior]:.2f}; the best rule, {rule}, {mean[rule]:.2f}"


def _learn_levels(options: DemoOptions, command: str) -> list[Result]:
    """PPO on levels it has never seen: from scratch, and with what its training levels taught it."""
    from headstart.reports import films

    _say(f"learning three unseen levels of the platformer, {options.budget} steps each")
    wanted = TransferOptions(
        "platformer",
        agents=("ppo-retro", _PRIOR, f"{_PRIOR}-frozen"),
        budget=options.budget,
        seeds=1,
        tasks=3,
        film=True,
        run=options.out / "transfer",
    )
    watch = Watch(film=films.keep) if options.json else Watch(result=say, film=films.keep)
    return transfer(wanted, watch, command)


def demo(args: list[str]) -> None:
    """Train, play, report."""
    options: DemoOptions = parse(DemoOptions, args, "demo")
    from headstart.reports import filmed, page

    writable(options.out / "report.html")
    command = shlex.join(["headstart", "demo", *args])
    shipped = priors.shipped()
    games: dict[str, list[Prior]] = {}
    if options.steps:
        games[suites.suite(_LIVE).name] = [_learn(options)]
    for name in ("rl2-bandit-5-10", "rl2-bandit-5-100", "rl2-tabular-mdp-10"):
        if name in shipped:
            prior = priors.load(shipped[name], name)
            games.setdefault(prior.suite, []).append(prior)
    if not games:
        raise UsageError("there is nothing to play: no prior comes with this package, and --steps is 0.")
    found: list[Result] = []
    for name, learned in games.items():
        _say(f"playing {options.tasks} unseen tasks of {name}")
        whos = [*suites.suite(name).rules, *learned]
        played = evaluate(name, whos, tasks=options.tasks, seed=options.seed, command=command)
        found += played
        if not options.json:
            show(played)
            print(_best(played, {prior.name or prior.agent for prior in learned}), flush=True)
    levels: list[Result] = []
    if options.budget and _PRIOR in shipped:
        levels = _learn_levels(options, command)
        if not options.json:
            show_transfer(levels)
    pictures: dict[str, Path] = {}
    if "rl2-maze-small-rays" in shipped:
        _say("filming a trial in a maze")
        where = options.out / "maze.gif"
        pictures["A trial of two episodes in a maze never seen before"] = film(
            "maze-small:obs=rays", "rl2-maze-small-rays", where
        )
    written = page.report(
        [*found, *levels],
        options.out / "report.html",
        pictures=pictures,
        command=command,
        films=filmed.found([options.out / "transfer" / "runs"]) if levels else (),
    )
    print(json.dumps(page.summary([*found, *levels])) if options.json else f"report: {written}")
