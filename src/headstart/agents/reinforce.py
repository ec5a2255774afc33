"""REINFORCE with a learned baseline (Williams 1992, Machine Learning 8; reinforcement comparison).

    for each update:
        run the policy T steps in N lanes, T at least the longest episode   loops/
        G_t ← Σ_k γ^k r_{t+k} to the episode's end
        θ ← θ + α mean_t (G_t - b(o_t)) ∇ log π(a_t | o_t)
        b ← b - α mean_t ∇ ½ (b(o_t) - G_t)²

Deviates from the paper: each action is credited with the reward that follows it, not with the whole
episode's; returns are discounted; the baseline depends on the observation; both gradients pass through Adam
behind a clip of their norm. Lanes are not restarted for an update, so the last episode of each lane is cut by
the rollout's end: its returns go on with the baseline at the cut (as after a truncation), since dropping such
steps would favour short episodes. All other returns are Monte-Carlo sums; with a shorter `unroll` the agent
turns into A2C with λ = 1.
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
class ReinforceConfig:
    """REINFORCE's settings; the paper gives none."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """the network of policy and baseline"""
    unroll: int = 0
    """T: steps a lane between updates; 0 is the most steps an episode (a trial) can have"""
    lr: float = 3e-3
    """α: Adam's step size"""
    max_grad_norm: float = 0.5
    """global norm to which gradients are clipped"""
    gamma: float = 0.99
    """discount a step"""
    baseline_cost: float = 0.5
    """weight of half the baseline's squared error"""
    entropy_bonus: float = 0.0
    """weight of the policy's entropy, in nats"""

    def __post_init__(self) -> None:
        if self.unroll < 0:
            raise UsageError(
                f"REINFORCE's unroll is at least 1, or 0 for the longest episode, not {self.unroll}."
            )


def reinforce(spec: Spec, config: ReinforceConfig) -> Agent:
    """REINFORCE for any observation and action space, feed-forward or recurrent."""
    pg.refuse_inference(config.network, "reinforce")
    adam = pg.optimiser(config.max_grad_norm)

    def init(key: PRNGKeyArray) -> pg.LearnerState:
        network = ActorCritic(key, spec, config.network)
        return pg.LearnerState(network, pg.begin(adam, network), jnp.int32(0))

    def act(
        state: pg.LearnerState, memory: Memory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Memory, Array, Any]:
        return pg.act(state.network, memory, timestep, key)

    def update(
        state: pg.LearnerState, rollout: Rollout, key: PRNGKeyArray
    ) -> tuple[pg.LearnerState, Metrics]:
        del key
        # G_t ← Σ_k γ^k r_{t+k}: for λ = 1 the advantage estimate is G_t - b(o_t)
        estimate = pg.advantages(state.network, rollout, Moments.start(), config.gamma, lam=1.0)
        # θ ← θ + α mean_t (G_t - b(o_t)) ∇ log π(a_t | o_t),  b ← b - α mean_t ∇ ½ (b(o_t) - G_t)²
        gradient, metrics = jax.grad(pg.score_loss, has_aux=True)(
            state.network, rollout, estimate, config.baseline_cost, config.entropy_bonus
        )
        network, opt_state = pg.descend(adam, gradient, state.optimiser, state.network, config.lr)
        steps = state.steps + rollout.transitions.reward.size
        return pg.LearnerState(network, opt_state, steps), metrics | {"grad_norm": optax.tree.norm(gradient)}

    unroll = config.unroll or spec.steps
    return Agent(init, pg.memory(spec, config.network), act, update, pg.adopt, unroll=unroll, learns=True)


ENTRY = Entry(ReinforceConfig(), reinforce)
