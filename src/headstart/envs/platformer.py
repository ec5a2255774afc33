"""A side-scrolling speed run with momentum: reach the goal on the right, fast, with one life.

    r_t = 9000 Δ progress + 1000 [goal reached] (1 - clip(frame / 18000, 0, 1))
    progress = clip(x - x_start, 0, x_goal - x_start) / (x_goal - x_start)

Rewards, ends, frame skip and sticky actions are those of Nichol et al. 2018 (arXiv:1804.03720); the game is ours. 60
frames a second, four frames a step; with probability `sticky` a new action begins one frame late. An episode ends at
the goal, with the life, or after 4500 steps: all three terminate it, as the paper's episodes simply end, and
the time left is observed.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8, UInt32

from headstart.envs import platformer_movers as movers
from headstart.envs.platformer_body import FINISHED, PLAYING, Body, Buttons, Scene, World
from headstart.envs.platformer_level import MOST
from headstart.envs.platformer_physics import frame
from headstart.envs.platformer_pixels import SIDE, Atlas, picture
from headstart.envs.platformer_sight import SPACE, TilesObs, feelings, window
from headstart.envs.platformer_table import Levels, PlatformerTask
from headstart.types import Box, Discrete, Spec, Step

NONE, LEFT, RIGHT, LEFT_DOWN, RIGHT_DOWN, DOWN, DOWN_JUMP, JUMP = range(8)
"""actions: the button combinations of the paper, in its order"""
FRAMES = 4
"""frames a step"""
HORIZON = 4500
"""steps an episode lasts at most"""
SLOWEST = 18_000
"""frames after which finishing earns no bonus"""
FALLS, RETURNS = 24, 264
"""frames after which a plank that was stepped on falls, and is back"""

_LONG_AGO = -100_000
_PROGRESS, _BONUS = 9000.0, 1000.0


class PlatformerState(NamedTuple):
    """An episode: the player, what it changed, and the clock."""

    body: Body
    world: World
    stepped: Int[Array, " planks"]
    """the frame at which each plank was last stepped on while it stood"""
    clock: Int[Array, ""]
    """frames played"""
    action: Int[Array, ""]
    """the action before, which a sticky frame repeats"""
    farthest: Int[Array, ""]
    """the largest x so far, in subpixels"""


def _buttons(action: Int[Array, ""]) -> Buttons:
    right = (action == RIGHT) | (action == RIGHT_DOWN)
    left = (action == LEFT) | (action == LEFT_DOWN)
    down = (action >= LEFT_DOWN) & (action <= DOWN_JUMP)
    return Buttons(right.astype(jnp.int32) - left.astype(jnp.int32), down, action >= DOWN_JUMP)


def _fallen(stepped: Int[Array, " planks"], clock: Int[Array, ""]) -> UInt32[Array, ""]:
    """The planks that are not there at a frame, a bit each."""
    ago = clock - stepped
    gone = (ago >= FALLS) & (ago < RETURNS)
    bits = jnp.uint32(1) << jnp.arange(MOST["b"], dtype=jnp.uint32)
    return jnp.sum(jnp.where(gone, bits, 0), dtype=jnp.uint32)


@dataclass(frozen=True)
class Platformer:
    """The game on the levels of a table.

    Observations are `TilesObs`, a window of planes around the player and what its body feels; or, with an atlas, a
    picture `[84, 84, channels]`, uint8.
    """

    levels: Levels
    backtracking: bool = False
    """whether going back is free: the reward is then the increase of the farthest progress"""
    sticky: float = 0.25
    """probability that a new action begins one frame late"""
    horizon: int = HORIZON
    """steps an episode lasts at most"""
    atlas: Atlas | None = None
    """what pixels are drawn from, of one channel or three; None for tiles"""

    @property
    def spec(self) -> Spec:
        seen = SPACE
        if self.atlas is not None:
            seen = Box((SIDE, SIDE, self.atlas.channels), 0.0, 255.0, np.uint8)
        return Spec(seen, Discrete(8), self.horizon, reward=Box((), -_PROGRESS, _PROGRESS + _BONUS))

    def reset(self, task: PlatformerTask, key: PRNGKeyArray) -> PlatformerState:
        del key
        zero, no, none = jnp.int32(0), jnp.bool_(False), jnp.uint32(0)
        x, y = jnp.asarray(task.start)
        body = Body(
            x,
            y,
            zero,
            zero,
            jnp.bool_(True),
            zero,
            no,
            no,
            no,
            jnp.int32(1),
            zero,
            zero,
            zero,
            jnp.int32(PLAYING),
        )
        world = World(none, jnp.zeros(4, jnp.uint32), none, none, none)
        stepped = jnp.full(MOST["b"], _LONG_AGO, jnp.int32)
        return PlatformerState(body, world, stepped, zero, jnp.int32(NONE), x)

    def step(
        self, task: PlatformerTask, state: PlatformerState, action: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[PlatformerState, Step]:
        late = jr.bernoulli(key, self.sticky)
        scene = Scene(
            *movers.around(self.levels, task.level, state.body.x), _fallen(state.stepped, state.clock)
        )

        def one(carry: tuple[Body, World, Array], i: Int[Array, ""]) -> tuple[Any, None]:
            body, world, clock = carry
            pressed = jnp.where((i == 0) & late, state.action, action)
            after = clock + (body.status == PLAYING).astype(jnp.int32)
            body, world = frame(self.levels, task, scene, body, world, _buttons(pressed), clock, i)
            return (body, world, after), None

        first = (state.body, state.world._replace(trodden=jnp.uint32(0)), state.clock)
        (body, world, clock), _ = jax.lax.scan(one, first, jnp.arange(FRAMES))
        index = jnp.arange(MOST["b"], dtype=jnp.uint32)
        anew = (((world.trodden & ~scene.fallen) >> index) & 1) == 1
        anew &= state.clock - state.stepped >= RETURNS
        after = PlatformerState(
            body,
            world,
            jnp.where(anew, state.clock, state.stepped),
            clock,
            action,
            jnp.maximum(state.farthest, body.x),
        )
        over = (body.status != PLAYING) | (clock >= self.horizon * FRAMES)
        return after, Step(self.reward(task, state, after), over, jnp.bool_(False))

    def reward(
        self, task: PlatformerTask, before: PlatformerState, after: PlatformerState
    ) -> Float[Array, ""]:
        """The reward of the step between two states."""
        x0, x1 = before.body.x, after.body.x
        if self.backtracking:
            x0, x1 = before.farthest, after.farthest
        start, goal = task.start[0], task.goal
        gained = jnp.clip(x1, start, goal) - jnp.clip(x0, start, goal)
        length = jnp.asarray(goal - start).astype(jnp.float32)
        late = jnp.clip(after.clock.astype(jnp.float32) / SLOWEST, 0.0, 1.0)
        bonus = jnp.where(after.body.status == FINISHED, _BONUS * (1.0 - late), 0.0)
        return _PROGRESS * gained.astype(jnp.float32) / length + bonus

    def observe(
        self, task: PlatformerTask, state: PlatformerState
    ) -> TilesObs | UInt8[Array, "side side channels"]:
        fallen = _fallen(state.stepped, state.clock)
        if self.atlas is not None:
            return picture(self.levels, self.atlas, task, state.body, state.world, fallen, state.clock)
        planes = window(self.levels, task, state.body, state.world, fallen, state.clock)
        left = 1.0 - state.clock.astype(jnp.float32) / jnp.float32(self.horizon * FRAMES)
        return TilesObs(planes, feelings(state.body, state.world, left))

    def privileged(self, task: PlatformerTask, state: PlatformerState) -> None:
        """Nothing but what the agent sees."""
        del task, state
