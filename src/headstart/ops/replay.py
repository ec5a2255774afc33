"""Experience replay on the device: a ring of single steps in which no observation is kept twice.

Steps of N lanes lie one after another as they were played, `(t, lane 0) (t, lane 1) … (t+1, lane 0) …`, so that the step
after entry i in the same lane is entry i + N. Next observations, n-step returns and stacks of frames are found by index.

Where an episode ends: a window stops at a termination, with nothing to bootstrap from. It stops *before* a truncated
step, and bootstraps from the observation that step was taken on, because what came after it was shown outside the ring
(`final_obs`, docs/decisions/002); the truncated step itself is never drawn. That costs one step in an episode's length and
biases nothing. An entry whose window is not complete, or whose frames are overwritten, has priority 0.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt8

from headstart.ops import sum_tree
from headstart.ops.sum_tree import SumTree
from headstart.types import Box, Discrete, MultiDiscrete, Space, Transition

TERMINATED, TRUNCATED = 1, 2


class Replay(NamedTuple):
    """C entries. `end` is 0 where the episode goes on, else how it ended; entries never written look like ends.

    `peak` is the greatest priority ever given, which new entries get; `written` counts the entries ever written.
    """

    obs: PyTree
    action: Int[Array, " C"]
    reward: Float[Array, " C"]
    end: UInt8[Array, " C"]
    tree: SumTree
    peak: Float[Array, ""]
    written: Int[Array, ""]


@dataclass(frozen=True)
class Layout:
    """How blocks of `unroll` steps of `lanes` lanes lie in a ring of at most `capacity` entries, and how they are read:
    in windows of `n` steps, with `frames` observations to the stack.
    """

    capacity: int
    unroll: int
    lanes: int
    n: int = 1
    frames: int = 1

    @property
    def block(self) -> int:
        """Entries written at once."""
        return self.unroll * self.lanes

    @property
    def size(self) -> int:
        """Entries in use: whole blocks, so that none straddles the ring's edge."""
        return self.capacity // self.block * self.block

    def slot(self, entry: Int[Array, "*b"]) -> Int[Array, "*b"]:
        """Where entries, counted from the first ever written, lie in the ring; they may be as far as a ring before it."""
        return jax.lax.rem(entry + self.size, self.size)  # `%` is four times the code, for signs

    @property
    def least(self) -> int:
        """The smallest capacity in which a window can be complete when a block has just been written."""
        return (self.unroll + self.n + self.frames) * self.lanes + self.block


class Window(NamedTuple):
    """One entry as Q-learning reads it: R = r_t + γ r_{t+1} + …, what to discount v(next_obs) by (0 after a termination)."""

    obs: PyTree
    action: Int[Array, " b"]
    return_t: Float[Array, " b"]
    discount_t: Float[Array, " b"]
    next_obs: PyTree


@jax.custom_batching.custom_vmap
def lockstep(x: Array) -> Array:
    """`x`, which is the same in every run of a `vmap`: it stays one number there.

    Runs side by side write the same place of their rings and learn at the same time. With one place for all, a write is
    one slice in place and a loop is a loop; with a place each, they become a scatter and a select of the whole ring.
    """
    return x


@lockstep.def_vmap
def _(axis_size: int, in_batched: list[bool], x: Array) -> tuple[Array, bool]:
    del axis_size
    return (x[0] if in_batched[0] else x), False


def storage(space: Space, half: bool = False) -> Any:
    """The smallest dtype that keeps a leaf: a Box's own (float16 instead of float32 if `half`), bytes for choices."""
    match space:
        case Box(dtype=dtype):
            dtype = jnp.dtype(dtype)
            return jnp.float16 if half and jnp.issubdtype(dtype, jnp.floating) else dtype
        case Discrete(n):
            most = n - 1
        case _:
            most = max(space.nvec) - 1
    return jnp.uint8 if most < 256 else jnp.int32


def empty(spaces: PyTree, capacity: int, half: bool = False) -> Replay:
    """A ring of `capacity` entries for observations described by `spaces`."""

    def ring(space: Space) -> Array:
        match space:
            case Box(shape):
                inner = shape
            case Discrete():
                inner = ()
            case _:
                inner = (len(space.nvec),)
        return jnp.zeros((capacity, *inner), storage(space, half))

    return Replay(
        jax.tree.map(ring, spaces),
        jnp.zeros(capacity, jnp.int32),
        jnp.zeros(capacity),
        jnp.full(capacity, TERMINATED, jnp.uint8),
        sum_tree.empty(capacity),
        jnp.float32(1.0),
        jnp.int32(0),
    )


def push(replay: Replay, layout: Layout, steps: Transition) -> Replay:
    """Write a block of steps `[T, N, ...]` over the oldest, and let those be drawn whose windows it completes."""
    written = lockstep(replay.written)
    start = layout.slot(written)

    def write(ring: Array, block: Array) -> Array:
        flat = block.reshape(layout.block, *ring.shape[1:]).astype(ring.dtype)
        return jax.lax.dynamic_update_slice_in_dim(ring, flat, start, axis=0)

    end_t = jnp.where(steps.discount > 0, TRUNCATED, TERMINATED) * steps.last.astype(jnp.int32)
    end = write(replay.end, end_t)
    # The entries around the block: n steps before it, which it completes; its own; those whose older frames it overwrote.
    span = layout.block + (layout.n + layout.frames - 1) * layout.lanes
    entry = written - layout.n * layout.lanes + jnp.arange(span, dtype=jnp.int32)
    slot = layout.slot(entry)
    complete = (entry >= 0) & (entry < written + (layout.unroll - layout.n) * layout.lanes)
    priority = jnp.where(complete & (end[slot] != TRUNCATED), replay.peak, 0.0)
    return Replay(
        jax.tree.map(write, replay.obs, steps.obs),
        write(replay.action, steps.action),
        write(replay.reward, steps.reward),
        end,
        sum_tree.put(replay.tree, slot, priority),
        replay.peak,
        replay.written + layout.block,
    )


def filled(replay: Replay, layout: Layout) -> Int[Array, ""]:
    """How many entries hold a step."""
    return jnp.minimum(replay.written, layout.size)


def sample(
    replay: Replay, key: PRNGKeyArray, shape: tuple[int, int]
) -> tuple[Int[Array, "k b"], Float[Array, "k b"]]:
    """Draw k batches of b entries i with P(i) = p_i / Σ p, one from each b-th part of the sum; and P(i)."""
    whole = sum_tree.total(replay.tree)
    part = (jnp.arange(shape[1], dtype=jnp.float32)[None] + jr.uniform(key, shape)) / shape[1]
    index = sum_tree.find(replay.tree, (part * whole).reshape(-1)).reshape(shape)
    index = jnp.minimum(index, replay.end.size - 1)
    return index, sum_tree.get(replay.tree, index) / jnp.maximum(whole, 1e-30)


def importance(probability: Float[Array, " n"], count: Int[Array, ""], exponent: float) -> Float[Array, " n"]:
    """w_i = (count P(i))^-β / max_j w_j: what undoes, for β = 1, that entries are not drawn alike; 0 where P(i) = 0.

    Examples:
      >>> print(importance(jnp.array([0.1, 0.4, 0.0]), jnp.int32(10), 0.5))
      [1.  0.5 0. ]
    """
    drawn = probability > 0
    weight = jnp.where(drawn, jnp.where(drawn, probability, 1.0) * count.astype(jnp.float32), 1.0)
    weight = jnp.where(drawn, weight**-exponent, 0.0)
    return weight / jnp.maximum(weight.max(), 1e-30)


def reprioritise(replay: Replay, index: Int[Array, " n"], priority: Float[Array, " n"]) -> Replay:
    """Give drawn entries new priorities, of one drawn more than once the last; one that could not be drawn stays so."""
    priority = jnp.where(sum_tree.get(replay.tree, index) > 0, priority, 0.0)
    peak = jnp.maximum(replay.peak, priority.max())
    # of several writes to one place, accelerators let any win
    order = jnp.arange(index.size, dtype=jnp.int32)
    last = jnp.where(index[:, None] == index[None], order[None], 0).max(axis=1)
    return replay._replace(tree=sum_tree.put(replay.tree, index, priority[last]), peak=peak)


def n_step(
    reward_t: Float[Array, " n"], end_t: UInt8[Array, " n"], gamma: float
) -> tuple[Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
    """R, the discount of what follows, and after how many steps it follows; of one window of n steps.

        R = Σ_{k<m} γ^k r_{t+k},   γ^m v(o_{t+m}),   m = n or where the episode was cut before

    Examples:
      >>> one = jnp.ones(3)
      >>> for end in ([0, 0, 0], [0, 1, 0], [0, 0, 2]):
      ...     print(*n_step(one, jnp.array(end, jnp.uint8), 0.5))
      1.75 0.125 3
      1.5 0.0 2
      1.5 0.25 2
    """
    goes_on = (end_t == 0).astype(jnp.int32)
    reached = jnp.concatenate([jnp.ones(1, jnp.int32), jnp.cumprod(goes_on)[:-1]])
    counted = reached * (end_t != TRUNCATED).astype(jnp.int32)
    steps = counted.sum(dtype=jnp.int32)
    weight = gamma ** jnp.arange(reward_t.size, dtype=jnp.float32) * counted.astype(jnp.float32)
    terminated = jnp.any((reached > 0) & (end_t == TERMINATED))
    discount = jnp.where(terminated, 0.0, gamma ** steps.astype(jnp.float32))
    return (weight * reward_t).sum(), discount, steps


def windows(replay: Replay, layout: Layout, index: Int[Array, " b"], gamma: float) -> Window:
    """What drawn entries lead to; observations are float or whatever the ring keeps, stacked along their last axis."""
    ahead = layout.lanes * jnp.arange(layout.n, dtype=jnp.int32)
    slot = layout.slot(index[:, None] + ahead[None])
    return_t, discount_t, steps = jax.vmap(lambda r, e: n_step(r, e, gamma))(
        replay.reward[slot], replay.end[slot]
    )
    after = layout.slot(index + steps * layout.lanes)
    action = replay.action[index]
    return Window(look(replay, layout, index), action, return_t, discount_t, look(replay, layout, after))


def look(replay: Replay, layout: Layout, index: Int[Array, " b"]) -> PyTree:
    """The observations `[b, ...]` of entries, each with the frames before it in its episode (see `stack`)."""
    if layout.frames == 1:
        return jax.tree.map(lambda ring: ring[index], replay.obs)
    back = layout.lanes * jnp.arange(layout.frames, dtype=jnp.int32)
    ended = replay.end[layout.slot(index[:, None] - back[None, 1:])] > 0
    age = jnp.cumprod(1 - ended.astype(jnp.int32), axis=-1).sum(-1, dtype=jnp.int32)  # frames there are
    slot = layout.slot(index[:, None] - jnp.minimum(back[None], layout.lanes * age[:, None]))
    return jax.tree.map(lambda ring: jax.vmap(stack)(ring[slot]), replay.obs)


def stack(frames: Array) -> Array:
    """Frames of one leaf `[F, ..., c]`, newest first, as one observation `[..., F c]`, oldest first; a scalar's newest."""
    if frames.ndim == 1:
        return frames[0]
    return jnp.concatenate(list(frames[::-1]), axis=-1)


def stacked(space: Space, frames: int) -> Space:
    """The space of `stack`ed frames."""
    match space:
        case Box(shape=(*lead, last)):
            return Box((*lead, last * frames), space.low, space.high, space.dtype)
        case MultiDiscrete(nvec):
            return MultiDiscrete(nvec * frames)
        case _:
            return space
