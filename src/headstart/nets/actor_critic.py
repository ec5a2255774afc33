"""The network of the policy-gradient family: a torso, perhaps a memory, a policy head and a value head."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from headstart.errors import UsageError
from headstart.nets import memories, torsos
from headstart.nets.memories import MemoryName
from headstart.nets.vision import Vision
from headstart.ops.distributions import Categorical, DiagNormal, Distribution, MultiCategorical
from headstart.types import Box, Discrete, Foresight, Memory, MultiDiscrete, Space, Spec


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of an actor-critic network."""

    torso: tuple[int, ...] = (64, 64)
    """units of each dense layer between the observation and the memory or heads"""
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    """nonlinearity of the torso and of the critic's own layers"""
    vision: Vision = "nature"
    """what images of 64 pixels and more go through before the torso's dense layers"""
    memory: MemoryName = "none"
    """what carries features through time"""
    memory_size: int = 256
    """units of the memory"""
    memory_slots: int = 16
    """places that fast weights can tell apart"""
    memory_context: int = 0
    """units of a linear recurrence along the features, whose output fast weights see beside them; 0 has none"""
    shared: bool = False
    """whether the critic reads the actor's torso; a network with a memory always shares it"""
    actor: tuple[int, ...] = ()
    """units of dense layers the policy has to itself, after the torso or memory"""
    critic: tuple[int, ...] = ()
    """units of dense layers the critic has to itself, after the torso or memory"""
    privileged: bool = False
    """whether the critic is also shown what only training may see (the asymmetric critic of Pinto et al. 2017)"""
    task_inference: bool = False
    """whether a head learns to tell what only training may see from what is remembered (Humplik et al. 2019)"""

    def __post_init__(self) -> None:
        if self.memory != "fast" and (self.memory_context or self.memory_slots != NetworkConfig.memory_slots):
            raise UsageError(
                f"memory_slots and memory_context are those of fast weights, and the memory is {self.memory}; set memory to "
                "fast, or leave them out."
            )


class Features(eqx.Module):
    """What the heads read; the same array twice where actor and critic share."""

    actor: Float[Array, "*b f"]
    critic: Float[Array, "*b f"]


def _head_size(spec: Spec) -> int:
    match spec.action:
        case Discrete(n):
            return n
        case MultiDiscrete(nvec):
            return sum(nvec)
        case Box(shape):
            return math.prod(shape)


def _view(privileged: PyTree) -> PyTree:
    """What only training may see, without what foresight adds; of a spec, its spaces."""
    return privileged.view if isinstance(privileged, Foresight) else privileged


def _inferred(spec: Spec) -> tuple[Space, ...]:
    """The spaces of the privileged view.

    Raises:
      UsageError: if the environment offers none.
    """
    view = _view(spec.privileged)
    if view is None:
        raise UsageError(
            "task_inference learns to tell an environment's privileged view, and this suite offers none; leave it off."
        )
    return tuple(jax.tree.leaves(view))


def _mapped(one: Callable[[Array, PyTree], Array], axes: int) -> Callable[[Array, PyTree], Array]:
    """A function of single vectors, for so many leading axes."""
    for _ in range(axes):
        one = jax.vmap(one)
    return one


class ActorCritic(eqx.Module):
    """π(a | features) and v(features, privileged); methods on single vectors are unbatched, `unroll` takes rollouts."""

    torso: torsos.Torso
    memory: memories.Cell | None
    critic_torso: torsos.Torso | None
    actor_mlp: torsos.MLP
    critic_mlp: torsos.MLP
    policy_head: torsos.Dense
    value_head: torsos.Dense
    task_head: torsos.Dense | None
    log_std: Float[Array, " d"] | None
    action: Space = eqx.field(static=True)
    privileged: tuple[Space, ...] = eqx.field(static=True)
    inferred: tuple[Space, ...] = eqx.field(static=True)
    foresight: bool = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, spec: Spec, config: NetworkConfig) -> None:
        k_torso, k_critic, k_memory, k_actor, k_mlp, k_policy, k_value = jr.split(key, 7)
        recurrent = config.memory != "none"
        self.torso = torsos.Torso(k_torso, spec.obs, config.torso, config.activation, config.vision)
        self.memory = None
        self.critic_torso = None
        size = self.torso.size
        if config.memory != "none":
            self.memory = memories.make_cell(
                *(config.memory, k_memory, size, config.memory_size),
                *(config.memory_slots, config.memory_context),
            )
            size = config.memory_size
        elif not config.shared:
            self.critic_torso = torsos.Torso(
                k_critic, spec.obs, config.torso, config.activation, config.vision
            )
        self.foresight = config.privileged and isinstance(spec.privileged, Foresight)
        self.privileged = tuple(jax.tree.leaves(_view(spec.privileged))) if config.privileged else ()
        seen = size + torsos.flat_size(self.privileged)
        own = "relu" if recurrent else config.activation
        self.actor_mlp = torsos.MLP(k_actor, size, config.actor, own)
        self.critic_mlp = torsos.MLP(k_mlp, seen, config.critic, own)
        self.policy_head = torsos.Dense(
            k_policy, config.actor[-1] if config.actor else size, _head_size(spec), gain=0.01
        )
        self.value_head = torsos.Dense(k_value, config.critic[-1] if config.critic else seen, 1, gain=1.0)
        self.inferred = _inferred(spec) if config.task_inference else ()
        self.task_head = None
        if config.task_inference:
            told = torsos.flat_size(self.inferred)
            self.task_head = torsos.Dense(jr.fold_in(key, 7), size, told, gain=0.01)
        self.log_std = jnp.zeros(_head_size(spec)) if isinstance(spec.action, Box) else None
        self.action = spec.action

    def start(self, n: int) -> Memory:
        """The empty memory of `n` lanes."""
        return () if self.memory is None else memories.start(self.memory, n)

    def step(self, memory: Memory, obs: PyTree, first: Bool[Array, " n"]) -> tuple[Memory, Features]:
        """One step of `N` lanes: `[N, ...]` observations to features."""
        x = jax.vmap(self.torso)(obs)
        if self.memory is not None:
            memory, y = jax.vmap(self.memory)(memory, x, first)
            return memory, Features(y, y)
        return memory, Features(x, x if self.critic_torso is None else jax.vmap(self.critic_torso)(obs))

    def unroll(self, memory: Memory, obs: PyTree, first: Bool[Array, "T n"]) -> tuple[Memory, Features]:
        """A whole rollout: `[T, N, ...]` observations to features, carrying the memory."""
        if self.memory is not None:
            x = jax.vmap(jax.vmap(self.torso))(obs)
            memory, y = memories.unroll(self.memory, memory, x, first)
            return memory, Features(y, y)
        _, features = jax.vmap(lambda o, f: self.step(memory, o, f))(obs, first)
        return memory, features

    def policy(self, features: Features) -> Distribution:
        """π(· | features), for any leading axes."""
        shape = features.actor.shape[:-1]
        flat = features.actor.reshape(-1, features.actor.shape[-1])
        out = jax.vmap(lambda x: self.policy_head(self.actor_mlp(x)))(flat).reshape(*shape, -1)
        match self.action:
            case Discrete():
                return Categorical(out)
            case MultiDiscrete(nvec):
                ends = [sum(nvec[: d + 1]) for d in range(len(nvec) - 1)]
                return MultiCategorical(tuple(map(Categorical, jnp.split(out, ends, axis=-1))))
            case Box():
                assert self.log_std is not None
                return DiagNormal(out, jnp.broadcast_to(self.log_std, out.shape))

    def value(self, features: Features, privileged: PyTree) -> Float[Array, "*b"]:
        """v(features, privileged), for any leading axes; `privileged` is ignored unless the config asks for it.

        With foresight it is only what is to be added to the ceiling.
        """

        def one(x: Array, seen: PyTree) -> Array:
            if self.privileged:
                x = jnp.concatenate([x, torsos.flatten(self.privileged, seen)])
            return self.value_head(self.critic_mlp(x))[0]

        seen = _view(privileged) if self.privileged else None
        return _mapped(one, features.critic.ndim - 1)(features.critic, seen)

    def inference_error(self, features: Features, privileged: PyTree) -> Float[Array, "*b"]:
        """½ |view - W features|² per number of the privileged view, for any leading axes; needs `task_inference`."""
        assert self.task_head is not None
        head, spaces = self.task_head, self.inferred

        def one(x: Array, view: PyTree) -> Array:
            return 0.5 * ((torsos.flatten(spaces, view) - head(x)) ** 2).mean()

        return _mapped(one, features.actor.ndim - 1)(features.actor, _view(privileged))
