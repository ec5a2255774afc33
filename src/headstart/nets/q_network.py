"""The network of the DQN family: action values, or their distributions, plain or noisy, dueling or not.

    noisy       y = (μ_w + σ_w ⊙ f(ε_i) f(ε_o)ᵀ) x + μ_b + σ_b ⊙ f(ε_o)     f(ε) = sgn(ε) √|ε|
                (Fortunato et al. 2018, arXiv:1706.10295, factorised)
    dueling     q(o, a) = v(o) + A(o, a) - mean_b A(o, b)
                (Wang et al. 2016, arXiv:1511.06581; atom by atom, as in Rainbow)

The last hidden layer and the heads are noisy, as in the paper, whose convolutions are plain: layers before the last
stand where its convolutions do. Value and advantages share the last hidden layer and are one product.
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.nets.torsos import Torso
from headstart.nets.vision import Vision


@dataclass(frozen=True)
class QNetworkConfig:
    """The shape of a Q-network."""

    hidden: tuple[int, ...] = (512, 512)
    """units of each dense layer between the observation (or the convolutions, for images) and the heads"""
    vision: Vision = "nature"
    """what images of 64 pixels and more go through before the dense layers"""
    sigma: float = 0.5
    """σ_0: a noisy layer of p inputs begins with σ = σ_0 / √p"""


class Noise(eqx.Module):
    """f(ε) of one noisy layer's inputs and outputs."""

    input: Float[Array, " i"]
    output: Float[Array, " o"]


class Linear(eqx.Module):
    """y = W x + b; weights are kept `[inputs, outputs]`, the faster way round for a small batch. Noisy where σ is kept."""

    weight: Float[Array, "i o"]
    bias: Float[Array, " o"]
    sigma_weight: Float[Array, "i o"] | None
    sigma_bias: Float[Array, " o"] | None

    def __init__(self, key: PRNGKeyArray, i: int, o: int, sigma: float | None = None) -> None:
        k_weight, k_bias = jr.split(key)
        bound = 1.0 / math.sqrt(max(i, 1))
        self.weight = jr.uniform(k_weight, (i, o), minval=-bound, maxval=bound)
        self.bias = jr.uniform(k_bias, (o,), minval=-bound, maxval=bound)
        self.sigma_weight = None if sigma is None else jnp.full((i, o), sigma * bound)
        self.sigma_bias = None if sigma is None else jnp.full(o, sigma * bound)

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        """By the means μ alone."""
        return x @ self.weight + self.bias

    def settle(self, noise: Noise | None) -> "Linear":
        """The plain layer that this one is under some noise: what a whole batch is passed through."""
        if self.sigma_weight is None or self.sigma_bias is None or noise is None:
            return self
        weight = self.weight + self.sigma_weight * (noise.input[:, None] * noise.output[None, :])
        bias = self.bias + self.sigma_bias * noise.output
        return eqx.tree_at(
            lambda layer: (layer.weight, layer.bias, layer.sigma_weight, layer.sigma_bias),
            self,
            (weight, bias, None, None),
        )

    def noisy(self, x: Float[Array, " i"], noise: Noise | None) -> Float[Array, " o"]:
        """The same as `settle(noise)(x)` in two products, without the noisy weights: for noise of each x's own."""
        y = self(x)
        if self.sigma_weight is None or self.sigma_bias is None or noise is None:
            return y
        return y + noise.output * ((x * noise.input) @ self.sigma_weight + self.sigma_bias)


Noises = tuple[Noise | None, ...]


class QNetwork(eqx.Module):
    """logits `[actions, atoms]` of an observation; of one atom, the values themselves. Methods are unbatched."""

    encoder: Torso
    layers: tuple[Linear, ...]
    actions: int = eqx.field(static=True)
    dueling: bool = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        spaces: PyTree,
        actions: int,
        config: QNetworkConfig,
        atoms: int = 51,
        dueling: bool = True,
        noisy: bool = True,
    ) -> None:
        k_encoder, *keys = jr.split(key, len(config.hidden) + 2)
        self.encoder = Torso(k_encoder, spaces, (), "relu", config.vision)
        sizes = (self.encoder.size, *config.hidden, (actions + dueling) * atoms)
        plain = len(config.hidden) - 1
        self.layers = tuple(
            Linear(k, i, o, config.sigma if noisy and place >= plain else None)
            for place, (k, i, o) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True))
        )
        self.actions = actions
        self.dueling = dueling

    def draw(self, key: PRNGKeyArray) -> Noises:
        """Fresh noise for every layer; None for plain ones."""
        sizes = [0 if layer.sigma_weight is None else sum(layer.weight.shape) for layer in self.layers]
        eps = jr.normal(key, (sum(sizes),))  # all at once: a call a layer takes longer to compile
        eps = jnp.sign(eps) * jnp.sqrt(jnp.abs(eps))
        drawn: list[Noise | None] = []
        for layer, size in zip(self.layers, sizes, strict=True):
            i = layer.weight.shape[0]
            drawn.append(Noise(eps[:i], eps[i:size]) if size else None)
            eps = eps[size:]
        return tuple(drawn)

    def settle(self, noises: Noises) -> "QNetwork":
        """The plain network that this one is under some noise."""
        layers = tuple(layer.settle(noise) for layer, noise in zip(self.layers, noises, strict=True))
        return eqx.tree_at(lambda network: network.layers, self, layers)

    def __call__(self, obs: PyTree, noises: Noises | None = None) -> Float[Array, "a z"]:
        """Logits under noise of this observation's own; without noise, by the means."""
        x = self.encoder(obs)
        for place, layer in enumerate(self.layers):
            x = layer(x) if noises is None else layer.noisy(x, noises[place])
            x = jax.nn.relu(x) if place < len(self.layers) - 1 else x
        heads = x.reshape(self.actions + self.dueling, -1)
        if not self.dueling:
            return heads
        value, advantage = heads[:1], heads[1:]
        return value + advantage - advantage.mean(0, keepdims=True)
