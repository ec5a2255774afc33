"""A pytree of arrays as one array of words: a compiled program pays for each array it is given or gives.

For a single lane that is more than the game itself costs; forty arrays take fifty microseconds.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree, UInt32


class Packing(NamedTuple):
    """How a tree lies in words, one after another; hashable, so that it may be a compiled program's static argument."""

    tree: Any
    """its structure"""
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @classmethod
    def of(cls, like: PyTree) -> "Packing":
        """The packing of trees like this one, whose numbers have at most 32 bits."""
        leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: like))
        return cls(tree, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))

    def pack(self, tree: PyTree) -> UInt32[Array, " words"]:
        """The tree's words."""
        return jnp.concatenate([jnp.zeros(0, jnp.uint32), *(_words(leaf) for leaf in jax.tree.leaves(tree))])

    def unpack(self, words: UInt32[Array, " words"]) -> PyTree:
        """The tree again."""
        leaves, start = list[Array](), 0
        for leaf in self.leaves:
            part = words[start : start + leaf.size].reshape(leaf.shape)
            leaves.append(_numbers(part, leaf.dtype))
            start += leaf.size
        return self.tree.unflatten(leaves)


def _unsigned(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.dtype(f"uint{8 * dtype.itemsize}")


def _words(leaf: ArrayLike) -> UInt32[Array, " words"]:
    x = jnp.asarray(leaf)
    if x.dtype != bool:
        x = jax.lax.bitcast_convert_type(x, _unsigned(x.dtype))
    return x.astype(jnp.uint32).reshape(-1)


def _numbers(words: Array, dtype: jnp.dtype) -> Array:
    if jnp.issubdtype(dtype, jnp.bool_):
        return words != 0
    return jax.lax.bitcast_convert_type(words.astype(_unsigned(dtype)), dtype)


__all__ = ["Packing"]
