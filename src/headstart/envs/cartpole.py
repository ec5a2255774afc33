"""Cart-pole (Barto, Sutton & Anderson 1983) whose physics is the task; `STANDARD` is Gymnasium's CartPole-v1.

With pole angle θ, half-length l, masses m_c and m_p, m = m_c + m_p and force F = ±force:

    a = (F + m_p l θ'² sin θ) / m
    θ'' = (g sin θ - a cos θ) / (l (4/3 - m_p cos² θ / m))
    x'' = a - m_p l θ'' cos θ / m

integrated by Euler steps of 0.02 s. Every step pays 1; the episode terminates when the cart leaves ±2.4 m or
the pole leaves ±12°, and is truncated after 500 steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from headstart.types import Box, Discrete, Spec, Step

DT = 0.02
"""seconds between decisions"""
X_LIMIT = 2.4
"""metres from the centre at which the cart is off the track"""
THETA_LIMIT = 12 * 2 * np.pi / 360
"""radians from upright at which the pole has fallen"""


class CartPoleTask(NamedTuple):
    """The physics: masses in kg, half the pole's length in m, the push in N (negative where left and right are
    swapped), gravity in m/s²; scalars.
    """

    mass_cart: Float[Array, ""]
    mass_pole: Float[Array, ""]
    length: Float[Array, ""]
    force: Float[Array, ""]
    gravity: Float[Array, ""]


STANDARD = CartPoleTask(1.0, 0.1, 0.5, 10.0, 9.8)  # pyright: ignore[reportArgumentType]
"""Gymnasium's CartPole-v1, as Python floats"""
# The suite's ranges: a factor of two either way; the pole's mass, which matters least, up to five times more.
LOW = CartPoleTask(0.5, 0.05, 0.25, 5.0, 4.9)  # pyright: ignore[reportArgumentType]
HIGH = CartPoleTask(2.0, 0.5, 1.0, 20.0, 19.6)  # pyright: ignore[reportArgumentType]

_REWARD = Box((), 0.0, 1.0)  # a step pays 1; the 0 is what a trial shows before its first step


class CartPoleState(NamedTuple):
    """Position (m), angle (rad, clockwise from upright), their speeds, and the steps taken; scalars."""

    x: Float[Array, ""]
    x_dot: Float[Array, ""]
    theta: Float[Array, ""]
    theta_dot: Float[Array, ""]
    t: Int[Array, ""]


def standard() -> CartPoleTask:
    """The physics of Gymnasium's CartPole-v1."""
    return CartPoleTask(*(jnp.float32(value) for value in STANDARD))


@dataclass(frozen=True)
class CartPole:
    """Push the cart left (0) or right (1) so that the pole stays up; the observation is (x, x', θ, θ')."""

    horizon: int = 500
    """steps after which an episode is truncated"""
    mirrored: bool = False
    """whether `sample` swaps left and right in half of the tasks"""

    @property
    def spec(self) -> Spec:
        return Spec(
            Box((4,)), Discrete(2), self.horizon, privileged=Box((6,)), truncates=True, reward=_REWARD
        )

    def sample(self, key: PRNGKeyArray) -> CartPoleTask:
        """Physics drawn log-uniformly, each number by itself, between `LOW` and `HIGH`."""
        k_physics, k_mirror = jr.split(key)
        low, high = jnp.log(jnp.array(LOW)), jnp.log(jnp.array(HIGH))
        task = CartPoleTask(*jnp.exp(jr.uniform(k_physics, (len(LOW),), minval=low, maxval=high)))
        swapped = self.mirrored & jr.bernoulli(k_mirror)
        return task._replace(force=jnp.where(swapped, -task.force, task.force))

    def reset(self, task: CartPoleTask, key: PRNGKeyArray) -> CartPoleState:
        """Every number of the state from U(-0.05, 0.05)."""
        del task
        x, x_dot, theta, theta_dot = jr.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return CartPoleState(x, x_dot, theta, theta_dot, jnp.int32(0))

    def step(
        self, task: CartPoleTask, state: CartPoleState, action: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[CartPoleState, Step]:
        del key
        x, x_dot, theta, theta_dot, t = state
        mass = task.mass_cart + task.mass_pole
        pole = task.mass_pole * task.length
        force = jnp.where(action == 1, task.force, -task.force)
        cos, sin = jnp.cos(theta), jnp.sin(theta)
        push = (force + pole * theta_dot**2 * sin) / mass
        theta_acc = (task.gravity * sin - push * cos) / (
            task.length * (4.0 / 3.0 - task.mass_pole * cos**2 / mass)
        )
        x_acc = push - pole * theta_acc * cos / mass
        state = CartPoleState(
            x + DT * x_dot, x_dot + DT * x_acc, theta + DT * theta_dot, theta_dot + DT * theta_acc, t + 1
        )
        fallen = (jnp.abs(state.x) > X_LIMIT) | (jnp.abs(state.theta) > THETA_LIMIT)
        return state, Step(jnp.float32(1.0), fallen, state.t >= self.horizon)

    def observe(self, task: CartPoleTask, state: CartPoleState) -> Float[Array, " 4"]:
        del task
        return jnp.stack(state[:4])

    def privileged(self, task: CartPoleTask, state: CartPoleState) -> Float[Array, " 6"]:
        """The logarithm of each physical number over the standard one, and the sign of the force."""
        del state
        scale = jnp.log(jnp.abs(jnp.stack(task)) / jnp.array(STANDARD))
        return jnp.append(scale, jnp.sign(task.force))
