"""One frame of the platformer: momentum, slopes, jumps, and everything that may be run into.

In the mould of the 16-bit games. On the ground the body has one speed g along the surface, of angle θ (positive where it
rises to the right); in the air it has two:

    ground   g ← g - slope sin θ;  then accelerate, brake or rub off;  ẋ = g cos θ, feet kept on the surface
    jump     ẋ = g cos θ,  ẏ = -g sin θ - jump            (y grows downwards)
    air      ẋ ← ẋ + air · direction + wind;  ẏ ← ẏ + gravity
    landing  g = ẋ cos θ - ẏ sin θ

All numbers are whole subpixels (1/256 pixel). Nothing moves faster than just under a tile a frame along either axis, so that
the first column or row that an edge enters is the only one that can stop it: nothing is ever passed through.
"""

from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from headstart.envs.platformer_body import (
    CHARGE,
    DECK,
    FASTEST,
    FULL,
    HALF,
    PLAYING,
    ROLL,
    SMASH,
    SNAP,
    TALL,
    Body,
    Buttons,
    Scene,
    Under,
    World,
)
from headstart.envs.platformer_contacts import meet
from headstart.envs.platformer_stages import stage
from headstart.envs.platformer_table import PIXEL, STEP, Levels, PlatformerTask, number
from headstart.envs.platformer_tiles import (
    NO_FLOOR,
    Changes,
    Floor,
    bit,
    ceiling,
    columns,
    flag,
    floor,
    pick,
    raw,
    rows,
    walls,
)
from headstart.envs.platformer_zones import Numbers, Physics


class _Decks(NamedTuple):
    """The platforms near: `[n]` x after the frame, tops before and after it; how far a ridden one moves, and its top."""

    x: Int[Array, " n"]
    before: Int[Array, " n"]
    after: Int[Array, " n"]
    dx: Int[Array, ""]
    ridden: Int[Array, ""]


def _angle(slope: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """sin θ and cos θ of a slope, in 256ths."""
    size = jnp.abs(slope)
    sine = jnp.where(size == 2, 181, jnp.where(size == 1, 114, 0))
    cosine = jnp.where(size == 2, 181, jnp.where(size == 1, 229, 256))
    return jnp.where(slope < 0, -sine, sine), cosine


def _scaled(speed: Int[Array, ""], factor: Int[Array, ""]) -> Int[Array, ""]:
    """speed · factor / 256, rounded."""
    return (speed * factor + 128) >> 8


def _toward_zero(speed: Int[Array, ""], by: Numbers) -> Int[Array, ""]:
    return jnp.sign(speed) * jnp.maximum(jnp.abs(speed) - by, 0)


def _push(speed: Int[Array, ""], way: Int[Array, ""], by: Numbers, top: Numbers) -> Int[Array, ""]:
    """Speed gained in a direction, up to the top speed; what is faster already stays so."""
    along = speed * way
    return jnp.where(along >= top, speed, jnp.minimum(along + by, top) * way)


def _on_ground(p: Physics, body: Body, b: Buttons) -> Body:
    """Speed along the surface after slope, acceleration, rolling and charging."""
    g, speed = body.vx, jnp.abs(body.vx)
    still = speed < ROLL
    charge = jnp.minimum(body.charge + CHARGE, FULL)
    charge = jnp.where(b.down & b.jump & ~body.held & still, charge, body.charge)
    launch = (charge > 0) & ~b.down
    rolling = body.rolling | (b.down & ~still) | launch

    sine, _ = _angle(body.slope)
    uphill = g * sine > 0
    pull = jnp.where(rolling, jnp.where(uphill, p.slope * 5 >> 3, p.slope * 5 >> 1), p.slope)
    rests = ~rolling & (g == 0) & (b.way == 0) & (jnp.abs(body.slope) < 2)
    g -= jnp.where(rests, 0, _scaled(pull, sine))

    against = g * b.way < 0
    crawls = jnp.abs(g) < PIXEL
    run = jnp.where(against, g + b.way * p.brake, _push(g, b.way, p.accelerate, p.top))
    run = jnp.where(b.way == 0, _toward_zero(g, p.friction), run)
    roll = _toward_zero(g, (p.friction >> 1) + jnp.where(against, p.brake >> 2, 0))
    roll = jnp.where(crawls & (b.way != 0) & ~against, g + b.way * p.accelerate, roll)
    g = jnp.where(rolling, roll, run)

    g = jnp.where(launch, body.facing * (p.top + (charge >> 1)), jnp.where(charge > 0, 0, g))
    charge = jnp.where(launch, 0, charge)
    return body._replace(vx=jnp.clip(g, -FASTEST, FASTEST), rolling=rolling, charge=charge)


def _in_air(p: Physics, body: Body, b: Buttons) -> Body:
    """Both speeds after gravity, wind and steering; a jump whose button is released is cut short."""
    vx = jnp.where(b.way == 0, body.vx, _push(body.vx, b.way, p.air, p.top)) + p.wind
    vy = jnp.where(body.jumping & ~b.jump, jnp.maximum(body.vy, -p.cut), body.vy) + p.gravity
    return body._replace(vx=jnp.clip(vx, -FASTEST, FASTEST), vy=jnp.clip(vy, -FASTEST, FASTEST))


def _leave(body: Body, jump: Numbers) -> Body:
    """Off the ground, with what speed there was along it and an upward push."""
    sine, cosine = _angle(body.slope)
    return body._replace(
        vx=_scaled(body.vx, cosine),
        vy=jnp.clip(-_scaled(body.vx, sine) - jump, -FASTEST, FASTEST),
        ground=jnp.bool_(False),
        slope=jnp.int32(0),
    )


def _either(condition: Bool[Array, ""], new: Body, old: Body) -> Body:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _impulse(p: Physics, body: Body, b: Buttons) -> Body:
    """Speeds of this frame: on the ground, at the start of a jump, or in the air."""
    moved = _either(body.ground, _on_ground(p, body, b), _in_air(p, body, b))
    jumps = body.ground & b.jump & ~body.held & (moved.charge == 0)
    jumped = _leave(moved, p.jump)._replace(jumping=jnp.bool_(True), rolling=jnp.bool_(False))
    body = _either(jumps, jumped, moved)
    return body._replace(held=b.jump, facing=jnp.where(b.way == 0, body.facing, b.way))


def _decks(body: Body, scene: Scene, clock: Int[Array, ""]) -> _Decks:
    """Where the platforms go in this frame, and the body with them if it stands on one."""
    x0, y0 = scene.platforms.places(clock)
    x1, y1 = scene.platforms.places(clock + 1)
    rides = body.ground & (body.y == y0) & (jnp.abs(body.x - x0) < DECK + HALF)
    dx = reduce(jnp.add, jnp.where(rides, x1 - x0, 0))
    return _Decks(x1, y0, y1, dx, reduce(jnp.minimum, jnp.where(rides, y1, NO_FLOOR)))


def _aim(task: PlatformerTask, body: Body, carried: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """How far the body would go along x in this frame, and where to."""
    _, cosine = _angle(body.slope)
    dx = carried + jnp.where(body.ground, _scaled(body.vx, cosine), body.vx)
    dx = jnp.clip(dx, -FASTEST, FASTEST)
    return dx, jnp.clip(body.x + dx, HALF, task.width - HALF)


def _across(
    body: Body, three: UInt32[Array, "6 3"], changes: Changes, x: Int[Array, ""], dx: Int[Array, ""]
) -> tuple[Body, UInt32[Array, ""]]:
    """Move along x until something is in the way, or through it for a roller; and the walls this has smashed.

    The column that the leading edge enters is looked at, in the rows the body reaches over. Since the body is narrower
    than a tile, whatever stops it leaves it within the column before.
    """
    rightward = dx > 0
    side = jnp.where(rightward, HALF - 1, -HALF)
    was, edge = body.x + side >> STEP, x + side >> STEP
    entered = edge - (x >> STEP) + 1
    ahead = columns(pick(three, entered), changes)
    behind = columns(pick(three, entered - jnp.where(rightward, 1, -1)), changes)

    hit = walls(ahead, behind, rightward) & rows(body.y - body.height, body.y)
    hit = jnp.where(edge == was, 0, hit)
    smashes = body.rolling & (jnp.abs(body.vx) >= SMASH) & ((hit & ~ahead.smash) == 0)
    blocked = (hit != 0) & ~smashes
    broken = jnp.where((hit != 0) & smashes, flag(number(ahead.numbers, "smash")), 0)
    stop = jnp.where(rightward, (edge << STEP) - HALF, (edge + 1 << STEP) + HALF)
    return body._replace(x=jnp.where(blocked, stop, x), vx=jnp.where(blocked, 0, body.vx)), broken


def _under(three: UInt32[Array, "6 3"], going: Int[Array, ""], x: Int[Array, ""]) -> Under:
    """The columns a body at `x` stands in; `three` are those around where it was going."""
    corners = (x - HALF >> STEP, x + HALF - 1 >> STEP, x >> STEP)
    return Under(*(pick(three, column - (going >> STEP) + 1) for column in corners))


class _Hold(NamedTuple):
    """What holds the body up at the end of a frame, if anything."""

    height: Int[Array, ""]
    slope: Int[Array, ""]
    deck: Bool[Array, ""]
    """whether it is a platform"""
    feet: Int[Array, ""]
    """where the feet are if nothing holds them"""


def _support(body: Body, under: Under, changes: Changes, decks: _Decks, dx: Int[Array, ""]) -> _Hold:
    """The highest surface that the feet reach and that may hold them: tiles under the corners, or a platform."""
    feet = jnp.where(decks.ridden < NO_FLOOR, decks.ridden, body.y)
    left = floor(columns(under.left, changes), feet, body.x - HALF)
    right = floor(columns(under.right, changes), feet, body.x + HALF - 1)
    surface: Floor = jax.tree.map(lambda a, b: jnp.where(right.height < left.height, b, a), left, right)
    snap = jnp.minimum(jnp.abs(dx) + PIXEL, SNAP)
    after = jnp.where(body.ground, feet, feet + body.vy)
    reach = jnp.where(body.ground, feet + snap, after)
    sinks = body.ground | (body.vy >= 0)
    on_tiles = (surface.height <= reach) & (sinks | surface.inside)
    near = (jnp.abs(body.x - decks.x) < DECK + HALF) & (body.y <= decks.before)
    deck = reduce(jnp.minimum, jnp.where(near, decks.after, NO_FLOOR))
    tiles = jnp.where(on_tiles, surface.height, NO_FLOOR)
    deck = jnp.where((deck <= reach) & sinks, deck, NO_FLOOR)
    on_deck = deck < tiles
    return _Hold(jnp.minimum(tiles, deck), jnp.where(on_deck, 0, surface.slope), on_deck, after)


def _along(
    body: Body, under: Under, changes: Changes, hold: _Hold, b: Buttons
) -> tuple[Body, Bool[Array, ""]]:
    """Follow the ground, fall, land, or bump the head; and whether there is room to stand upright."""
    lands = hold.height < NO_FLOOR
    y = jnp.where(lands, hold.height, hold.feet)
    head = y - body.height >> STEP
    left, right = columns(under.left, changes), columns(under.right, changes)
    overhead = ceiling(left) | ceiling(right)
    bumps = bit(overhead, head) & jnp.where(lands, hold.deck, body.vy < 0)
    y = jnp.where(bumps, (head + 1 << STEP) + body.height, y)
    lands &= ~bumps

    sine, cosine = _angle(hold.slope)
    along = _scaled(body.vx, cosine) - _scaled(body.vy, sine)
    stands = body._replace(
        vx=jnp.where(body.ground, body.vx, along), vy=jnp.int32(0), ground=jnp.bool_(True), slope=hold.slope
    )
    flies = _either(body.ground, _leave(body, jnp.int32(0)), body)
    flies = flies._replace(vy=jnp.where(bumps, 0, flies.vy))
    after = _either(lands, stands, flies)._replace(y=y)

    room = (rows(y - TALL, y) & (left.solid | right.solid)) == 0
    slow, ball = jnp.abs(after.vx) < ROLL, body.rolling | body.jumping
    arrives = lands & ~body.ground
    rolling = jnp.where(arrives, ball & ~slow & b.down, body.rolling & ~(lands & slow))
    after = after._replace(rolling=rolling | (lands & ball & ~room), jumping=body.jumping & ~lands)
    return after, room


def frame(
    levels: Levels,
    task: PlatformerTask,
    scene: Scene,
    body: Body,
    world: World,
    b: Buttons,
    clock: Int[Array, ""],
    turn: Int[Array, ""],
) -> tuple[Body, World]:
    """The body and the world a frame later; `clock` is the number of frames before it, `turn` that in this step."""
    before = body, world
    part = partial(stage, turn)
    body = part(_impulse, task.physics, body, b)
    decks = part(_decks, body, scene, clock)
    dx, x = part(_aim, task, body, decks.dx)
    three = part(lambda first: raw(levels, task.level, first, 3), (x >> STEP) - 1)
    body, broken = part(_across, body, three, Changes(world.smashed, scene.fallen, world.pressed), x, dx)
    under = part(_under, three, x, body.x)
    world = world._replace(smashed=world.smashed | broken)
    changes = Changes(world.smashed, scene.fallen, world.pressed)
    hold = part(_support, body, under, changes, decks, dx)
    body, room = part(_along, body, under, changes, hold, b)
    body, world = meet(task, scene, body, world, under, changes, room, clock, part)
    playing = before[0].status == PLAYING
    return jax.tree.map(lambda new, old: jnp.where(playing, new, old), (body, world), before)
