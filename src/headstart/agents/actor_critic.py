"""The actor-critic on boxes, ASE and ACE (Barto, Sutton & Anderson 1983, IEEE Trans. SMC 13, pages 834-846).

    for each step:
        x_t ← the one of 162 boxes that holds (x, x', θ, θ');   y_t ← sign(w x_t + noise)
        e ← δ e + (1-δ) y_t x_t          eligibility of the actor, the associative search element
        x̄ ← λ x̄ + (1-λ) x_t              eligibility of the critic, the adaptive critic element
        act y_t;   r̂ ← r_t + γ p(x_{t+1}) - p(x_t),   p(x) = v x, and 0 after a failure
        w ← w + α r̂ e;   v ← v + β r̂ x̄

The reinforcement r_t is the paper's, -1 where an episode terminates and 0 otherwise; the environment's own
reward, 1 a step on cart-pole, is only used with `signal="reward"`.

Deviates from the paper: N lanes feed one pair of weights, each lane with traces of its own, and the changes
they ask for at a step are averaged (one lane is the paper's learner); where an episode is truncated, p is
that of its final observation. The cart-pole is whatever the environment makes it; the boxes stay the paper's.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from headstart.errors import UsageError
from headstart.types import Agent, Box, Discrete, Entry, Metrics, Rollout, Spec, TimeStep

_X = (-0.8, 0.8)  # metres
_X_DOT = (-0.5, 0.5)  # metres a second
_THETA = tuple(np.deg2rad((-6.0, -1.0, 0.0, 1.0, 6.0)))
_THETA_DOT = tuple(np.deg2rad((-50.0, 50.0)))  # radians a second
BOXES = 162


@dataclass(frozen=True)
class ActorCriticConfig:
    """The paper's settings."""

    alpha: float = 1000.0
    """α: the actor's step size"""
    beta: float = 0.5
    """β: the critic's step size"""
    gamma: float = 0.95
    """discount a step"""
    delta: float = 0.9
    """δ: what is left of the actor's traces after a step"""
    lam: float = 0.8
    """λ: what is left of the critic's traces after a step"""
    sigma: float = 0.01
    """deviation of the noise that is added to the actor's weight before its sign is taken"""
    signal: Literal["failure", "reward"] = "failure"
    """the reinforcement: -1 where an episode terminates, else 0; or the environment's reward"""


class Weights(NamedTuple):
    """w of the actor and v of the critic, one a box."""

    actor: Float[Array, " b"]
    critic: Float[Array, " b"]


class Traces(NamedTuple):
    """e of the actor and x̄ of the critic, one a lane and box."""

    actor: Float[Array, "n b"]
    critic: Float[Array, "n b"]


def box(obs: Float[Array, "*n 4"]) -> Int[Array, "*n"]:
    """Which of the 162 boxes holds (x, x', θ, θ') (section V of the paper): 3 x 3 x 6 x 3 of them.

    Examples:
      >>> print(box(jnp.array([[0.0, 0.0, 0.0, 0.0], [-2.0, -1.0, -0.2, -1.0], [2.0, 1.0, 0.2, 1.0]])))
      [ 82   0 161]
    """
    number = jnp.zeros(obs.shape[:-1], jnp.int32)
    for d, edges in enumerate((_X, _X_DOT, _THETA, _THETA_DOT)):
        above = [(obs[..., d] >= float(edge)).astype(jnp.int32) for edge in edges]
        number = number * (len(edges) + 1) + sum(above, start=jnp.int32(0))
    return number


def actor_critic(spec: Spec, config: ActorCriticConfig) -> Agent:
    """ASE and ACE; only for what shows (x, x', θ, θ') and takes one of two actions."""
    if not (isinstance(spec.obs, Box) and spec.obs.shape == (4,) and spec.action == Discrete(2)):
        raise UsageError("actor-critic has boxes for cart-pole only: four numbers to see and two actions.")

    def init(key: PRNGKeyArray) -> Weights:
        del key
        return Weights(jnp.zeros(BOXES), jnp.zeros(BOXES))

    def memory(n: int) -> Traces:
        return Traces(jnp.zeros((n, BOXES)), jnp.zeros((n, BOXES)))

    def act(
        state: Weights, memory: Traces, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Traces, Int[Array, " n"], Any]:
        # x_t ← the box;   y_t ← sign(w x_t + noise)
        at = box(timestep.obs)
        x_t = jax.nn.one_hot(at, BOXES)
        right = state.actor[at] + config.sigma * jr.normal(key, at.shape) >= 0
        y_t = jnp.where(right, 1.0, -1.0)[:, None]
        # e ← δ e + (1-δ) y_t x_t;   x̄ ← λ x̄ + (1-λ) x_t
        keep = 1.0 - timestep.first.astype(jnp.float32)[:, None]
        actor = config.delta * keep * memory.actor + (1.0 - config.delta) * y_t * x_t
        critic = config.lam * keep * memory.critic + (1.0 - config.lam) * x_t
        return Traces(actor, critic), right.astype(jnp.int32), ()

    def update(state: Weights, rollout: Rollout, key: PRNGKeyArray) -> tuple[Weights, Metrics]:
        del key
        step = jax.tree.map(lambda x: x[0], rollout.transitions)  # unroll is 1
        traces: Traces = rollout.memory_after
        # r̂ ← r_t + γ p(x_{t+1}) - p(x_t)
        reward = step.reward if config.signal == "reward" else step.discount - 1.0
        p_next = state.critic[box(rollout.timestep.obs)]
        if step.final_obs is not None:
            p_next = jnp.where(step.last, state.critic[box(step.final_obs)], p_next)
        surprise = reward + config.gamma * step.discount * p_next - state.critic[box(step.obs)]
        # w ← w + α r̂ e;   v ← v + β r̂ x̄
        actor = state.actor + config.alpha * (surprise[:, None] * traces.actor).mean(0)
        critic = state.critic + config.beta * (surprise[:, None] * traces.critic).mean(0)
        return Weights(actor, critic), {"surprise": jnp.abs(surprise).mean()}

    return Agent(init, memory, act, update, unroll=1, learns=True)


ENTRY = Entry(ActorCriticConfig(), actor_critic)
