"""Emulated games as Gymnasium environments, by stable-retro; one emulator a process. Runs in workers: no JAX.

    each decision lasts `skip` frames; with probability `sticky` a new action begins one frame late   (Nichol et al. 2018,
    reward is what the game's scenario pays, summed                                                   arXiv:1804.03720)
    with `backtracking` the reward is the increase of the greatest sum so far: going back is free

Deviates from the paper: the frame skip's randomness is seeded; an episode that lasts too long is truncated, not terminated.
"""

import functools
import gzip
import hashlib
import importlib
import importlib.util
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from headstart.errors import RunError, UsageError, unknown

COMBINATIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sonic": (
        *((), ("LEFT",), ("RIGHT",), ("LEFT", "DOWN"), ("RIGHT", "DOWN")),
        *(("DOWN",), ("DOWN", "B"), ("B",)),
    ),
    "arrows": (
        *((), ("LEFT",), ("RIGHT",), ("UP",), ("DOWN",)),
        *(("LEFT", "B"), ("RIGHT", "B"), ("B",)),
    ),
}
"""The eight actions of an agent: buttons held together. Nothing, left, right and B have the same numbers in both."""

SHAPES: dict[str, tuple[int, int]] = {
    "Genesis": (224, 320),
    "Nes": (224, 240),
    "Snes": (224, 256),
    "Sms": (192, 256),
}
"""height and width of a console's picture"""

SMALL = 84
"""side of the small grey picture"""


@functools.cache
def library() -> ModuleType:
    """stable-retro.

    Raises:
      UsageError: if it is not installed.
    """
    if importlib.util.find_spec("stable_retro") is None:
        raise UsageError(
            "emulated games need the extra `retro`: pip install 'headstart[retro]' (or uv sync --extra retro)."
        )
    return importlib.import_module("stable_retro")


def full_name(game: str) -> str:
    """A game as stable-retro calls it: with its console and version.

    Raises:
      UsageError: if it knows none of that name, with the nearest ones.
    """
    games: list[str] = library().data.list_games()
    for name in (game, f"{game}-v0"):
        if name in games:
            return name
    raise unknown("game", game, games)


def has_rom(game: str) -> bool:
    """Whether a game's ROM was imported."""
    data = library().data
    try:
        data.get_romfile_path(game)
    except FileNotFoundError:
        return False
    return True


def require(games: set[str]) -> None:
    """Refuse to play games whose ROM is not there, or is another one.

    Raises:
      UsageError: for such a game, with what to do.
    """
    names = sorted({full_name(game) for game in games})
    missing = [game for game in names if not has_rom(game)]
    for game in names:
        if game not in missing and library().data.verify_hash(game):
            raise UsageError(
                f"the ROM that lies where {game}'s should is another one, so that its save states would not fit; run "
                "`headstart roms import FOLDER` with the right one (`headstart roms list` shows its hash)."
            )
    if missing:
        raise UsageError(
            f"there is no ROM of {' or '.join(missing)}; headstart ships none: put your own into a folder and run "
            "`headstart roms import FOLDER` (`headstart roms list` shows the hashes it looks for)."
        )


def read_state(game: str, state: str, folder: str = "") -> bytes:
    """The emulator's state of this name: the game's own, or one in a folder.

    Raises:
      UsageError: if there is none, or the file is damaged.
    """
    data = library().data
    path = str(Path(folder) / f"{state}.state") if folder else data.get_file_path(game, f"{state}.state")
    try:
        with gzip.open(path or f"{state}.state", "rb") as file:
            return file.read()
    except FileNotFoundError:
        there = [one.stem for one in Path(folder).glob("*.state")] if folder else data.list_states(game)
        raise unknown(f"save state of {game}", state, there) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is no save state, or a damaged one ({error}).") from error


def shrink(screen: np.ndarray) -> np.ndarray:
    """A picture `[H, W, 3]` in grey, `[84, 84]`: each pixel the mean of what it covers."""
    return np.asarray(Image.fromarray(screen).convert("L").resize((SMALL, SMALL), Image.Resampling.BOX))


class RetroGame(gymnasium.Env[Any, Any]):
    """Games of one console; `reset(options={"game", "state"})` says which, and from where.

    Args:
      game: what is played where a reset names no other.
      obs: "pixels" is 84 x 84 grey, "rgb" the whole picture.
      frames: pictures of the last decisions, stacked along the last axis, the newest last.
      actions: a name in `COMBINATIONS`.
      skip: frames a decision.
      sticky: probability that a new action begins one frame late.
      backtracking: whether the reward is the increase of the greatest return so far.
      scenario: the game's file of rewards and ends; "" for its own.
      folder: where save states lie; "" for the game's own.

    Raises:
      UsageError: for a missing ROM, state or scenario.
    """

    def __init__(
        self,
        game: str,
        obs: str = "pixels",
        frames: int = 4,
        actions: str = "arrows",
        skip: int = 4,
        sticky: float = 0.25,
        backtracking: bool = False,
        scenario: str = "",
        folder: str = "",
    ) -> None:
        self._game, self._small, self._frames, self._folder = game, obs == "pixels", frames, folder
        self._combinations, self._skip, self._sticky = COMBINATIONS[actions], skip, sticky
        self._backtracking, self._scenario = backtracking, scenario
        h, w = (SMALL, SMALL) if self._small else shape_of(game)
        depth = frames if self._small else 3 * frames
        self.observation_space = gymnasium.spaces.Box(0, 255, (h, w, depth), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self._combinations))
        self._emulator: Any = None
        self._playing = ("", "")

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin at a save state."""
        super().reset(seed=seed)
        options = options or {}
        self._load(
            str(options.get("game", self._game)), str(options.get("state", "")), options.get("sha", "")
        )
        screen, _ = self._emulator.reset()
        self._held: Any = None
        self._total = self._best = 0.0
        self._stack = [self._look(screen)] * self._frames
        return np.concatenate(self._stack, axis=-1), {}

    def _load(self, game: str, state: str, sha: str) -> None:
        """Put the game's cartridge in, if it is another, and the save state."""
        if (game, state) == self._playing:
            return
        retro = library()
        if game != self._playing[0]:
            self.close()
            require({game})
            scenario = self._scenario or None
            name = full_name(game)
            if scenario and retro.data.get_file_path(name, f"{scenario}.json") is None:
                raise UsageError(
                    f"{name} has no scenario '{scenario}'; it has {', '.join(retro.data.list_scenarios(name))}."
                )
            self._emulator = retro.make(name, scenario=scenario, render_mode="rgb_array")
            self._own = self._emulator.initial_state
        begin = read_state(full_name(game), state, self._folder) if state else self._own
        if begin and not self._emulator.em.set_state(begin):
            raise UsageError(
                f"the emulator refuses the save state {state} of {game}; it is another console's or version's."
            )
        if sha and (found := self.digest()) != sha:
            raise UsageError(
                f"the save state {state} is not the one its task was made with (the SHA-256 of its memory begins with "
                f"{found}, not {sha})."
            )
        self._emulator.initial_state = begin
        self._playing = (game, state)

    def _look(self, screen: np.ndarray) -> np.ndarray:
        return shrink(screen)[:, :, None] if self._small else screen

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Hold a combination of buttons for some frames."""
        buttons = self._emulator.buttons
        wanted = np.array([button in self._combinations[int(action)] for button in buttons], np.int8)
        late = self._held is not None and self.np_random.random() < self._sticky
        reward, terminated, screen = 0.0, False, None
        for frame in range(self._skip):
            self._held = self._held if late and frame == 0 else wanted
            screen, paid, terminated, _, _ = self._emulator.step(self._held)
            reward += float(paid)
            if terminated:
                break
        self._stack = [*self._stack[1:], self._look(np.asarray(screen))]
        return np.concatenate(self._stack, axis=-1), self._pay(reward), bool(terminated), False, {}

    def _pay(self, reward: float) -> float:
        if not self._backtracking:
            return reward
        self._total += reward
        gained = max(self._total - self._best, 0.0)
        self._best += gained
        return gained

    def screen(self) -> np.ndarray:
        """The picture as the console shows it, `[H, W, 3]`."""
        return np.asarray(self._emulator.get_screen(apply_rotation=True))

    def save(self, path: Path) -> str:
        """Write the emulator's state to a file, from which a reset may begin; returns its `digest`.

        Raises:
          RunError: if the file cannot be written.
        """
        state = bytes(self._emulator.em.get_state())
        try:
            with gzip.GzipFile(path, "wb", mtime=0) as file:
                file.write(state)
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror}).") from error
        return self.digest()

    def digest(self) -> str:
        """The first digits of the SHA-256 of the console's memory.

        Not of the emulator's state: that holds addresses of the process that saved it, and is another one in every process.
        """
        self._emulator.data.update_ram()
        return hashlib.sha256(self._emulator.get_ram().tobytes()).hexdigest()[:16]

    def close(self) -> None:
        """Free the emulator, of which a process has one."""
        if self._emulator is not None:
            self._emulator.close()
        self._emulator, self._playing = None, ("", "")


def shape_of(game: str) -> tuple[int, int]:
    """Height and width of a game's picture, by its console.

    Raises:
      UsageError: for a console whose picture is not known.
    """
    console = game.removesuffix("-v0").rsplit("-", 1)[-1]
    if console not in SHAPES:
        raise UsageError(
            f"headstart does not know the size of a {console} picture; use obs=pixels, which are small and grey."
        )
    return SHAPES[console]
