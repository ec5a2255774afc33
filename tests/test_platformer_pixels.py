"""The platformer's pixels against a slow twin, the sheet they are drawn from, and stacked frames."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.envs.platformer import FALLS, RETURNS, Platformer, PlatformerState
from headstart.envs.platformer_body import LOST
from headstart.envs.platformer_frames import Stacked
from headstart.envs.platformer_level import CODES, Level, Mover, parse
from headstart.envs.platformer_pixels import (
    BOARD,
    BOX,
    FLYER,
    GOAL,
    HIGH,
    PLAYER,
    POSES,
    RING,
    ROUND,
    SIDE,
    WALKER,
    Atlas,
)
from headstart.envs.platformer_table import UNIT, stack, task_of
from headstart.envs.platformer_zones import ZONES
from headstart.errors import UsageError
from headstart.suites import suite
from headstart.suites._platformer_sheet import atlas, small, stored, strip
from headstart.types import Box, Discrete, Spec, Step

HEAD = "zone: {}\nact: 1\npar: 40\n---\n"
ROWS = [
    "................................................",
    "......................ooo...........f...........",
    "...............o......===......m................",
    "..............ooo............................o..",
    "....S..oo.e..12#34.p./#\\.}.P.^....Y.{.q.%%.Q.e.G",
    "####bb###################.###..#################",
    "#############..#################################",
]
SHORT = "\n".join(ROWS)
TALL = "\n".join(["." * 48] * 14 + ROWS + ["#" * 30 + "." * 18] * 3)
LEVELS = [parse(HEAD.format("echo-cave") + SHORT), parse(HEAD.format("neon-alley") + TALL)]
N = 48


def _state(level: Level, dice: np.random.Generator, i: int) -> Any:
    """A state such as play may or may not lead to, with everything in it drawn at random."""
    env = Platformer(stack([level]))
    state: PlatformerState = jax.tree.map(np.asarray, env.reset(task_of(level), jr.key(0)))
    x, y = dice.integers(0, level.columns * UNIT), dice.integers(-2 * UNIT, level.rows * UNIT)
    number = {"x": x, "y": y, "vx": dice.choice([0, 40, -700, 1500]), "slope": dice.integers(-2, 3)}
    number |= {"facing": dice.choice([-1, 1]), "charge": dice.choice([0, 0, 900]), "rings": dice.integers(2)}
    number |= {"mercy": dice.choice([0, 0, 77]), "status": LOST if i % 8 == 7 else 0}
    flags = {
        name: dice.random() < share for name, share in (("ground", 0.6), ("rolling", 0.2), ("jumping", 0.2))
    }
    body = state.body._replace(
        **{k: np.int32(v) for k, v in number.items()}, **{k: np.bool_(v) for k, v in flags.items()}
    )
    bits = {name: dice.integers(0, 1 << 32, dtype=np.uint32) for name in ("dead", "smashed", "pressed")}
    world = state.world._replace(
        taken=dice.integers(0, 1 << 32, 4, dtype=np.uint32), **{k: np.uint32(v) for k, v in bits.items()}
    )
    clock = np.int32(dice.integers(0, 3000))
    stepped = (clock - dice.choice([0, FALLS + 9, RETURNS + 9], 32)).astype(np.int32)
    return state._replace(body=body, world=world, clock=clock, stepped=stepped)


@cache
def seen(grey: bool) -> tuple[list[Any], np.ndarray]:
    """States, and what an agent sees in them."""
    table, dice = stack(LEVELS), np.random.default_rng(0)
    env = Platformer(table, atlas=atlas(grey))
    states = [_state(LEVELS[i % 2], dice, i) for i in range(N)]
    tasks = [task_of(LEVELS[i % 2], i % 2) for i in range(N)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    rows = jax.tree.map(lambda *leaves: np.stack(leaves), *tasks)
    return states, np.asarray(jax.jit(jax.vmap(env.observe))(rows, stacked))


def _place(mover: Mover, frame: int) -> tuple[int, int]:
    """x and y of a moving thing in subpixels, by the formula, in sixteenths of a pixel."""
    u = (mover.rate * frame + mover.phase) % 65536
    off = mover.span * 16 * min(u, 65536 - u) // 32768 * 16
    return (mover.x * 256, mover.y * 256 + off) if mover.vertical else (mover.x * 256 + off, mover.y * 256)


def _kind(level: Level, state: Any, r: int, c: int) -> int:
    """Which picture of a tile is to be seen at a row and a column of the level."""
    names = {code: tile for tile, code in CODES.items()}
    if r < 0 or r >= 32:
        return 0

    def tile(r: int, c: int) -> str:
        return names[int(level.tiles[r, c])] if 0 <= c < level.columns else "#"

    rings = [tuple(place) for place in np.argwhere(CODES["o"] == level.tiles.T)]
    walls, planks = (sorted(set(np.argwhere(level.tiles == CODES[k])[:, 1].tolist())) for k in ("%", "b"))
    what = tile(r, c)
    pressed = int(state.world.pressed)
    if what == "o" and int(state.world.taken[rings.index((c, r)) // 32]) >> rings.index((c, r)) % 32 & 1:
        what = "."
    if what in "PQR" and pressed >> "PQR".index(what) & 1:
        what = "."
    if what == "%" and int(state.world.smashed) >> walls.index(c) & 1:
        what = "."
    if what == "b" and FALLS <= int(state.clock) - int(state.stepped[planks.index(c)]) < RETURNS:
        what = "."
    what = "." if what == "G" else what
    if what == ".":
        return 32 if r == level.rows - 1 else 0
    if what in "pqr":
        return CODES[what] + 32 * (pressed >> "pqr".index(what) & 1)
    if what == "#":
        covered = r == 0 or tile(r - 1, c) in "#/\\1234"
        return CODES["#"] + 32 * (not covered)
    return CODES[what]


def _things(level: Level, state: Any, left: int, top: int) -> list[tuple[int, int, int, int]]:
    """x, y, picture and height of all things but the player, the later in front."""
    body, clock = state.body, int(state.clock)
    row = int(np.argwhere(level.tiles == CODES["G"])[0][0])
    out = [(level.goal * 4 - 1 - left, (row + 1) * HIGH - BOX[0] - top, GOAL, BOX[0])]
    zone = list(ZONES).index(level.zone)
    for mover in level.platforms:
        x, y = _place(mover, clock)
        out.append(((x - 24 * 256) // 1024 - left, y * 3 // 2048 - top, BOARD + zone, HIGH))
    for i, mover in enumerate(level.enemies):
        x, y = _place(mover, clock)
        ahead = int(body.x) > x if mover.vertical else (mover.rate * clock + mover.phase) % 65536 < 32768
        picture = (FLYER if mover.vertical else WALKER) + (0 if ahead else 2) + clock // 8 % 2
        if not int(state.world.dead) >> i & 1:
            out.append((x // 1024 - 3 - left, y * 3 // 2048 - HIGH - top, picture, HIGH))
    return [*out, (2, 2, RING, HIGH)] if body.rings > 0 else out


def _hero(state: Any, left: int, top: int) -> list[tuple[int, int, int, int]]:
    body, clock = state.body, int(state.clock)
    turn = int(body.x) * int(body.facing) // 2048
    name = "stand" if abs(int(body.vx)) <= 64 else ("stride", "pass", "stride far", "pass far")[turn % 4]
    name = name if body.ground else "air"
    if body.rolling or body.jumping or body.charge > 0:
        name = ("ball", "ball turned")[(clock // 4 if body.charge > 0 else turn) % 2]
    name = "hurt" if body.status == LOST else name
    sink = abs(int(body.slope)) if body.ground else 0
    if body.mercy > 0 and clock // 4 % 2:
        return []
    number = PLAYER + POSES.index(name) + (0 if body.facing > 0 else len(POSES))
    return [(int(body.x) // 1024 - 5 - left, int(body.y) * 3 // 2048 - 12 + sink - top, number, 12)]


def _put(canvas: np.ndarray, things: list[tuple[int, int, int, int]], pictures: np.ndarray) -> None:
    """Things over a picture `[c, 84, 84]`; where words of boxes overlap, the last alone."""
    over = np.zeros_like(canvas)
    for x, y, number, high in things:
        box = np.zeros((len(canvas), high, 16), np.uint8)
        box[:, :, x % 4 :] = pictures[:, number, :high, : 16 - x % 4]
        for r in range(max(y, 0), min(y + high, SIDE)):
            for k in range(16):
                c = x // 4 * 4 + k
                if 0 <= c < SIDE:
                    over[:, r, c] = box[:, r - y, k]
    canvas[over > 0] = over[over > 0]


def _twin(level: Level, state: Any, book: Atlas) -> np.ndarray:
    """The picture `[84, 84, c]`, tile by tile from the level as it was drawn."""
    c, zone = book.channels, list(ZONES).index(level.zone)
    tiles = np.asarray(book.tiles).view(np.uint8).reshape(c, len(ZONES), 2, 2, 64, HIGH, 4)[:, zone]
    behind = np.asarray(book.backdrops).view(np.uint8).reshape(c, len(ZONES), SIDE, ROUND)[:, zone]
    pictures = np.asarray(book.things).view(np.uint8).reshape(c, -1, 4, *BOX)[:, :, 0]
    left, low = int(state.body.x) // 1024 - 30, level.rows * HIGH - SIDE
    top = min(max(int(state.body.y) * 3 // 2048 - 52, min(-18, low)), low)
    canvas = behind[:, :, (left // 4 + np.arange(SIDE)) % ROUND].copy()
    for r in range(top // HIGH, (top + SIDE) // HIGH + 1):
        for column in range(left // 4, (left + SIDE) // 4 + 1):
            tile = tiles[:, r % 2, column % 2, _kind(level, state, r, column)]
            for u in range(HIGH):
                for v in range(4):
                    y, x = r * HIGH + u - top, column * 4 + v - left
                    if 0 <= y < SIDE and 0 <= x < SIDE and tile[:, u, v].any():
                        canvas[:, y, x] = tile[:, u, v]
    _put(canvas, _things(level, state, left, top), pictures)
    _put(canvas, _hero(state, left, top), pictures)
    return np.moveaxis(canvas, 0, -1)


@pytest.mark.parametrize("grey", [True, False])
def test_the_picture_is_that_of_a_slow_twin(grey: bool) -> None:
    states, pictures = seen(grey)
    assert pictures.shape == (N, SIDE, SIDE, 1 if grey else 3)
    for i, state in enumerate(states[:: 1 if grey else 4]):
        i = i * (1 if grey else 4)
        np.testing.assert_array_equal(
            pictures[i], _twin(LEVELS[i % 2], state, atlas(grey)), err_msg=f"state {i}"
        )


def test_grey_is_the_luminance_of_rgb() -> None:
    grey, rgb = seen(True)[1][..., 0], seen(False)[1].astype(np.float64)
    assert np.abs(rgb @ [0.299, 0.587, 0.114] - grey).max() <= 1.0


def test_the_sheet_is_what_the_painters_paint() -> None:
    for zone in ("frost-peak",):
        z = list(ZONES).index(zone)
        np.testing.assert_array_equal(stored()[z * SIDE : (z + 1) * SIDE], strip(zone))


def test_zones_look_different_and_what_matters_stands_out_in_each() -> None:
    book = atlas(True)
    tiles = np.asarray(book.tiles).view(np.uint8).reshape(len(ZONES), 4, 64, HIGH, 4).astype(int)
    colours = stored()[: len(ZONES) * SIDE, :ROUND, :3].reshape(len(ZONES), -1)
    assert len({zone.tobytes() for zone in colours}) == len(ZONES)
    for code in CODES.values():
        pictured = tiles[:, :, code].any((2, 3))
        assert pictured.all() == (code not in (CODES["."], CODES["G"])), code
    kinds = [CODES[tile] for tile in CODES if tile not in ".G"] + [32, CODES["#"] + 32]
    for zone in range(len(ZONES)):
        assert len({tiles[zone, 0, kind].tobytes() for kind in kinds}) == len(kinds)


def test_shrinking_keeps_means_and_holes() -> None:
    rgb = np.full((16, 16, 3), 80, np.uint8)
    rgb[:, 8:] = 200
    solid = np.ones((16, 16), bool)
    solid[:, :4] = False
    out = small(rgb, solid)
    assert out.shape == (6, 4, 4)
    assert out[:, 0].max() == 0
    np.testing.assert_array_equal(out[:, 1:, 0], np.broadcast_to([80, 200, 200], (6, 3)))


# The suite and stacks of frames --------------------------------------------------------------------------------


def test_the_suite_shows_pixels_if_asked() -> None:
    assert suite("platformer:obs=grey").env.spec.obs.shape == (84, 84, 1)
    rgb = suite("platformer:obs=rgb,frames=2")
    assert rgb.env.spec.obs.shape == (84, 84, 6)
    assert rgb.env.spec.obs.dtype == np.uint8
    assert rgb.env == suite("platformer:obs=rgb,frames=2").env, "one environment, one compilation"
    assert rgb.split("test").digests == suite("platformer").split("test").digests, "the same tasks"


@pytest.mark.parametrize("options", ["obs=tiles,frames=2", "obs=grey,frames=0"])
def test_wrong_stacks_are_refused(options: str) -> None:
    with pytest.raises(UsageError, match="an observation has at least one picture"):
        suite(f"platformer:{options}")


class _Counting:
    """Pictures of one colour: the number of the step."""

    spec = Spec(Box((2, 3, 2), 0.0, 255.0, np.uint8), Discrete(2), 9)

    def reset(self, task: Any, key: Any) -> Any:
        return jnp.int32(1)

    def step(self, task: Any, state: Any, action: Any, key: Any) -> Any:
        return state + 1, Step(jnp.float32(0), jnp.bool_(False), jnp.bool_(False))

    def observe(self, task: Any, state: Any) -> Any:
        return jnp.broadcast_to(jnp.stack([state, state + 100]).astype(jnp.uint8), (2, 3, 2))

    def privileged(self, task: Any, state: Any) -> None:
        return None


def test_a_stack_holds_the_last_pictures_the_newest_last() -> None:
    env = Stacked(_Counting(), 3)
    state = env.reset(None, jr.key(0))
    seen = [env.observe(None, state)]
    for _ in range(3):
        state, _ = env.step(None, state, jnp.int32(0), jr.key(0))
        seen.append(env.observe(None, state))
    assert env.spec.obs.shape == (2, 3, 6)
    assert [s[1, 2].tolist() for s in seen] == [
        [1, 101, 1, 101, 1, 101],
        [1, 101, 1, 101, 2, 102],
        [1, 101, 2, 102, 3, 103],
        [2, 102, 3, 103, 4, 104],
    ]


def test_only_pictures_are_stacked() -> None:
    with pytest.raises(UsageError, match="only pictures"):
        Stacked(Platformer(stack(LEVELS[:1])), 2)
