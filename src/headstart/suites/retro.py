"""Emulated games: a save state is a task.

`retro-sonic-v0` is the benchmark of *Gotta Learn Fast* (Nichol et al. 2018, arXiv:1804.03720): 58 save states of three
games, 47 to train on and 11 to test on, the contest's own rewards. `retro:GAME` is any other game, with its own save
states or those that `headstart retro make-states` left in a folder. Whoever plays brings the ROMs.
"""

import json
from pathlib import Path
from typing import Any, get_args

from headstart.errors import UsageError
from headstart.hosts import retro as games
from headstart.hosts.lanes import Program
from headstart.hosts.tasks import Shelf, hold_out
from headstart.suites._retro_sonic import TEST, TRAIN
from headstart.suites.asgym import foreign
from headstart.tasks import Role, Suite
from headstart.types import Box, Discrete, Spec

MANIFEST = "states.json"
"""the file of a folder of save states that says which game's they are, and their roles"""


def retro(
    game: str = "Airstriker-Genesis-v0",
    states: str = "",
    obs: str = "pixels",
    frames: int = 4,
    actions: str = "arrows",
    sticky: float = 0.25,
    backtracking: bool = False,
    horizon: int = 4500,
    scenario: str = "",
    halves: int = 1,
    stale: int = 0,
    episodes: int = 0,
) -> Suite:
    """One game from its save states; score: mean return of an episode, as the game's scenario rewards it.

    Args:
      game: as stable-retro calls it.
      states: folder that `headstart retro make-states` filled; "" for the states that come with the game.
      obs: "pixels" (84 x 84, grey) or "rgb" (the whole picture).
      frames: pictures of the last decisions that are stacked.
      actions: "arrows" or "sonic": which eight combinations of buttons an agent has.
      sticky: probability that a new action begins one frame late.
      backtracking: whether going back is free: the reward is then the increase of the greatest return so far.
      horizon: decisions after which an episode is truncated.
      scenario: the game's file of rewards and ends; "" for its own.
      halves: parts of the lanes that take turns.
      stale: updates that the acting weights may be behind.
      episodes: 0 for single episodes; more for trials of so many episodes from one save state (RL²).

    Raises:
      UsageError: for a game or scenario there is none of, or a folder without save states.
    """
    options = _options(obs, frames, actions, sticky, backtracking, horizon)
    shelf = _made(game, Path(states)) if states else _own(game)
    if not states:
        game = games.full_name(game)
    kwargs = options | {
        "game": game,
        "scenario": scenario,
        "folder": str(Path(states).resolve()) if states else "",
    }
    return _suite("retro", kwargs, shelf, horizon, f"{game} in an emulator", (halves, stale, episodes))


def retro_sonic(
    obs: str = "pixels",
    frames: int = 4,
    sticky: float = 0.25,
    backtracking: bool = False,
    horizon: int = 4500,
    valid: int = 0,
    halves: int = 1,
    stale: int = 0,
    episodes: int = 0,
) -> Suite:
    """Sonic's 58 levels of Gotta Learn Fast; score: mean return of an episode, at most 10 000.

    Args:
      obs: "pixels" (84 x 84, grey) or "rgb" (the whole picture, 224 x 320).
      frames: pictures of the last decisions that are stacked.
      sticky: probability that a new action begins one frame late.
      backtracking: whether going back is free: the reward is then the increase of the farthest progress.
      horizon: decisions after which an episode is truncated.
      valid: how many training levels, the last of the list, are kept to choose priors on.
      halves: parts of the lanes that take turns.
      stale: updates that the acting weights may be behind.
      episodes: 0 for single episodes; more for trials of so many episodes from one save state (RL²).

    Raises:
      UsageError: for options out of range.
    """
    if not 0 <= valid < len(TRAIN):
        raise UsageError(
            f"0 to {len(TRAIN) - 1} training levels can be kept to choose priors on, not {valid}."
        )
    options = _options(obs, frames, "sonic", sticky, backtracking, horizon)
    levels = [
        {"name": f"{game}/{state}", "game": f"{game}-v0", "state": state} for game, state in (*TRAIN, *TEST)
    ]
    edge = len(TRAIN) - valid
    shelf = Shelf(
        {
            "train": tuple(levels[:edge]),
            "valid": tuple(levels[edge : len(TRAIN)]),
            "test": tuple(levels[len(TRAIN) :]),
        }
    )
    kwargs = options | {"game": levels[0]["game"], "scenario": "contest"}
    return _suite(
        "retro-sonic", kwargs, shelf, horizon, "Sonic's levels in an emulator", (halves, stale, episodes)
    )


def _options(
    obs: str, frames: int, actions: str, sticky: float, backtracking: bool, horizon: int
) -> dict[str, Any]:
    if obs not in ("pixels", "rgb"):
        raise UsageError(f"an emulated game is seen as pixels or rgb, not as '{obs}'.")
    if actions not in games.COMBINATIONS:
        raise UsageError(f"there are the actions {' and '.join(games.COMBINATIONS)}, not '{actions}'.")
    if not 0.0 <= sticky <= 1.0:
        raise UsageError(f"sticky is a probability between 0 and 1, not {sticky}.")
    if frames < 1 or horizon < 1:
        raise UsageError("an emulated game has at least one frame to the stack and one step to the episode.")
    return {
        "obs": obs,
        "frames": frames,
        "actions": actions,
        "sticky": sticky,
        "backtracking": backtracking,
    }


def _suite(
    name: str, kwargs: dict[str, Any], shelf: Shelf, horizon: int, about: str, pace: tuple[int, int, int]
) -> Suite:
    h, w = (games.SMALL, games.SMALL) if kwargs["obs"] == "pixels" else games.shape_of(kwargs["game"])
    shape = (h, w, kwargs["frames"] * (1 if kwargs["obs"] == "pixels" else 3))
    actions = len(games.COMBINATIONS[kwargs["actions"]])
    spec = Spec(Box(shape, 0.0, 255.0, "uint8"), Discrete(actions), horizon, truncates=True)
    title = name if name == "retro-sonic" else f"retro:{kwargs['game']}"
    program = Program(
        title, "headstart.hosts.retro:RetroGame", kwargs, "reset", ((shape, "uint8"),), per_worker=1
    )

    def ready(tasks: tuple[dict[str, Any], ...]) -> None:
        games.require({str(task.get("game", kwargs["game"])) for task in tasks})

    return foreign(name, program, spec, shelf, about, *pace, ready=ready)


def _own(game: str) -> Shelf:
    """The save states that come with a game: of eight in a row five train, two test, one is valid; one alone is all."""
    name = games.full_name(game)
    states: list[str] = games.library().data.list_states(name)
    tasks = [{"name": state, "game": name, "state": state} for state in states]
    if len(tasks) >= 5:
        return Shelf(hold_out(tasks))
    alone = (tasks[0] if len(tasks) == 1 else {"name": "start", "game": name},)
    return Shelf({"train": alone, "valid": alone, "test": alone}, shared=True)


def _made(game: str, folder: Path) -> Shelf:
    """The save states in a folder.

    Raises:
      UsageError: if there are none, or they are another game's.
    """
    path = folder / MANIFEST
    try:
        about = json.loads(path.read_text())
        kept, roles = about["game"], about["states"]
        rows = [(str(row["state"]), str(row["sha"]), str(row["role"])) for row in roles]
    except FileNotFoundError:
        raise UsageError(
            f"there are no save states in {folder}; make some: headstart retro make-states {game} --out {folder}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read ({type(error).__name__}); make the states again.") from error
    if kept not in (game, f"{game}-v0"):
        raise UsageError(f"the save states in {folder} are of {kept}, not of {game}.")
    if not rows or any(role not in get_args(Role) for _, _, role in rows):
        raise UsageError(f"{path} names no states with roles; make the states again.")
    found: dict[Role, tuple[dict[str, Any], ...]] = {}
    for wanted in get_args(Role):
        found[wanted] = tuple(
            {"name": state, "game": kept, "state": state, "sha": sha}
            for state, sha, role in rows
            if role == wanted
        )
    return Shelf(found)
