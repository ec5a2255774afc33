"""Save states of a game as tasks: play it, and save its state now and then.

    until there are K states:
        begin the game at one of its own states
        every `every` decisions: save the state
        when the episode ends: begin again, with other random numbers

Roles go round by place: of every eight states five train, two test, one is valid.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import RunError, UsageError
from headstart.hosts.retro import COMBINATIONS, RetroGame, full_name, library, require
from headstart.hosts.tasks import hold_out

Player = Callable[[Any, bool], int]
"""`player(observation, first) -> action`: what is pressed next"""


@dataclass(frozen=True)
class Making:
    """Which states are made, and how."""

    game: str
    """as stable-retro calls it"""
    out: Path
    """folder they go to"""
    states: int = 24
    """how many"""
    every: int = 100
    """decisions from one to the next"""
    seed: int = 0
    """of the play"""
    actions: str = "arrows"
    """combinations of buttons"""

    def __post_init__(self) -> None:
        for name in ("states", "every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, not {getattr(self, name)}.")
        if self.actions not in COMBINATIONS:
            raise UsageError(f"there are the actions {' and '.join(COMBINATIONS)}, not '{self.actions}'.")


def script(seed: int, actions: int = 8, hold: int = 12) -> Player:
    """Moves at random, each held for up to `hold` decisions, with every second decision on the last button alone."""
    random = np.random.default_rng([seed, 1])
    presses = _presses(random, actions, hold)

    def player(obs: Any, first: bool) -> int:
        del obs, first
        return next(presses)

    return player


def _presses(random: np.random.Generator, actions: int, hold: int) -> Iterator[int]:
    while True:
        move = int(random.integers(actions))
        for t in range(int(random.integers(1, hold))):
            yield move if t % 2 else actions - 1


def make_states(
    making: Making, player: Player, watch: Callable[[str, Any], None] = lambda *_: None
) -> list[dict[str, Any]]:
    """Play until there are enough states, and write them with a manifest.

    Args:
      making: which.
      player: who plays.
      watch: told of each state's name, and shown the picture `[H, W, 3]` it was saved at.

    Returns:
      The manifest's rows: state, SHA-256 of its memory, role, episode, decisions since the episode's start.

    Raises:
      UsageError: for an unknown game, a missing ROM, or a folder that already holds states.
      RunError: if episodes end before a state is due, or only repeat what was saved.
    """
    game = full_name(making.game)
    require({game})
    if (making.out / "states.json").exists():
        raise UsageError(f"there are save states in {making.out} already; choose another folder.")
    making.out.mkdir(parents=True, exist_ok=True)
    env = RetroGame(game, actions=making.actions)
    try:
        rows = _played(env, making, player, watch)
    finally:
        env.close()
    roles = {row["state"]: role for role, held in hold_out(rows).items() for row in held}
    rows = [row | {"role": roles[row["state"]]} for row in rows]
    about = {
        "game": game,
        "seed": making.seed,
        "every": making.every,
        "version": library().__version__.strip(),
    }
    (making.out / "states.json").write_text(json.dumps(about | {"states": rows}, indent=1) + "\n")
    return rows


def _played(
    env: RetroGame, making: Making, player: Player, watch: Callable[[str, Any], None]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for episode in itertools.count():
        obs, _ = env.reset(seed=making.seed + episode)
        made, first, terminated, t = len(rows), True, False, 0
        why = f"no episode of {making.game} lasted {making.every} decisions; save more often, with a smaller every."
        while not terminated and t < 10_000:
            obs, _, terminated, _, _ = env.step(player(obs, first))
            first, t = False, t + 1
            if t % making.every or terminated:
                continue
            name = f"state{len(rows):03d}"
            sha = env.save(making.out / f"{name}.state")
            if sha in seen:
                why = f"play of {making.game} only came to states it had saved already; ask for fewer, or another every."
                continue
            seen.add(sha)
            rows.append({"state": name, "sha": sha, "episode": episode, "t": t})
            watch(name, env.screen())
            if len(rows) == making.states:
                return rows
        if len(rows) == made and episode > 10:
            raise RunError(why)
    raise AssertionError("episodes do not run out")
