"""Returns and advantages along one trajectory `[T]`; `vmap` over lanes with `in_axes=1`.

`discount_t` is gamma times the environment's discount: 0 where step t terminated. `last_t` marks the end of an episode, by
termination or truncation. `next_value_t` is v(s_{t+1}), and where step t truncated the value of the final observation.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def lambda_advantage(
    reward_t: Float[Array, " T"],
    discount_t: Float[Array, " T"],
    last_t: Bool[Array, " T"],
    value_t: Float[Array, " T"],
    next_value_t: Float[Array, " T"],
    lam: float,
) -> Float[Array, " T"]:
    """Generalised advantage estimate (Schulman et al. 2016, arXiv:1506.02438, equation 16).

        δ_t = r_t + γ_t v(s_{t+1}) - v(s_t)        Â_t = δ_t + γ_t λ Â_{t+1}, cut where an episode ends

    Examples:
      >>> one = jnp.ones(3)
      >>> no = jnp.zeros(3, bool)
      >>> print(lambda_advantage(one, 0.5 * one, no, 2 * one, 2 * one, 0.9))
      [0. 0. 0.]
    """
    if reward_t.ndim != 1:
        raise ValueError(f"trajectories are [T], not {reward_t.shape}; vmap over lanes")
    delta_t = reward_t + discount_t * next_value_t - value_t
    decay_t = discount_t * lam * (1.0 - last_t.astype(jnp.float32))

    def backward(advantage: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, decay = step
        advantage = delta + decay * advantage
        return advantage, advantage

    return jax.lax.scan(backward, jnp.float32(0.0), (delta_t, decay_t), reverse=True)[1]


def discounted_return(
    reward_t: Float[Array, " T"],
    discount_t: Float[Array, " T"],
    last_t: Bool[Array, " T"],
    next_value_t: Float[Array, " T"],
) -> Float[Array, " T"]:
    """G_t = r_t + γ_t G_{t+1}, bootstrapping from `next_value_t` where an episode is cut and at T.

    Examples:
      >>> one = jnp.ones(3)
      >>> print(discounted_return(one, 0.5 * one, jnp.zeros(3, bool), 2 * one))
      [2. 2. 2.]
    """
    zero = jnp.zeros_like(reward_t)
    return lambda_advantage(reward_t, discount_t, last_t, zero, _cut(next_value_t, last_t), 1.0)


def _cut(next_value_t: Float[Array, " T"], last_t: Bool[Array, " T"]) -> Float[Array, " T"]:
    """Bootstrap values where the recursion stops (an episode's end, and T), 0 elsewhere."""
    stops = last_t.at[-1].set(True)
    return jnp.where(stops, next_value_t, 0.0)
