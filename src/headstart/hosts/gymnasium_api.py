"""Gymnasium's side of the border: making an environment, its spaces, and whether it keeps to the interface.

Runs in workers, so JAX is not imported.
"""

import contextlib
import importlib
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from headstart.errors import UsageError

Leaves = tuple[tuple[tuple[int, ...], str], ...]
"""Shape and dtype of each leaf of an observation."""

Kinds = tuple[tuple[tuple[int, ...], str, tuple[int, ...]], ...]
"""Shape and dtype of each leaf of a space, and how many choices there are in each of its entries: () in a box."""


class BrokenEnvironmentError(Exception):
    """An environment does not keep to Gymnasium's interface; the text says what and where."""


def make(name: str, kwargs: Mapping[str, Any]) -> Any:
    """An environment by `module:function` (called with `kwargs`) or by its registered id.

    Raises:
      UsageError: if there is no such module, function or id, or the call is refused.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a module beside which the command is run
    module, colon, attribute = name.partition(":")
    try:
        if colon and (function := getattr(importlib.import_module(module), attribute, None)) is not None:
            env = function(**kwargs)
        else:
            env = gymnasium.make(name, disable_env_checker=True, **kwargs)
    except ModuleNotFoundError as error:
        raise UsageError(f"environment {name} cannot be made: {error}.") from error
    except gymnasium.error.Error as error:
        what = " ".join(str(error).split())
        raise UsageError(
            f"environment {name} cannot be made: {what}; give a registered id or module:function."
        ) from error
    except TypeError as error:
        given = ", ".join(kwargs) or "no arguments"
        raise UsageError(f"environment {name} cannot be made with {given}: {error}.") from error
    for method in ("reset", "step", "observation_space", "action_space"):
        if getattr(env, method, None) is None:
            raise UsageError(
                f"{name} makes {type(env).__name__}, which is no environment: it has no {method}."
            )
    return env


def leaves(space: Any) -> list[Any]:
    """The plain spaces in a compound one, in the order of `jax.tree.leaves`.

    Raises:
      UsageError: for spaces of no fixed size.
    """
    match space:
        case spaces.Dict():
            return [leaf for key in sorted(space.spaces) for leaf in leaves(space.spaces[key])]
        case spaces.Tuple():
            return [leaf for child in space.spaces for leaf in leaves(child)]
        case spaces.Box() | spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
            return [space]
        case _:
            raise UsageError(
                f"no network fits a space of kind {type(space).__name__}; wrap the environment so that it shows and takes "
                "Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of these."
            )


def layout(space: Any) -> Leaves:
    """Shape and dtype in which each leaf is kept: choices as int32, boxes as they are, doubles as floats."""
    return tuple(_kept(leaf) for leaf in leaves(space))


def _kept(space: Any) -> tuple[tuple[int, ...], str]:
    match space:
        case spaces.Box():
            narrow = {"float64": "float32", "int64": "int32", "uint64": "uint32"}
            return tuple(space.shape), narrow.get(space.dtype.name, space.dtype.name)
        case spaces.Discrete():
            return (), "int32"
        case _:
            return tuple(space.shape), "int32"


def kinds(space: Any) -> Kinds:
    """What a network is built by: shape, dtype and choices of each leaf. The bounds of boxes are no part of it."""
    return tuple((*_kept(leaf), _choices(leaf)) for leaf in leaves(space))


def _choices(space: Any) -> tuple[int, ...]:
    match space:
        case spaces.Discrete():
            return (int(space.n),)
        case spaces.MultiDiscrete():
            return tuple(int(n) for n in space.nvec.flat)
        case spaces.MultiBinary():
            return (2,) * math.prod(space.shape)
        case _:
            return ()


def values(space: Any, obs: Any, where: str) -> list[np.ndarray]:
    """An observation's leaves.

    Raises:
      BrokenEnvironmentError: if it is not of the space.
    """
    match space:
        case spaces.Dict():
            if not isinstance(obs, Mapping) or set(obs) != set(space.spaces):
                raise BrokenEnvironmentError(f"{where} is {_seen(obs)}, not a dict of {sorted(space.spaces)}")
            return [
                leaf
                for key in sorted(space.spaces)
                for leaf in values(space.spaces[key], obs[key], f"{where}[{key!r}]")
            ]
        case spaces.Tuple():
            if not isinstance(obs, tuple | list) or len(obs) != len(space.spaces):
                raise BrokenEnvironmentError(f"{where} is {_seen(obs)}, not a tuple of {len(space.spaces)}")
            parts = zip(space.spaces, obs, strict=True)
            return [
                leaf for i, (child, part) in enumerate(parts) for leaf in values(child, part, f"{where}[{i}]")
            ]
        case _:
            return [_leaf(space, obs, where)]


def _leaf(space: Any, obs: Any, where: str) -> np.ndarray:
    shape, dtype = _kept(space)
    with contextlib.suppress(ValueError, TypeError):
        array = np.asarray(obs)
        if array.shape == shape and np.can_cast(array.dtype, np.dtype(dtype), "same_kind"):
            start = int(space.start) if isinstance(space, spaces.Discrete) else 0
            return array - start if start else array
        if array.shape == shape and isinstance(
            space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
        ):
            return array.astype(np.int32)
    raise BrokenEnvironmentError(f"{where} is {_seen(obs)}, not of its space {space}")


def _seen(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_reset(answer: Any) -> Any:
    """The observation of what `reset` returned.

    Raises:
      BrokenEnvironmentError: if it did not return `(observation, info)`.
    """
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise BrokenEnvironmentError(
            f"reset() returned {_seen(answer)}; Gymnasium's returns (observation, info)"
        )
    return answer[0]


def check_step(answer: Any) -> tuple[Any, float, bool, bool]:
    """Observation, reward, terminated, truncated of what `step` returned.

    Raises:
      BrokenEnvironmentError: if it did not return these and `info`.
    """
    if not isinstance(answer, tuple) or len(answer) != 5:
        what = f"{len(answer)} values" if isinstance(answer, tuple) else _seen(answer)
        old = " (the old gym's)" if isinstance(answer, tuple) and len(answer) == 4 else ""
        raise BrokenEnvironmentError(
            f"step() returned {what}{old}; Gymnasium's returns (observation, reward, terminated, truncated, info)"
        )
    obs, reward, terminated, truncated, _ = answer
    try:
        amount = float(reward)
    except (TypeError, ValueError):
        raise BrokenEnvironmentError(f"step()'s reward is {_seen(reward)}, not a number") from None
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, bool | np.bool_):
            raise BrokenEnvironmentError(f"step()'s {name} is {_seen(flag)}, not a bool")
    return obs, amount, bool(terminated), bool(truncated)


def to_action(space: Any, action: np.ndarray | np.generic) -> Any:
    """An action as the environment's space has it."""
    match space:
        case spaces.Discrete():
            return int(action) + int(space.start)
        case spaces.Box():
            return np.clip(action.astype(space.dtype), space.low, space.high)
        case _:
            return action.astype(space.dtype)
