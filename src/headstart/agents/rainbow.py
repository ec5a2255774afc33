"""Rainbow (Hessel et al. 2018, arXiv:1710.02298): DQN with six improvements, each of which can be switched off.

    for each step in N lanes:
        a ← argmax_a q(o, a) under fresh noise                              noisy nets, or ε-greedy
    write the steps to the replay                                           ops.replay
    for each batch of transitions drawn with P(i) ∝ p_i:                    prioritised, or uniformly
        R ← Σ_{k<n} γ^k r_{t+k}                                             n-step, or n = 1
        a* ← argmax_a q(o_{t+n}, a)                                         double: by the online network, not the target
        target ← project(R + γ^n z, Z_target(o_{t+n}, a*))                  distributional (C51), or R + γ^n q_target
        one step of Adam down  w_i KL(target || Z(o_t, a_t))                or w_i Huber(target - q(o_t, a_t))
        p_i ← (KL + floor)^α,   w_i ∝ P(i)^-β
    every so many batches: target network ← online network
(dueling: see nets.q_network)

The defaults are the settings of *Gotta Learn Fast* (Nichol et al. 2018, arXiv:1804.03720) in their released code: one update
of 32 transitions a step.

Deviates from the papers: `ahead` batches are drawn at once and their targets computed in one product, so that priorities
and the network that chooses a* (not the one that is trained) are up to `ahead` - 1 updates old, beside a target network that
is up to 8192 old; `ahead=1` is as published. Noise is drawn for each lane and step when acting and for each batch when
training, and once for all targets of `ahead` batches; a* is chosen under noise of its own, as in Fortunato et al. (2018),
of which Hessel et al. do not speak. With several lanes or `unroll` > 1, the network that acts is as old as the rollout.
β is constant, as in the released code, not annealed to 1. A window stops before a step that truncated its episode and
bootstraps there (ops.replay). Value and advantages share their last hidden layer (nets.q_network).
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from headstart.agents._backtracking import backtracking
from headstart.errors import UsageError
from headstart.nets.q_network import Noises, QNetwork, QNetworkConfig
from headstart.ops import replay as ring
from headstart.ops import value_distributions as c51
from headstart.ops.replay import Layout, Replay, lockstep
from headstart.types import Agent, Discrete, Entry, Memory, Metrics, Rollout, Spec, TimeStep


@dataclass(frozen=True)
class RainbowConfig:
    """Rainbow's settings; the defaults are those of the Retro benchmark's released code."""

    network: QNetworkConfig = field(default_factory=QNetworkConfig)
    """the Q-network's layers"""
    double: bool = True
    """whether the online network chooses the action that the target network values"""
    dueling: bool = True
    """whether the network splits into a value and advantages"""
    noisy: bool = True
    """whether it explores by noise in its weights; else ε-greedily"""
    distributional: bool = True
    """whether it learns the distribution of returns (C51); else their mean"""
    n_step: int = 3
    """n: steps of reward before the bootstrap; 1 is plain Q-learning"""
    prioritised: bool = True
    """whether transitions are drawn by their priority; else uniformly"""
    atoms: int = 51
    """atoms of a distribution of returns"""
    v_min: float = -200.0
    """the lowest atom, in units of reward"""
    v_max: float = 200.0
    """the highest atom, in units of reward"""
    gamma: float = 0.99
    """discount a step"""
    lr: float = 1e-4
    """Adam's step size"""
    adam_epsilon: float = 1.5e-4
    """Adam's ε"""
    batch: int = 32
    """transitions an update"""
    steps_per_update: int = 1
    """environment steps, summed over lanes, for each update"""
    target_updates: int = 8192
    """updates between copies of the online network to the target network"""
    capacity: int = 500_000
    """steps the replay holds, all lanes together"""
    warm_up: int = 20_000
    """steps to be in the replay before the first update"""
    priority_exponent: float = 0.5
    """α: how far priorities follow errors"""
    importance_exponent: float = 0.4
    """β: how far unequal drawing is undone"""
    priority_floor: float = 0.1
    """added to an error, in nats (or units of reward), before it becomes a priority"""
    half: bool = False
    """whether the replay keeps floating-point observations in 16 bits"""
    frames: int = 1
    """observations of the same episode stacked for the network, rebuilt from single ones in the replay"""
    epsilon: float = 0.01
    """share of random actions once annealed, where the network is not noisy"""
    epsilon_steps: int = 250_000
    """environment steps over which that share falls linearly from 1; a prior has them behind it"""
    unroll: int = 8
    """steps a lane between updates, then made all at once"""
    ahead: int = 8
    """most batches that are drawn, and whose targets are computed, at once; 1 is as published"""
    backtracking: bool = False
    """whether going back is free: it learns from new records of an episode's return alone (`_backtracking`)"""

    def __post_init__(self) -> None:
        whole = ("n_step", "batch", "steps_per_update", "target_updates", "frames", "unroll", "ahead")
        for name in whole:
            if getattr(self, name) < 1:
                raise UsageError(f"Rainbow's {name} is at least 1, not {getattr(self, name)}.")
        if self.atoms < 2 or self.v_min >= self.v_max:
            raise UsageError(
                "Rainbow's distributions have at least 2 atoms between v_min and a greater v_max."
            )
        if not self.network.hidden:
            raise UsageError("Rainbow's network has at least one hidden layer.")


class RainbowState(NamedTuple):
    """The two networks, the optimiser, the replay, how many updates were made, and the environment steps that anneal ε:
    those seen, or, after a prior was adopted, all it takes.
    """

    online: QNetwork
    target: QNetwork
    optimiser: PyTree
    replay: Replay
    updates: Int[Array, ""]
    steps: Int[Array, ""]


class Batch(NamedTuple):
    """What one update reads `[B, ...]`: transitions, what to regress them on `[B, atoms]`, and their weight."""

    obs: PyTree
    action: Int[Array, "*b"]
    target: Float[Array, "*b z"]
    weight: Float[Array, "*b"]


class _Learner(NamedTuple):
    """What the updates of one call hand on."""

    online: QNetwork
    optimiser: PyTree
    replay: Replay
    metrics: Metrics


def rainbow(spec: Spec, config: RainbowConfig) -> Agent:
    """Rainbow for any observation and one choice a step.

    Raises:
      UsageError: for other action spaces, or trials where backtracking is free.
    """
    if not isinstance(spec.action, Discrete):
        raise UsageError("rainbow chooses one of several actions and cannot play a suite with other actions.")
    actions = spec.action.n
    adam = optax.scale_by_adam(eps=config.adam_epsilon)
    spaces = spec.obs
    if config.frames > 1:
        spaces = jax.tree.map(lambda space: ring.stacked(space, config.frames), spaces)

    def init(key: PRNGKeyArray) -> RainbowState:
        atoms = config.atoms if config.distributional else 1
        online: Any = QNetwork(key, spaces, actions, config.network, atoms, config.dueling, config.noisy)
        replay = ring.empty(spec.obs, config.capacity, config.half)
        target = jax.tree.map(jnp.copy, online)  # a buffer of its own, since both are donated
        return RainbowState(online, target, adam.init(online), replay, jnp.int32(0), jnp.int32(0))

    def memory(n: int) -> Memory:
        if config.frames == 1:
            return ()
        one = ring.empty(spec.obs, n * (config.frames - 1)).obs
        return jax.tree.map(lambda x: x.reshape(n, config.frames - 1, *x.shape[1:]), one)

    def act(
        state: RainbowState, memory: Memory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Memory, Array, Any]:
        n = timestep.first.shape[0]
        memory, obs = _recall(memory, timestep) if config.frames > 1 else (memory, timestep.obs)
        k_net, k_explore, k_random = jr.split(key, 3)
        if config.noisy:
            noise = jax.vmap(state.online.draw)(jr.split(k_net, n))
            return memory, _greedy(jax.vmap(state.online)(obs, noise), config), ()
        left = jnp.maximum(1.0 - state.steps.astype(jnp.float32) / max(config.epsilon_steps, 1), 0.0)
        explore = jr.uniform(k_explore, (n,)) < config.epsilon + (1.0 - config.epsilon) * left
        random = jr.randint(k_random, (n,), 0, actions)
        return memory, jnp.where(explore, random, _greedy(jax.vmap(state.online)(obs), config)), ()

    def update(state: RainbowState, rollout: Rollout, key: PRNGKeyArray) -> tuple[RainbowState, Metrics]:
        return _update(config, adam, state, rollout, key)

    def adopt(fresh: RainbowState, trained: RainbowState) -> RainbowState:
        target = jax.tree.map(jnp.copy, trained.online)
        # what was learned is played, not drowned out by random actions
        annealed = jnp.maximum(fresh.steps, config.epsilon_steps)
        return fresh._replace(online=trained.online, target=target, steps=annealed)

    agent = Agent(init, memory, act, update, adopt, unroll=config.unroll, learns=True)
    return backtracking(agent, spec) if config.backtracking else agent


def _update(
    config: RainbowConfig,
    adam: optax.GradientTransformation,
    state: RainbowState,
    rollout: Rollout,
    key: PRNGKeyArray,
) -> tuple[RainbowState, Metrics]:
    """Write the rollout's steps to the replay and learn from as many batches as they are due."""
    # write the steps to the replay
    layout = _layout(config, *rollout.transitions.reward.shape)
    replay = ring.push(state.replay, layout, rollout.transitions)
    # for each batch of transitions, `ahead` at a time
    count = layout.block // config.steps_per_update
    ahead = max(d for d in range(1, min(config.ahead, count) + 1) if count % d == 0)

    def learn(group: Array, learner: _Learner) -> _Learner:
        return _learn(config, adam, layout, state.target, learner, ahead, jr.fold_in(key, group))

    none: Metrics = {"loss": jnp.float32(0.0), "q": jnp.float32(0.0)}
    warm = lockstep(ring.filled(replay, layout) >= config.warm_up)
    groups = jnp.where(warm, count // ahead, 0)
    learner = _Learner(state.online, state.optimiser, replay, none)
    learner = jax.lax.fori_loop(0, groups, learn, learner)
    # every so many batches: target network ← online network
    updates = state.updates + groups * ahead
    copies = updates // config.target_updates > state.updates // config.target_updates
    target = jax.lax.cond(lockstep(copies), lambda: learner.online, lambda: state.target)
    metrics = jax.tree.map(lambda x: x / jnp.maximum(groups, 1), learner.metrics)
    state = RainbowState(
        *(learner.online, target, learner.optimiser, learner.replay), updates, state.steps + layout.block
    )
    return state, metrics | {"updates": updates.astype(jnp.float32)}


def _layout(config: RainbowConfig, unroll: int, lanes: int) -> Layout:
    layout = Layout(config.capacity, unroll, lanes, config.n_step, config.frames)
    if config.capacity < layout.least:
        raise UsageError(
            f"Rainbow's replay of {config.capacity} steps is too small for {lanes} lanes; it takes {layout.least}."
        )
    if layout.size < config.warm_up:
        raise UsageError(
            f"Rainbow's replay of {layout.size} steps never holds a warm-up of {config.warm_up}."
        )
    if layout.block % config.steps_per_update:
        raise UsageError(
            f"Rainbow's {config.steps_per_update} steps an update do not divide the {layout.block} steps of "
            f"{lanes} lanes x an unroll of {unroll}."
        )
    return layout


def _recall(memory: Memory, timestep: TimeStep) -> tuple[Memory, PyTree]:
    """Put the newest observation `[N, ...]` before the frames remembered `[N, F-1, ...]`, and stack them; an episode's
    first stands for those before it.
    """

    def frames(old: Array, obs: Array) -> Array:
        newest = obs[:, None].astype(old.dtype)
        first = timestep.first.reshape(-1, *(1,) * (old.ndim - 1))
        return jnp.concatenate([newest, jnp.where(first, newest, old)], axis=1)

    seen = jax.tree.map(frames, memory, timestep.obs)
    return jax.tree.map(lambda x: x[:, :-1], seen), jax.tree.map(lambda x: jax.vmap(ring.stack)(x), seen)


def _values(logits: Float[Array, "*b a z"], config: RainbowConfig) -> Float[Array, "*b a"]:
    """q(o, ·), whichever way the network states it."""
    if not config.distributional:
        return logits[..., 0]
    return c51.mean(logits, c51.atoms(config.v_min, config.v_max, config.atoms))


def _greedy(logits: Float[Array, "*b a z"], config: RainbowConfig) -> Int[Array, "*b"]:
    return jnp.argmax(_values(logits, config), axis=-1).astype(jnp.int32)


def _learn(
    config: RainbowConfig,
    adam: optax.GradientTransformation,
    layout: Layout,
    target: QNetwork,
    learner: _Learner,
    ahead: int,
    key: PRNGKeyArray,
) -> _Learner:
    """Draw `ahead` batches, compute their targets, make a step of gradient with each, and give them new priorities."""
    k_draw, k_noise = jr.split(key)
    replay, shape = learner.replay, (ahead, config.batch)
    index, probability = ring.sample(replay, k_draw, shape)
    beta = config.importance_exponent if config.prioritised else 0.0
    weight = jax.vmap(lambda p: ring.importance(p, ring.filled(replay, layout), beta))(probability)
    window = ring.windows(replay, layout, index.reshape(-1), config.gamma)

    noises = jax.vmap(learner.online.draw)(
        jr.split(k_noise, ahead + 2)
    )  # a batch's each, the chooser's, the target's
    chosen_by, valued_by = (jax.tree.map(lambda x, i=i: x[i], noises) for i in (-2, -1))
    chooser = learner.online.settle(chosen_by) if config.double else None
    goal = _targets(config, target.settle(valued_by), chooser, window)
    batches = jax.tree.map(
        lambda x: x.reshape(*shape, *x.shape[1:]), Batch(window.obs, window.action, goal, weight.reshape(-1))
    )
    noises = jax.tree.map(lambda x: x[:ahead], noises)

    def step(carry: tuple[QNetwork, PyTree], item: tuple[Batch, Noises]) -> tuple[Any, tuple[Array, Metrics]]:
        online, opt_state = carry
        gradient, (error, metrics) = jax.grad(_loss, has_aux=True)(online, *item, config)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the power of an integer count
            change, opt_state = adam.update(gradient, opt_state)
        online = jax.tree.map(lambda w, d: w - config.lr * d, online, change)
        return (online, opt_state), (error, metrics)

    (online, opt_state), (error, metrics) = jax.lax.scan(
        step, (learner.online, learner.optimiser), (batches, noises)
    )
    if config.prioritised:
        priority = (error.reshape(-1) + config.priority_floor) ** config.priority_exponent
        replay = ring.reprioritise(replay, index.reshape(-1), priority)
    metrics = jax.tree.map(lambda total, x: total + x.mean(), learner.metrics, metrics)
    return _Learner(online, opt_state, replay, metrics)


def _targets(
    config: RainbowConfig, target: QNetwork, chooser: QNetwork | None, window: ring.Window
) -> Float[Array, "b z"]:
    """What to regress each transition on: a distribution over the atoms, or one value."""
    logits = jax.vmap(target)(window.next_obs)
    best = _greedy(logits if chooser is None else jax.vmap(chooser)(window.next_obs), config)
    after = jnp.take_along_axis(logits, best[:, None, None], axis=1)[:, 0]
    if not config.distributional:
        return (window.return_t + window.discount_t * after[:, 0])[:, None]
    support = c51.atoms(config.v_min, config.v_max, config.atoms)
    return jax.vmap(c51.project, in_axes=(0, 0, 0, None))(
        window.return_t, window.discount_t, jax.nn.softmax(after), support
    )


def _loss(
    online: QNetwork, batch: Batch, noises: Noises, config: RainbowConfig
) -> tuple[Float[Array, ""], tuple[Float[Array, " b"], Metrics]]:
    """The weighted mean of w_i KL(target || Z(o_t, a_t)), or of Huber errors; and each transition's own error."""
    logits = jax.vmap(online.settle(noises))(batch.obs)
    chosen = jax.nn.one_hot(batch.action, logits.shape[1])[
        :, :, None
    ]  # a gather's gradient is a slow scatter
    logits = jnp.sum(logits * chosen, axis=1)
    if config.distributional:
        error = jax.vmap(c51.kl)(batch.target, logits)
        loss, q = error, c51.mean(logits, c51.atoms(config.v_min, config.v_max, config.atoms))
    else:
        q = logits[:, 0]
        error = jnp.abs(batch.target[:, 0] - q)
        loss = optax.losses.huber_loss(q, batch.target[:, 0])
    mean = (batch.weight * loss).mean()
    metrics = {"loss": mean, "q": q.mean()}
    return mean, (error, metrics)


ENTRY = Entry(RainbowConfig(), rainbow)

FRUGAL = Entry(
    RainbowConfig(
        network=QNetworkConfig(hidden=(128, 128)),
        n_step=10,
        steps_per_update=32,
        target_updates=256,
        lr=5e-4,
        v_min=-1000.0,
        v_max=3000.0,
        warm_up=8_000,
        capacity=200_000,
        half=True,
    ),
    rainbow,
)
"""For a million steps on a level of the platformer in a minute of one core instead of two hours.

An update every 32 steps with a greater step size, and targets copied as often a step; returns over ten steps instead of
three, so that what follows is known after fewer updates; a support that reaches what is earned there: a step at full speed
brings 50.
"""
