"""Returns as categorical distributions over fixed atoms (C51: Bellemare et al. 2017, arXiv:1707.06887); unbatched."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def atoms(low: float, high: float, n: int) -> Float[Array, " z"]:
    """The support z_0 … z_{n-1}: n atoms at equal distances from `low` to `high`, in units of return."""
    return jnp.linspace(low, high, n)


def mean(logits: Float[Array, "*a z"], support: Float[Array, " z"]) -> Float[Array, "*a"]:
    """q = Σ_i z_i softmax(logits)_i, for any leading axes."""
    return jnp.matmul(jax.nn.softmax(logits), support)


def project(
    return_t: Float[Array, ""],
    discount_t: Float[Array, ""],
    probability: Float[Array, " z"],
    support: Float[Array, " z"],
) -> Float[Array, " z"]:
    """The distribution of R + γ Z, Z on the support, brought back to the support (equation 7 of the paper).

        Φ_i = Σ_j [1 - |clip(R + γ z_j) - z_i| / Δz]₀¹ p_j

    Args:
      return_t: R, the rewards before the bootstrap; discount_t: γ, 0 where nothing follows; both scalars.
      probability: p_j; support: z_j, equally spaced; both `[z]`.

    Examples:
      >>> z = atoms(-1.0, 1.0, 3)
      >>> print(project(jnp.float32(0.25), jnp.float32(0.0), jnp.ones(3) / 3, z))
      [0.   0.75 0.25]
    """
    step = support[1] - support[0]
    moved = jnp.clip(return_t + discount_t * support, support[0], support[-1])
    share = jnp.clip(1.0 - jnp.abs(moved[None, :] - support[:, None]) / step, 0.0, 1.0)
    return share @ probability


def kl(target: Float[Array, " z"], logits: Float[Array, " z"]) -> Float[Array, ""]:
    """KL(target || softmax(logits)) in nats; its gradient is the cross entropy's."""
    log_target = jnp.log(jnp.where(target > 0, target, 1.0))
    return jnp.sum(target * (log_target - jax.nn.log_softmax(logits)))
