"""The platformer's pictures show what the engine says: the same ground, the same movers, the same numbering."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.envs.platformer import FALLS, RETURNS, RIGHT, Platformer, PlatformerState
from headstart.envs.platformer_level import CODES, TILE, Level, Mover, parse
from headstart.envs.platformer_table import Levels, PlatformerTask, stack, task_of
from headstart.envs.platformer_zones import ZONES
from headstart.envs.trial import Trial
from headstart.suites import (
    _platformer_backdrop,
    _platformer_pictures,
    _platformer_sky,
    _platformer_terrain,
    _platformer_textures,
    _platformer_weather,
)
from headstart.suites._platformer_decor import decor
from headstart.suites._platformer_hud import card
from headstart.suites._platformer_moments import Moment, between, moments
from headstart.suites._platformer_objects import Objects, position
from headstart.suites._platformer_pictures import VIEW, Camera, Painter, film, pictures
from headstart.suites._platformer_pixels import Cutout, paste, ramp
from headstart.suites._platformer_sprites import Pose, glyphs, lettering, player, ring, sheet
from headstart.suites._platformer_terrain import Scenery, ground_mask, ledge
from headstart.suites._platformer_themes import THEMES

STEPS = 60
LEVEL = parse(
    """zone: fern-hill
act: 1
par: 20
---
............................................................
....................................P.......................
......o.......o.....................P.......................
....o...o...o...o.........====......P.......................
....................................P.......................
..S...o..oo..o..o.o...e..%....p..bb.P..^..Y..f..m......G....
#################################..#########/\\###1234######
#################################..#########################
############################################################
"""
)


def still(level: Level, column: int = 8, row: int = 5, **changes: object) -> Moment:
    """The player standing on a tile at frame 200, when no title is shown any more."""
    world = {"dead": 0, "taken": 0, "smashed": 0, "pressed": 0, "stepped": np.full(32, -100_000)}
    pose = {"ground": True, "slope": 0, "rolling": False, "jumping": False, "charging": False, "facing": 1}
    rest = {"mercy": 0, "rings": 0, "finished": False, "lost": False, "clock": 200.0}
    place = {"x": column * TILE + 8.0, "y": (row + 1) * 16.0, "vx": 0.0, "vy": 0.0}
    del level
    return Moment(**(place | pose | rest | world | changes))


@pytest.fixture(scope="module")
def painted() -> Painter:
    return Painter(LEVEL)


def painting(brush: Painter, now: Moment, camera: Camera | None = None) -> np.ndarray:
    return brush.paint([now], camera or Camera(0.0, -48.0))


def changed(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int, int]:
    """The box that two pictures differ in: left, top, right, bottom."""
    y, x = np.nonzero((a != b).any(-1))
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def test_every_zone_has_a_look_of_known_kinds() -> None:
    assert set(THEMES) == set(ZONES)
    for theme in THEMES.values():
        assert all(kind in _platformer_backdrop._KINDS for kind, _ in theme.layers)
        assert len(theme.layers) == len(_platformer_backdrop.SPEEDS)
        assert all(kind in _platformer_sky._LIGHTS for kind, _ in theme.lights)
        assert theme.stone[0] in _platformer_textures._KINDS
        assert theme.cap[0] in _platformer_terrain._COVERS
        assert theme.weather in {"", "mist", *_platformer_weather._KINDS}
        assert theme.pit[0] in {"water", "lava", "oil", "sand", "mist", "dark"}
        assert ledge(*theme.ledge, 48).solid.mean() > 0.5


def test_no_two_zones_look_alike() -> None:
    looks = {(theme.sky, theme.stone, theme.cap) for theme in THEMES.values()}
    assert len(looks) == len(THEMES)
    assert len({theme.stone for theme in THEMES.values()}) == len(THEMES)


def test_what_stands_about_stands_on_the_lower_edge() -> None:
    kinds = sorted({pair for theme in THEMES.values() for pair in theme.decor})
    for kind, name in kinds:
        thing = decor(kind, name, 0)
        assert thing.solid[-2:].any(), kind
        assert thing.solid.mean() > 0.03, kind


@jax.jit
def _played(
    levels: Levels, task: PlatformerTask, state: PlatformerState, action: jax.Array
) -> PlatformerState:
    env = Platformer(levels, sticky=0.0)

    def one(state: PlatformerState, _: None) -> tuple[PlatformerState, PlatformerState]:
        return (env.step(task, state, action, jr.key(0))[0],) * 2

    return jax.lax.scan(one, state, None, STEPS)[1]


def played(level: Level, action: int) -> list[Moment]:
    """The story of one action held; one program serves all levels."""
    levels, task = stack([level]), task_of(level)
    first = Platformer(levels).reset(task, jr.key(0))
    states = _played(levels, task, first, jnp.int32(action))
    whole = jax.tree.map(lambda a, b: np.concatenate([np.asarray(a)[None], np.asarray(b)]), first, states)
    return moments(whole)


def test_ground_is_drawn_where_the_engine_has_it() -> None:
    """Run up and down slopes of all kinds: the feet stand on the highest pixel under them."""
    slope = "..S...../\\..12########34....../####\\......G.."
    rows = "\n".join(["." * len(slope)] * 3 + [slope, "#" * len(slope)])
    level = parse(f"zone: fern-hill\nact: 1\npar: 9\n---\n{rows}\n")
    mask = ground_mask(level)
    on, slopes = 0, set[int]()
    for now in played(level, RIGHT):
        if not now.ground or now.finished:
            continue
        left, right = int(now.x) - 7, int(now.x + 6.99)
        tops = [int(np.argmax(mask[:, x])) for x in (left, right)]
        assert abs(min(tops) - now.y) <= 1.5, (now.x, now.y, tops)
        on, slopes = on + 1, slopes | {now.slope}
    assert on > 30
    assert slopes == {0, 1, 2, -1, -2}


@pytest.mark.parametrize("tile", "mw")
def test_platforms_are_drawn_where_the_engine_moves_them(tile: str) -> None:
    """Stand on one: its picture stays right under the feet."""
    air = "." * 30
    rows = "\n".join(
        [air] * 6 + [".....S.................G......", f".....{tile}........................"] + [air] * 6
    )
    level = parse(f"zone: fern-hill\nact: 1\npar: 9\n---\n{rows}\n")
    story = played(level, 0)
    places = [position(level.platforms[0], now.clock) for now in story]
    assert all(now.ground for now in story[2:])
    assert all(now.y == pytest.approx(y, abs=0.1) for now, (_, y) in zip(story[2:], places[2:], strict=True))
    drift = [now.x - x for now, (x, _) in zip(story[2:], places[2:], strict=True)]
    assert np.ptp(drift) < 0.2
    assert np.ptp(places, axis=0).max() > 60


def test_half_way_a_mover_is_between() -> None:
    mover = Mover(100, 50, 64, False, 256, 0)
    assert position(mover, 0.0) == (100, 50)
    assert position(mover, 128.0) == (164, 50)
    assert position(mover, 64.0) == (132, 50)


def test_taken_rings_are_those_the_engine_means() -> None:
    """Run over the rings: the ring of each bit newly set is where the player is."""
    story = played(LEVEL, RIGHT)
    places, found = Objects(LEVEL, THEMES[LEVEL.zone]).places["o"], []
    for before, now in itertools.pairwise(story):
        for number in range(len(places)):
            if (now.taken & ~before.taken) >> number & 1:
                c, r = places[number]
                assert abs(c * TILE + 8 - now.x) < 40
                assert 0 <= now.y - r * TILE < 48
                found.append(number)
    assert len(found) >= 3
    assert max(now.rings for now in story) == len(found)


@pytest.mark.parametrize("number", [0, 1, 4, 9])
def test_a_taken_ring_vanishes_alone(painted: Painter, number: int) -> None:
    c, r = painted.objects.places["o"][number]
    box = changed(painting(painted, still(LEVEL, 1)), painting(painted, still(LEVEL, 1, taken=1 << number)))
    x, y = c * TILE, r * TILE + 48
    assert x <= box[0]
    assert box[2] < x + TILE
    assert y <= box[1]
    assert box[3] < y + TILE


def test_what_is_gone_is_not_drawn(painted: Painter) -> None:
    camera = Camera(24.0 * TILE, -48.0)
    base = painting(painted, still(LEVEL, 30), camera)

    def box(**what: object) -> tuple[int, ...]:
        left, top, right, bottom = changed(base, painting(painted, still(LEVEL, 30, **what), camera))
        return (
            (left + 24 * TILE) // TILE,
            (top - 48) // TILE,
            (right + 24 * TILE) // TILE,
            (bottom - 48) // TILE,
        )

    assert box(smashed=1) == (25, 5, 25, 5)
    left, top, right, bottom = box(pressed=1)
    assert (left, right) == (30, 36)
    assert (top, bottom) == (1, 5)
    gone = np.full(32, -100_000)
    gone[1] = 200 - RETURNS + 1
    assert box(stepped=gone) == (34, 5, 34, 5)
    trembling = gone.copy()
    trembling[1] = 200 - FALLS + 1
    left, _, right, _ = box(stepped=trembling)
    assert {left, right} <= {34, 35}


def test_dead_enemies_are_not_drawn(painted: Painter) -> None:
    camera = Camera(12.0 * TILE, -48.0)
    box = changed(
        painting(painted, still(LEVEL, 13), camera), painting(painted, still(LEVEL, 13, dead=1), camera)
    )
    x, y = position(LEVEL.enemies[0], 200.0)
    assert abs((box[0] + box[2]) / 2 + 12 * TILE - x) < 8
    assert box[3] - 48 <= y


def test_stretches_fit_together_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Painted in longer stretches the level looks the same."""
    theme = THEMES[LEVEL.zone]
    short = Scenery(LEVEL, theme)
    pieces = [short.stretch(k) for k in range(4)]
    monkeypatch.setattr(_platformer_terrain, "STRETCH", LEVEL.columns)
    whole = Scenery(LEVEL, theme).stretch(0)
    assert np.array_equal(np.concatenate([piece.solid for piece in pieces], 1), whole.solid)
    assert np.array_equal(np.concatenate([piece.rgb for piece in pieces], 1), whole.rgb)


def test_all_ground_and_ledges_are_painted_over_the_background() -> None:
    piece = Scenery(LEVEL, THEMES[LEVEL.zone]).stretch(1)
    tiles = LEVEL.tiles[: LEVEL.rows, 16:32]
    for r, c in np.argwhere(tiles == CODES["#"]):
        assert piece.solid[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE].all()
    for r, c in np.argwhere(tiles == CODES["="]):
        assert piece.solid[r * TILE : r * TILE + 6, c * TILE + 2 : (c + 1) * TILE - 2].all()


@pytest.mark.parametrize("seed", range(3))
def test_the_camera_never_loses_the_player(seed: int) -> None:
    """Whatever the player does at up to the highest speed, it stays well inside the picture."""
    rows = "\n".join(["." * 300] * 30 + [".S" + "." * 290 + "G.......", "#" * 300])
    level = parse(f"zone: fern-hill\nact: 1\npar: 9\n---\n{rows}\n")
    dice = np.random.default_rng(seed)
    x, y, vx, vy = 500.0, 400.0, 0.0, 0.0
    camera = Camera.at(level, still(level, x=x, y=y))
    for _ in range(400):
        vx = float(np.clip(vx + dice.normal() * 3, -16, 16)) if dice.random() < 0.9 else -vx
        vy = float(np.clip(vy + dice.normal() * 4, -16, 16))
        x, y = float(np.clip(x + 4 * vx, 400, 4300)), float(np.clip(y + 4 * vy, 40, 496))
        now = still(level, x=x, y=y, vx=vx, vy=vy, ground=bool(dice.random() < 0.3))
        camera = camera.follow(level, now)
        assert 0.3 * VIEW[1] <= now.x - camera.x <= 0.7 * VIEW[1]
        assert 40 <= now.y - camera.y <= VIEW[0]
        assert 0 <= camera.x <= level.columns * TILE - VIEW[1]
        assert camera.y <= level.rows * TILE - VIEW[0]


def test_a_film_shows_every_state_of_episodes_and_trials() -> None:
    tables, task = stack([LEVEL]), task_of(LEVEL)
    render = pictures([LEVEL])
    for env in (Platformer(tables), Trial(Platformer(tables), 2)):
        state = env.reset(task, jr.key(0))
        states = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * 3), state)
        shown = render(task, states)
        assert shown.shape == (3, 2 * VIEW[0], 2 * VIEW[1], 3)
        assert shown.dtype == np.uint8
        assert np.array_equal(shown[:, ::2, ::2], shown[:, 1::2, 1::2])


def test_a_long_film_is_not_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_platformer_pictures, "_LONG", 2)
    state = Platformer(stack([LEVEL])).reset(task_of(LEVEL), jr.key(0))
    states = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * 2), state)
    assert pictures([LEVEL])(task_of(LEVEL), states).shape == (2, *VIEW, 3)


def test_the_same_story_gives_the_same_pictures() -> None:
    story = [still(LEVEL, 8, clock=196.0), still(LEVEL, 9, clock=200.0, vx=6.0)]
    first, again = (np.stack(list(film(LEVEL, story))) for _ in range(2))
    assert np.array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_the_player_can_be_seen_in_every_pose(painted: Painter) -> None:
    camera = Camera(0.0, -48.0)
    looks = set()
    poses: list[dict[str, object]] = [
        {},
        {"vx": 4.0},
        {"ground": False},
        {"jumping": True, "ground": False},
        {"lost": True},
        {"facing": -1},
    ]
    for pose in poses:
        picture = painting(painted, still(LEVEL, **pose), camera)
        part = picture[5 * TILE + 48 - 12 : 6 * TILE + 48, 8 * TILE - 6 : 9 * TILE + 6]
        looks.add(part.tobytes())
    assert len(looks) == len(poses)


def test_every_zone_title_can_be_spelled() -> None:
    for zone in ZONES.values():
        assert set(zone.title.upper()) <= set(glyphs())
        assert lettering(zone.title.upper(), size=2).solid.shape[1] < VIEW[1]


def test_titles_of_any_letters_do_no_harm(painted: Painter) -> None:
    canvas = painting(painted, still(LEVEL, clock=50.0))
    before = canvas.copy()
    card(canvas, LEVEL, still(LEVEL, finished=True))
    assert (before != canvas).any()


def test_between_moves_the_player_and_the_clock_but_jumps_no_cuts() -> None:
    a, b = still(LEVEL, 4, clock=100.0), still(LEVEL, 5, clock=104.0)
    half = between(a, b, 0.5)
    assert (half.x, half.clock) == (a.x + 8, 102.0)
    far = still(LEVEL, 50, clock=104.0)
    assert between(a, far, 0.5) is a
    assert [f for f in a._fields if getattr(half, f) is not getattr(a, f)] == ["x", "y", "clock"]


def test_paste_clips_at_every_side() -> None:
    stamp = Cutout(np.full((4, 4, 3), 9, np.uint8), np.ones((4, 4), bool))
    for x, y, n in ((-2, -2, 4), (6, 6, 4), (2, 2, 16), (-9, 0, 0), (0, 99, 0)):
        canvas = np.zeros((8, 8, 3), np.uint8)
        paste(canvas, stamp, x, y)
        assert int((canvas == 9).all(-1).sum()) == n


def test_ramps_rise_in_brightness() -> None:
    for theme in THEMES.values():
        for _, name in (theme.stone, theme.cap, theme.ledge):
            light = ramp(name).astype(int).sum(-1)
            assert (np.diff(light) > 0).all(), name


def test_sprites_are_there_and_a_ball_is_smaller_than_a_player() -> None:
    assert {"ball", "walker 0", "walker 1", "flyer 0", "flyer 1", "spring", "spikes"} <= set(sheet())
    assert all(ring(k).solid.any() for k in range(4))
    ball = Pose(3.0, 0.0, ground=True, curled=True, charging=False, hurt=False, clock=0)
    assert player(ball).solid.sum() < player(ball._replace(curled=False)).solid.sum()
