"""Observations (pytrees described by spaces) into feature vectors; unbatched, the caller vmaps."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.nets.vision import SMALLEST, Conv, Vision
from headstart.types import Box, Discrete, MultiDiscrete, Space

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


class Dense(eqx.Module):
    """y = W x + b with an orthogonal W of the given gain and b = 0 (Saxe et al. 2014)."""

    weight: Float[Array, "o i"]
    bias: Float[Array, " o"]

    def __init__(self, key: PRNGKeyArray, i: int, o: int, gain: float = math.sqrt(2.0)) -> None:
        self.weight = jax.nn.initializers.orthogonal(gain)(key, (o, i), jnp.float32)
        self.bias = jnp.zeros(o)

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        return x @ self.weight.T + self.bias  # so that a batch of rows stays one, with no transposed copies


class MLP(eqx.Module):
    """Dense layers, each followed by the activation; with no widths, the identity."""

    layers: tuple[Dense, ...]
    activation: str = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, i: int, widths: tuple[int, ...], activation: str) -> None:
        keys = jr.split(key, max(len(widths), 1))
        sizes = zip((i, *widths), widths, strict=False)
        self.layers = tuple(Dense(k, a, b) for k, (a, b) in zip(keys, sizes, strict=False))
        self.activation = activation

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        for layer in self.layers:
            x = ACTIVATIONS[self.activation](layer(x))
        return x


def _space_size(space: Space) -> int:
    match space:
        case Discrete(n):
            return n
        case MultiDiscrete(nvec):
            return sum(nvec)
        case Box(shape):
            return math.prod(shape)


def _encode(space: Space, x: Array) -> Float[Array, " f"]:
    """One leaf as a flat float vector: choices one-hot, bytes scaled to [0, 1], the rest as it is."""
    match space:
        case Discrete(n):
            return jax.nn.one_hot(x.astype(jnp.int32), n)
        case MultiDiscrete(nvec):
            return jnp.concatenate([jax.nn.one_hot(x[d], n) for d, n in enumerate(nvec)])
        case Box(dtype=dtype):
            flat = x.reshape(-1).astype(jnp.float32)
            return flat / 255.0 if dtype == jnp.uint8 else flat


def _picture(space: Space) -> tuple[int, ...] | None:
    """The shape `[H, W, C]` of a leaf that filters read, None of any other: of a small map each entry is a feature.

    A third axis is taken for channels, and the first one where only the other two are long enough for a picture.

    Examples:
      >>> [_picture(Box(shape)) for shape in ((84, 84, 4), (3, 84, 96), (7, 7, 3))]
      [(84, 84, 4), (84, 96, 3), None]
    """
    if not isinstance(space, Box) or len(space.shape) != 3:
        return None
    a, b, c = space.shape
    return next((shape for shape in ((a, b, c), (b, c, a)) if min(shape[:2]) >= SMALLEST), None)


def flatten(spaces: tuple[Space, ...], obs: PyTree) -> Float[Array, " f"]:
    """Leaves described by `spaces`, in the pytree's order, as one float vector; of length 0 where there is nothing."""
    parts = [_encode(space, x) for space, x in zip(spaces, jax.tree.leaves(obs), strict=True)]
    return jnp.concatenate([jnp.zeros(0), *parts])


def flat_size(spaces: tuple[Space, ...]) -> int:
    """The length of `flatten(spaces, obs)`."""
    return sum(map(_space_size, spaces))


class Torso(eqx.Module):
    """Any observation to features: pictures (see `_picture`) through `Conv`, everything else flattened, then an `MLP` over
    the whole.
    """

    convs: tuple[Conv, ...]
    mlp: MLP
    spaces: tuple[Space, ...] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        spaces: PyTree,
        widths: tuple[int, ...],
        activation: str,
        vision: Vision = "nature",
    ) -> None:
        k_conv, k_mlp = jr.split(key)
        leaves = jax.tree.leaves(spaces)
        shapes = [shape for leaf in leaves if (shape := _picture(leaf))]
        self.convs = tuple(
            Conv(k, shape, vision) for k, shape in zip(jr.split(k_conv, len(shapes)), shapes, strict=True)
        )
        flat = sum(_space_size(leaf) for leaf in leaves if not _picture(leaf))
        entering = flat + sum(conv.size for conv in self.convs)
        self.mlp = MLP(k_mlp, entering, widths, activation)
        self.spaces = tuple(leaves)
        self.size = widths[-1] if widths else entering

    def __call__(self, obs: PyTree) -> Float[Array, " f"]:
        convs, parts = iter(self.convs), [jnp.zeros(0)]
        for space, x in zip(self.spaces, jax.tree.leaves(obs), strict=True):
            shape = _picture(space)
            if shape is None:
                parts.append(_encode(space, x))
            else:
                parts.append(next(convs)(x if x.shape == shape else jnp.moveaxis(x, 0, -1)))
        return self.mlp(jnp.concatenate(parts))
