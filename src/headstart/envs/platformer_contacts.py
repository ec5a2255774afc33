"""What the platformer's player touches: rings, switches, springs, planks, spikes, enemies, the goal and the pit."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from headstart.envs.platformer_body import (
    BALL,
    FINISHED,
    HALF,
    LOST,
    MERCY,
    PLAYING,
    Body,
    Scene,
    Under,
    World,
)
from headstart.envs.platformer_movers import Near
from headstart.envs.platformer_table import PIXEL, STEP, UNIT, PlatformerTask, number
from headstart.envs.platformer_tiles import Changes, Columns, bit, columns, flag, rings_taken, rows
from headstart.envs.platformer_zones import Physics

BOUNCE = (2 * PIXEL, 6 * PIXEL)
"""least and most upward speed left after jumping upon an enemy"""
KNOCK = (2 * PIXEL, 4 * PIXEL)
"""speed backwards and upwards after a hit"""


def _tread(body: Body, world: World, under: Under, changes: Changes) -> World:
    """Note the planks that are stood on."""
    row = body.y >> STEP
    stands = body.ground & (body.slope == 0) & ((body.y & (UNIT - 1)) == 0)

    def trodden(words: UInt32[Array, "6"]) -> UInt32[Array, ""]:
        column = columns(words, changes)
        return jnp.where(stands & bit(column.plank, row), flag(number(column.numbers, "plank")), 0)

    return world._replace(trodden=world.trodden | trodden(under.left) | trodden(under.right))


def _collect(body: Body, world: World, column: Columns) -> tuple[Body, World]:
    """Take the rings that the body's middle reaches."""
    reached = rows(body.y - body.height, body.y)
    gone, _ = rings_taken(column, world.taken, jnp.uint32(0))
    fresh = column.ring & ~gone & reached
    _, bits = rings_taken(column, world.taken, reached)
    first = number(column.numbers, "rings")
    shift = (first & 31).astype(jnp.uint32)
    place = jnp.arange(4) - (first >> 5)
    taken = jnp.where(place == 0, bits << shift, jnp.where(place == 1, bits >> (32 - shift), 0))
    rings = body.rings + jax.lax.population_count(fresh).astype(jnp.int32)
    return body._replace(rings=rings), world._replace(taken=world.taken | taken)


def _spring(p: Physics, body: Body, column: Columns, room: Bool[Array, ""]) -> Body:
    """Be thrown by a spring that the feet are in: up, unless rising already, or sideways."""
    row = body.y - 1 >> STEP
    up = bit(column.up, row) & (body.vy >= 0)
    right, left = bit(column.right, row), bit(column.left, row)
    sideways = jnp.where(right, p.throw, jnp.where(left, -p.throw, body.vx))
    return body._replace(
        vx=sideways,
        vy=jnp.where(up, -p.spring, body.vy),
        ground=body.ground & ~up,
        slope=jnp.where(up, 0, body.slope),
        jumping=body.jumping & ~up,
        rolling=jnp.where(up, ~room, body.rolling),
        charge=jnp.where(up | right | left, 0, body.charge),
        facing=jnp.where(right, 1, jnp.where(left, -1, body.facing)),
    )


def _fight(
    enemies: Near, places: tuple[Array, Array], body: Body, world: World
) -> tuple[Body, World, Bool[Array, ""]]:
    """Meet the enemies near: they die if rolled into or jumped upon; else the body is touched (the last result)."""
    x, y = places
    number = enemies.first + jnp.arange(len(x))
    close = (jnp.abs(body.x - x) < 2 * HALF) & (body.y > y - BALL) & (body.y - body.height < y)
    close &= ((world.dead >> number.astype(jnp.uint32)) & 1) == 0
    falls = ~body.ground & (body.vy > 0)
    beats = body.curled | (falls & (body.y < y - BALL // 2))
    dead = reduce(jnp.bitwise_or, jnp.where(close & beats, flag(number), 0))
    touched = reduce(jnp.logical_or, close & ~beats)
    vy = jnp.where((dead != 0) & falls, -jnp.clip(body.vy, *BOUNCE), body.vy)
    return body._replace(vy=vy), world._replace(dead=world.dead | dead), touched


def _hurt(body: Body, hit: Bool[Array, ""], room: Bool[Array, ""]) -> Body:
    """Lose the rings and be knocked back, or lose the life where there are none."""
    hit &= body.mercy == 0
    saved, lost = hit & (body.rings > 0), hit & (body.rings == 0)
    return body._replace(
        vx=jnp.where(saved, -body.facing * KNOCK[0], body.vx),
        vy=jnp.where(saved, -KNOCK[1], body.vy),
        ground=body.ground & ~saved,
        slope=jnp.where(saved, 0, body.slope),
        jumping=body.jumping & ~saved,
        rolling=jnp.where(saved, ~room, body.rolling),
        charge=jnp.where(saved, 0, body.charge),
        rings=jnp.where(hit, 0, body.rings),
        mercy=jnp.where(saved, MERCY, jnp.maximum(body.mercy - 1, 0)),
        status=jnp.where(lost, LOST, body.status),
    )


def _operate(world: World, body: Body, column: Columns) -> World:
    """Press the switch that the feet are on."""
    row = body.y - 1 >> STEP
    low, high = (bit(word, row).astype(jnp.uint32) for word in column.switch)
    colour = low | high << 1
    return world._replace(pressed=world.pressed | jnp.where(colour > 0, jnp.uint32(1) << (colour - 1), 0))


def _suffer(
    task: PlatformerTask, body: Body, column: Columns, room: Bool[Array, ""], touched: Bool[Array, ""]
) -> Body:
    """Springs, spikes, the pit and the goal."""
    spikes = (column.spike & rows(body.y - body.height, body.y)) != 0
    body = _spring(task.physics, body, column, room)
    body = _hurt(body, spikes | touched, room)
    fallen = body.y - body.height > task.bottom
    status = jnp.where((body.status == PLAYING) & fallen, LOST, body.status)
    return body._replace(status=jnp.where(body.x >= task.goal, FINISHED, status))


def meet(
    task: PlatformerTask,
    scene: Scene,
    body: Body,
    world: World,
    under: Under,
    changes: Changes,
    room: Bool[Array, ""],
    clock: Int[Array, ""],
    part: Callable[..., Any],
) -> tuple[Body, World]:
    """Everything the body touches where this frame took it; `room` says whether it could stand upright there.

    `part(f, *args)` is f(*args), computed as a stage of its own.
    """
    middle = columns(under.middle, changes)
    world = part(_operate, _tread(body, world, under, changes), body, middle)
    body, world = part(_collect, body, world, middle)
    places = part(scene.enemies.places, clock + 1)
    body, world, touched = part(_fight, scene.enemies, places, body, world)
    return part(_suffer, task, body, middle, room, touched), world
