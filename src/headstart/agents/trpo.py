"""Trust region policy optimisation (Schulman et al. 2015, arXiv:1502.05477), feed-forward or recurrent.

    for each update:
        run the policy T steps in N lanes                                   loops/
        Â_t ← generalised advantage estimate, standardised
        g ← ∇ L(θ),  L(θ) = mean_t π_θ(a_t | o_t) / π_old(a_t | o_t) Â_t
        solve F x = g by conjugate gradient, F = ∇² mean_t KL(π_old ‖ π_θ) at θ_old
        s ← √(2δ / xᵀF x) x
        θ ← θ + s, s halved until KL <= δ and L has grown; else θ stays
        fit the critic to G_t by some steps of Adam

Deviates from the paper: advantages are Schulman et al.'s (2016, arXiv:1506.02438) from a learned critic, in
place of Monte-Carlo returns ("single path"); F is taken on the whole rollout, not on a tenth of it, and is
damped. Policy and critic are separate networks, each with its own memory, so that fitting the critic leaves
the policy where the trust region put it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from headstart.agents import _policy_gradient as pg
from headstart.errors import UsageError
from headstart.nets.actor_critic import ActorCritic, NetworkConfig
from headstart.ops.distributions import Distribution
from headstart.ops.normalise import Moments, standardise
from headstart.types import Agent, Entry, Memory, Metrics, Rollout, Spec, TimeStep

Vector = Float[Array, " p"]


@dataclass(frozen=True)
class TRPOConfig:
    """TRPO's settings; δ is the paper's (table 2), γ and λ those of the GAE paper's locomotion tasks."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """the shape of the policy's and of the critic's network, which share nothing"""
    unroll: int = 128
    """T: steps a lane between updates"""
    delta: float = 0.01
    """δ: the largest mean KL divergence of an update, in nats"""
    cg_iterations: int = 10
    """steps of conjugate gradient"""
    damping: float = 0.1
    """added to the diagonal of F"""
    backtracks: int = 10
    """how often the step is halved before it is given up"""
    gamma: float = 0.99
    """discount a step"""
    lam: float = 0.97
    """λ of the advantage estimate"""
    critic_steps: int = 20
    """Adam steps on the whole rollout that fit the critic"""
    critic_lr: float = 3e-3
    """Adam's step size"""
    max_grad_norm: float = 0.5
    """global norm to which the critic's gradients are clipped"""

    def __post_init__(self) -> None:
        for name in ("unroll", "cg_iterations", "backtracks", "critic_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"TRPO's {name} is at least 1, not {getattr(self, name)}.")
        if self.delta <= 0:
            raise UsageError(f"TRPO's delta is positive, not {self.delta}.")


class TRPOState(NamedTuple):
    """Two networks (each with one head that lies idle), the critic's optimiser, and steps learned from."""

    policy: ActorCritic
    critic: ActorCritic
    optimiser: PyTree
    steps: Int[Array, ""]


class TRPOMemory(NamedTuple):
    """What the policy remembers and what the critic does."""

    policy: Memory
    critic: Memory


def trpo(spec: Spec, config: TRPOConfig) -> Agent:
    """TRPO for any observation and action space."""
    pg.refuse_inference(config.network, "trpo")
    adam = pg.optimiser(config.max_grad_norm)
    one_head = dataclasses.replace(config.network, shared=True)  # for which one torso is enough
    policy_shape = dataclasses.replace(one_head, critic=(), privileged=False)
    critic_shape = dataclasses.replace(one_head, actor=())

    def init(key: PRNGKeyArray) -> TRPOState:
        k_policy, k_critic = jax.random.split(key)
        critic = ActorCritic(k_critic, spec, critic_shape)
        return TRPOState(
            ActorCritic(k_policy, spec, policy_shape), critic, pg.begin(adam, critic), jnp.int32(0)
        )

    def memory(n: int) -> TRPOMemory:
        return TRPOMemory(pg.memory(spec, policy_shape)(n), pg.memory(spec, critic_shape)(n))

    def act(
        state: TRPOState, memory: TRPOMemory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[TRPOMemory, Array, pg.Acted]:
        policy_memory, action, acted = pg.act(state.policy, memory.policy, timestep, key)
        critic_memory, features = state.critic.step(memory.critic, timestep.obs, timestep.first)
        return TRPOMemory(policy_memory, critic_memory), action, acted._replace(critic=features.critic)

    def update(state: TRPOState, rollout: Rollout, key: PRNGKeyArray) -> tuple[TRPOState, Metrics]:
        del key
        # Â_t ← generalised advantage estimate, standardised
        seen = rollout._replace(memory=rollout.memory.critic, memory_after=rollout.memory_after.critic)
        estimate = pg.advantages(state.critic, seen, Moments.start(), config.gamma, config.lam)
        policy, metrics = _improved(state.policy, rollout, standardise(estimate.advantage), config)

        # fit the critic to G_t
        learner = (state.critic, state.optimiser)
        (critic, opt_state), error = _fitted(adam, config, learner, seen, estimate.target)
        steps = state.steps + rollout.transitions.reward.size
        return TRPOState(policy, critic, opt_state, steps), metrics | {"value_error": error[-1]}

    def adopt(fresh: TRPOState, trained: TRPOState) -> TRPOState:
        return fresh._replace(policy=trained.policy, critic=trained.critic)

    return Agent(init, memory, act, update, adopt, unroll=config.unroll, learns=True)


def _fitted(
    adam: optax.GradientTransformation,
    config: TRPOConfig,
    learner: tuple[ActorCritic, PyTree],
    rollout: Rollout,
    target: Float[Array, "T n"],
) -> tuple[tuple[ActorCritic, PyTree], Float[Array, " steps"]]:
    """The critic (and optimiser) after `critic_steps` steps towards the target, and the error before each."""

    def step(learner: tuple[ActorCritic, PyTree], _: None) -> tuple[tuple[ActorCritic, PyTree], Array]:
        critic, opt_state = learner
        error, gradient = jax.value_and_grad(_value_error)(critic, rollout, target)
        return pg.descend(adam, gradient, opt_state, critic, config.critic_lr), error

    return jax.lax.scan(step, learner, length=config.critic_steps)


def _improved(
    network: ActorCritic, rollout: Rollout, advantage: Float[Array, "T n"], config: TRPOConfig
) -> tuple[ActorCritic, Metrics]:
    """The policy after one step inside its trust region."""
    steps = rollout.transitions
    theta_old, rebuild = ravel_pytree(network)

    def policy(theta: Vector) -> Distribution:
        network = rebuild(theta)
        return network.policy(network.unroll(rollout.memory.policy, steps.obs, steps.first)[1])

    old = policy(theta_old)
    log_prob_old = old.log_prob(steps.action)

    def surrogate(theta: Vector) -> Float[Array, ""]:
        return (jnp.exp(policy(theta).log_prob(steps.action) - log_prob_old) * advantage).mean()

    def kl(theta: Vector) -> Float[Array, ""]:
        return old.kl(policy(theta)).mean()  # pyright: ignore[reportArgumentType]

    # g ← ∇ L(θ);  solve F x = g;  s ← √(2δ / xᵀF x) x
    gradient = jax.grad(surrogate)(theta_old)
    step = natural_step(kl, theta_old, gradient, config)
    # θ ← θ + s, s halved until KL <= δ and L has grown; else θ stays
    theta, found = line_search(surrogate, kl, theta_old, step, config)
    metrics = found | {"entropy": old.entropy().mean(), "grad_norm": optax.tree.norm(gradient)}
    return rebuild(theta), metrics


def natural_step(
    kl: Callable[[Vector], Float[Array, ""]], theta: Vector, gradient: Vector, config: TRPOConfig
) -> Vector:
    """√(2δ / xᵀF x) x, where x solves F x = g and F is the damped Hessian of `kl` at θ, never written out.

    To second order this is the step up g whose KL divergence is δ, or less by the damping (appendix C).
    """

    def fisher_product(x: Vector) -> Vector:
        return jax.jvp(jax.grad(kl), (theta,), (x,))[1] + config.damping * x

    x, _ = cg(fisher_product, gradient, maxiter=config.cg_iterations)
    length = jnp.vdot(x, fisher_product(x))
    return jnp.sqrt(2.0 * config.delta / jnp.maximum(length, 1e-12)) * x


def line_search(
    surrogate: Callable[[Vector], Float[Array, ""]],
    kl: Callable[[Vector], Float[Array, ""]],
    theta_old: Vector,
    step: Vector,
    config: TRPOConfig,
) -> tuple[Vector, Metrics]:
    """The first of θ + s, θ + s/2, … that keeps KL <= δ and raises L; θ itself if none does, or s is not finite.

    What it reports are the figures the choice was made by: `share` of s, `kl`, and `gain` of L; 0 where θ stays.
    """
    before = surrogate(theta_old)

    def halved(tried: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        share = 0.5 * tried[0]
        theta = theta_old + share * step
        return share, kl(theta), surrogate(theta) - before

    def fits(tried: tuple[Array, Array, Array]) -> Array:
        return (tried[1] <= config.delta) & (tried[2] > 0.0)  # so written, NaN does not fit

    def go_on(tried: tuple[Array, Array, Array]) -> Array:
        return ~fits(tried) & (tried[0] > 0.5**config.backtracks)

    start = (jnp.float32(2.0), jnp.float32(jnp.inf), jnp.float32(0.0))
    tried = jax.lax.while_loop(go_on, halved, start)
    found = [jnp.where(fits(tried), x, 0.0) for x in tried]
    theta = jnp.where(fits(tried), theta_old + tried[0] * step, theta_old)  # 0 times NaN would be NaN
    return theta, dict(zip(("share", "kl", "gain"), found, strict=True))


def _value_error(critic: ActorCritic, rollout: Rollout, target: Float[Array, "T n"]) -> Float[Array, ""]:
    """½ (v(o_t) - G_t)², averaged over the rollout."""
    steps = rollout.transitions
    _, value = pg.evaluate(critic, rollout.memory, steps.obs, steps.first, steps.privileged)
    return 0.5 * ((value - target) ** 2).mean()


ENTRY = Entry(TRPOConfig(), trpo)
