"""`headstart play`: a person plays a level, or watches a stored run of it, in a window or in the terminal."""

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import tyro
from jaxtyping import UInt8

from headstart.cli import parse
from headstart.envs import platformer
from headstart.envs.platformer import (
    DOWN,
    DOWN_JUMP,
    FRAMES,
    HORIZON,
    JUMP,
    LEFT,
    LEFT_DOWN,
    NONE,
    RIGHT,
    RIGHT_DOWN,
)
from headstart.envs.platformer_level import TILE, Level
from headstart.envs.platformer_level import parse as parse_level
from headstart.envs.platformer_table import stack, task_of
from headstart.errors import RunError, UsageError
from headstart.suites import _platformer_levels as stored
from headstart.suites._platformer_moments import Moment, between, moments
from headstart.suites._platformer_pictures import MEMORY, Camera, film, painter

RATE = 60 / FRAMES
"""steps a second"""
BETWEEN = 2
"""pictures shown a step"""

_LINGER = 2.0  # seconds the last picture stays
_HELP = "arrows or WASD run and roll · space jumps · down, then space, charges · R again · Q quits"


@dataclass(frozen=True)
class PlayOptions:
    """Play a level of the platformer: your own file, or one that comes with the package."""

    level: Annotated[str, tyro.conf.Positional]
    """a level file, or the name of a shipped level (headstart levels list)"""
    tape: str | None = None
    """replay this tape of actions; "best" is the one stored beside the level"""
    show: Literal["auto", "window", "terminal", "none"] = "auto"
    """where to play; "none" replays a tape without pictures"""
    out: Path | None = None
    """film to write of the tape's run, .gif or .mp4, instead of showing it"""
    record: Path | None = None
    """file to write your own run to, as a tape"""
    sticky: float = 0.0
    """probability that a new action begins one frame late"""
    seed: int = 0
    """of that chance"""
    json: bool = False
    """print the result as JSON"""


def find(name: str) -> Path:
    """The file of a level: a path, or a shipped level by name.

    Raises:
      UsageError: if there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = stored.folder() / f"{name}.txt"
    if name in stored.index() and shipped.is_file():
        return shipped
    raise UsageError(
        f"there is no level file '{name}' and no shipped level of that name; see headstart levels list."
    )


def read(path: Path) -> str:
    """A file's text.

    Raises:
      UsageError: if it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}.") from None


def tape_beside(path: Path) -> Path:
    """Where a level's solution is stored."""
    return path.with_suffix(".tape")


@partial(jax.jit, static_argnums=5)
def _step(levels: Any, task: Any, state: Any, action: Any, key: Any, sticky: float) -> tuple[Any, Any]:
    return platformer.Platformer(levels, sticky=sticky).step(task, state, action, key)


class Game:
    """One run of a level, step by step."""

    def __init__(self, level: Level, sticky: float = 0.0, seed: int = 0) -> None:
        self.level = level
        self._levels, self._task = jax.tree.map(jnp.asarray, (stack([level]), task_of(level)))
        self._sticky, self._seed = sticky, seed
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        state = platformer.Platformer(self._levels).reset(self._task, jr.key(0))
        self._state, self._key = jax.tree.map(jnp.asarray, state), jr.key(self._seed)
        self.story, self.actions = [self._moment()], list[int]()
        self.score, self.over = 0.0, False

    def _moment(self) -> Moment:
        return moments(jax.tree.map(lambda leaf: np.asarray(leaf)[None], self._state))[0]

    def step(self, action: int) -> None:
        """Play a step of four frames."""
        self._key, key = jr.split(self._key)
        self._state, out = _step(self._levels, self._task, self._state, jnp.int32(action), key, self._sticky)
        self.story.append(self._moment())
        self.actions.append(action)
        self.score += float(out.reward)
        self.over = bool(out.terminated)

    def result(self) -> dict[str, Any]:
        """How far the run came."""
        now, start, goal = self.story[-1], self.level.start[1] * TILE + 8, self.level.goal * TILE
        end = "finished" if now.finished else "lost" if now.lost else "stopped"
        progress = float(np.clip((now.x - start) / (goal - start), 0.0, 1.0))
        return {
            "result": end,
            "seconds": round(now.clock / 60, 2),
            "steps": len(self.actions),
            "progress": round(progress, 4),
            "rings": now.rings,
            "score": round(self.score, 1),
        }


def action_of(held: set[str]) -> int:
    """The agent's action for the keys held. As for agents, a jump in the air keeps its way whatever is held."""
    down, jump = "down" in held, "jump" in held or "up" in held
    if jump:
        return DOWN_JUMP if down else JUMP
    way = ("right" in held) - ("left" in held)
    if way:
        return {(1, False): RIGHT, (1, True): RIGHT_DOWN, (-1, False): LEFT, (-1, True): LEFT_DOWN}[way, down]
    return DOWN if down else NONE


def _line(game: Game) -> str:
    result = game.result()
    return f" {result['seconds']:6.2f} s   rings {result['rings']}   {result['progress']:4.0%}   {_HELP}"


def run(game: Game, screen: Any, tape: UInt8[np.ndarray, " steps"] | None = None) -> None:
    """Play on a screen in real time until the level, the tape or the player's patience ends.

    Args:
      game: at its start.
      screen: has `show(picture, line)` and `wait(until) -> keys held`.
      tape: the actions to replay; None lets the keys decide.
    """
    brush, camera = painter(game.level), Camera.at(game.level, game.story[0])
    clock = time.monotonic()
    while not game.over and len(game.actions) < (HORIZON if tape is None else len(tape)):
        held = screen.wait(clock)
        if "quit" in held:
            return
        if "again" in held and len(game.actions) > 3 and tape is None:
            game.restart()
            camera = Camera.at(game.level, game.story[0])
        game.step(action_of(held) if tape is None else int(tape[len(game.actions)]))
        last, now = game.story[-2:]
        ahead = camera.follow(game.level, now)
        for k in range(1, BETWEEN + 1):
            share = k / BETWEEN
            seen = now if k == BETWEEN else between(last, now, share)
            eye = Camera(camera.x + (ahead.x - camera.x) * share, camera.y + (ahead.y - camera.y) * share)
            clock += 1 / RATE / BETWEEN
            if time.monotonic() < clock:  # a slow machine or line skips pictures, never steps
                screen.show(brush.paint([*game.story[-MEMORY:-1], seen], eye), _line(game))
                if k < BETWEEN and "quit" in screen.wait(clock):
                    return
        clock, camera = max(clock, time.monotonic() - 0.5), ahead
    screen.show(brush.paint(game.story[-MEMORY:], camera), _line(game))
    _linger(screen)


def _linger(screen: Any) -> None:
    """Leave the last picture for a moment, or until the player has seen enough."""
    end = time.monotonic() + _LINGER
    while time.monotonic() < end:
        if "quit" in screen.wait(min(end, time.monotonic() + 0.1)):
            return


def _screen(show: str, title: str) -> Any:
    """The window or the terminal, whichever is wanted and there.

    Raises:
      UsageError: if it is not.
    """
    if show in ("auto", "window"):
        opened = _window(title)
        if opened is not None:
            return opened
        if show == "window":
            raise UsageError(
                "there is no display to open a window on, or tkinter is missing; try --show terminal."
            )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "there is neither a display nor a terminal to play in; --tape best --out run.gif makes a film."
        )
    try:
        return importlib.import_module("headstart.commands._terminal").Terminal()
    except ImportError:
        raise UsageError("this system's terminals cannot be played in; try --show window.") from None


def _window(title: str) -> Any | None:
    """A window, or None where there can be none."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return None
    try:
        module = importlib.import_module("headstart.commands._window")
    except ImportError:
        return None
    try:
        return module.Window(title)
    except module.tkinter.TclError:
        return None


def _replayed(game: Game, tape: UInt8[np.ndarray, " steps"]) -> None:
    for action in tape[:HORIZON]:
        if game.over:
            return
        game.step(int(action))


def _tape(options: PlayOptions, path: Path) -> UInt8[np.ndarray, " steps"] | None:
    if options.tape is None:
        return None
    file = tape_beside(path) if options.tape == "best" else Path(options.tape)
    if not file.is_file():
        raise UsageError(f"there is no tape {file}; headstart levels check {path.name} looks for one.")
    return stored.read_tape(read(file), file.name)


def _check(options: PlayOptions) -> None:
    if not 0.0 <= options.sticky <= 1.0:
        raise UsageError(f"sticky is a probability between 0 and 1, not {options.sticky}.")
    if options.tape is None and (options.out or options.show == "none"):
        raise UsageError("a film, or a run without pictures, needs a tape to replay; add --tape best.")
    if options.tape is not None and options.record:
        raise UsageError("--record keeps a run of your own; leave --tape away.")


def _told(game: Game, title: str) -> str:
    r = game.result()
    how = {"finished": "finished", "lost": "a life lost", "stopped": "stopped"}[r["result"]]
    return f"{title}: {how} after {r['seconds']:.2f} s at {r['progress']:.0%}, rings {r['rings']}, score {r['score']:.0f}"


def play(args: list[str]) -> None:
    """Play a level, or replay a tape of it."""
    options: PlayOptions = parse(PlayOptions, args, "play")
    _check(options)
    path = find(options.level)
    level = parse_level(read(path), path.name)
    tape = _tape(options, path)
    title = level.title or path.stem
    screen = None if options.out or options.show == "none" else _screen(options.show, title)
    game = Game(level, options.sticky, options.seed)
    if screen is not None:
        game.step(NONE)  # compiles before the clock runs
        game.restart()
        with screen:
            run(game, screen, tape)
    elif tape is not None:
        _replayed(game, tape)
    if options.out:
        from headstart.reports.video import write_film

        write_film(options.out, np.stack(list(film(game.level, game.story))), RATE)
    if options.record:
        _write(options.record, stored.write_tape(np.array(game.actions, np.uint8)))
    print(json.dumps(game.result()) if options.json else _told(game, title))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from None
