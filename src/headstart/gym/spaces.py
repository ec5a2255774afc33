"""Headstart's spaces and observations as Gymnasium's."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jaxtyping import Array, PyTree

from headstart.types import Box, Discrete, MultiDiscrete, Spec

_NOTHING = spaces.Discrete(1)


def space_of(tree: PyTree) -> spaces.Space[Any]:
    """The Gymnasium space of a pytree of headstart's spaces.

    Bounds are finite, as Gymnasium's checker asks: infinite ones become the dtype's largest number.
    """
    match tree:
        case Discrete(n):
            return spaces.Discrete(n)
        case MultiDiscrete(nvec):
            return spaces.MultiDiscrete(list(nvec))
        case Box(shape, low, high, dtype):
            kind = np.dtype(dtype)
            if np.issubdtype(kind, np.floating):
                limits = np.finfo(kind)
                low, high = max(low, float(limits.min)), min(high, float(limits.max))
            return spaces.Box(low, high, shape, kind.type)
        case _:
            return _compound(tree)


def _compound(tree: PyTree) -> spaces.Space[Any]:
    inner = {name: space_of(child) for name, child in _children(tree).items() if holds_something(child)}
    if not inner:
        return _NOTHING
    return spaces.Tuple(list(inner.values())) if _is_plain_tuple(tree) else spaces.Dict(inner)


def to_gymnasium(tree: PyTree, values: PyTree) -> Any:
    """An observation of the spaces in `tree`, with any leading axes, as one of `space_of(tree)`; copied."""
    match tree:
        case Discrete() | MultiDiscrete():
            return np.array(values, np.int64)[()]
        case Box():
            return np.array(values, tree.dtype)
        case _:
            return _compound_values(tree, values)


def _compound_values(tree: PyTree, values: PyTree) -> Any:
    parts = _children(values)
    inner = {
        name: to_gymnasium(child, parts[name])
        for name, child in _children(tree).items()
        if holds_something(child)
    }
    if not inner:
        return np.int64(0)
    return tuple(inner.values()) if _is_plain_tuple(tree) else inner


def to_action(spec: Spec, action: Any) -> Array:
    """A Gymnasium action, or a batch of them, as the environment takes it."""
    kind = spec.action.dtype if isinstance(spec.action, Box) else jnp.int32
    return jnp.asarray(np.asarray(action), kind)


def _children(tree: PyTree) -> dict[Any, PyTree]:
    if isinstance(tree, dict):
        return cast(dict[Any, PyTree], tree)
    return tree._asdict() if not _is_plain_tuple(tree) else dict(enumerate(tree))


def _is_plain_tuple(tree: PyTree) -> bool:
    return type(tree) in (tuple, list)


def holds_something(tree: PyTree) -> bool:
    """Whether there is a space in the tree at all."""
    return bool(jax.tree.leaves(tree))
