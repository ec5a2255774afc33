"""Policies' distributions over actions. The last axis is the action's; any axes before it are kept."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

_LOG_2PI = 1.8378770664093453


class Categorical(NamedTuple):
    """One choice with unnormalised log-probabilities `[..., n]`."""

    logits: Float[Array, "*b n"]

    def sample(self, key: PRNGKeyArray) -> Int[Array, "*b"]:
        """Inverse-CDF sampling: one uniform number a choice, where Gumbel noise needs n."""
        cdf = jnp.cumsum(jax.nn.softmax(self.logits), axis=-1)
        u = jr.uniform(key, self.logits.shape[:-1])[..., None]
        return jnp.sum(u >= cdf[..., :-1], axis=-1, dtype=jnp.int32)

    def mode(self) -> Int[Array, "*b"]:
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def log_prob(self, action: Int[Array, "*b"]) -> Float[Array, "*b"]:
        log_p = jax.nn.log_softmax(self.logits)
        chosen = jax.nn.one_hot(
            action, self.logits.shape[-1]
        )  # a gather's gradient is a slow scatter on a CPU
        return jnp.sum(log_p * chosen, axis=-1)

    def entropy(self) -> Float[Array, "*b"]:
        log_p = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)

    def kl(self, other: "Categorical") -> Float[Array, "*b"]:
        """KL(self || other)."""
        log_p, log_q = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(other.logits)
        return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


class MultiCategorical(NamedTuple):
    """Independent choices, one `Categorical` each; actions are `[..., D]`."""

    parts: tuple[Categorical, ...]

    def sample(self, key: PRNGKeyArray) -> Int[Array, "*b d"]:
        keys = jr.split(key, len(self.parts))
        return jnp.stack([p.sample(k) for p, k in zip(self.parts, keys, strict=True)], axis=-1)

    def mode(self) -> Int[Array, "*b d"]:
        return jnp.stack([p.mode() for p in self.parts], axis=-1)

    def log_prob(self, action: Int[Array, "*b d"]) -> Float[Array, "*b"]:
        return sum((p.log_prob(action[..., d]) for d, p in enumerate(self.parts)), start=jnp.float32(0.0))

    def entropy(self) -> Float[Array, "*b"]:
        return sum((p.entropy() for p in self.parts), start=jnp.float32(0.0))

    def kl(self, other: "MultiCategorical") -> Float[Array, "*b"]:
        return sum((p.kl(q) for p, q in zip(self.parts, other.parts, strict=True)), start=jnp.float32(0.0))


class DiagNormal(NamedTuple):
    """A Gaussian with diagonal covariance over actions `[..., D]`; any trailing action shape is flattened to D by nets."""

    mean: Float[Array, "*b d"]
    log_std: Float[Array, "*b d"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "*b d"]:
        return self.mean + jnp.exp(self.log_std) * jr.normal(key, self.mean.shape)

    def mode(self) -> Float[Array, "*b d"]:
        return self.mean

    def log_prob(self, action: Float[Array, "*b d"]) -> Float[Array, "*b"]:
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return jnp.sum(-0.5 * (z**2 + _LOG_2PI) - self.log_std, axis=-1)

    def entropy(self) -> Float[Array, "*b"]:
        return jnp.sum(self.log_std + 0.5 * (1.0 + _LOG_2PI), axis=-1)

    def kl(self, other: "DiagNormal") -> Float[Array, "*b"]:
        """KL(self || other)."""
        ratio = jnp.exp(2.0 * (self.log_std - other.log_std))
        shift = ((self.mean - other.mean) * jnp.exp(-other.log_std)) ** 2
        return jnp.sum(other.log_std - self.log_std + 0.5 * (ratio + shift - 1.0), axis=-1)


Distribution = Categorical | MultiCategorical | DiagNormal
