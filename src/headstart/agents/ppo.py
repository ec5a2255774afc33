"""PPO with a clipped surrogate (Schulman et al. 2017, arXiv:1707.06347), feed-forward or recurrent.

    for each update:
        run the policy T steps in N lanes                                   loops/
        Â_t ← generalised advantage estimate
        for each epoch, for each minibatch of lanes:
            maximise  min(ρ Â, clip(ρ, 1-ε, 1+ε) Â) - c_v (v - G)² + c_h H

RL² (Duan et al. 2016, arXiv:1611.02779) is the recurrent network on `Trial(env)`: the preset `rl2`. The preset `ppo-retro`
is for games of many levels.

Deviates from the paper: no value clipping; advantages standardised per minibatch; gradients clipped by their
global norm; the value's target may be standardised by running moments. Minibatches of a recurrent network are
whole lanes, so that back-propagation runs through the whole rollout; a feed-forward network sees single
steps, drawn afresh each epoch. RL² trained with TRPO; here it is PPO, and its critic may be shown the task's
parameters (`privileged`), which a head may learn to tell (`task_inference`).
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from headstart.agents import _policy_gradient as pg
from headstart.agents._backtracking import backtracking
from headstart.errors import UsageError
from headstart.nets.actor_critic import ActorCritic, NetworkConfig
from headstart.ops.normalise import Moments, standardise
from headstart.types import Agent, Discrete, Entry, Memory, Metrics, Rollout, Spec, TimeStep


@dataclass(frozen=True)
class PPOConfig:
    """PPO's settings; the defaults are table 3 of the paper where a task has no other tradition."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """the actor-critic network"""
    unroll: int = 128
    """T: steps a lane between updates"""
    epochs: int = 4
    """passes over each rollout"""
    minibatches: int = 4
    """gradient steps a pass; divides the number of lanes (recurrent) or of steps (feed-forward)"""
    lr: float = 2.5e-4
    """Adam's step size"""
    anneal_steps: int = 0
    """environment steps over which step size and entropy bonus fall linearly to `anneal_to`; 0 keeps them"""
    anneal_to: float = 0.0
    """the share of the step size and entropy bonus left at the end of annealing"""
    entropy_steps: int = 0
    """environment steps over which the entropy bonus falls, where it is to fall sooner; 0: with the step size"""
    max_grad_norm: float = 0.5
    """global norm to which gradients are clipped"""
    gamma: float = 0.99
    """discount a step"""
    lam: float = 0.95
    """λ of the advantage estimate"""
    clip: float = 0.2
    """ε: how far the probability ratio counts"""
    value_cost: float = 0.5
    """c_v: weight of the squared value error"""
    entropy_bonus: float = 0.01
    """c_h: weight of the policy's entropy, in nats"""
    standardise_values: bool = False
    """whether the critic learns returns standardised by running moments"""
    inference_cost: float = 1.0
    """c_i: weight of the error in telling the task, where the network has `task_inference`"""
    backtracking: bool = False
    """whether going back is free: it learns from new records of an episode's return alone (`_backtracking`)"""

    def __post_init__(self) -> None:
        for name in ("unroll", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise UsageError(f"PPO's {name} is at least 1, not {getattr(self, name)}.")


class PPOState(NamedTuple):
    """Weights, optimiser, the moments of returns, and how many environment steps were learned from."""

    network: ActorCritic
    optimiser: PyTree
    moments: Moments
    steps: Int[Array, ""]


class Batch(NamedTuple):
    """What the loss reads, `[T, B, ...]`: B lanes (with memory `[B, ...]`), or B single steps with T = 1."""

    obs: PyTree
    first: Array
    action: Array
    log_prob: Array
    advantage: Array
    target: Array
    privileged: PyTree
    teacher: PyTree
    """what the prior would have done, where one kickstarts (`agents.fine_tuning`); else None"""


class Rates(NamedTuple):
    """The step size and the weights of the loss's terms, as they stand at an update."""

    lr: Float[Array, ""]
    entropy_bonus: Float[Array, ""]
    kickstart: Float[Array, ""]


def ppo(spec: Spec, config: PPOConfig, aids: pg.Aids = pg.Aids()) -> Agent:  # noqa: B008 (frozen)
    """PPO for any observation and action space; `aids` are for one that starts from a prior (`agents.fine_tuning`)."""
    adam = pg.optimiser(config.max_grad_norm)
    recurrent = config.network.memory != "none"

    def init(key: PRNGKeyArray) -> PPOState:
        network = ActorCritic(key, spec, config.network)
        return PPOState(network, pg.begin(adam, network), Moments.start(), jnp.int32(0))

    def act(
        state: PPOState, memory: Memory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Memory, Array, Any]:
        return pg.act(state.network, memory, timestep, key)

    def update(state: PPOState, rollout: Rollout, key: PRNGKeyArray) -> tuple[PPOState, Metrics]:
        # Â_t ← generalised advantage estimate
        estimate = pg.advantages(state.network, rollout, state.moments, config.gamma, config.lam)
        moments = state.moments.update(estimate.target, 0.05) if config.standardise_values else state.moments
        steps, t_n = rollout.transitions, rollout.transitions.reward.shape
        count = state.steps + t_n[0] * t_n[1]
        batch = Batch(
            *(steps.obs, steps.first, steps.action, steps.extras.log_prob, estimate.advantage),
            *((estimate.target - moments.centre) / moments.scale, steps.privileged),
            steps.extras.teacher if aids.kickstart else None,
        )
        if not recurrent:
            batch = jax.tree.map(lambda x: x.reshape(1, t_n[0] * t_n[1], *x.shape[2:]), batch)
        lanes = t_n[1] if recurrent else t_n[0] * t_n[1]
        if lanes % config.minibatches:
            what = "lanes of a recurrent network" if recurrent else "steps of a rollout"
            raise UsageError(f"PPO's {config.minibatches} minibatches do not divide the {lanes} {what}.")
        order = _orders(key, config.epochs, lanes).reshape(config.epochs * config.minibatches, -1)

        # for each epoch, for each minibatch of lanes: maximise the surrogate
        learner, rates = (state.network, state.optimiser), _rates(config, aids, state.steps, count)
        (network, opt_state), metrics = _descend(adam, config, learner, batch, rollout.memory, order, rates)
        return PPOState(network, opt_state, moments, count), jax.tree.map(jnp.mean, metrics)

    def adopt(fresh: PPOState, trained: PPOState) -> PPOState:
        return fresh._replace(network=trained.network, moments=trained.moments)

    def advantage(state: PPOState, rollout: Rollout) -> Float[Array, "T n"]:
        return pg.advantages(state.network, rollout, state.moments, config.gamma, config.lam).advantage

    memory = pg.memory(spec, config.network)
    agent = Agent(init, memory, act, update, adopt, config.unroll, learns=True, advantage=advantage)
    return backtracking(agent, spec) if config.backtracking else agent


def _rates(config: PPOConfig, aids: pg.Aids, steps: Int[Array, ""], count: Int[Array, ""]) -> Rates:
    """The rates of the update that learns from the steps up to `count`, the last of which began at `steps`."""
    left = pg.annealed(steps, config.anneal_steps, config.anneal_to)
    lr = config.lr * left
    if aids.warm_up_steps:
        lr = lr * pg.warmed(count, aids.warm_up_steps)
    kickstart = aids.kickstart * pg.annealed(steps, aids.kickstart_steps, 0.0)
    explore = pg.annealed(steps, config.entropy_steps or config.anneal_steps, config.anneal_to)
    return Rates(lr, config.entropy_bonus * explore, kickstart)


def _orders(key: PRNGKeyArray, epochs: int, n: int) -> Int[Array, "epochs n"]:
    """A random order of 0 .. n-1 for every epoch.

    What is sorted are random numbers with an index in their lowest bits: one plain sort, a sixth of the cost of
    `jr.permutation`, which sorts pairs, and more than once.
    """
    low = (n - 1).bit_length()
    if low > 16:  # too few random bits would be left
        return jax.vmap(lambda k: jr.permutation(k, n))(jr.split(key, epochs)).astype(jnp.int32)
    index = jnp.arange(n, dtype=jnp.uint32)
    draws = jax.vmap(lambda bits: (bits << low) | index)(jr.bits(key, (epochs, n)))
    return (jnp.sort(draws, axis=-1) & ((1 << low) - 1)).astype(jnp.int32)


def _descend(
    adam: optax.GradientTransformation,
    config: PPOConfig,
    learner: tuple[ActorCritic, PyTree],
    batch: Batch,
    memory: Memory,
    order: Int[Array, "steps rows"],
    rates: Rates,
) -> tuple[tuple[ActorCritic, PyTree], Metrics]:
    """A gradient step for each row of `order`, which names the lanes of a minibatch."""

    weights, opt_state, back = pg.as_vectors(*learner)

    def step(vectors: tuple[Array, PyTree], rows: Array) -> tuple[tuple[Array, PyTree], Metrics]:
        network, _ = back(*vectors)
        part = jax.tree.map(lambda x: x[:, rows], batch)
        start = jax.tree.map(lambda x: x[rows], memory)
        gradient, metrics = jax.grad(_loss, has_aux=True)(network, part, start, config, rates)
        gradient, _ = ravel_pytree(gradient)
        weights, opt_state = vectors
        vectors = pg.descend(adam, gradient, opt_state, weights, rates.lr)
        return vectors, metrics | {"grad_norm": optax.tree.norm(gradient)}

    vectors, metrics = jax.lax.scan(step, (weights, opt_state), order)
    return back(*vectors), metrics


def _loss(
    network: ActorCritic, batch: Batch, memory: Memory, config: PPOConfig, rates: Rates
) -> tuple[Float[Array, ""], Metrics]:
    """-(min(ρ Â, clip(ρ, 1-ε, 1+ε) Â) - c_v (v - G)² + c_h H - c_i (view - W h)² - c_k KL(prior || π)), averaged over the
    minibatch.
    """
    _, features = network.unroll(memory, batch.obs, batch.first)
    policy, value = network.policy(features), network.value(features, batch.privileged)
    log_ratio = policy.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = standardise(batch.advantage)
    clipped = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
    surrogate = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_error = 0.5 * ((value - batch.target) ** 2).mean()
    entropy = policy.entropy().mean()
    loss = -surrogate + config.value_cost * value_error - rates.entropy_bonus * entropy
    metrics = {
        "loss": loss,
        "value_error": value_error,
        "entropy": entropy,
        "kl": (ratio - 1.0 - log_ratio).mean(),
        "clipped": (jnp.abs(ratio - 1.0) > config.clip).astype(jnp.float32).mean(),
    }
    if network.task_head is not None:
        inference_error = network.inference_error(features, batch.privileged).mean()
        loss += config.inference_cost * inference_error
        metrics["inference_error"] = inference_error
    if batch.teacher is not None:
        apart = batch.teacher.kl(policy).mean()
        loss += rates.kickstart * apart
        metrics["from_prior"] = apart
    return loss, metrics


def rl2(spec: Spec, config: PPOConfig) -> Agent:
    """PPO that learns to learn within trials.

    Raises:
      UsageError: if the spec describes no trial: observations that end in the last action, its reward, the episode's end.
    """
    if jax.tree.leaves(spec.obs)[-3:] != [spec.action, spec.reward, Discrete(2)]:
        raise UsageError(
            "rl2 learns within trials, several episodes of one task, and this suite plays single ones: give the suite its "
            "option episodes, as in platformer:episodes=5, or take ppo, which learns from single episodes."
        )
    return ppo(spec, config)


ENTRY = Entry(PPOConfig(), ppo)

RL2 = Entry(
    PPOConfig(
        network=NetworkConfig(
            torso=(64,), memory="linear", memory_size=128, actor=(128,), critic=(128,), privileged=True
        ),
        unroll=100,
        epochs=3,
        lr=2e-3,
        gamma=1.0,
        entropy_bonus=0.01,
        standardise_values=True,
    ),
    rl2,
)

RETRO = Entry(
    PPOConfig(
        network=NetworkConfig(torso=(128, 128), activation="relu", shared=True),
        unroll=512,
        epochs=3,
        minibatches=8,
        lr=2e-4,
        clip=0.1,
        standardise_values=True,
    ),
    ppo,
)
"""The settings of Gotta Learn Fast (Nichol et al. 2018, arXiv:1804.03720; released code) for 8 lanes: 4096 steps an update.

Instead of rewards times 0.01 the value's targets are standardised; a dense torso stands for the convolutions.
"""

RL2_RETRO = Entry(
    PPOConfig(
        network=NetworkConfig(torso=(128,), activation="relu", memory="linear", memory_size=128),
        unroll=128,
        epochs=3,
        lr=1e-3,
        standardise_values=True,
    ),
    rl2,
)
"""`rl2` for the platformer: relu for rewards that are not between 0 and 1, a discount and an unroll for episodes of hundreds
of steps. It made the prior `rl2-platformer`.
"""

PROCGEN = Entry(
    PPOConfig(
        network=NetworkConfig(torso=(256,), activation="relu", shared=True, vision="impala"),
        unroll=256,
        epochs=3,
        minibatches=8,
        lr=5e-4,
        gamma=0.999,
        standardise_values=True,
    ),
    ppo,
)
"""The settings of Procgen (Cobbe et al. 2020, arXiv:1912.01588, appendix D) for 64 lanes: 16384 steps an update.

Instead of rewards divided by the running deviation of returns the value's targets are standardised.
"""
