"""The platformer's frames against closed forms and slow twins; nothing is ever passed through; what is touched acts.

`play` runs up to 64 bodies in one small level, so that all tests share one compiled program.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.envs import platformer_movers as movers
from headstart.envs.platformer import Platformer
from headstart.envs.platformer_body import (
    BALL,
    DECK,
    FINISHED,
    HALF,
    LOST,
    MERCY,
    PLAYING,
    TALL,
    Body,
    Buttons,
    Scene,
    World,
)
from headstart.envs.platformer_level import CODES, Level, parse
from headstart.envs.platformer_physics import frame
from headstart.envs.platformer_table import UNIT, Levels, PlatformerTask, stack, task_of
from headstart.envs.platformer_zones import PLAIN, SUB

HEAD = "zone: fern-hill\nact: 1\npar: 40\n---\n"
LANES, FRAMES = 64, 160
RIGHT, LEFT, DOWN, JUMP = 1, 2, 4, 8


@jax.jit
def _run(
    levels: Levels, task: PlatformerTask, bodies: Body, keys: jax.Array
) -> tuple[Body, World, tuple[jax.Array, jax.Array]]:
    """Bodies, worlds and platforms' places `[lanes, frames, ...]` after each frame."""

    def one(body: Body, keys: jax.Array) -> tuple[Body, World, tuple[jax.Array, jax.Array]]:
        def step(carry: tuple[Body, World], now: tuple[jax.Array, jax.Array]) -> Any:
            body, world = carry
            key, clock = now
            near = movers.around(levels, task.level, body.x)
            way = (key & RIGHT) - ((key & LEFT) >> 1)
            buttons = Buttons(way, (key & DOWN) != 0, (key & JUMP) != 0)
            scene = Scene(*near, jnp.uint32(0))
            carry = frame(levels, task, scene, body, world, buttons, clock, clock)
            return carry, (*carry, near[1].places(clock + 1))

        clear = Platformer(levels).reset(task, jr.key(0)).world
        return jax.lax.scan(step, (body, clear), (keys, jnp.arange(FRAMES)))[1]

    return jax.vmap(one)(bodies, keys)


@cache
def _level(rows: str) -> tuple[Level, Levels, PlatformerTask]:
    level = parse(HEAD + rows)
    return level, stack([level]), task_of(level)


class Film:
    """What happened, frame by frame, as NumPy arrays `[lanes, frames]` by the names of `Body` and `World`."""

    def __init__(self, out: Any, lanes: int) -> None:
        body, world, self.platforms = jax.tree.map(lambda leaf: np.asarray(leaf)[:lanes], out)
        self.fields = {**body._asdict(), **world._asdict()}

    def __getattr__(self, name: str) -> np.ndarray:
        return self.fields[name]


def play(rows: str, keys: Any, **start: Any) -> Film:
    """Hold keys (a number for all frames, a list, or one list a lane), from the level's start or other fields of `Body`."""
    _, levels, task = _level(rows)
    per_lane = [keys] if not (isinstance(keys, list) and isinstance(keys[0], list)) else keys
    lanes = max([len(per_lane), *(np.size(value) for value in start.values())])
    held = np.zeros((LANES, FRAMES), np.int32)
    for lane in range(lanes):
        mine = per_lane[lane % len(per_lane)]
        held[lane, :] = mine if isinstance(mine, int) else [*mine, *[mine[-1]] * (FRAMES - len(mine))]
    body = Platformer(levels).reset(task, jr.key(0)).body
    fields = {name: np.broadcast_to(np.asarray(leaf), LANES).copy() for name, leaf in body._asdict().items()}
    for name, value in start.items():
        fields[name][:] = np.resize(np.asarray(value, fields[name].dtype), LANES)
    return Film(_run(levels, task, Body(**fields), jnp.asarray(held)), lanes)


def ground(width: int = 60, above: str = "", height: int = 12) -> str:
    """Level ground with the start on it at column 4, the goal at the far right, and `above` drawn in the start's row."""
    air = ["." * width] * height
    row = "....S" + above.ljust(width - 6, ".") + "G"
    return "\n".join([*air, row, "#" * width, "#" * width])


FEET = 13 * UNIT
"""the height of the ground that `ground` draws"""


def test_top_speed_takes_128_frames_and_a_closed_form_of_distance() -> None:
    film = play(ground(200), RIGHT)
    speed = np.minimum(12 * np.arange(1, FRAMES + 1), 6 * SUB)
    np.testing.assert_array_equal(film.vx[0], speed)
    np.testing.assert_array_equal(film.x[0] - (4 * UNIT + UNIT // 2), np.cumsum(speed))
    assert (film.y[0] == FEET).all()
    assert int(np.argmax(film.vx[0] == 6 * SUB)) == 127


def test_friction_and_braking_stop_as_they_should() -> None:
    film = play(ground(200), [[0], [LEFT]], vx=6 * SUB)
    assert int(np.argmax(film.vx[0] == 0)) == 127, "friction: 12 a frame"
    assert (film.vx[0][127:] == 0).all()
    np.testing.assert_array_equal(film.vx[1][:12], 1536 - 128 * np.arange(1, 13))
    assert film.vx[1][12] == -12, "then it turns"


@pytest.mark.parametrize("zone", ["fern-hill", "moon-base"])
def test_a_jump_is_as_high_as_the_button_is_held(zone: str) -> None:
    """A slow twin of one number: vy, with gravity from the second frame on and a cut where the button is let go."""
    rows = ground(height=20)
    level = parse(HEAD.replace("fern-hill", zone) + rows)
    p = task_of(level).physics
    keys = [[JUMP] * held + [0] for held in range(1, 41)]
    out = _run(*_case(level, keys))
    heights = 21 * UNIT - np.asarray(out[0].y)[:40].min(1)
    for held in range(1, 41):
        y, top, vy, frame = 0, 0, -int(p.jump), 0
        while vy < 0:
            y, frame = y + vy, frame + 1
            top = min(top, y)
            vy = (vy if frame < held else max(vy, -int(p.cut))) + int(p.gravity)
        assert heights[held - 1] == -top, held
    assert 6 < heights[-1] / UNIT < 7, "a full jump is more than six tiles high"
    assert heights[0] < 0.55 * heights[-1], "a tap is about half"


def _case(level: Level, keys: list[list[int]]) -> tuple[Levels, PlatformerTask, Body, jax.Array]:
    levels, task = stack([level]), task_of(level)
    held = np.zeros((LANES, FRAMES), np.int32)
    for lane, mine in enumerate(keys):
        held[lane] = [*mine, *[mine[-1]] * (FRAMES - len(mine))]
    body = Platformer(levels).reset(task, jr.key(0)).body
    return levels, task, jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, LANES), body), jnp.asarray(held)


def test_a_running_jump_is_at_least_ten_tiles_long_and_the_button_must_be_let_go_between_jumps() -> None:
    film = play(ground(100), JUMP, vx=6 * SUB)
    air = ~film.ground[0]
    first = int(np.argmin(air[1:])) + 1
    assert (film.x[0][first] - film.x[0][0]) / UNIT > 10
    assert not air[first:].any(), "still held: no second jump"


def test_springs_throw_as_high_and_as_fast_as_the_zone_says() -> None:
    film = play(ground(120, "..Y"), RIGHT)
    peak = (FEET - film.y[0].min()) / UNIT
    v, g = PLAIN["spring"], PLAIN["gravity"]
    assert peak == pytest.approx(v * v / (2 * g) / UNIT, abs=0.4)
    assert peak > 13.5
    thrown = play(ground(120, "....}"), RIGHT)
    assert thrown.vx[0].max() >= PLAIN["throw"] - 24
    back = play(ground(120, "....{"), RIGHT)
    assert back.vx[0].min() <= -PLAIN["throw"] + 128, "then braked by holding right"
    assert back.facing[0].min() == -1


HILL = "\n".join([
    "..................................G",
    "...................................",
    "..........12/.....\\34..............",
    "S........./##......##\\.............",
    "####..1234####....#####\\12/\\34#####",
    "###########################.#######",
])  # fmt: skip


def test_a_body_rests_on_a_gentle_slope_and_slides_down_a_steep_one() -> None:
    rows = "\n".join(
        ["....................", "S...12......./.....G", "#############/######", "####################"]
    )
    gentle = play(rows, 0, x=5 * UNIT, y=2 * UNIT - UNIT // 2, slope=1)
    assert (gentle.vx[0] == 0).all()
    assert (gentle.slope[0] == 1).all()
    steep = play(rows, 0, x=13 * UNIT + UNIT // 2 - HALF, y=2 * UNIT - UNIT // 2, slope=2)
    assert steep.x[0][-1] < 13 * UNIT, "slid to the left"
    assert steep.vx[0].min() <= -60


def test_slopes_slow_a_climb_and_speed_a_descent_and_rolling_down_is_faster() -> None:
    climb = ["." * 60] * 3 + ["S" + "." * 58 + "G"]
    down = [*climb, *("#" * (3 + i) + "\\" + "." * (56 - i) for i in range(20)), "#" * 60]
    ran, rolled = (play("\n".join(down), key, vx=3 * SUB) for key in (0, DOWN))
    assert ran.vx[0].max() > 6 * SUB, "faster than legs can run"
    assert rolled.vx[0].max() > ran.vx[0].max() + SUB
    assert ran.ground[0].all(), "feet stay on the slope"
    up = ["." * 60] * 2 + ["S" + "." * 58 + "G"]
    up += ["." * (40 - i) + "/" + "#" * (19 + i) for i in range(20)] + ["#" * 60]
    start = {"x": 10 * UNIT, "y": 23 * UNIT, "vx": 6 * SUB}
    run = play("\n".join(up), RIGHT, **start)
    assert run.vx[0][120] < 6 * SUB, "the slope costs speed though right is held"
    assert run.x[0][-1] > 22 * UNIT


def _surface(level: Level, x: int, y: int) -> int:
    """The height of the highest ground below (x, y), by looking at every tile's shape: a slow twin."""
    rise = {"/": (0, 16), "\\": (16, 0), "1": (0, 8), "2": (8, 16), "3": (16, 8), "4": (8, 0)}
    names = {code: tile for tile, code in CODES.items()}
    c, inside = x // UNIT, (x % UNIT) / UNIT
    for r in range(max(y // UNIT, 0), level.rows):
        tile = names[int(level.tiles[r, c])]
        if tile in "#=%PQR":
            return r * UNIT
        if tile in rise:
            left, right = rise[tile]
            return round((r + 1) * UNIT - (left + (right - left) * inside) * SUB)
    return 10**9


def test_a_falling_body_lands_on_the_higher_of_what_is_under_its_two_corners() -> None:
    level, _, _ = _level(HILL)
    x = np.linspace(1.5 * UNIT, 33 * UNIT, LANES).astype(int)
    film = play(HILL, 0, x=x, y=0, ground=False)
    landed = 0
    for lane in range(LANES):
        if not film.ground[lane].any():
            continue
        at = int(np.argmax(film.ground[lane]))
        corners = (film.x[lane, at] - HALF, film.x[lane, at] + HALF - 1)
        twin = min(_surface(level, int(corner), 0) for corner in corners)
        assert film.y[lane, at] == pytest.approx(twin, abs=2), (lane, x[lane] / UNIT)
        landed += 1
    assert landed >= LANES - 4


def test_running_over_hills_keeps_the_feet_on_the_ground() -> None:
    level, _, _ = _level(HILL)
    film = play(HILL, RIGHT, x=5 * UNIT, y=4 * UNIT, vx=2 * SUB)
    for at in range(60):
        if film.ground[0, at] and film.x[0, at] < 13 * UNIT:
            corners = (film.x[0, at] - HALF, film.x[0, at] + HALF - 1)
            twin = min(_surface(level, int(corner), 0) for corner in corners)
            assert film.y[0, at] == pytest.approx(twin, abs=2)


@pytest.mark.parametrize("posture", ["standing", "rolling", "jumping"])
def test_nothing_passes_a_wall_one_tile_thick_at_any_speed_or_phase(posture: str) -> None:
    rows = "\n".join(["." * 20, *[".........#....#....."] * 4, "....S....#....#....G", "#" * 20])
    x = 10 * UNIT + HALF + np.arange(LANES) * 41
    dice = np.random.default_rng(0)
    state = {"rolling": posture == "rolling", "jumping": posture == "jumping", "ground": posture == "rolling"}
    for way in (1, -1):
        speed = way * (4095 - dice.integers(0, 2000, LANES))
        film = play(rows, RIGHT if way > 0 else LEFT, x=x, y=6 * UNIT, vx=speed, **state)
        low = film.y - np.where(film.rolling | film.jumping, BALL, TALL) < UNIT
        inside = (film.x - HALF >= 10 * UNIT) & (film.x + HALF <= 14 * UNIT)
        assert (inside | low).all()
        assert (film.vx[:, -1] == 0).all()
        assert (np.abs(film.x[:, -1] - (14 * UNIT - HALF if way > 0 else 10 * UNIT + HALF)) == 0).all()


def test_nothing_falls_through_a_floor_or_rises_through_a_ceiling_at_any_speed_or_phase() -> None:
    rows = "\n".join(["#" * 12, *["#..........#"] * 6, "#S........G#", "#" * 12])
    y = 4 * UNIT + np.arange(LANES) * 63
    speed = 4095 - np.random.default_rng(1).integers(0, 3000, LANES)
    for vy in (speed, -speed):
        for ball in (False, True):
            film = play(rows, JUMP, x=5 * UNIT, y=y, vy=vy, ground=False, jumping=ball, held=True)
            height = np.where(film.rolling | film.jumping, BALL, TALL)
            assert (film.y <= 8 * UNIT).all()
            assert (film.y - height >= UNIT).all()
            assert (film.y[:, -1] == 8 * UNIT).all()


def test_bodies_at_random_in_a_narrow_room_never_leave_it() -> None:
    """Random keys, phases and speeds among slopes, pillars and ledges: always inside, never in solid ground."""
    room = "\n".join([
        "##############################",
        "#............................#",
        "#......==......#....=........#",
        "#.S...........##...........G.#",
        "#....12#34.../##\\....===.....#",
        "#../######\\./####\\.........12#",
        "##############################",
    ])  # fmt: skip
    level, _, _ = _level(room)
    solid = np.isin(level.tiles, [CODES["#"]])
    dice = np.random.default_rng(2)
    keys = [[int(k) for k in np.repeat(dice.integers(0, 16, 40), 4)] for _ in range(LANES)]
    speeds = dice.integers(-4095, 4096, (2, LANES))
    x = dice.integers(17 * UNIT, 25 * UNIT, LANES)
    film = play(room, keys, x=x, y=3 * UNIT, vx=speeds[0], vy=speeds[1], ground=False)
    assert ((film.x > UNIT) & (film.x < 29 * UNIT) & (film.y <= 6 * UNIT) & (film.y > UNIT)).all()
    middle = solid[(film.y - 7 * SUB) // UNIT, film.x // UNIT]
    assert middle.mean() < 0.001, "the body's middle is never in the ground"
    assert len(np.unique(film.x[:, -1])) > LANES // 2, "they do move about"


def test_ledges_let_a_jump_through_and_hold_from_above() -> None:
    rows = ground(20).split("\n")
    rows[9] = "...====" + "." * 13
    film = play("\n".join(rows), [JUMP] * 30 + [0])
    assert film.y[0].min() < 9 * UNIT, "through it from below"
    assert film.y[0][-1] == 9 * UNIT, "and stands on it"
    assert film.ground[0][-1]


def test_platforms_carry_whoever_stands_on_them() -> None:
    for kind in "mw":
        rows = ["." * 40] * 8 + ["....." + "S" + "." * 33 + "G"] + ["." * 40] * 3
        rows[9] = "." * 10 + kind + "." * 29
        film = play("\n".join(rows), 0, x=10 * UNIT + UNIT // 2 + 3 * SUB, y=9 * UNIT)
        x, y = (place[0, :, 0] for place in film.platforms)
        assert film.ground[0].all()
        np.testing.assert_array_equal(film.y[0], y)
        assert (film.x[0] - x == 3 * SUB).all()
        moved = np.abs(np.diff(film.x[0] if kind == "m" else film.y[0]))
        assert (moved == SUB).all(), "a pixel a frame"


def test_a_body_falls_past_a_platform_it_misses_and_lands_on_one_it_meets() -> None:
    rows = ["." * 40] * 10 + ["S" + "." * 38 + "G"]
    rows[8] = "." * 10 + "m" + "." * 29
    x = 10 * UNIT + UNIT // 2 + np.array([0, DECK + HALF - 40 * SUB, DECK + HALF + 60 * SUB])
    film = play("\n".join(rows), 0, x=x, y=6 * UNIT, ground=False)
    np.testing.assert_array_equal(film.ground.any(1), [True, True, False])
    assert film.status[2].max() == LOST, "into the pit"
    assert film.status[0].max() == PLAYING


def test_spikes_take_the_life_or_the_rings_and_then_there_is_mercy() -> None:
    rows = ground(60, "...^")
    film = play(rows, RIGHT, rings=[0, 3])
    assert film.status[0][-1] == LOST
    hit = int(np.argmax(film.rings[1] == 0))
    assert film.mercy[1][hit] == MERCY
    assert (film.vx[1][hit], film.vy[1][hit]) == (-2 * SUB, -4 * SUB), "knocked back"
    assert film.status[1][hit : hit + MERCY].max() == PLAYING
    np.testing.assert_array_equal(film.mercy[1][hit : hit + 20], MERCY - np.arange(20))


def test_the_dead_move_no_more() -> None:
    film = play(ground(60, "...^"), RIGHT)
    at = int(np.argmax(film.status[0] == LOST))
    assert (film.x[0][at:] == film.x[0][at]).all()


def test_enemies_die_when_rolled_into_or_jumped_upon_and_hurt_otherwise() -> None:
    rows = ground(60, "...#e#")
    film = play(rows, 0, x=9 * UNIT + UNIT // 2, y=10 * UNIT, ground=False, jumping=[False, True], vy=0)
    assert (film.dead[:, -1] == 1).all(), "from above"
    bounced = film.vy.min(1)
    assert (bounced < -SUB).all(), "and it throws up"
    walked = play(ground(60, "....e"), RIGHT, rings=[0, 1])
    assert (walked.status[0][-1], walked.status[1][-1]) == (LOST, PLAYING)
    hit = int(np.argmax(walked.rings[1] == 0))
    assert walked.dead[:, hit].max() == 0
    rolled = play(ground(60, "....e"), DOWN, vx=5 * SUB)
    assert (rolled.status[0][-1], rolled.dead[0][-1]) == (PLAYING, 1)


def test_rings_are_taken_once_each() -> None:
    film = play(ground(60, "..ooo..o"), [[RIGHT] * 100 + [LEFT], [0]])
    assert film.rings[0].max() == film.rings[0][-1] == 4, "going back gives none again"
    assert film.taken[0][-1].tolist() == [0b1111, 0, 0, 0]
    assert film.rings[1].max() == 0


def test_many_rings_in_one_column_are_told_apart() -> None:
    rows = ground(60).split("\n")
    for r in (2, 4, 12):
        rows[r] = rows[r][:8] + "o" + rows[r][9:]
    for r in (11, 12):
        rows[r] = rows[r][:6] + "o" * 2 + rows[r][8:]
    film = play("\n".join(rows), RIGHT)
    assert film.rings[0][-1] == 5
    assert film.taken[0][-1][0] == 0b1001111, "two and two, and the lowest of three"


def test_the_pit_takes_the_life() -> None:
    rows = ["." * 20] * 4 + ["S" + "." * 18 + "G", "###" + "." * 17]
    film = play("\n".join(rows), RIGHT)
    assert film.status[0][-1] == LOST
    assert film.y[0].max() > 6 * UNIT


def test_a_gate_is_solid_until_its_switch_is_stepped_on() -> None:
    with_switch, without = (play(ground(40, above), RIGHT) for above in ("..p..P", "q....P...p"))
    assert with_switch.x[0][-1] > 12 * UNIT
    assert with_switch.pressed[0][-1] == 0b001
    assert without.x[0][-1] == 10 * UNIT - HALF
    assert without.pressed[0][-1] == 0b010
    colours = play(ground(40, ".r.q.p"), RIGHT)
    assert colours.pressed[0][-1] == 0b111


def test_rollers_smash_walls_and_walkers_do_not() -> None:
    rows = ground(60, "......%%").split("\n")
    for r in range(9, 12):
        rows[r] = "." * 11 + "%%" + "." * 47
    film = play("\n".join(rows), [[RIGHT], [DOWN], [DOWN]], x=10 * UNIT, vx=[5 * SUB, 5 * SUB, 2 * SUB])
    assert (film.x[:, -1] > 13 * UNIT).tolist() == [False, True, False]
    assert film.smashed[:, -1].tolist() == [0, 0b11, 0]
    assert film.x[0][-1] == film.x[2].max() == 11 * UNIT - HALF
    assert (film.y[1] == FEET).all(), "on the ground all the way"


def test_a_charge_launches_a_roller() -> None:
    tap = [DOWN, DOWN | JUMP, DOWN]
    film = play(ground(100), [[*tap, 0], [*tap * 5, 0], [DOWN, 0]])
    assert film.rolling[0].any()
    top = film.vx.max(1)
    assert top[0] == pytest.approx(7 * SUB, abs=20)
    assert top[1] == pytest.approx(10 * SUB, abs=20)
    assert top[2] == 0, "ducking is no charge"


def test_a_tall_body_does_not_fit_under_a_low_ceiling_and_a_ball_stays_one_beneath_it() -> None:
    rows = ground(60).split("\n")
    rows[11] = "." * 10 + "#" * 12 + "." * 38
    film = play("\n".join(rows), [[RIGHT], [DOWN]], vx=[4 * SUB, 4 * SUB])
    assert film.x[0][-1] == 10 * UNIT - HALF
    beneath = (film.x[1] - HALF > 10 * UNIT) & (film.x[1] + HALF < 22 * UNIT)
    assert beneath.any()
    assert film.rolling[1][beneath].all()


def test_the_goal_ends_it() -> None:
    film = play(ground(20), RIGHT)
    at = int(np.argmax(film.status[0] == FINISHED))
    assert film.x[0][at] >= 19 * UNIT > film.x[0][at - 1]
