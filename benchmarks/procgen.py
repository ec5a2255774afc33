"""Procgen: how fast the simulator is by itself, which unseen levels repeat known ones, and a short run of PPO.

    taskset -c 1 python -m benchmarks.procgen speed      > benchmarks/results/procgen_speed.jsonl
    taskset -c 1 python -m benchmarks.procgen repeats    > benchmarks/results/procgen_repeats.jsonl
    python -m benchmarks.procgen learn 524288 --games coinrun --folder RUNS >> benchmarks/results/procgen_learn.jsonl
    python -m benchmarks.procgen update > benchmarks/results/procgen_update.jsonl
    taskset -c 1 python -m benchmarks.procgen pictures     (writes docs/suites/procgen.png; `curves`: procgen_learn.png)

One JSON line a case. Speeds are by processor time (`cpu`: what one core to itself would reach) and by the clock (`wall`);
this machine is shared, so the first is the one to compare. `learn STEPS` trains on 200 levels of each game (easy), goes on
with what FOLDER holds, and scores the last weights on 100 unseen levels: the first STEPS of the published 25 M.
"""

import argparse
import contextlib
import dataclasses
import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from headstart.hosts import procgen as host
from headstart.hosts.procgen import Game, Levels, ProcgenLanes

_STEPS = 200  # steps a lane that are timed, after as many to warm up
_LANES = 64
_TILE = 128
_PUBLISHED = 25_000_000
_RESULTS = Path("benchmarks/results")
_UPDATES = 8  # between two points of a curve


def speed(game: str) -> dict[str, Any]:
    """Environment-only steps a second: random actions, 64 lanes, one thread."""
    lanes = ProcgenLanes(Game(game, "easy"), Levels(np.arange(200, dtype=np.int32)), _LANES, 0, False, 1)
    lanes.reset(0)
    actions = np.random.default_rng(0).integers(0, host.ACTIONS, (2 * _STEPS, _LANES)).astype(np.int32)
    for action in actions[:_STEPS]:
        lanes.step(action)
    wall, cpu = time.perf_counter(), time.process_time()
    for action in actions[_STEPS:]:
        lanes.step(action)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    lanes.close()
    steps = _STEPS * _LANES
    return {
        "game": game,
        "lanes": _LANES,
        "steps": steps,
        "cpu": round(steps / cpu),
        "wall": round(steps / wall),
    }


def repeats(game: str, mode: str, train: int, unseen: int = 250) -> dict[str, Any]:
    """Which share of unseen levels looks at first sight like a training level: as agents see it, and drawn plain."""
    which, found = Game(game, mode), dict[str, float]()
    for name, plain in (("seen", False), ("plain", True)):
        known = set(host.first_frames(which, range(train), plain).values())
        others = host.first_frames(which, range(1 << 21, (1 << 21) + unseen), plain)
        found[name] = sum(frame in known for frame in others.values()) / unseen
    return {"game": game, "mode": mode, "train": train, "unseen": unseen} | found


def learn(game: str, steps: int, folder: Path) -> dict[str, Any]:
    """The first `steps` of the published 25 M of PPO, then 100 unseen levels; a run in the folder is gone on with.

    The preset's settings, but the Nature network and rollouts of 64 steps.
    """
    import headstart as hs
    from headstart.agents import configure
    from headstart.suites.procgen import normalised

    config = configure("ppo-procgen", unroll=64)
    config = dataclasses.replace(config, network=dataclasses.replace(config.network, vision="nature"))
    suite, run, spent = f"procgen:{game},threads=1", folder / game, folder / f"{game}.jsonl"
    chunks = _PUBLISHED // (_UPDATES * 64 * _LANES)
    cpu, wall = time.process_time(), time.perf_counter()

    def watch(progress: Any) -> None:
        line = {"steps": progress.steps, "return": progress.episode_return, **progress.metrics}
        line |= {"cpu": round(time.process_time() - cpu, 1), "wall": round(time.perf_counter() - wall, 1)}
        with spent.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if progress.steps >= steps:
            signal.raise_signal(signal.SIGINT)

    with contextlib.suppress(
        hs.RunError
    ):  # interrupted, as we asked; nothing else is kept quiet: there is a prior
        hs.train(
            None, config, watch, suite=suite, agent="ppo-procgen", steps=_PUBLISHED, lanes=_LANES, chunks=chunks,
            snapshots=chunks, evaluate_on=0, run=run, resume=run.exists(),
        )  # fmt: skip
    last = max((run / "priors").iterdir())
    learned, chance = hs.evaluate(suite, [last, "random"])
    scores = {name: float(np.mean(found.scores)) for name, found in (("unseen", learned), ("random", chance))}
    return {
        "game": game,
        "steps": int(last.stem),
        "curve": [json.loads(line) for line in spent.read_text().splitlines()],
        "scores_unseen": learned.scores,
        "scores_unseen_random": chance.scores,
        **{name: round(score, 3) for name, score in scores.items()},
        **{f"{name}_normalised": round(normalised(score, game), 3) for name, score in scores.items()},
        "settings": learned.config,
        "commit": learned.commit,
        "versions": learned.versions,
    }


def update(name: str, updates: int = 2) -> dict[str, Any]:
    """Steps a second of PPO's whole loop with one formulation of its convolutions (`nets.vision`)."""
    import jax.random as jr

    from headstart import agents, suites
    from headstart.loops.host import HostLoop
    from headstart.nets import vision

    vision.formulation = lambda: getattr(vision, name)
    config = agents.configure("ppo-procgen", unroll=64)
    config = dataclasses.replace(config, network=dataclasses.replace(config.network, vision="nature"))
    suite: Any = suites.suite("procgen:coinrun,threads=1,test_levels=20")
    agent = agents.entry("ppo-procgen").build(suite.env.spec, config)
    with contextlib.closing(HostLoop(agent, suite.env, _LANES)) as loop:
        carry, _ = loop.chunk(loop.start(suite.split("train").tasks, jr.key(0)), jr.key(0), 1)
        wall, cpu = time.perf_counter(), time.process_time()
        loop.chunk(carry, jr.key(0), updates)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    steps = updates * 64 * _LANES
    return {"formulation": name, "steps": steps, "cpu": round(steps / cpu), "wall": round(steps / wall)}


def _tile(frame: bytes, caption: str) -> Any:
    """A first picture, enlarged, over what it is."""
    from PIL import Image, ImageDraw, ImageFont

    pixels = np.frombuffer(frame, np.uint8).reshape(64, 64, 3)
    tile = Image.new("RGB", (_TILE + 12, _TILE + 34), "#fbfaf7")
    tile.paste(Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.NEAREST), (6, 6))
    font = ImageFont.load_default(14)
    ImageDraw.Draw(tile).text((_TILE // 2 + 6, _TILE + 24), caption, "#2b3a55", font, anchor="ms")
    return tile


def _twins(game: Game) -> list[Any]:
    """A training level and an unseen one of the same layout, and that layout drawn plain."""
    known = {frame: level for level, frame in host.first_frames(game, range(200), plain=True).items()}
    unseen = host.first_frames(game, range(1 << 21, (1 << 21) + 200), plain=True)
    level, frame = max(
        ((level, frame) for level, frame in unseen.items() if frame in known),
        key=lambda pair: len({pair[1][i : i + 3] for i in range(0, len(pair[1]), 3)}),
    )
    pair = [(known[frame], "trained on"), (level, "unseen")]
    tiles = [_tile(host.first_frames(game, [n])[n], f"{n}: {what}") for n, what in pair]
    return [*tiles, _tile(frame, "both, drawn plain")]


def pictures() -> None:
    """All games, and two pairs of levels that differ in dress alone."""
    from PIL import Image

    tiles = [_tile(host.first_frames(Game(game, "easy"), [0])[0], game) for game in sorted(host.HORIZONS)]
    tiles += _twins(Game("maze", "easy")) + _twins(Game("coinrun", "easy"))
    wide, high = tiles[0].size
    sheet = Image.new("RGB", (8 * wide, 3 * high + 18), "#fbfaf7")
    for i, tile in enumerate(tiles):
        row, column = divmod(i, 8)
        gap = 0 if row < 2 else wide // 2 + (wide if column > 2 else 0)
        sheet.paste(tile, (column * wide + gap, row * high + (18 if row == 2 else 0)))
    sheet.save("docs/suites/procgen.png", optimize=True)


def curves() -> None:
    """Training returns along our runs and the published first ones, as far as ours went."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    published = json.loads((_RESULTS / "procgen_published.json").read_text())
    found = [json.loads(line) for line in (_RESULTS / "procgen_learn.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(4.2 * len(found), 3.1), layout="constrained", facecolor="#fbfaf7")
    for axes, run in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        steps = [point["steps"] for point in run["curve"]]
        theirs = [
            (x, y)
            for x, y in zip(published["steps"], published[run["game"]], strict=True)
            if x <= 2 * steps[-1]
        ]
        axes.plot(*zip(*theirs, strict=True), "--", color="#8a8f98", label="published, first run (IMPALA)")
        axes.plot(
            steps,
            [point["return"] for point in run["curve"]],
            "o-",
            color="#b4472e",
            label="here (Nature CNN)",
        )
        axes.axhline(run["random"], color="#c9c5bb", lw=1, zorder=0)
        axes.annotate(
            "random play, unseen levels", (0, run["random"]), (4, 3), textcoords="offset points", fontsize=8
        )
        axes.plot(run["steps"], run["unseen"], "s", color="#2b3a55", label="here, 100 unseen levels")
        axes.set(title=f"{run['game']}, easy", xlabel="steps", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_facecolor("#fbfaf7")
        axes.legend(frameon=False, fontsize=8)
    figure.supylabel("mean return of an episode", fontsize=9)
    figure.savefig("docs/suites/procgen_learn.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["speed", "repeats", "learn", "update", "pictures", "curves"])
    parser.add_argument("steps", type=int, nargs="?", default=8192)
    parser.add_argument("--games", nargs="*", choices=sorted(host.HORIZONS))
    parser.add_argument("--folder", type=Path, default=Path("headstart-procgen"))
    given = parser.parse_args()
    games = given.games or sorted(host.HORIZONS)
    if given.what == "speed":
        for game in games:
            print(json.dumps(speed(game)), flush=True)
    elif given.what == "repeats":
        for mode, train in (("easy", 200), ("hard", 500)):
            for game in games:
                print(json.dumps(repeats(game, mode, train)), flush=True)
    elif given.what == "update":
        for name in ("patched", "mixed"):
            print(json.dumps(update(name)), flush=True)
    elif given.what == "learn":
        for game in games:
            print(json.dumps(learn(game, given.steps, given.folder)), flush=True)
    elif given.what == "curves":
        curves()
    else:
        pictures()


if __name__ == "__main__":
    main()
