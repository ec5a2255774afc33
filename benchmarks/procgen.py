"""Procgen: how fast the simulator is by itself, which unseen levels repeat known ones, and a short run of PPO.

    taskset -c 1 python -m benchmarks.procgen speed      > benchmarks/results/procgen_speed.jsonl
    taskset -c 1 python -m benchmarks.procgen repeats    > benchmarks/results/procgen_repeats.jsonl
    taskset -c 1 python -m benchmarks.procgen learn 8192 > benchmarks/results/procgen_learn.jsonl
    taskset -c 1 python -m benchmarks.procgen pictures     (writes docs/suites/procgen.png)

One JSON line a case. Speeds are by processor time (`cpu`: what one core to itself would reach) and by the clock (`wall`);
this machine is shared, so the first is the one to compare. `learn STEPS` trains on CoinRun (easy, 200 levels) and scores the
last weights on unseen levels; it is the whole path in small, far from the 25 M steps of the published curve.
"""

import argparse
import json
import time
from typing import Any

import numpy as np

from headstart.hosts import procgen as host
from headstart.hosts.procgen import Game, Levels, ProcgenLanes

_STEPS = 200  # steps a lane that are timed, after as many to warm up
_LANES = 64
_TILE = 128


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


def learn(steps: int) -> dict[str, Any]:
    """PPO with the preset's settings in small: 8 lanes, 128 steps, the Nature network, one pass."""
    import dataclasses

    import headstart as hs
    from headstart.agents import configure
    from headstart.suites.procgen import normalised

    config = configure("ppo-procgen", unroll=128, epochs=1, minibatches=4)
    config = dataclasses.replace(config, network=dataclasses.replace(config.network, vision="nature"))
    wall, cpu = time.perf_counter(), time.process_time()
    trained = hs.train(
        None, config, suite="procgen:coinrun,threads=1,test_levels=20", agent="ppo-procgen", steps=steps, lanes=8,
        chunks=4, evaluate_on=8,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    result = trained.result
    assert result.curve is not None
    return {
        "game": "coinrun",
        "steps": result.spent,
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
        "curve": [result.curve.steps, [round(x, 3) for x in result.curve.values]],
        "unseen": result.scores,
        "normalised": round(normalised(float(np.mean(result.scores)), "coinrun"), 3),
        "commit": result.commit,
        "versions": result.versions,
    }


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["speed", "repeats", "learn", "pictures"])
    parser.add_argument("steps", type=int, nargs="?", default=8192)
    parser.add_argument("--games", nargs="*", choices=sorted(host.HORIZONS))
    given = parser.parse_args()
    games = given.games or sorted(host.HORIZONS)
    if given.what == "speed":
        for game in games:
            print(json.dumps(speed(game)), flush=True)
    elif given.what == "repeats":
        for mode, train in (("easy", 200), ("hard", 500)):
            for game in games:
                print(json.dumps(repeats(game, mode, train)), flush=True)
    elif given.what == "learn":
        print(json.dumps(learn(given.steps)), flush=True)
    else:
        pictures()


if __name__ == "__main__":
    main()
