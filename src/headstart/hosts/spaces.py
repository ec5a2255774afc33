"""Gymnasium's spaces as headstart's, where a network fits them."""

from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import PyTree

from headstart.errors import UsageError
from headstart.hosts import gymnasium_api as api
from headstart.types import Box, Discrete, MultiDiscrete, Space


def of_observation(space: Any) -> PyTree:
    """The pytree of spaces that an observation is: dicts and tuples of leaves.

    Raises:
      UsageError: for spaces of no fixed size.
    """
    match space:
        case spaces.Dict():
            return {key: of_observation(child) for key, child in sorted(space.spaces.items())}
        case spaces.Tuple():
            return tuple(of_observation(child) for child in space.spaces)
        case _:
            (leaf,) = api.leaves(space)
            return _leaf(leaf, "observation")


def of_action(space: Any) -> Space:
    """The one space an action is of.

    Raises:
      UsageError: for compound ones.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        raise UsageError(
            f"no agent takes actions of a {type(space).__name__} space; wrap the environment so that it has one Discrete, "
            "MultiDiscrete, MultiBinary or Box."
        )
    (leaf,) = api.leaves(space)
    return _leaf(leaf, "action")


def _leaf(space: Any, what: str) -> Space:
    match space:
        case spaces.Discrete():
            return Discrete(int(space.n))
        case spaces.MultiDiscrete() if space.nvec.ndim == 1 and not np.any(space.start):
            return MultiDiscrete(tuple(int(n) for n in space.nvec))
        case spaces.MultiBinary() if len(space.shape) == 1:
            return MultiDiscrete((2,) * int(space.shape[0]))
        case spaces.Box():
            shape, dtype = api.layout(space)[0]
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            low, high = float(np.min(low, initial=np.inf)), float(np.max(high, initial=-np.inf))
            return Box(shape, low, high, np.dtype(dtype).type)
        case _:
            raise UsageError(
                f"no network fits the {what} space {space}; flatten it to a vector that begins at 0."
            )
