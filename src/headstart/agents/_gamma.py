"""Gamma variates, from which the rules' posterior samples are made (Marsaglia & Tsang 2000)."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


def gamma(key: PRNGKeyArray, alpha: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Gamma(α) variates for α >= 1, drawn together until the last is accepted, at least 95 % an attempt.

        d = α - 1/3,   v = (1 + x / √(9d))³,   x ~ N(0, 1)
        accept d v  where  ln u < x²/2 + d (1 - v + ln v),   u ~ U(0, 1)

    On a CPU `jax.random.gamma` draws one by one. As one long vector, since a loop over short trailing axes
    costs 4 times as much there; leading axes come first in it, so that a longer array begins like a shorter.
    """
    d = alpha.reshape(-1) - 1 / 3
    c = 1 / jnp.sqrt(9 * d)

    def attempt(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, kept, accepted = carry
        key, k_x, k_u = jr.split(key, 3)
        x = jr.normal(k_x, d.shape)
        v = (1 + c * x) ** 3
        log_u = jnp.log1p(-jr.uniform(k_u, d.shape))
        accept = (v > 0) & (log_u < x**2 / 2 + d - d * v + d * jnp.log(jnp.where(v > 0, v, 1.0)))
        return key, jnp.where(accept & ~accepted, d * v, kept), accepted | accept

    start = (key, d, jnp.zeros(d.shape, bool))
    return jax.lax.while_loop(lambda carry: ~carry[2].all(), attempt, start)[1].reshape(alpha.shape)
