"""What the policy-gradient family shares: acting with an `ActorCritic`, and advantages from its values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.nets.actor_critic import ActorCritic, Features
from headstart.ops.normalise import Moments
from headstart.ops.returns import lambda_advantage
from headstart.types import Memory, Rollout, TimeStep


class Acted(NamedTuple):
    """What `act` leaves for `update`: log π(a|o), and the critic's features so that values need no second pass."""

    log_prob: Float[Array, "*b"]
    critic: Float[Array, "*b f"]


class Advantages(NamedTuple):
    """Per step `[T, N]`: the advantage estimate, the value's regression target and the value that was predicted."""

    advantage: Float[Array, "T n"]
    target: Float[Array, "T n"]
    value: Float[Array, "T n"]


def act(
    network: ActorCritic, memory: Memory, timestep: TimeStep, key: PRNGKeyArray
) -> tuple[Memory, Array, Acted]:
    """Sample `N` actions from the policy."""
    memory, features = network.step(memory, timestep.obs, timestep.first)
    policy = network.policy(features)
    action = policy.sample(key)
    return memory, action, Acted(policy.log_prob(action), features.critic)


def advantages(
    network: ActorCritic, rollout: Rollout, moments: Moments, gamma: float, lam: float
) -> Advantages:
    """Generalised advantage estimates of a rollout, bootstrapping where an episode was truncated.

    The critic predicts values standardised by `moments`; what is returned is in units of reward. A privileged critic
    values a final observation with the privileged view of the step before, since none is kept of the end itself.
    """
    steps = rollout.transitions

    def value(features: Features, privileged: PyTree) -> Array:
        return moments.centre + moments.scale * network.value(features, privileged)

    value_t = value(Features(steps.extras.critic, steps.extras.critic), steps.privileged)
    _, after = network.step(rollout.memory_after, rollout.timestep.obs, rollout.timestep.first)
    value_end = value(after, rollout.privileged)
    next_value_t = jnp.concatenate([value_t[1:], value_end[None]])
    if steps.final_obs is not None:
        truncated = steps.last & (steps.discount > 0)
        next_value_t = jnp.where(truncated, value(_final_features(network, rollout), steps.privileged), next_value_t)
    estimate = jax.vmap(lambda_advantage, in_axes=(1, 1, 1, 1, 1, None), out_axes=1)
    advantage = estimate(steps.reward, gamma * steps.discount, steps.last, value_t, next_value_t, lam)
    return Advantages(advantage, advantage + value_t, value_t)


def _final_features(network: ActorCritic, rollout: Rollout) -> Features:
    """Features `[T, N, f]` of every step's final observation, seen with the memory of that step."""
    steps = rollout.transitions
    no = jnp.zeros_like(steps.first[0])

    def one(memory: Memory, step: tuple[PyTree, Array, PyTree]) -> tuple[Memory, Features]:
        obs, first, final_obs = step
        memory, _ = network.step(memory, obs, first)
        return memory, network.step(memory, final_obs, no)[1]

    if network.memory is None:
        return jax.vmap(lambda obs: network.step((), obs, no)[1])(steps.final_obs)
    return jax.lax.scan(one, rollout.memory, (steps.obs, steps.first, steps.final_obs))[1]


def optimiser(max_grad_norm: float) -> optax.GradientTransformation:
    """Adam behind a clip of the gradient's global norm; `descend` applies the step size."""
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=1e-5))


def descend(
    adam: optax.GradientTransformation, gradient: PyTree, state: PyTree, weights: PyTree, lr: float | Array
) -> tuple[PyTree, PyTree]:
    """One step down: (weights, optimiser state)."""
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the power of an integer count
        change, state = adam.update(gradient, state)
    return jax.tree.map(lambda w, d: w - lr * d, weights, change), state
