"""Choose among the priors that joint training left along its way, by how they adapt; and picture where over-fitting begins.

    for each prior: adapt it to a few valid tasks                           (zero-shot score chooses worse ones)
    take the one with the best mean score

For the picture, the same may be done on tasks of the train split, and, only if asked, on test tasks: those scores enter no
choice, and every result that comes of it tells that they were looked at.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart import results
from headstart.errors import RunError
from headstart.protocol.adaptation import adapt
from headstart.protocol.contenders import AdaptOptions, Contender
from headstart.protocol.priors import Prior
from headstart.protocol.tuning import Tuning
from headstart.tasks import Role, Split, Suite


@dataclass(frozen=True)
class ChoiceOptions:
    """How priors are chosen, and what else is measured of them."""

    tasks: int = 4
    """valid tasks, and of any other role that is asked for, at most"""
    budget: int = 100_000
    """steps on each of them"""
    lanes: int = 8
    """environments of a task advanced together"""
    frozen: bool = False
    """whether the contender keeps its weights on a test task"""
    tuning: Tuning = field(default_factory=Tuning)
    """aids to fine-tuning, as on test tasks; several priors are not tried"""
    train_scores: bool = False
    """whether every prior is adapted to train tasks as well"""
    test_scores: bool = False
    """whether every prior is adapted to test tasks as well; the choice does not see it"""
    train_tasks: int | None = None
    """size of the training set; None is the suite's own"""
    test_tasks: int | None = None
    """how many test tasks there are to be; None is all of the suite's"""
    together: int = 0
    """runs in one program, as on test tasks"""


class Place(NamedTuple):
    """A run's folder, and the name of the training within it."""

    run: Path
    training: str


def choose(
    suite: Suite, candidates: list[Prior], options: ChoiceOptions, place: Place
) -> tuple[list[Prior], dict[str, Any]]:
    """Priors by their mean adaptation score on valid tasks, the best first, and what results say of the choice.

    Args:
      suite: as the contender plays it.
      candidates: at least one, by steps of training; the last is taken where there are no valid tasks.
      place: where runs are kept; what is there is not played again.
    """
    o, there = options, suite.most("valid")
    if there == 0:
        rule = "the last: there are no valid tasks to choose on"
        return candidates[::-1], {"chosen": {"rule": rule, "steps": candidates[-1].steps, "tried": {}}}
    valid = suite.split("valid", o.tasks if there is None else min(o.tasks, there))
    scores = _scores(suite, candidates, valid, o, place)
    order = sorted(range(len(candidates)), key=lambda i: (-scores[i], i))
    steps = [str(prior.steps) for prior in candidates]
    about: dict[str, Any] = {
        "rule": f"best mean score of {o.budget} steps on {valid.size} valid tasks",
        "steps": candidates[order[0]].steps,
        "tried": dict(zip(steps, scores, strict=True)),
        "trained": dict(zip(steps, _returns(place, candidates, suite.env.spec.episodes), strict=True)),
    }
    sizes: list[tuple[Role, bool, int | None]] = [
        ("train", o.train_scores, o.train_tasks or suite.most("train")),
        ("test", o.test_scores, o.test_tasks or suite.most("test")),
    ]
    for role, asked, most in sizes:
        if asked:
            tasks = suite.split(role, o.tasks if most is None else min(o.tasks, most))
            about[role] = dict(zip(steps, _scores(suite, candidates, tasks, o, place), strict=True))
    if o.test_scores:
        about["looked_at_test"] = (
            "every prior was adapted to test tasks for a picture; the choice did not see it"
        )
    return [candidates[i] for i in order], {"chosen": results.plain(about)}


def _scores(
    suite: Suite, candidates: list[Prior], split: Split, o: ChoiceOptions, place: Place
) -> list[float]:
    """Each prior's mean score of adapting to the tasks of a split; minus infinity where every run failed.

    Raises:
      RunError: if an error ended a run, since a choice among scores that lack some would be another.
    """
    kind = "frozen" if o.frozen else "tuned"
    folder = (
        place.run / "choice" / place.training / (kind if split.role == "valid" else f"{kind}-{split.role}")
    )
    tuning = dataclasses.replace(o.tuning, tries=1)
    how = AdaptOptions(o.budget, o.lanes, (0,), together=o.together, run=folder, tuning=tuning)
    found: list[float] = []
    for prior in candidates:
        who = Contender(str(prior.steps), prior.agent, prior.config, prior, o.frozen)
        runs = adapt(suite, who, how, split)
        if broken := [result for result in runs if "raised" in result.facts]:
            raise RunError(
                f"adapting the prior of step {prior.steps} to {broken[0].facts['task']} ({split.role}) failed "
                f"({broken[0].facts['failed'].rstrip('.')})."
            )
        played = [score for result in runs for score in result.scores]
        found.append(float(np.mean(played)) if played else -math.inf)
    return found


def _returns(place: Place, candidates: list[Prior], episodes: int) -> list[float]:
    """Mean return of an episode in joint training, between the snapshot before each and itself."""
    (trained,) = results.load_all(place.run / "priors" / place.training / "result.json")
    assert trained.curve is not None
    steps, values = np.array(trained.curve.steps), np.array(trained.curve.values) / episodes
    edges = [0, *(prior.steps for prior in candidates)]
    found: list[float] = []
    for low, high in itertools.pairwise(edges):
        inside = values[(steps > low) & (steps <= high) & np.isfinite(values)]
        found.append(float(inside.mean()) if inside.size else math.nan)
    return found


__all__ = ["ChoiceOptions", "Place", "choose"]
