"""What an agent sees of the platformer as pixels: 84 x 84, grey or RGB, drawn inside the compiled step.

The picture holds 21 x 14 tiles of 4 x 6 pixels: what the full-size picture shows, as the paper's 84 x 84 show a screen of
320 x 224. The player's middle is always at column 30, so there are seven tiles behind and thirteen ahead.

Four pixels side by side are one word of 32 bits, and a word is what is looked up and drawn; a zero byte is a hole:

    tiles       ← atlas[zone, variant, kind, row of the tile]     kinds: logic on the level's words, a column at once
    backdrop    ← atlas[zone, row, column / 4 slower than the ground]
    things      ← for each word the last thing whose box it lies in, then atlas[picture, alignment, row, word]
    picture     = backdrop, tiles over it, then things, then the player

Of two things in one word only the later is drawn; the player is drawn over all of them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8, UInt32

from headstart.envs.platformer_body import DECK, LOST, Body, World
from headstart.envs.platformer_movers import Near, around
from headstart.envs.platformer_stages import stage, turns
from headstart.envs.platformer_table import PIXEL, STEP, Levels, PlatformerTask
from headstart.envs.platformer_tiles import Changes, Columns, columns, flag, raw, rings_taken

SIDE = 84
"""pixels the picture is high and wide"""
WIDE, HIGH = 4, 6
"""pixels a tile"""
KINDS, VARIANTS = 64, 4
"""pictures of tiles: the five bits of the code and, sixth, the ground's surface, a pressed switch, the pit below; each
in four variants, for even and odd columns and rows"""
ROUND = 128
"""pixels after which a backdrop repeats"""
BOX = (27, 16)
"""height and width of the room that a thing's picture has, with three columns for its alignment"""
POSES = ("stand", "stride", "pass", "stride far", "pass far", "air", "ball", "ball turned", "hurt")
"""pictures of the player, looking to the right; then the same to the left"""
PLAYER, WALKER, FLYER, GOAL, RING, BOARD = 1, 19, 23, 27, 28, 29
"""numbers of the first pictures of things; 0 is empty; walkers and flyers have two to the right and two to the left;
platforms have one a zone"""

_EYE = (52, 30)  # row of the picture the feet tend to, and column of the body's middle
_SKY = -18  # the least row of the level, in pixels, that the picture's top shows
_WORDS = SIDE // 4
_NOT_HERE = -(1 << 24)
_BYTES = 0x01010101

Words = UInt32[Array, "c h w"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Atlas:
    """Pictures in words of four pixels, by colour channel; a pytree, and hashable by identity as `Levels` is."""

    tiles: UInt32[Array | np.ndarray, "c t"]
    """zone, variant, kind and row, flattened"""
    backdrops: UInt32[Array | np.ndarray, "c b"]
    """zone, row and word, flattened"""
    things: UInt32[Array | np.ndarray, "c p"]
    """picture, alignment (pixels it is moved to the right), row and word, flattened"""

    @property
    def channels(self) -> int:
        return self.tiles.shape[0]


class Camera(NamedTuple):
    """The picture's upper left corner, in its own pixels."""

    left: Int[Array, ""]
    top: Int[Array, ""]


class Things(NamedTuple):
    """Pictures and where they are on the screen, `[n]`, the later in front; those not to be seen are nowhere."""

    x: Int[Array, " n"]
    y: Int[Array, " n"]
    picture: Int[Array, " n"]
    high: Int[Array | np.ndarray, " n"]


def across(x: Int[Array, "*n"]) -> Int[Array, "*n"]:
    """Subpixels to the picture's columns: a quarter of a pixel."""
    return x >> STEP - 2


def down(y: Int[Array, "*n"]) -> Int[Array, "*n"]:
    """Subpixels to the picture's rows: three eighths of a pixel."""
    return y * 3 >> STEP - 1


def camera(task: PlatformerTask, body: Body) -> Camera:
    """Where the picture begins: the player at its column, the level's lowest row never above the picture's."""
    low = down(jnp.asarray(task.bottom)) - SIDE
    top = jnp.clip(down(body.y) - _EYE[0], jnp.minimum(_SKY, low), low)
    return Camera(across(body.x) - _EYE[1], top)


def _kinds(seen: UInt32[Array, "6 n"], changes: Changes, taken: UInt32[Array, "4"], lowest: Array) -> Array:
    """Six words a column `[6, n]`: the bits of what is to be drawn in each row."""
    c: Columns = columns(seen, changes)
    gone, _ = rings_taken(c, taken, jnp.uint32(0))
    b0, b1 = seen[0], seen[1]
    switch = c.switch[0] | c.switch[1]
    there = c.solid | c.slope | c.thin | switch | (c.ring & ~gone) | c.spike | c.up | c.right | c.left
    surface = c.ground & ~((c.ground | c.slope) << 1 | 1)
    p, q, r = (-((changes.pressed >> colour) & 1) for colour in range(3))
    pressed = switch & ((b0 & ~b1 & p) | (~b0 & b1 & q) | (b0 & b1 & r))
    pit = ~there & flag(lowest)
    return jnp.concatenate([seen[:5] & there[None], (surface | pressed | pit)[None]])


def _moved(words: UInt32[Array, "c h w1"], by: Int[Array, ""]) -> Words:
    """Rows of words from `by` pixels on, 0 to 3."""
    bits = 8 * by.astype(jnp.uint32)
    return words[:, :, :-1] >> bits | words[:, :, 1:] << (24 - bits) << 8


def _tiles(atlas: Atlas, zone: Array, kinds: UInt32[Array, "6 n"], at: Camera) -> UInt32[Array, "c h n"]:
    """The words of the tiles in view, from the left edge of a tile on."""
    place = at.top + jnp.arange(SIDE)
    row = (place + 16 * HIGH) // HIGH - 16
    inside = place - row * HIGH
    shift = jnp.clip(row, -1, 32).astype(jnp.uint32)[:, None]  # -1 wraps round: nothing above, nothing below
    kind = jnp.zeros((SIDE, kinds.shape[1]), jnp.uint32)
    for b in range(6):
        kind |= ((kinds[b][None] >> shift) & 1) << b
    column = (at.left >> 2) + jnp.arange(kinds.shape[1])
    variant = (row & 1)[:, None] * 2 + (column & 1)[None]
    index = ((zone * VARIANTS + variant) * KINDS + kind.astype(jnp.int32)) * HIGH + inside[:, None]
    return jnp.asarray(atlas.tiles)[:, index]


def _backdrop(atlas: Atlas, zone: Array, at: Camera) -> UInt32[Array, "c h n"]:
    """The words behind everything, which pass by four times as slowly."""
    column = ((at.left >> 4) + jnp.arange(_WORDS + 1)) & (ROUND // 4 - 1)
    row = zone * SIDE + jnp.arange(SIDE)
    return jnp.asarray(atlas.backdrops)[:, row[:, None] * (ROUND // 4) + column[None]]


def _moving(
    near: tuple[Near, Near],
    zone: Array,
    body: Body,
    dead: UInt32[Array, ""],
    clock: Int[Array, ""],
    at: Camera,
) -> Things:
    """Platforms, then enemies: pictures and places."""
    enemies, platforms = near
    x, y = platforms.places(clock)
    boards = Things(
        across(x - DECK) - at.left,
        down(y) - at.top,
        jnp.broadcast_to(BOARD + zone, x.shape),
        np.full(len(x), HIGH),
    )
    x, y = enemies.places(clock)
    _, _, vertical, _, rate, phase = enemies.path
    rightward = jnp.where(vertical == 1, body.x > x, ((rate * clock + phase) & 0xFFFF) < 0x8000)
    picture = (
        jnp.where(vertical == 1, FLYER, WALKER) + 2 * (1 - rightward.astype(jnp.int32)) + (clock >> 3 & 1)
    )
    number = (enemies.first + jnp.arange(len(enemies))).astype(jnp.uint32)
    gone = (dead >> number) & 1 == 1
    foes = Things(
        jnp.where(gone, _NOT_HERE, across(x) - 3 - at.left),
        down(y) - HIGH - at.top,
        picture,
        np.full(len(x), HIGH),
    )
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), boards, foes)


def _fixed(goal: UInt32[Array, ""], x: Array, body: Body, at: Camera) -> Things:
    """The goal's flag, given the word of its column and that column's x; and, where there are rings, one as a sign."""
    row = 31 - jax.lax.clz(goal).astype(jnp.int32)
    sign = jnp.where(body.rings > 0, 2, _NOT_HERE)
    return Things(
        jnp.stack([across(x) - 1 - at.left, sign]),
        jnp.stack([(row + 1) * HIGH - BOX[0] - at.top, jnp.int32(2)]),
        jnp.array([GOAL, RING]),
        np.array([BOX[0], HIGH]),
    )


def _player(body: Body, clock: Int[Array, ""], at: Camera) -> Things:
    """The player, which blinks after a hit and sinks a little into slopes."""
    turn = jnp.where(body.facing > 0, body.x, -body.x) >> STEP - 1
    pose = jnp.where(jnp.abs(body.vx) > PIXEL // 4, 1 + (turn & 3), 0)
    pose = jnp.where(body.ground, pose, 5)
    pose = jnp.where(body.curled, 6 + (jnp.where(body.charge > 0, clock >> 2, turn) & 1), pose)
    pose = jnp.where(body.status == LOST, 8, pose)
    sink = jnp.where(body.ground, jnp.abs(body.slope), 0)
    hidden = (body.mercy > 0) & (clock & 4 != 0)
    return Things(
        jnp.where(hidden, _NOT_HERE, across(body.x) - 5 - at.left)[None],
        (down(body.y) - 12 + sink - at.top)[None],
        (PLAYER + pose + jnp.where(body.facing > 0, 0, len(POSES)))[None],
        np.array([12]),
    )


def _over(atlas: Atlas, things: Things) -> Words:
    """The words of things on an empty screen; where boxes overlap, of the last."""
    row, word = jnp.arange(SIDE), jnp.arange(_WORDS)
    first = (things.picture * 4 + (things.x & 3)) * BOX[0] * (BOX[1] // 4)
    u = row[None] - things.y[:, None]
    inside: Bool[Array, "n h"] = (u >= 0) & (u < jnp.asarray(things.high)[:, None])
    down_it = jnp.where(inside, first[:, None] + u * (BOX[1] // 4), _NOT_HERE)
    v = word[None] - (things.x >> 2)[:, None]
    along = jnp.where((v >= 0) & (v < BOX[1] // 4), v, _NOT_HERE)
    index = jnp.zeros((SIDE, _WORDS), jnp.int32)
    for i in range(len(things.x)):
        here = down_it[i][:, None] + along[i][None]
        index = jnp.where(here >= 0, here, index)
    return jnp.asarray(atlas.things)[:, index]


def _laid(under: Words, over: Words) -> Words:
    """One picture over another, whose zero bytes are holes."""
    full = ((over & 0x7F * _BYTES) + 0x7F * _BYTES | over) >> 7 & _BYTES
    return (under & ~((full << 8) - full)) | over


def _interleaved(words: Words) -> UInt32[Array, "h cw"]:
    """Planes of one channel or three to words with the channels of a pixel side by side."""
    if words.shape[0] == 1:
        return words[0]
    r, g, b = words
    one, two, three, four = (jnp.uint32(0xFF << 8 * k) for k in range(4))
    mixed = [
        r & one | (g & one) << 8 | (b & one) << 16 | (r & two) << 16,
        (g & two) >> 8 | b & two | r & three | (g & three) << 8,
        (b & three) >> 16 | (r & four) >> 16 | (g & four) >> 8 | b & four,
    ]
    return jnp.stack(mixed, axis=-1).reshape(SIDE, -1)


def picture(
    levels: Levels,
    atlas: Atlas,
    task: PlatformerTask,
    body: Body,
    world: World,
    fallen: UInt32[Array, ""],
    clock: Int[Array, ""],
) -> UInt8[Array, "side side c"]:
    """What is around the player at a frame.

    Args:
      levels: the table; it knows the zone of each level.
      atlas: the pictures of all zones, of one channel or three.
      task: which level.
      body, world: the player and what it has changed.
      fallen: planks that are not there, a bit each.
      clock: frames played, by which enemies and platforms move.

    Returns:
      `[84, 84, channels]`, uint8.
    """
    at, zone = camera(task, body), jnp.asarray(levels.zones)[task.level]
    changes = Changes(world.smashed, fallen, world.pressed)
    lowest = (jnp.asarray(task.bottom) >> STEP) - 1

    def drawn(turn: Int[Array, ""]) -> UInt32[Array, "h cw"]:
        seen = stage(turn, lambda: raw(levels, task.level, at.left >> 2, _WORDS + 1))
        kinds = stage(turn, _kinds, seen, changes, world.taken, lowest)
        near = stage(turn, lambda: around(levels, task.level, body.x))
        mark = columns(raw(levels, task.level, jnp.asarray(task.goal) >> STEP, 1)[:, 0], changes).goal
        fixed = stage(turn, _fixed, mark, jnp.asarray(task.goal), body, at)
        moving = stage(turn, _moving, near, zone, body, world.dead, clock, at)
        things = jax.tree.map(lambda a, b: jnp.concatenate([a[:1], b, a[1:]]), fixed, moving)
        tiles = _moved(stage(turn, _tiles, atlas, zone, kinds, at), at.left & 3)
        behind = _moved(stage(turn, _backdrop, atlas, zone, at), at.left >> 2 & 3)
        layers = stage(turn, _over, atlas, things), stage(turn, _over, atlas, _player(body, clock, at))
        laid = stage(turn, lambda: _laid(_laid(_laid(behind, tiles), layers[0]), layers[1]))
        return stage(turn, _interleaved, laid)

    pixels = jax.lax.bitcast_convert_type(turns(drawn), jnp.uint8)
    return pixels.reshape(SIDE, SIDE, atlas.channels)
