"""The figure of snapshots: train against unseen score over joint training, where over-fitting shows."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from headstart.reports import canvas, figures
from headstart.reports.canvas import Line, Look
from headstart.reports.figures import Drawing, array, short

_DASH = {"train": "-", "valid": canvas.DASHES[1], "test": canvas.DASHES[2]}


@dataclass(frozen=True)
class Series:
    """One agent's snapshots scored on the tasks of one role."""

    agent: str
    role: str
    """train, valid or test"""
    steps: Float[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    taken: int | None = None
    """steps behind the snapshot that was chosen, if one was"""

    @property
    def name(self) -> str:
        return f"{self.agent}, {self.role}"


def _drawn(every: Sequence[Series], style: dict[str, Look], name: str, caption: str) -> Drawing | None:
    every = [s for s in every if len(s.steps) > 1 and np.isfinite(s.scores).all()]
    if len({s.role for s in every}) < 2:
        return None
    lines = [Line(s.name, s.steps, s.scores) for s in every]
    looks = {
        s.name: dataclasses.replace(
            style[s.agent], dash=_DASH[s.role], width=2.4 if s.role == "valid" else 1.4
        )
        for s in every
    }

    def marks(axes: Any) -> None:
        axes.xaxis.set_major_formatter(lambda v, _: short(v))
        axes.yaxis.set_major_formatter(lambda v, _: short(v))
        for s in every:
            colour, there = looks[s.name].colour, s.steps == s.taken
            axes.plot(s.steps, s.scores, "o", color=colour, ms=3.0)
            if s.role == "valid":
                axes.plot(s.steps[there], s.scores[there], "o", color=colour, ms=8.0, clip_on=False)

    svg = canvas.chart(lines, looks, "steps of joint training", "score", name=name, prepare=marks)
    told = figures.told(lines, "score", "steps of joint training")
    return Drawing(name, "Train against unseen", caption, told, svg)


def of_transfer(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Snapshots of joint training as they adapt to tasks of each role; one group of `summary(...)["transfers"]`."""
    agents = [a for a in group["agents"] if a["chosen"] and a["chosen"]["trained"]]
    every: list[Series] = []
    for a in agents:
        chosen = a["chosen"]
        roles = {
            "train": chosen["train"] or chosen["trained"],
            "valid": chosen["tried"],
            "test": chosen["test"],
        }
        for role, pairs in roles.items():
            if pairs:
                table = np.array([array(pair) for pair in pairs])
                every.append(Series(a["name"], role, table[:, 0], table[:, 1], chosen["steps"]))
    adapted = {bool(a["chosen"]["train"]) for a in agents}
    kinds = ("return in joint training itself", "adapting to tasks of the train split")
    caption = (
        f"What joint training brings, by its steps. Solid: {' or '.join(kinds[i] for i in sorted(adapted))}"
    )
    caption += "; dashed: adapting to valid tasks, never trained on, by which the prior with the large dot was chosen"
    if any(a["chosen"]["test"] for a in agents):
        caption += "; dotted: adapting to test tasks, which the choice did not see"
    caption += ". Over-fitting begins where the unseen score falls while the train score rises."
    return _drawn(every, style, name, caption)


def of_training(group: dict[str, Any], style: dict[str, Look], name: str) -> Drawing | None:
    """Snapshots of training as they play, without adapting; one group of `summary(...)["groups"]`."""
    every = [
        Series(a["name"], role, array(a["facts"]["snapshot_steps"]), array(a["facts"][f"snapshot_{role}"]))
        for a in group["agents"]
        for role in ("train", "valid")
        if a["facts"].get(f"snapshot_{role}")
    ]
    caption = "Snapshots along training as they play, weights untouched. Solid: tasks of the train split; dashed: valid "
    caption += (
        "tasks, never trained on. Over-fitting begins where the dashed line falls while the solid one rises."
    )
    return _drawn(every, style, name, caption)


__all__ = ["Series", "of_training", "of_transfer"]
