"""The platformer: learn unseen levels faster for having played others (the protocol of Nichol et al. 2018,
arXiv:1804.03720, on a game of our own).

The 58 levels that ship are the paper's split: 47 to train on, 11 of other acts of the same zones to test on. To choose
among priors there are generated levels, in `valid`.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from headstart.envs.platformer import Platformer
from headstart.envs.platformer_frames import Stacked
from headstart.envs.platformer_level import Level
from headstart.envs.platformer_table import Levels, PlatformerTask, stack, tasks_of
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.suites._platformer_levels import folder, generated, shipped, tape
from headstart.suites._platformer_pictures import pictures
from headstart.suites._platformer_sheet import atlas
from headstart.tasks import Expert, Role, Suite, Table
from headstart.types import Env

_Set = Literal["paper", "contest", "practice", "generated"]

_VALID = 16
"""generated levels to choose priors on"""
_ENDLESS = {"train": 512, "test": 32}
"""generated levels to train and test on, where all are"""


class _Shelf(NamedTuple):
    """The levels of a suite: all in one table for the environment, and by role."""

    levels: Levels
    tables: dict[Role, Table]
    drawn: tuple[Level, ...]
    """the levels themselves, for pictures"""


def _chosen(which: _Set) -> dict[Role, tuple[tuple[str, ...], tuple[Level, ...]]]:
    """Names and levels by role, training levels first so that they lie in the same rows of every set's table."""
    if which == "generated":
        train, test = generated("train", _ENDLESS["train"]), generated("test", _ENDLESS["test"])
    else:
        train, test = shipped("train"), shipped("test" if which == "paper" else which)
    return {"train": train, "valid": generated("valid", _VALID), "test": test}


@cache
def _shelf(which: _Set) -> _Shelf:
    """The table of a set of levels, made once so that suites of the same set have equal environments."""
    every: list[Level] = []
    tables: dict[Role, Table] = {}
    for role, (labels, levels) in _chosen(which).items():
        tables[role] = Table(labels, tasks_of(levels, len(every)))
        every += levels
    return _Shelf(stack(every), tables, tuple(every))


def _sampler(table: PlatformerTask) -> Callable[[PRNGKeyArray], PlatformerTask]:
    """Draws a task of the table, each as likely as any other."""

    def sample(key: PRNGKeyArray) -> PlatformerTask:
        row = jr.randint(key, (), 0, table.level.shape[0])
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[row], table)

    return sample


def _best(name: str) -> Int[np.ndarray, " steps"] | None:
    """The tape stored beside a shipped level; generated levels have none."""
    return tape(name).astype(np.int32) if (folder() / f"{name}.tape").is_file() else None


def platformer(
    levels: str = "paper",
    obs: str = "tiles",
    backtracking: bool = False,
    sticky: float = 0.25,
    episodes: int = 0,
    frames: int = 1,
) -> Suite:
    """Side-scrolling speed runs; score: the mean return of an episode, at most 10 000.

    Args:
      levels: what is tested on: "paper" (11 levels), "contest" (11 hand-made ones of new zones), "practice" (5 rough
        ones), each with the 47 training levels; or "generated" for training and testing on generated levels.
      obs: "tiles", a window of planes around the player; "grey" or "rgb", pictures of 84 x 84 pixels.
      backtracking: whether going back is free: the reward is then the increase of the farthest progress.
      sticky: probability that a new action begins one frame late.
      episodes: 0 for single episodes; more for trials of so many episodes of one level (RL²).
      frames: pictures in one observation, the newest last; more than one only of pixels.
    """
    if levels not in get_args(_Set):
        raise UsageError(
            f"the platformer has paper, contest, practice and generated levels, not '{levels}'; choose one of these."
        )
    if obs not in ("tiles", "grey", "rgb"):
        raise UsageError(f"the platformer is seen as tiles, grey or rgb, not '{obs}'; choose one of these.")
    if frames < 1 or (frames > 1 and obs == "tiles"):
        raise UsageError(
            f"an observation has at least one picture, and more than one only of pixels (grey, rgb), not {frames} of {obs}."
        )
    if not 0.0 <= sticky <= 1.0:
        raise UsageError(f"sticky is a probability between 0 and 1, not {sticky}.")
    if episodes < 0:
        raise UsageError(f"a trial has at least one episode, not {episodes}; 0 is for single episodes.")
    shelf = _shelf(levels)
    pixels = None if obs == "tiles" else atlas(obs == "grey")
    env: Env = Platformer(shelf.levels, backtracking, sticky, atlas=pixels)
    env = Stacked(env, frames) if frames > 1 else env
    return Suite(
        "platformer",
        Trial(env, episodes) if episodes else env,
        _sampler(shelf.tables["train"].tasks),
        about="finish side-scrolling levels fast, with one life; score: mean return of an episode (at most 10 000)",
        tables=shelf.tables,
        render=pictures(shelf.drawn),
        expert=Expert(_best, Platformer(shelf.levels, backtracking, sticky=0.0)),
    )
