"""Networks for images `[H, W, C]`; unbatched, the caller vmaps.

    nature      conv 8x8/4 32 → conv 4x4/2 64 → conv 3x3 64                    (Mnih et al. 2015)
    impala      3 x [conv 3x3 → max-pool 3x3/2 → 2 x (x + conv 3x3 relu conv 3x3 relu x)]    channels 16, 32, 32
                                                        (Espeholt et al. 2018, arXiv:1802.01561, the larger of its two)

each convolution of *nature* followed by a ReLU, *impala* by one at its end. Images under 64 pixels go through smaller
filters. A filter is computed in one of three ways that give the same:

    convolved   by XLA's convolution                                                            on accelerators
    patched     s x s pixels put into one cell, the cells of a filter side by side, one product
    mixed       convolved to act, patched to learn                                                   on CPUs

and where each is the faster is measured in benchmarks/vision.py: XLA's convolution is fast on a CPU, but not its gradients
inside a loop, where an update's minibatches are.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

Vision = Literal["nature", "impala"]

LARGE = 64
"""pixels from which on an image is large"""
SMALLEST = 16
"""pixels of either side that the smaller filters need"""

_NATURE = ((8, 4, 32), (4, 2, 64), (3, 1, 64))  # of each filter its side, stride and channels
_SMALL = ((4, 2, 16), (3, 2, 32), (3, 1, 32))
_IMPALA = (16, 32, 32)


def convolved(
    x: Float[Array, "h w i"], weight: Float[Array, "k k i o"], stride: int = 1
) -> Float[Array, "u v o"]:
    """Σ_{a,b} x[s u + a, s v + b] W[a, b], by XLA's convolution."""
    return jax.lax.conv_general_dilated(
        x[None], weight, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


def patched(
    x: Float[Array, "h w i"], weight: Float[Array, "k k i o"], stride: int = 1
) -> Float[Array, "u v o"]:
    """The same as `convolved`, as one matrix product.

    With m = ⌈k/s⌉, blocks of s x s pixels become cells of s² i numbers, a filter covers m x m neighbouring cells, and a
    patch is these m² slices of the picture of cells side by side: m² copies in place of k².
    """
    k, _, i, o = weight.shape
    s, m = stride, -(-k // stride)
    u, v = ((n - k) // s + 1 for n in x.shape[:2])
    high, wide = u + m - 1, v + m - 1
    x = jnp.pad(x, ((0, max(high * s - x.shape[0], 0)), (0, max(wide * s - x.shape[1], 0)), (0, 0)))
    cells = x[: high * s, : wide * s]
    if s > 1:
        cells = cells.reshape(high, s, wide, s, i).transpose(0, 2, 1, 3, 4).reshape(high, wide, s * s * i)
    slices = [cells[a : a + u, b : b + v] for a in range(m) for b in range(m)]
    weight = jnp.pad(weight, ((0, m * s - k), (0, m * s - k), (0, 0), (0, 0)))
    weight = weight.reshape(m, s, m, s, i, o).transpose(0, 2, 1, 3, 4, 5).reshape(-1, o)
    return jnp.concatenate(slices, -1) @ weight


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def mixed(
    x: Float[Array, "h w i"], weight: Float[Array, "k k i o"], stride: int = 1
) -> Float[Array, "u v o"]:
    """The same as `convolved`, and where it is differentiated as `patched`, value and all.

    The rule is a forward one, so that the gradient for many images is one product and not a sum of each image's.
    """
    return convolved(x, weight, stride)


@mixed.defjvp
def _mixed_jvp(stride: int, at: tuple[Array, Array], move: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, weight), (dx, dweight) = at, move
    return patched(x, weight, stride), patched(dx, weight, stride) + patched(x, dweight, stride)


def formulation() -> Callable[..., Any]:
    """The fastest of the three on this backend."""
    return mixed if jax.default_backend() == "cpu" else convolved


def pooled(x: Float[Array, "h w c"]) -> Float[Array, "u v c"]:
    """The largest of every 3 x 3 pixels in steps of two, `[⌈h/2⌉, ⌈w/2⌉, c]`; a window begins at each even pixel.

    >>> import jax.numpy as jnp
    >>> print(pooled(jnp.arange(16.0).reshape(4, 4, 1))[..., 0])
    [[10. 11.]
     [14. 15.]]
    """
    for axis in (0, 1):
        n = x.shape[axis]
        x = jnp.moveaxis(x, axis, 0)
        x = jnp.pad(x, ((0, 2 + n % 2), (0, 0), (0, 0)), constant_values=-jnp.inf)
        pairs = x.reshape(-1, 2, *x.shape[1:])
        x = jnp.maximum(jnp.maximum(pairs[:-1, 0], pairs[:-1, 1]), pairs[1:, 0])
        x = jnp.moveaxis(x, 0, axis)
    return x


class Filter(eqx.Module):
    """y = W * x + b with an orthogonal W `[side, side, i, o]` of the given gain and b = 0; `same` keeps the image's size."""

    weight: Float[Array, "k k i o"]
    bias: Float[Array, " o"]
    stride: int = eqx.field(static=True)
    same: bool = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        side: int,
        stride: int,
        i: int,
        o: int,
        same: bool = False,
        gain: float = math.sqrt(2.0),
    ) -> None:
        flat = jax.nn.initializers.orthogonal(gain)(key, (side * side * i, o), jnp.float32)
        self.weight = flat.reshape(side, side, i, o)
        self.bias = jnp.zeros(o)
        self.stride, self.same = stride, same

    def __call__(self, x: Float[Array, "h w i"]) -> Float[Array, "u v o"]:
        if self.same:
            edge = self.weight.shape[0] // 2
            x = jnp.pad(x, ((edge, edge), (edge, edge), (0, 0)))
        return formulation()(x, self.weight, self.stride) + self.bias[None, None]


class Plain(eqx.Module):
    """Filters, each followed by a ReLU: those of *nature*, or smaller ones for small images."""

    filters: tuple[Filter, ...]
    size: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> None:
        h, w, i = shape
        filters: list[Filter] = []
        layout = _NATURE if min(h, w) >= LARGE else _SMALL
        for k, (side, stride, o) in zip(jr.split(key, len(layout)), layout, strict=True):
            filters.append(Filter(k, side, stride, i, o))
            h, w, i = (h - side) // stride + 1, (w - side) // stride + 1, o
        self.filters = tuple(filters)
        self.size = h * w * i

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "u v f"]:
        for one in self.filters:
            x = jax.nn.relu(one(x))
        return x


class Impala(eqx.Module):
    """Three sections of a filter, a max-pool and two residual blocks, then a ReLU."""

    sections: tuple[tuple[Filter, ...], ...]
    size: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> None:
        h, w, i = shape
        sections: list[tuple[Filter, ...]] = []
        for k, o in zip(jr.split(key, len(_IMPALA)), _IMPALA, strict=True):
            keys = jr.split(k, 5)
            filters = [Filter(keys[j], 3, 1, o if j else i, o, same=True, gain=1.0) for j in range(5)]
            sections.append(tuple(filters))
            h, w, i = -(-h // 2), -(-w // 2), o
        self.sections = tuple(sections)
        self.size = h * w * i

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "u v f"]:
        for first, *blocks in self.sections:
            x = pooled(first(x))
            for one, two in zip(blocks[::2], blocks[1::2], strict=True):
                x = x + two(jax.nn.relu(one(jax.nn.relu(x))))
        return jax.nn.relu(x)


class Conv(eqx.Module):
    """An image to a vector of features: through `Impala`, if that is asked for and the image is large, else through `Plain`.

    Bytes are scaled to [0, 1]; all else is taken as it is.
    """

    stack: Plain | Impala
    size: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, shape: tuple[int, ...], vision: Vision = "nature") -> None:
        large = min(shape[:2]) >= LARGE
        self.stack = Impala(key, shape) if vision == "impala" and large else Plain(key, shape)
        self.size = self.stack.size

    def __call__(self, image: Shaped[Array, "h w c"]) -> Float[Array, " f"]:
        scale = 1.0 / 255.0 if image.dtype == jnp.uint8 else 1.0
        return self.stack(image.astype(jnp.float32) * scale).reshape(-1)
