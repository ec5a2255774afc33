"""Running moments, and standardising with them."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Exponential averages of a quantity and of its square, with the weight they have gathered (for bias correction)."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    weight: Float[Array, ""]

    @classmethod
    def start(cls) -> "Moments":
        return cls(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.0))

    def update(self, x: Float[Array, "*n"], rate: float) -> "Moments":
        """Move by `rate` towards the moments of a batch of any shape."""

        def towards(old: Array, new: Array) -> Array:
            return old + rate * (new - old)

        return Moments(
            towards(self.mean, x.mean()),
            towards(self.square, (x**2).mean()),
            towards(self.weight, jnp.float32(1.0)),
        )

    @property
    def centre(self) -> Float[Array, ""]:
        """The bias-corrected mean; 0 before any update."""
        return self.mean / jnp.maximum(self.weight, 1e-8)

    @property
    def scale(self) -> Float[Array, ""]:
        """The bias-corrected standard deviation, at least 1e-2; 1 before any update."""
        square = self.square / jnp.maximum(self.weight, 1e-8)
        std = jnp.sqrt(jnp.maximum(square - self.centre**2, 1e-4))
        return jnp.where(self.weight > 0, std, 1.0)


def standardise(x: Float[Array, "*n"], epsilon: float = 1e-8) -> Float[Array, "*n"]:
    """(x - mean) / std over the whole batch."""
    return (x - x.mean()) / (x.std() + epsilon)
