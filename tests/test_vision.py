"""Convolutions in all formulations against a loop, their gradients against each other, and the networks made of them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.testing import assert_allclose

from headstart.nets.actor_critic import ActorCritic, NetworkConfig
from headstart.nets.torsos import Torso
from headstart.nets.vision import Conv, Filter, convolved, mixed, patched, pooled
from headstart.types import Box, Discrete, Spec

SIZES = [(8, 4, 20, 16), (4, 2, 10, 12), (3, 1, 5, 7), (3, 2, 8, 9), (5, 3, 12, 11)]
"""side, stride, and the image's height and width, which the filters need not fill"""


def _slow(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """One output after the other."""
    k, _, _, o = weight.shape
    u, v = ((n - k) // stride + 1 for n in x.shape[:2])
    out = np.zeros((u, v, o))
    for r in range(u):
        for c in range(v):
            window = x[r * stride : r * stride + k, c * stride : c * stride + k]
            out[r, c] = np.einsum("abi,abio->o", window, weight)
    return out


@pytest.mark.parametrize(("side", "stride", "h", "w"), SIZES)
def test_all_formulations_are_the_convolution(side: int, stride: int, h: int, w: int) -> None:
    dice = np.random.default_rng(side)
    x, weight = dice.normal(size=(h, w, 3)), dice.normal(size=(side, side, 3, 2))
    slow = _slow(x, weight, stride)
    given = jnp.asarray(x, jnp.float32), jnp.asarray(weight, jnp.float32)
    assert_allclose(patched(*given, stride), slow, atol=2e-4)
    assert_allclose(convolved(*given, stride), slow, atol=2e-4)
    assert_allclose(mixed(*given, stride), slow, atol=2e-4)


def test_their_gradients_agree_and_are_those_of_finite_differences() -> None:
    keys = jr.split(jr.key(0), 3)
    x, weight = jr.normal(keys[0], (9, 8, 2)), jr.normal(keys[1], (4, 4, 2, 3))
    aim = jr.normal(keys[2], (3, 3, 3))

    def loss(product: Any, x: jax.Array, weight: jax.Array) -> jax.Array:
        return (jnp.tanh(product(x, weight, 2)) * aim).sum()

    by_patches = jax.grad(loss, (1, 2))(patched, x, weight)
    for product in (convolved, mixed):
        for a, b in zip(by_patches, jax.grad(loss, (1, 2))(product, x, weight), strict=True):
            assert_allclose(a, b, atol=1e-5)
    seconds = [
        jax.jvp(lambda w, product=product: jax.grad(loss, 2)(product, x, w), (weight,), (weight,))[1]
        for product in (patched, mixed)
    ]
    assert_allclose(seconds[1], seconds[0], rtol=1e-4, atol=1e-4)  # which TRPO needs
    step = 1e-2
    for place in ((0, 0, 0, 0), (3, 1, 1, 2)):
        up, low = (loss(patched, x, weight.at[place].add(d)) for d in (step, -step))
        assert float(up - low) / (2 * step) == pytest.approx(float(by_patches[1][place]), abs=2e-2)


@pytest.mark.parametrize(("h", "w"), [(8, 6), (7, 9)])
def test_pooling_takes_the_largest_of_nine(h: int, w: int) -> None:
    x = np.random.default_rng(h).normal(size=(h, w, 2)).astype(np.float32)
    out = np.asarray(pooled(jnp.asarray(x)))
    assert out.shape == (-(-h // 2), -(-w // 2), 2)
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            assert_allclose(out[r, c], x[2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max((0, 1)))


def test_the_same_size_is_kept_by_a_border_of_zeros() -> None:
    one = Filter(jr.key(0), 3, 1, 2, 4, same=True)
    x = jr.normal(jr.key(1), (5, 6, 2))
    padded = np.pad(np.asarray(x), ((1, 1), (1, 1), (0, 0)))
    assert_allclose(one(x), _slow(padded, np.asarray(one.weight), 1), atol=1e-4)


@pytest.mark.parametrize(
    ("vision", "shape", "size", "weights"),
    [
        ("nature", (84, 84, 4), 7 * 7 * 64, 8 * 8 * 4 * 32 + 4 * 4 * 32 * 64 + 9 * 64 * 64 + 160),
        ("impala", (64, 64, 3), 8 * 8 * 32, 97_600),
        ("impala", (30, 40, 3), 4 * 7 * 32, 16 * 3 * 16 + 9 * 16 * 32 + 9 * 32 * 32 + 80),
    ],
)
def test_the_networks_are_as_large_as_in_the_papers(vision: Any, shape: Any, size: int, weights: int) -> None:
    conv = eqx.filter_eval_shape(Conv, jr.key(0), shape, vision)
    seen = eqx.filter_eval_shape(lambda c, x: c(x), conv, jax.ShapeDtypeStruct(shape, np.uint8))
    assert seen.shape == (conv.size,) == (size,)
    assert sum(leaf.size for leaf in jax.tree.leaves(conv)) == weights


@pytest.mark.parametrize("vision", ["nature", "impala"])
def test_every_weight_learns_and_the_other_backend_computes_the_same(
    vision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = Conv(jr.key(0), (64, 64, 1), vision)
    image = jr.randint(jr.key(1), (2, 64, 64, 1), 0, 256).astype(jnp.uint8)

    def loss(conv: Conv) -> jax.Array:
        return jnp.square(jax.vmap(conv)(image)).sum()

    results = []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda name=backend: name)
        results.append(jax.jit(lambda conv: jax.value_and_grad(loss)(conv))(conv))
    (one, by_patches), (two, by_convolution) = results
    assert_allclose(one, two, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(by_patches), jax.tree.leaves(by_convolution), strict=True):
        assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()))
        assert (np.abs(a).max(axis=tuple(range(a.ndim - 1))) > 0).mean() > 0.6, "most channels are alive"


def test_a_network_looks_at_an_image_as_its_config_says() -> None:
    spec = Spec(Box((64, 64, 3), 0.0, 255.0, np.uint8), Discrete(3), 10)
    sizes = {}
    for vision in ("nature", "impala"):
        config = NetworkConfig(torso=(5,), vision=vision, shared=True)
        network = eqx.filter_eval_shape(ActorCritic, jr.key(0), spec, config)
        sizes[vision] = network.torso.mlp.layers[0].weight.shape
    assert sizes == {"nature": (5, 4 * 4 * 64), "impala": (5, 8 * 8 * 32)}


def test_a_map_smaller_than_the_filters_is_read_entry_by_entry() -> None:
    """MiniGrid's 7 x 7 x 3, say, of which a filter would leave no pixel."""
    small = jnp.arange(147, dtype=jnp.uint8).reshape(7, 7, 3)
    torso = Torso(jr.key(0), Box((7, 7, 3), 0.0, 255.0, np.uint8), (), "relu")
    assert_allclose(torso(small), np.arange(147, dtype=np.float32) / 255.0, rtol=1e-6)
    for shape, size in (((15, 40, 3), 15 * 40 * 3), ((16, 40, 3), 1 * 7 * 32), ((2, 16, 16), 32)):
        assert Torso(jr.key(0), Box(shape), (), "relu").size == size


def test_a_picture_with_its_channels_first_is_the_same_picture() -> None:
    last, first = (Torso(jr.key(0), Box(shape), (), "relu") for shape in ((20, 24, 3), (3, 20, 24)))
    picture = jr.normal(jr.key(1), (20, 24, 3))
    features = last(picture)
    np.testing.assert_array_equal(features, first(jnp.moveaxis(picture, -1, 0)))
    assert float(jnp.abs(features).max()) > 0.1


def test_only_bytes_are_scaled() -> None:
    conv = Conv(jr.key(0), (16, 16, 1))
    image = jr.randint(jr.key(1), (16, 16, 1), 0, 256).astype(jnp.uint8)
    assert_allclose(conv(image.astype(jnp.float32) / 255.0), conv(image), rtol=1e-5)
