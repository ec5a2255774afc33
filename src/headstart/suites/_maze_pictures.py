"""Pictures of mazes for people: the map with the path of every episode, and beside it what the agent sees."""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8
from PIL import Image, ImageDraw, ImageFont

from headstart.envs.maze import RADIUS, MazeState
from headstart.envs.maze_map import TURNS, MazeTask
from headstart.envs.maze_view import BALL, picture
from headstart.envs.trial import TrialState

EPISODES = ("#e08214", "#2166ac", "#1b9e77", "#c2569b", "#7a5cc4", "#8c6d31")
"""colours of the episodes' paths, used in turn"""

_VIEW = (288, 384)  # height and width of the first-person view, in pixels
_STRIP = 30  # height of the line of text above and below, in pixels
_FINE = 3  # drawn this many times larger, then reduced, so that lines are smooth
_PAPER, _INK, _WALL, _FAINT, _BALL = "#f6f3ec", "#23262e", "#3a3f4b", "#ddd7c9", "#d7261f"
_BLOCK = 16  # views computed at once


class Path(NamedTuple):
    """One episode: the points it visited in cells, its steps and their reward, whether it got there."""

    points: list[tuple[float, float]]
    steps: int
    total: float
    reached: bool


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _walls(task: MazeTask) -> list[tuple[float, float, float, float]]:
    """Every wall's two ends."""
    n = task.vertical.shape[0] - 1
    walls: list[tuple[float, float, float, float]] = []
    for k, place in product(range(n + 1), range(n)):
        if int(task.vertical[k]) >> place & 1:
            walls.append((float(k), float(place), float(k), place + 1.0))
        if int(task.horizontal[k]) >> place & 1:
            walls.append((float(place), float(k), place + 1.0, float(k)))
    return walls


class _Canvas(NamedTuple):
    """A picture of a map, fine, with its scale in pixels a cell and its margin in pixels."""

    image: Image.Image
    unit: int
    margin: int


def _base(task: MazeTask, side: int) -> _Canvas:
    """The empty map: walls, the start's ring and the target's ball."""
    n = task.vertical.shape[0] - 1
    unit = int(side * _FINE / (n + 0.4))
    margin = (side * _FINE - n * unit) // 2
    image = Image.new("RGB", (side * _FINE, side * _FINE), _PAPER)
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return margin + x * unit, margin + y * unit

    def disc(x: float, y: float, radius: float, **style: str | int) -> None:
        draw.ellipse([*at(x - radius, y - radius), *at(x + radius, y + radius)], **style)  # pyright: ignore[reportArgumentType]

    for k in map(float, range(1, n)):
        draw.line([at(k, 0.0), at(k, float(n))], fill=_FAINT, width=_FINE)
        draw.line([at(0.0, k), at(float(n), k)], fill=_FAINT, width=_FINE)
    thick = max(_FINE, unit // 12)
    for x0, y0, x1, y1 in _walls(task):
        draw.line([at(x0, y0), at(x1, y1)], fill=_WALL, width=thick)
        for x, y in ((x0, y0), (x1, y1)):
            disc(x, y, 0.5 * thick / unit, fill=_WALL)
    x, y = (float(i) + 0.5 for i in task.start[:2])
    disc(x, y, BALL, outline=_INK, width=max(2, unit // 24))
    x, y = (float(i) + 0.5 for i in task.target)
    disc(x, y, BALL, fill=_BALL)
    disc(x - 0.08, y - 0.09, 0.06, fill="#f58a80")
    return _Canvas(image, unit, margin)


def draw_map(
    task: MazeTask, paths: list[Path], agent: tuple[float, float, float] | None = None, side: int = 288
) -> Image.Image:
    """A maze from above.

    Args:
      task: the maze, as NumPy arrays.
      paths: the episodes so far, drawn in their colours, the last on top.
      agent: its x and y in cells and its heading in radians clockwise from facing right; None draws no agent.
      side: width and height of the picture, in pixels.
    """
    return _overlay(_base(task, side), paths, agent)


def _overlay(base: _Canvas, paths: list[Path], agent: tuple[float, float, float] | None) -> Image.Image:
    """The map with paths and agent, reduced to its proper size."""
    image, unit, margin = base.image.copy(), base.unit, base.margin
    draw = ImageDraw.Draw(image, "RGBA")
    for i, path in enumerate(paths):
        # Paths of different episodes are drawn a little apart, or the last would hide the others.
        shift = (i - (len(paths) - 1) / 2) * min(0.1, 0.4 / len(paths))
        line = [(margin + (x + shift) * unit, margin + (y + shift) * unit) for x, y in path.points]
        if len(line) > 1:
            draw.line(line, fill=EPISODES[i % len(EPISODES)], width=max(2, unit // 16), joint="curve")
    if agent is not None:
        x, y, angle = agent
        x, y, reach = margin + x * unit, margin + y * unit, 0.9 * unit
        degrees = np.rad2deg(angle)
        draw.pieslice(
            [x - reach, y - reach, x + reach, y + reach], degrees - 45, degrees + 45, fill=(255, 196, 0, 80)
        )
        tip = [angle, angle + 2.5, angle + np.pi, angle - 2.5]
        size = [1.5 * RADIUS * unit, 1.3 * RADIUS * unit, 0.5 * RADIUS * unit, 1.3 * RADIUS * unit]
        arrow = [(x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(tip, size, strict=True)]
        draw.polygon(arrow, fill=_INK)
    return image.resize((image.width // _FINE, image.height // _FINE), Image.Resampling.LANCZOS)


def _views(task: MazeTask, states: MazeState) -> UInt8[np.ndarray, "T h w 3"]:
    """What the agent sees in each state, in good resolution."""

    def view(state: MazeState) -> Array:
        angle = state.heading.astype(jnp.float32) * (2.0 * np.pi / TURNS)
        return picture(task, state.position, jnp.stack([jnp.cos(angle), jnp.sin(angle)]), *_VIEW)

    return np.asarray(jax.jit(lambda states: jax.lax.map(view, states, batch_size=_BLOCK))(states))


def _trial(states: MazeState | TrialState) -> tuple[MazeState, np.ndarray, np.ndarray, np.ndarray]:
    """The maze's states and, for each, episodes over, the reward that led there, whether one ended.

    States are cut where a lane has gone on to another trial.
    """
    if isinstance(states, TrialState):
        episode = np.asarray(states.episode)
        back = np.flatnonzero(np.diff(episode) < 0)
        length = int(back[0]) + 1 if back.size else len(episode)
        inner, reward, ended = jax.tree.map(
            lambda leaf: np.asarray(leaf)[:length], (states.inner, states.reward, states.ended)
        )
        return inner, episode[:length], reward, ended & (np.arange(length) > 0)
    zero = np.zeros(len(states.clock))
    return states, zero.astype(np.int32), zero, zero.astype(bool)


def paths_of(task: MazeTask, states: MazeState | TrialState) -> list[list[Path]]:
    """For each of the states, the episodes up to it: a list `[T]` of lists of paths."""
    inner, _, reward, ended = _trial(states)
    goal = (float(task.target[0]) + 0.5, float(task.target[1]) + 0.5)
    finished: list[Path] = []
    now = Path([], -1, 0.0, False)
    story: list[list[Path]] = []
    for t, position in enumerate(np.asarray(inner.position)):
        place = (float(position[0]), float(position[1]))
        steps, total = now.steps + 1, now.total + float(reward[t])
        if ended[t]:
            # The state is already the next episode's: where this one ended shows in its reward alone.
            reached = float(reward[t]) > 0.5
            finished = [
                *finished,
                Path([*now.points, goal] if reached else now.points, steps, total, reached),
            ]
            now = Path([place], 0, 0.0, False)
        else:
            now = Path([*now.points, place], steps, total, False)
        story.append([*finished, now])
    return story


def _caption(paths: list[Path], episodes: int, width: int) -> Image.Image:
    """The line of text under a frame: every episode's colour, length and reward."""
    strip = Image.new("RGB", (width, _STRIP), _INK)
    draw = ImageDraw.Draw(strip)
    slot = width / max(episodes, 2)
    for i, path in enumerate(paths[:episodes]):
        x, y = 10 + i * slot, _STRIP / 2
        draw.rounded_rectangle([x, y - 6, x + 18, y + 6], 3, fill=EPISODES[i % len(EPISODES)])
        text = f"episode {i + 1}   {path.steps} steps   reward {path.total:+.2f}"
        text = text if slot > 260 else f"{path.steps} steps"
        draw.text(
            (x + 28, y), text, fill="#a6f0b4" if path.reached else "#e8e6e0", font=_font(15), anchor="lm"
        )
    return strip


def render(task: MazeTask, states: MazeState | TrialState) -> UInt8[np.ndarray, "T H W 3"]:
    """A film of one trial (or episode): the first-person view, the map with all paths, and the score so far.

    Args:
      task: one maze, without a leading axis.
      states: `[T, ...]`, the state after the reset and after each step. Of a lane that went on to another
        trial, the states up to there are shown.
    """
    task = jax.tree.map(np.asarray, task)
    inner, episode, _, ended = _trial(states)
    story = paths_of(task, states)
    views = _views(task, inner)
    height, width = _VIEW
    episodes = int(episode.max()) + (story[-1][-1].steps > 0)
    base = _base(task, height)
    film = np.empty((len(views), height + _STRIP, width + height, 3), np.uint8)
    for t, paths in enumerate(story):
        over = bool(ended[t]) and t == len(story) - 1
        x, y = np.asarray(inner.position)[t]
        angle = float(inner.heading[t]) * 2 * np.pi / TURNS
        agent = None if over else (float(x), float(y), angle)
        film[t, :height, :width] = views[t - 1 if over else t]
        film[t, :height, width:] = np.asarray(_overlay(base, paths, agent))
        film[t, height:] = np.asarray(_caption(paths, max(episodes, 1), width + height))
    return film
