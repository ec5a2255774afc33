"""What a run of adaptation comes to: its score, its learning curve, and everything needed to run it again."""

import dataclasses
import math
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from headstart import results
from headstart.errors import HeadstartError
from headstart.loops import jit
from headstart.protocol.contenders import Plan, Run, label
from headstart.results import Curve, Result


class Piece(NamedTuple):
    """A piece of the budget: steps it took of each run, and its log, leaves `[R, updates]` (of one run: `[updates]`)."""

    steps: int
    log: jit.Log


class Story(NamedTuple):
    """How one run went: pieces of its budget in order, the episodes it left open, and what is to be said of it."""

    pieces: list[Piece]
    left: jit.Tally
    facts: dict[str, Any]
    prior: dict[str, Any] | None
    """where the prior comes from that it used, if any"""

    @property
    def spent(self) -> int:
        return sum(piece.steps for piece in self.pieces)


def unplayed(plan: Plan, run: Run, command: str) -> Result:
    """A result that says who would play what, without scores."""
    who = plan.contender
    about: dict[str, Any] = {
        "task": label(plan.split, run.row),
        "row": run.row,
        "lanes": plan.options.lanes,
        "frozen": who.frozen,
    }
    if plan.tuning:
        about["tuning"] = plan.tuning
    return Result(
        suite=plan.suite.name,
        split=plan.split.role,
        fingerprint=plan.split.fingerprint,
        agent=who.name,
        config=results.plain(dataclasses.asdict(who.config)),
        seed=run.seed,
        budget=plan.options.budget,
        spent=0,
        scores=[],
        facts=about | who.notes,
        prior=results.plain(who.prior.provenance) if who.prior else None,
        versions=results.versions(),
        commit=results.commit(),
        command=command,
    )


def why(error: Exception, what: str = "") -> dict[str, str]:
    """What a result says of an error in the middle: one sentence, and where it came from.

    A result with `raised` is no outcome of the experiment, which may end otherwise when it is tried again.
    """
    said = " ".join(str(error).split())
    if not isinstance(error, HeadstartError):
        said = f"{type(error).__name__}: {said[:300]}"
    return {"failed": what + said, "raised": "".join(traceback.format_exception(error))[-4000:]}


def of_one(pieces: Sequence[Piece], i: int) -> list[Piece]:
    """The pieces of run `i` of those side by side."""
    return [Piece(p.steps, jax.tree.map(lambda x: x[i], p.log)) for p in pieces]


def outcome(plan: Plan, run: Run, story: Story, command: str) -> Result:
    """The score of a run and its learning curve.

    Of episodes that the budget cut off only their number and mean return are kept, in `facts`.
    """
    blank = dataclasses.replace(unplayed(plan, run, command), spent=story.spent, prior=story.prior)
    blank = dataclasses.replace(blank, facts=blank.facts | story.facts)
    logs = [piece.log for piece in story.pieces]
    bad = {name for log in logs for name, value in log.metrics.items() if not np.all(np.isfinite(value))}
    said = ["reward"] if not all(np.all(np.isfinite(log.returns)) for log in logs) else []
    if said + sorted(bad):
        failed = f"{', '.join(said + sorted(bad))} became infinite or not a number"
        return dataclasses.replace(blank, facts=blank.facts | {"failed": failed})
    k = plan.suite.env.spec.episodes
    counts = np.array([int(log.episodes.sum()) for log in logs])
    sums = np.array([log.returns.astype(np.float64).sum() for log in logs])
    means = np.divide(sums, counts * k, out=np.full(len(logs), math.nan), where=counts > 0)
    steps = np.cumsum([piece.steps for piece in story.pieces]).tolist()
    begun = story.left.length > 0
    facts = {
        "episodes": int(counts.sum()) * k,
        "unfinished": int(begun.sum()),
        "unfinished_return": float(story.left.total[begun].mean()) if begun.any() else None,
        "counts": counts.tolist(),
    }
    scores = [float(sums.sum() / (counts.sum() * k))] if counts.sum() else []
    if scores and plan.suite.scale is not None:
        facts["normalised"] = plan.suite.scale.place(scores[0])
    if not scores:
        facts["failed"] = "no episode ended within the budget"
    return dataclasses.replace(
        blank, scores=scores, curve=Curve(steps, means.tolist()), facts=blank.facts | facts
    )


__all__ = ["Piece", "Story", "of_one", "outcome", "unplayed", "why"]
