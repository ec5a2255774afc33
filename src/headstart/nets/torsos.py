"""Observations (pytrees described by spaces) into feature vectors; unbatched, the caller vmaps."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.nets.vision import Conv, Vision
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


def _is_image(space: Space) -> bool:
    return isinstance(space, Box) and len(space.shape) == 3


def flatten(spaces: tuple[Space, ...], obs: PyTree) -> Float[Array, " f"]:
    """Leaves described by `spaces`, in the pytree's order, as one float vector; of length 0 where there is nothing."""
    parts = [_encode(space, x) for space, x in zip(spaces, jax.tree.leaves(obs), strict=True)]
    return jnp.concatenate([jnp.zeros(0), *parts])


def flat_size(spaces: tuple[Space, ...]) -> int:
    """The length of `flatten(spaces, obs)`."""
    return sum(map(_space_size, spaces))


class Torso(eqx.Module):
    """Any observation to features: images through `Conv`, everything else flattened, then an `MLP` over the whole."""

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
        images = [leaf for leaf in leaves if _is_image(leaf)]
        self.convs = tuple(
            Conv(k, leaf.shape, vision) for k, leaf in zip(jr.split(k_conv, len(images)), images, strict=True)
        )
        flat = sum(_space_size(leaf) for leaf in leaves if not _is_image(leaf))
        entering = flat + sum(conv.size for conv in self.convs)
        self.mlp = MLP(k_mlp, entering, widths, activation)
        self.spaces = tuple(leaves)
        self.size = widths[-1] if widths else entering

    def __call__(self, obs: PyTree) -> Float[Array, " f"]:
        leaves = list(zip(self.spaces, jax.tree.leaves(obs), strict=True))
        convs = iter(self.convs)
        parts = [next(convs)(x) if _is_image(space) else _encode(space, x) for space, x in leaves]
        return self.mlp(jnp.concatenate([jnp.zeros(0), *parts]))
