"""Keeping XLA's compiler for CPUs from doing the same work many times.

It fuses each result of a program with all that leads to it, so that a program with many results computes what they
share once for each of them; the platformer's frame has fifty results. `stage` ends this where it is told to: a branch
of a conditional is compiled by itself, and its results are stored.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree


def stage(turn: Int[Array, ""], f: Callable[..., Any], *args: PyTree) -> Any:
    """f(*args), computed once and stored.

    `turn` is a number that is never negative, which the compiler cannot know: the turn of the loop this is in. It
    must not differ from lane to lane.
    """
    if jax.default_backend() != "cpu":
        return f(*args)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(f, *args))
    return jax.lax.cond(turn >= 0, f, lambda *_: nothing, *args)


def turns(f: Callable[[Int[Array, ""]], Any]) -> Any:
    """f(turn), for stages that are in no loop yet: a loop of two turns, the second of which does nothing."""
    if jax.default_backend() != "cpu":
        return f(jnp.int32(0))
    nothing = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(f, jax.ShapeDtypeStruct((), jnp.int32))
    )
    return jax.lax.fori_loop(0, 2, lambda i, out: jax.lax.cond(i == 0, lambda: f(i), lambda: out), nothing)
