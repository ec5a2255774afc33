"""Visual navigation: find the target in a maze seen from within (Duan et al. 2016, arXiv:1611.02779).

    r_t = -0.04 - 0.001 [the agent ran into a wall] + 1 [it reached the target]

The paper gives rewards, horizons, frame skip, image size and the three actions; sizes and speeds are ours. A
cell is one unit wide, the agent a square of half-width 0.2 that slides along walls, a step four frames: a
forward frame moves 1/12 of a cell (a step 1/3), a turning frame 7.5 degrees (a step 30). The target is
reached within 0.4 of its centre. Start, heading and target are the task's: every episode of a trial is the
same.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from headstart.envs.maze_map import TURNS, MazeTask, sample_maze
from headstart.envs.maze_view import cast, looks, picture
from headstart.types import Box, Discrete, Foresight, Spec, Step

LEFT, RIGHT, FORWARD = 0, 1, 2

FRAMES = 4
"""frames a step"""
SPEED = 1.0 / 12.0
"""cells a forward frame"""
RADIUS = 0.2
"""half the agent's width, in cells"""
REACH = 0.4
"""distance from the target's centre at which it is reached, in cells"""
RAYS = np.deg2rad(np.linspace(-60.0, 60.0, 7)).astype(np.float32)
"""angles of the rays from the heading, left to right, in radians"""

_GAP = 1e-3  # how far from a wall the agent is put that ran into it, in cells


class MazeState(NamedTuple):
    """The agent's centre in cells, its heading in units of 30 degrees, and the steps taken this episode."""

    position: Float[Array, "2"]
    heading: Int[Array, ""]
    clock: Int[Array, ""]


def _direction(heading: Int[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    angle = heading.astype(jnp.float32) * (2.0 * np.pi / TURNS)
    return jnp.cos(angle), jnp.sin(angle)


def _wall(lines: Int[Array, " lines"], line: Int[Array, ""], place: Int[Array, ""]) -> Bool[Array, ""]:
    word = lines[0]  # chosen, not looked up: a gather ends XLA's fusion
    for k in range(1, lines.shape[0]):
        word = jnp.where(line == k, lines[k], word)
    return ((word.astype(jnp.int32) >> place) & 1) == 1


def _slide(
    along: Float[Array, ""],
    across: Float[Array, ""],
    move: Float[Array, ""],
    facing: Int[Array, " lines"],
    beside: Int[Array, " lines"],
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Move a square body along one axis until it meets a wall.

    Its leading edge may cross one grid line: blocked by a wall on it (`facing`) in either place the body
    reaches across, or by the end of a wall (`beside`) that begins behind the line, between the two.
    """
    side = jnp.sign(move) * RADIUS
    before, after = (
        jnp.floor(along + side).astype(jnp.int32),
        jnp.floor(along + move + side).astype(jnp.int32),
    )
    low, high = (jnp.floor(across + d).astype(jnp.int32) for d in (-RADIUS, RADIUS))
    line = jnp.maximum(before, after)
    blocked = (
        _wall(facing, line, low) | _wall(facing, line, high) | ((low != high) & _wall(beside, high, after))
    )
    blocked &= before != after
    stop = line.astype(jnp.float32) - jnp.sign(move) * (RADIUS + _GAP)
    return jnp.where(blocked, stop, along + move), blocked


def _walk(
    task: MazeTask, position: tuple[Array, Array], move: tuple[Array, Array]
) -> tuple[tuple[Array, Array], Bool[Array, ""]]:
    """One frame: first along x, then along y; whether a wall was in the way."""
    x, y = position
    x, hit_x = _slide(x, y, move[0], task.vertical, task.horizontal)
    y, hit_y = _slide(y, x, move[1], task.horizontal, task.vertical)
    return (x, y), hit_x | hit_y


def _centre(cell: Int[Array, "2"]) -> Float[Array, "2"]:
    return cell.astype(jnp.float32) + 0.5


def _gap(task: MazeTask, position: Float[Array, "2"]) -> tuple[Float[Array, "2"], Float[Array, ""]]:
    """From the agent to the target's centre: the vector and its length, in cells."""
    gap = _centre(task.target) - position
    return gap, jnp.sqrt(jnp.sum(gap * gap))


@dataclass(frozen=True)
class Maze:
    """A maze of `size` x `size` cells with episodes of at most `horizon` steps, seen as `obs`.

    "rays" is a vector of 24: for seven rays over 120 degrees, from left to right, d/(1+d) of the wall's
    distance d in cells, then their walls' hue, then their pattern; then whether the target is in sight,
    1/(1+d) of it, and the sine of its bearing (0 if it is not in sight).
    """

    size: int
    horizon: int
    obs: Literal["rays", "rgb"] = "rays"

    @property
    def spec(self) -> Spec:
        rays = self.obs == "rays"
        obs = Box((3 * len(RAYS) + 3,), -1.0, 1.0) if rays else Box((30, 40, 3), 0.0, 255.0, np.uint8)
        reward = Box((), -0.041, 0.96)
        seen = Foresight(Box((11,), -1.0, 1.0), Box(()))
        return Spec(obs, Discrete(3), self.horizon, seen, truncates=True, reward=reward)

    def sample(self, key: PRNGKeyArray) -> MazeTask:
        """One task of the standard distribution."""
        return sample_maze(key, self.size)

    def reset(self, task: MazeTask, key: PRNGKeyArray) -> MazeState:
        del key
        return MazeState(_centre(task.start[:2]), task.start[2].astype(jnp.int32), jnp.int32(0))

    def step(
        self, task: MazeTask, state: MazeState, action: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[MazeState, Step]:
        del key
        turn = (action == RIGHT).astype(jnp.int32) - (action == LEFT).astype(jnp.int32)
        heading = (state.heading + turn) % TURNS
        pace = jnp.where(action == FORWARD, SPEED, 0.0)
        c, s = _direction(heading)
        move = (pace * c, pace * s)
        position, hit = (state.position[0], state.position[1]), jnp.bool_(False)
        for _ in range(FRAMES):
            position, bump = _walk(task, position, move)
            hit |= bump
        position = jnp.stack(position)
        reached = _gap(task, position)[1] < REACH
        clock = state.clock + 1
        reward = -0.04 - 0.001 * hit.astype(jnp.float32) + reached.astype(jnp.float32)
        return MazeState(position, heading, clock), Step(reward, reached, ~reached & (clock >= self.horizon))

    def observe(self, task: MazeTask, state: MazeState) -> PyTree:
        if self.obs == "rays":
            return _rays(task, state)
        return picture(task, state.position, jnp.stack(_direction(state.heading)))

    def privileged(self, task: MazeTask, state: MazeState) -> Foresight:
        """Position and target (in maze widths), heading (cosine, sine), steps to go between cells (in n²),
        way to take next, and where that lies from the agent's eyes (ahead, to the right).

        The way is the unit vector to the next cell on the shortest path, (0, 0) in the target's cell. From the agent's
        eyes it is the direction of that cell's centre, or of the target. The ceiling reckons four steps a cell, turns
        included.
        """
        n = self.size
        x, y = (jnp.floor(p).astype(jnp.int32) for p in state.position)
        here = task.distance[y, x].astype(jnp.int32)
        nearer = partial(_nearer, task, x, y, here)
        way = jnp.stack([nearer(1, 0) - nearer(-1, 0), nearer(0, 1) - nearer(0, -1)])
        goal = _centre(task.target)
        place = jnp.concatenate([state.position, goal]) / n
        aim = jnp.where(here > 0, jnp.floor(state.position) + 0.5 + way, goal) - state.position
        c, s = _direction(state.heading)
        eyes = jnp.stack([c * aim[0] + s * aim[1], c * aim[1] - s * aim[0]])
        eyes /= jnp.maximum(jnp.sqrt(jnp.sum(aim * aim)), 1e-6)
        view = jnp.concatenate([place, jnp.stack([c, s]), here[None] / (n * n), way, eyes])
        return Foresight(view, 1.0 - 0.04 * 4.0 * here.astype(jnp.float32))


def _nearer(task: MazeTask, x: Array, y: Array, here: Array, dx: int, dy: int) -> Float[Array, ""]:
    """1 if the next cell on the way to the target is the neighbour at (dx, dy), else 0."""
    n = task.distance.shape[0]
    shut = _wall(task.vertical, x + int(dx > 0), y) if dx else _wall(task.horizontal, y + int(dy > 0), x)
    there = task.distance[jnp.clip(y + dy, 0, n - 1), jnp.clip(x + dx, 0, n - 1)].astype(jnp.int32)
    return (~shut & (there < here)).astype(jnp.float32)


def _rays(task: MazeTask, state: MazeState) -> Float[Array, " d"]:
    """The "rays" observation; the eighth ray of the cast looks for the target."""
    c, s = _direction(state.heading)
    gap, distance = _gap(task, state.position)
    aim = gap / jnp.maximum(distance, 1e-6)
    cos, sin = np.cos(RAYS), np.sin(RAYS)
    u = jnp.concatenate([c * cos - s * sin, aim[:1]])
    v = jnp.concatenate([s * cos + c * sin, aim[1:]])
    hit = cast(task, state.position, u, v)
    hue, pattern = looks(task, hit.line, hit.place)
    forward, right = c * aim[0] + s * aim[1], c * aim[1] - s * aim[0]
    seen = ((forward >= np.cos(RAYS[-1])) & (hit.distance[-1] > distance)).astype(jnp.float32)
    target = jnp.stack([seen, seen / (1.0 + distance), seen * right])
    far = hit.distance[:-1] / (1.0 + hit.distance[:-1])
    return jnp.concatenate([far, hue[:-1] / 3, pattern[:-1] / 3, target])
