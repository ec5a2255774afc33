"""Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783), synchronous, with generalised advantages.

    for each update:
        run the policy T steps in N lanes                                   loops/
        Â_t ← generalised advantage estimate,  G_t ← Â_t + v(o_t)
        one step up  log π(a_t | o_t) Â_t - c_v ½ (v(o_t) - G_t)² + c_h H

Deviates from the paper: lanes step together and one learner averages their gradients, where the paper's
threads update shared weights each in its own time; the advantage is Schulman et al.'s (2016,
arXiv:1506.02438), which for λ = 1 is the paper's T-step return; actor and critic have a torso each unless the
network is `shared` or has a memory; gradients are clipped by their global norm.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from headstart.agents import _policy_gradient as pg
from headstart.errors import UsageError
from headstart.nets.actor_critic import ActorCritic, NetworkConfig
from headstart.ops.normalise import Moments
from headstart.types import Agent, Entry, Memory, Metrics, Rollout, Spec, TimeStep


@dataclass(frozen=True)
class A2CConfig:
    """A2C's settings; γ, c_h and RMSProp's decay are the paper's (section 8 of its supplement)."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """the actor-critic network"""
    unroll: int = 16
    """T: steps a lane between updates"""
    lr: float = 2e-3
    """RMSProp's step size"""
    rms_decay: float = 0.99
    """α: how much of the mean squared gradient is kept an update"""
    anneal_steps: int = 0
    """environment steps over which step size and entropy bonus fall linearly to `anneal_to`; 0 keeps them"""
    anneal_to: float = 0.0
    """the share of the step size and entropy bonus left at the end of annealing"""
    max_grad_norm: float = 0.5
    """global norm to which gradients are clipped"""
    gamma: float = 0.99
    """discount a step"""
    lam: float = 0.95
    """λ of the advantage estimate"""
    value_cost: float = 0.5
    """c_v: weight of half the squared value error"""
    entropy_bonus: float = 0.01
    """c_h: weight of the policy's entropy, in nats"""

    def __post_init__(self) -> None:
        if self.unroll < 1:
            raise UsageError(f"A2C's unroll is at least 1, not {self.unroll}.")


def a2c(spec: Spec, config: A2CConfig) -> Agent:
    """A2C for any observation and action space, feed-forward or recurrent."""
    pg.refuse_inference(config.network, "a2c")
    rmsprop = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_rms(config.rms_decay, eps=1e-5)
    )

    def init(key: PRNGKeyArray) -> pg.LearnerState:
        network = ActorCritic(key, spec, config.network)
        return pg.LearnerState(network, pg.begin(rmsprop, network), jnp.int32(0))

    def act(
        state: pg.LearnerState, memory: Memory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Memory, Array, Any]:
        return pg.act(state.network, memory, timestep, key)

    def update(
        state: pg.LearnerState, rollout: Rollout, key: PRNGKeyArray
    ) -> tuple[pg.LearnerState, Metrics]:
        del key
        # Â_t ← generalised advantage estimate,  G_t ← Â_t + v(o_t)
        estimate = pg.advantages(state.network, rollout, Moments.start(), config.gamma, config.lam)
        # one step up
        left = pg.annealed(state.steps, config.anneal_steps, config.anneal_to)
        gradient, metrics = jax.grad(pg.score_loss, has_aux=True)(
            state.network, rollout, estimate, config.value_cost, config.entropy_bonus * left
        )
        network, opt_state = pg.descend(rmsprop, gradient, state.optimiser, state.network, config.lr * left)
        steps = state.steps + rollout.transitions.reward.size
        return pg.LearnerState(network, opt_state, steps), metrics | {"grad_norm": optax.tree.norm(gradient)}

    remember = pg.memory(spec, config.network)
    return Agent(init, remember, act, update, pg.adopt, unroll=config.unroll, learns=True)


ENTRY = Entry(A2CConfig(), a2c)
