"""What the policy-gradient family shares: acting with an `ActorCritic`, advantages, steps of gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from headstart.errors import UsageError
from headstart.nets.actor_critic import ActorCritic, Features, NetworkConfig
from headstart.ops.distributions import Distribution
from headstart.ops.normalise import Moments
from headstart.ops.returns import lambda_advantage
from headstart.types import Memory, Metrics, Rollout, Spec, TimeStep


class LearnerState(NamedTuple):
    """Weights, optimiser, and how many environment steps were learned from."""

    network: ActorCritic
    optimiser: PyTree
    steps: Int[Array, ""]


@dataclass(frozen=True)
class Aids:
    """What helps a learner that starts from a prior (`agents.fine_tuning`); steps are the environment's, of all lanes."""

    kickstart: float = 0.0
    """weight, at first, of the divergence from the prior's policy, in units of the loss a nat; 0 has no teacher"""
    kickstart_steps: int = 0
    """environment steps over which that weight falls linearly to nothing; 0 keeps it"""
    warm_up_steps: int = 0
    """environment steps over which the step size rises linearly from nothing"""
    fresh_heads: bool = False
    """whether the last layers of actor and critic begin anew"""


def adopt(fresh: LearnerState, trained: LearnerState) -> LearnerState:
    """A fresh state with the trained weights."""
    return fresh._replace(network=trained.network)


class Acted(NamedTuple):
    """What `act` leaves for `update`: log π(a|o), and the critic's features, so that values need no second
    pass."""

    log_prob: Float[Array, "*b"]
    critic: Float[Array, "*b f"]


class Advantages(NamedTuple):
    """Per step `[T, N]`: the advantage estimate; the critic's regression target, in units of reward and short of the
    ceiling where the critic has foresight; the value predicted."""

    advantage: Float[Array, "T n"]
    target: Float[Array, "T n"]
    value: Float[Array, "T n"]


def memory(spec: Spec, config: NetworkConfig) -> Callable[[int], Memory]:
    """An agent's `memory`: what a network of this shape remembers before it has seen anything."""

    def empty(n: int) -> Memory:
        shapes = jax.eval_shape(lambda: ActorCritic(jr.key(0), spec, config).start(n))
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    return empty


def refuse_inference(config: NetworkConfig, who: str) -> None:
    """Refuse a head that this learner would leave as it is.

    Raises:
      UsageError: if the network has `task_inference`.
    """
    if config.task_inference:
        raise UsageError(f"{who} does not learn task_inference, ppo and rl2 do; leave it off.")


def act(
    network: ActorCritic, memory: Memory, timestep: TimeStep, key: PRNGKeyArray
) -> tuple[Memory, Array, Acted]:
    """Sample `N` actions from the policy."""
    memory, features = network.step(memory, timestep.obs, timestep.first)
    policy = network.policy(features)
    action = policy.sample(key)
    return memory, action, Acted(policy.log_prob(action), features.critic)


def evaluate(
    network: ActorCritic, memory: Memory, obs: PyTree, first: Bool[Array, "T n"], privileged: PyTree
) -> tuple[Distribution, Float[Array, "T n"]]:
    """π(· | o_t) and v(o_t) at every step of a rollout `[T, N, ...]` that began with `memory`."""
    _, features = network.unroll(memory, obs, first)
    return network.policy(features), network.value(features, privileged)


def advantages(
    network: ActorCritic, rollout: Rollout, moments: Moments, gamma: float, lam: float
) -> Advantages:
    """Generalised advantage estimates of a rollout, bootstrapping where an episode was truncated.

    The critic predicts values standardised by `moments`; what is returned is in units of reward. A privileged
    critic values a final observation with the privileged view of the step before, since none is kept of the
    end itself.
    """
    steps = rollout.transitions

    def learned(features: Features, privileged: PyTree) -> Array:
        return moments.centre + moments.scale * network.value(features, privileged)

    learned_t = learned(Features(steps.extras.critic, steps.extras.critic), steps.privileged)
    _, after = network.step(rollout.memory_after, rollout.timestep.obs, rollout.timestep.first)
    learned_end = learned(after, rollout.privileged)
    next_learned_t = jnp.concatenate([learned_t[1:], learned_end[None]])
    if steps.final_obs is not None:
        truncated = steps.last & (steps.discount > 0)

        def with_finals() -> Array:
            final = learned(_final_features(network, rollout), steps.privileged)
            return jnp.where(truncated, final, next_learned_t)

        next_learned_t = jax.lax.cond(truncated.any(), with_finals, lambda: next_learned_t)
    discount_t = gamma * steps.discount
    reward_t = _short_of_ceiling(rollout, discount_t) if network.foresight else steps.reward
    estimate = jax.vmap(lambda_advantage, in_axes=(1, 1, 1, 1, 1, None), out_axes=1)
    advantage = estimate(reward_t, discount_t, steps.last, learned_t, next_learned_t, lam)
    value = learned_t + (steps.privileged.ceiling if network.foresight else 0.0)
    return Advantages(advantage, advantage + learned_t, value)


def _short_of_ceiling(rollout: Rollout, discount_t: Float[Array, "T n"]) -> Float[Array, "T n"]:
    """What step t added to the ceiling c, most often a loss: after_t[a_t] - c_t, or where that is not known
    r_t + γ_t c_{t+1} - c_t.
    """
    steps, seen_t = rollout.transitions, rollout.transitions.privileged
    if seen_t.after is not None:
        chosen = jax.nn.one_hot(steps.action, seen_t.after.shape[-1])
        return (seen_t.after * chosen).sum(-1) - seen_t.ceiling
    next_ceiling = jnp.concatenate([seen_t.ceiling[1:], rollout.privileged.ceiling[None]])
    truncated = steps.last & (steps.discount > 0)
    next_ceiling = jnp.where(truncated, seen_t.ceiling, next_ceiling)
    return steps.reward + discount_t * next_ceiling - seen_t.ceiling


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


def score_loss(
    network: ActorCritic,
    rollout: Rollout,
    estimate: Advantages,
    value_cost: float,
    entropy_bonus: float | Array,
) -> tuple[Float[Array, ""], Metrics]:
    """-(log π(a_t | o_t) Â_t - c_v ½ (v(o_t) - G_t)² + c_h H), averaged over the rollout."""
    steps = rollout.transitions
    policy, value = evaluate(network, rollout.memory, steps.obs, steps.first, steps.privileged)
    score = (policy.log_prob(steps.action) * estimate.advantage).mean()
    value_error = 0.5 * ((value - estimate.target) ** 2).mean()
    entropy = policy.entropy().mean()
    loss = -score + value_cost * value_error - entropy_bonus * entropy
    return loss, {"loss": loss, "value_error": value_error, "entropy": entropy}


def annealed(steps: Int[Array, ""], anneal_steps: int, anneal_to: float) -> Float[Array, ""]:
    """The share left after so many steps: from 1 linearly down to `anneal_to`; 1 if `anneal_steps` is 0."""
    if anneal_steps == 0:
        return jnp.float32(1.0)
    progress = jnp.minimum(steps.astype(jnp.float32) / anneal_steps, 1.0)
    return 1.0 - (1.0 - anneal_to) * progress


def warmed(steps: Int[Array, ""], warm_up_steps: int) -> Float[Array, ""]:
    """The share of the step size reached by so many steps: rising linearly to 1."""
    return jnp.minimum(steps.astype(jnp.float32) / warm_up_steps, 1.0)


def optimiser(max_grad_norm: float) -> optax.GradientTransformation:
    """Adam behind a clip of the gradient's global norm; `descend` applies the step size."""
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=1e-5))


def begin(optimiser: optax.GradientTransformation, weights: PyTree) -> PyTree:
    """The optimiser's state before its first step."""
    return optimiser.init(weights)


def as_vectors(
    weights: PyTree, state: PyTree
) -> tuple[PyTree, PyTree, Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]]:
    """Weights, and an optimiser's state, with every tree of weights laid out as one vector; and the way back.

    A step of gradient takes a handful of kernels on one vector, and as many for every leaf of a tree.
    """
    structure = jax.tree.structure(weights)

    def whole(part: PyTree) -> bool:
        return jax.tree.structure(part) == structure

    vector, unravel = ravel_pytree(weights)
    vectors = jax.tree.map(lambda part: ravel_pytree(part)[0] if whole(part) else part, state, is_leaf=whole)

    def back(vector: PyTree, vectors: PyTree) -> tuple[PyTree, PyTree]:
        trees = jax.tree.map(
            lambda old, new: unravel(new) if whole(old) else new, state, vectors, is_leaf=whole
        )
        return unravel(vector), trees

    return vector, vectors, back


def descend(
    optimiser: optax.GradientTransformation,
    gradient: PyTree,
    state: PyTree,
    weights: PyTree,
    lr: float | Array,
) -> tuple[PyTree, PyTree]:
    """One step down: (weights, optimiser state)."""
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the power of an integer count
        change, state = optimiser.update(gradient, state)
    return jax.tree.map(lambda w, d: w - lr * d, weights, change), state
