"""Play agents on tasks without learning: one lane a task, with random numbers that all agents share."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from headstart.envs import lanes
from headstart.envs.trial import TrialState
from headstart.types import Agent, AgentState, Env, EnvState


class Played(NamedTuple):
    """What `M` tasks gave, by episode index `K`: total reward and steps."""

    returns: Float[np.ndarray, "M K"]
    lengths: Int[np.ndarray, "M K"]


def _ended(state: EnvState, first: Bool[Array, " M"]) -> Bool[Array, " M"]:
    """Whether an episode ended with this step: of the trial's inner episodes, where the environment is a trial."""
    return first | state.ended if isinstance(state, TrialState) else first


@partial(jax.jit, static_argnums=(0, 1))
def _play(
    agent: Agent, env: Env, tasks: PyTree, state: AgentState, key: PRNGKeyArray
) -> tuple[Float[Array, "M K"], Int[Array, "M K"]]:
    m = jax.tree.leaves(tasks)[0].shape[0]
    k_reset, k_steps = jr.split(key)

    def one(carry: PyTree, key: PRNGKeyArray) -> tuple[PyTree, tuple[Array, Array, Array]]:
        memory, play, timestep, alive, episode = carry
        k_act, k_env = jr.split(key)
        memory, action, _ = agent.act(state, memory, timestep, k_act)
        play, timestep = lanes.step(env, tasks, play, action, k_env, pinned=True)
        out = (jnp.where(alive, timestep.reward, 0.0), alive, episode)
        episode = episode + _ended(play.state, timestep.first).astype(jnp.int32)
        return (memory, play, timestep, alive & ~timestep.first, episode), out

    play, timestep = lanes.reset(env, tasks, k_reset, m, pinned=True)
    carry = (agent.memory(m), play, timestep, jnp.ones(m, bool), jnp.zeros(m, jnp.int32))
    reward, alive, episode = jax.lax.scan(one, carry, jr.split(k_steps, env.spec.steps))[1]

    def by_episode(x: Array) -> Array:
        total = partial(jax.ops.segment_sum, num_segments=env.spec.episodes)
        return jax.vmap(total, in_axes=1)(x, jnp.where(alive, episode, env.spec.episodes))

    return by_episode(reward), by_episode(alive.astype(jnp.int32))


def play(agent: Agent, env: Env, tasks: PyTree, state: AgentState, key: PRNGKeyArray, batch: int = 10_000) -> Played:
    """Play one trial (one episode, where the environment is no trial) of each task in the table `[M, ...]`.

    The environment's randomness depends on `key` and the task's row only, never on the agent. `batch` tasks are played at
    once, which bounds memory.
    """
    m = jax.tree.leaves(tasks)[0].shape[0]
    parts = []
    for i, low in enumerate(range(0, m, batch)):
        rows = jax.tree.map(lambda table, low=low: jnp.asarray(table[low : low + batch]), tasks)
        parts.append(jax.device_get(_play(agent, env, rows, state, jr.fold_in(key, i))))
    return Played(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Recording(NamedTuple):
    """One trial of one task, step by step: `[T, ...]` states before each action, with what was done and what it gave."""

    states: EnvState
    action: Array
    reward: Float[Array, " T"]
    ended: Bool[Array, " T"]


@partial(jax.jit, static_argnums=(0, 1))
def _record(
    agent: Agent, env: Env, task: PyTree, state: AgentState, key: PRNGKeyArray
) -> tuple[Recording, Bool[Array, " T"]]:
    tasks = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], task)
    k_reset, k_steps = jr.split(key)

    def one(carry: PyTree, key: PRNGKeyArray) -> tuple[PyTree, tuple[Recording, Array]]:
        memory, play, timestep, alive = carry
        k_act, k_env = jr.split(key)
        before = play.state
        memory, action, _ = agent.act(state, memory, timestep, k_act)
        play, timestep = lanes.step(env, tasks, play, action, k_env, pinned=True)
        step = Recording(before, action, timestep.reward, _ended(play.state, timestep.first))
        return (memory, play, timestep, alive & ~timestep.first), (jax.tree.map(lambda x: x[0], step), alive[0])

    play, timestep = lanes.reset(env, tasks, k_reset, 1, pinned=True)
    carry = (agent.memory(1), play, timestep, jnp.ones(1, bool))
    return jax.lax.scan(one, carry, jr.split(k_steps, env.spec.steps))[1]


def record(agent: Agent, env: Env, task: PyTree, state: AgentState, key: PRNGKeyArray) -> Recording:
    """Play one trial of one task and keep every step of it, for pictures and for people."""
    recording, alive = _record(agent, env, task, state, key)
    steps = int(alive.sum())
    return jax.tree.map(lambda leaf: np.asarray(leaf[:steps]), recording)
