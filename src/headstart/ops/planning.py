"""Exact planning in finite Markov decision processes: the field's first definitions, and many tests' oracles.

Sources: Bellman 1957; Sutton & Barto 2018, chapters 3 and 4. Everything is unbatched, the caller vmaps.
`p [S, A, S]` are transition probabilities, `r [S, A]` expected rewards, a policy is a table of probabilities
`pi [S, A]`, `γ < 1` is a discount. Where there is a horizon, index 0 is the first step.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Discount = float | Float[Array, ""]


def backup(
    p: Float[Array, "S A S"], r: Float[Array, "S A"], v: Float[Array, " S"], discount: Discount = 1.0
) -> Float[Array, "S A"]:
    """One Bellman backup: q(s,a) = r(s,a) + γ Σ_s' p(s'|s,a) v(s')."""
    return r + discount * jnp.sum(p * v[None, None, :], axis=-1)


def finite_horizon(p: Float[Array, "S A S"], r: Float[Array, "S A"], horizon: int) -> Float[Array, "H S A"]:
    """Optimal action values with `H - t` steps to go: q_t = r + P max_a q_{t+1}, q_H = 0.

    >>> import jax.numpy as jnp
    >>> stay = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])  # action 1 leads to state 1
    >>> finite_horizon(stay, jnp.array([[0.0, 0.0], [1.0, 1.0]]), 3)[0].tolist()
    [[1.0, 2.0], [3.0, 3.0]]
    """
    return backward_induction(partial(backup, p, r), r.shape[0], horizon)


def backward_induction(
    backup: Callable[[Float[Array, " S"]], Float[Array, "S A"]], states: int, horizon: int
) -> Float[Array, "H S A"]:
    """q_t = backup(max_a q_{t+1}), q_H = 0, for any backup of state values `[S]` to action values `[S, A]`."""

    def step(v_tp1: Float[Array, " S"], _: None) -> tuple[Float[Array, " S"], Float[Array, "S A"]]:
        q_t = backup(v_tp1)
        return q_t.max(axis=-1), q_t

    return jax.lax.scan(step, jnp.zeros(states), length=horizon, reverse=True)[1]


def value_iteration(
    p: Float[Array, "S A S"], r: Float[Array, "S A"], discount: Discount, tolerance: float = 1e-5
) -> Float[Array, "S A"]:
    """Optimal discounted action values, q = r + γ P max_a q, to within `tolerance` in the largest entry.

    Stops where ‖v_{k+1} - v_k‖∞ <= tolerance (1-γ)/γ, which bounds the error (Puterman 1994, theorem 6.3.1),
    or, since rounding may keep that from coming true, after as many backups as contract the first error, at
    most max|r| / (1-γ), to the tolerance.
    """
    rate = jnp.maximum(discount, 1e-12)
    threshold = tolerance * (1.0 - discount) / rate
    first_error = jnp.max(jnp.abs(r)) / (1.0 - discount)
    most = jnp.log(jnp.maximum(first_error / tolerance, 1.0)) / -jnp.log(rate) + 1.0

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, change, k = carry
        return (change > threshold) & (k < most)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, _, k = carry
        better = backup(p, r, v, discount).max(axis=-1)
        return better, jnp.max(jnp.abs(better - v)), k + 1.0

    start = (jnp.zeros(r.shape[0], r.dtype), jnp.full((), jnp.inf, r.dtype), jnp.zeros((), r.dtype))
    v, _, _ = jax.lax.while_loop(unfinished, improve, start)
    return backup(p, r, v, discount)


def v_pi(
    p: Float[Array, "S A S"], r: Float[Array, "S A"], pi: Float[Array, "S A"], discount: Discount
) -> Float[Array, " S"]:
    """A policy's discounted state values by linear solve: v_π = (I - γ P_π)⁻¹ r_π."""
    p_pi = jnp.einsum("sa,sat->st", pi, p)
    r_pi = jnp.sum(pi * r, axis=-1)
    return jnp.linalg.solve(jnp.eye(r.shape[0], dtype=r.dtype) - discount * p_pi, r_pi)


def q_pi(
    p: Float[Array, "S A S"], r: Float[Array, "S A"], pi: Float[Array, "S A"], discount: Discount
) -> Float[Array, "S A"]:
    """A policy's discounted action values by linear solve: q_π = r + γ P v_π."""
    return backup(p, r, v_pi(p, r, pi, discount), discount)


def v_pi_dp(
    p: Float[Array, "S A S"], r: Float[Array, "S A"], pi: Float[Array, "S A"], discount: Discount, sweeps: int
) -> Float[Array, " S"]:
    """A policy's discounted state values by dynamic programming: v ← Σ_a π (r + γ P v), from v = 0.

    After so many sweeps the error is at most γ^sweeps max|r| / (1-γ).
    """

    def sweep(v: Float[Array, " S"], _: None) -> tuple[Float[Array, " S"], None]:
        return jnp.sum(pi * backup(p, r, v, discount), axis=-1), None

    return jax.lax.scan(sweep, jnp.zeros(r.shape[0], r.dtype), length=sweeps)[0]


def q_pi_dp(
    p: Float[Array, "S A S"], r: Float[Array, "S A"], pi: Float[Array, "S A"], discount: Discount, sweeps: int
) -> Float[Array, "S A"]:
    """A policy's discounted action values by dynamic programming.

    After so many sweeps the error is at most γ^(sweeps+1) max|r| / (1-γ).
    """
    return backup(p, r, v_pi_dp(p, r, pi, discount, sweeps), discount)


def q_pi_finite(
    p: Float[Array, "S A S"], r: Float[Array, "S A"], pi: Float[Array, "H S A"]
) -> Float[Array, "H S A"]:
    """A time-dependent policy's undiscounted action values: q_t = r + P Σ_a π_{t+1} q_{t+1}, q_H = 0."""

    def step(v_tp1: Float[Array, " S"], pi_t: Float[Array, "S A"]) -> tuple[Array, Array]:
        q_t = backup(p, r, v_tp1)
        return jnp.sum(pi_t * q_t, axis=-1), q_t

    _, q = jax.lax.scan(step, jnp.zeros(r.shape[0], r.dtype), pi, reverse=True)
    return q


__all__ = [
    "backup",
    "finite_horizon",
    "q_pi",
    "q_pi_dp",
    "q_pi_finite",
    "v_pi",
    "v_pi_dp",
    "value_iteration",
]
