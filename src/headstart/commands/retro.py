"""`headstart retro make-states`: save states of a game, so that one ROM gives a train and a test split."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.random as jr
import numpy as np
import tyro
from PIL import Image, ImageDraw

from headstart.cli import parse
from headstart.hosts.retro import COMBINATIONS
from headstart.hosts.save_states import Making, Player, make_states, script
from headstart.protocol import priors
from headstart.suites import suite
from headstart.types import TimeStep


@dataclass(frozen=True)
class RetroOptions:
    """Play a game and save its state now and then: tasks for the suite retro."""

    what: Annotated[Literal["make-states"], tyro.conf.Positional]
    """what to do"""
    game: Annotated[str, tyro.conf.Positional]
    """as stable-retro calls it: Airstriker-Genesis-v0"""
    out: Path
    """folder for the states; the suite is then retro:GAME,states=FOLDER"""
    states: int = 24
    """how many"""
    every: int = 100
    """decisions (of 4 frames) from one to the next"""
    seed: int = 0
    """of the play"""
    agent: str = ""
    """a prior or run folder that plays; none plays a script of random moves"""
    json: bool = False
    """print what was made as JSON"""


def retro(args: list[str]) -> None:
    """Make save states."""
    options: RetroOptions = parse(RetroOptions, args, "retro")
    making = Making(options.game, options.out, options.states, options.every, options.seed)
    player = _trained(options) if options.agent else script(options.seed, len(COMBINATIONS[making.actions]))
    pictures: list[np.ndarray] = []

    def watch(name: str, screen: Any) -> None:
        pictures.append(np.array(screen))
        if not options.json:
            print(f"{name} saved", file=sys.stderr)

    rows = make_states(making, player, watch)
    _sheet([row["state"] for row in rows], [row["role"] for row in rows], pictures).save(
        options.out / "states.png"
    )
    if options.json:
        print(json.dumps(rows))
        return
    roles = [row["role"] for row in rows]
    counts = ", ".join(f"{roles.count(role)} {role}" for role in ("train", "valid", "test"))
    print(f"{len(rows)} save states ({counts}) and a picture of each in {options.out}")
    print(f"learn to play them: headstart transfer --suite retro:{options.game},states={options.out}")


def _trained(options: RetroOptions) -> Player:
    """A prior that plays one lane."""
    prior = priors.find(options.agent)
    agent = prior.build(suite(f"retro:{options.game}"))
    act = jax.jit(agent.act)
    keys = iter(jr.split(jr.key(options.seed), options.states * options.every * 100))
    memory = [agent.memory(1)]

    def player(obs: Any, first: bool) -> int:
        one = np.ones(1, np.float32)
        now: Any = TimeStep(np.asarray(obs)[None], 0 * one, one, np.array([first]), None)  # pyright: ignore[reportArgumentType]
        memory[0], action, _ = act(prior.state, memory[0], now, next(keys))
        return int(np.asarray(action)[0])

    return player


_COLOURS = {"train": "#2b3a55", "valid": "#d98c3f", "test": "#c8473b"}


def _sheet(names: list[str], roles: list[str], pictures: list[np.ndarray]) -> Image.Image:
    """All states in one picture, each with its name in the colour of its role."""
    h, w, _ = pictures[0].shape
    columns = min(6, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (w // 2 + 8) + 8, rows * (h // 2 + 28) + 8), "#fbfaf7")
    draw = ImageDraw.Draw(sheet)
    for i, (name, role, picture) in enumerate(zip(names, roles, pictures, strict=True)):
        x, y = 8 + i % columns * (w // 2 + 8), 8 + i // columns * (h // 2 + 28)
        sheet.paste(Image.fromarray(picture).resize((w // 2, h // 2), Image.Resampling.LANCZOS), (x, y))
        draw.text((x, y + h // 2 + 4), f"{name}  {role}", fill=_COLOURS[role], font_size=12)
    return sheet


__all__ = ["RetroOptions", "retro"]
