"""A platformer episode as its pictures need it: plain numbers for one moment, in pixels."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from headstart.envs.platformer import PlatformerState
from headstart.envs.platformer_body import FINISHED, LOST
from headstart.envs.platformer_frames import StackedState
from headstart.envs.platformer_zones import SUB
from headstart.envs.trial import TrialState


class Moment(NamedTuple):
    """What can be seen at one moment; places in pixels, speeds in pixels a frame."""

    x: float
    y: float
    """of the feet"""
    vx: float
    vy: float
    ground: bool
    slope: int
    rolling: bool
    jumping: bool
    charging: bool
    facing: int
    mercy: int
    rings: int
    finished: bool
    lost: bool
    clock: float
    dead: int
    """a bit for each enemy; likewise the next three for rings, smashable columns and switches"""
    taken: int
    smashed: int
    pressed: int
    stepped: Int[np.ndarray, " planks"]
    episode: int = 0

    @property
    def curled(self) -> bool:
        return self.rolling or self.jumping or self.charging


def _moment(state: PlatformerState, episode: int) -> Moment:
    """One state, unbatched."""
    body, world = state.body, state.world
    return Moment(
        x=int(body.x) / SUB,
        y=int(body.y) / SUB,
        vx=int(body.vx) / SUB,
        vy=int(body.vy) / SUB,
        ground=bool(body.ground),
        slope=int(body.slope),
        rolling=bool(body.rolling),
        jumping=bool(body.jumping),
        charging=int(body.charge) > 0,
        facing=int(body.facing),
        mercy=int(body.mercy),
        rings=int(body.rings),
        finished=int(body.status) == FINISHED,
        lost=int(body.status) == LOST,
        clock=float(state.clock),
        dead=int(world.dead),
        taken=sum(int(word) << 32 * k for k, word in enumerate(np.asarray(world.taken))),
        smashed=int(world.smashed),
        pressed=int(world.pressed),
        stepped=np.asarray(state.stepped),
        episode=episode,
    )


def moments(states: Any) -> list[Moment]:
    """The moments of an episode or a trial: states with leaves `[T, ...]`."""
    states = jax.tree.map(np.asarray, states)
    episode: Any = states.inner if isinstance(states, TrialState) else states
    inner: PlatformerState = episode.inner if isinstance(episode, StackedState) else episode
    n = len(inner.clock)
    episodes = np.asarray(states.episode) if isinstance(states, TrialState) else np.zeros(n, int)
    return [_moment(jax.tree.map(lambda leaf, t=t: leaf[t], inner), int(episodes[t])) for t in range(n)]


def between(a: Moment, b: Moment, share: float) -> Moment:
    """A moment `share` of the way from one to the next: the player and the clock move on, the rest is still as it was."""
    far = abs(b.x - a.x) + abs(b.y - a.y) > 96

    def part(before: float, after: float) -> float:
        return before + (after - before) * share

    if far or b.clock < a.clock:
        return a
    return a._replace(x=part(a.x, b.x), y=part(a.y, b.y), clock=part(a.clock, b.clock))
