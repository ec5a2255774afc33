"""Films of an evaluation: episodes played again from the record of actions, with the randomness they had."""

import shutil
from pathlib import Path

import jax
import numpy as np

from headstart.contest.environment import Game
from headstart.contest.meter import Ledger
from headstart.reports.video import write_film
from headstart.types import EnvState

FRAMES = 300
"""pictures of a film at most; a longer episode is shown with every second, third, ... step"""


def chosen(ledger: Ledger) -> dict[str, int]:
    """Which episodes are filmed: the first, the best, the last, each once."""
    found: dict[str, int] = {}
    if ledger.episodes:
        rewards = [episode.reward for episode in ledger.episodes]
        wanted = {"first": 0, "best": int(np.argmax(rewards)), "last": len(rewards) - 1}
        for name, index in wanted.items():
            if index not in found.values():
                found[name] = index
    return found


def replay(game: Game, ledger: Ledger, actions: np.ndarray, index: int) -> tuple[EnvState, float, float]:
    """An episode's states `[T', ...]`, its total reward (a check), and how many steps lie between two states."""
    episode, (lane, first) = ledger.episodes[index], ledger.places[index]
    every = -(-(episode.length + 1) // FRAMES)
    game.reset(first, np.ones(game.n, bool))
    states, total = [game.state(lane)], 0.0
    for t in range(first, first + episode.length):
        action = actions[t] if actions.dtype != np.uint8 else actions[t].astype(np.int32)
        reward, _ = game.results(game.step(t, action))
        total += float(reward[lane])
        if (t + 1 - first) % every == 0 or t + 1 == first + episode.length:
            states.append(game.state(lane))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states), total, float(every)


def make(game: Game, ledger: Ledger, actions: np.ndarray, out: Path) -> tuple[Path, ...]:
    """Films of the first, the best and the last episode in a folder; none where the suite has no pictures."""
    if game.render is None:
        return ()
    kind = "mp4" if shutil.which("ffmpeg") else "gif"
    made: list[Path] = []
    for name, index in chosen(ledger).items():
        states, _, _ = replay(game, ledger, actions, index)
        frames = game.render(game.task, states)
        if frames.shape[2] > 400:
            frames = frames[:, ::2, ::2]
        made.append(write_film(out / f"{name}.{kind}", frames))
    return tuple(made)


__all__ = ["chosen", "make", "replay"]
