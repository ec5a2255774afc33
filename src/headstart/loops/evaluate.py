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
from headstart.hosts.env import HostEnv
from headstart.loops import host
from headstart.types import Agent, AgentState, Env, EnvState


class Played(NamedTuple):
    """What `M` tasks gave, by episode index `K`: total reward and steps; and how many simulators died, None where there are
    none to die.
    """

    returns: Float[np.ndarray, "M K"]
    lengths: Int[np.ndarray, "M K"]
    deaths: int | None = None


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


def play(
    agent: Agent, env: Env, tasks: PyTree, state: AgentState, key: PRNGKeyArray, batch: int = 10_000
) -> Played:
    """Play one trial (one episode, where the environment is no trial) of each task in the table `[M, ...]`.

    The environment's randomness depends on `key`, the task's row and `batch` only, never on the agent. `batch` tasks are
    played at once, which bounds memory; batch b draws from `fold_in(key, b)`.
    """
    if isinstance(env, HostEnv):
        return Played(*host.play(agent, env, tasks, state, key))
    m = jax.tree.leaves(tasks)[0].shape[0]
    parts = []
    for i, low in enumerate(range(0, m, batch)):
        rows = jax.tree.map(lambda table, low=low: jnp.asarray(table[low : low + batch]), tasks)
        parts.append(jax.device_get(_play(agent, env, rows, state, jr.fold_in(key, i))))
    returns, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Played(returns, lengths)


class Recording(NamedTuple):
    """One trial of one task: `[T + 1, ...]` states, after the reset and after each step; `[T]` what was done and given.

    The last state is the environment's own, before anything is reset, so that a picture of it shows how the trial ended.
    """

    states: EnvState
    action: Array
    reward: Float[Array, " T"]
    ended: Bool[Array, " T"]


@partial(jax.jit, static_argnums=(0, 1))
def _record(
    agent: Agent, env: Env, tasks: PyTree, state: AgentState, key: PRNGKeyArray
) -> tuple[EnvState, Recording, Bool[Array, " T"]]:
    """The first state, what follows each step, and whether the trial was still on before it; of the table's last row."""
    m = jax.tree.leaves(tasks)[0].shape[0]
    task = jax.tree.map(lambda table: table[-1], tasks)
    k_reset, k_steps = jr.split(key)

    def one(carry: PyTree, key: PRNGKeyArray) -> tuple[PyTree, tuple[Recording, Array]]:
        memory, play, timestep, alive = carry
        k_act, k_env = jr.split(key)
        memory, action, _ = agent.act(state, memory, timestep, k_act)
        before = jax.tree.map(lambda leaf: leaf[-1], play.state)
        after, _ = env.step(
            task, before, action[-1], jr.split(jr.split(k_env, 3)[0], m)[-1]
        )  # as lanes.step does
        play, timestep = lanes.step(env, tasks, play, action, k_env, pinned=True)
        step = Recording(after, action[-1], timestep.reward[-1], _ended(play.state, timestep.first)[-1])
        return (memory, play, timestep, alive & ~timestep.first[-1]), (step, alive)

    play, timestep = lanes.reset(env, tasks, k_reset, m, pinned=True)
    carry = (agent.memory(m), play, timestep, jnp.bool_(True))
    steps, alive = jax.lax.scan(one, carry, jr.split(k_steps, env.spec.steps))[1]
    return jax.tree.map(lambda leaf: leaf[-1], play.state), steps, alive


def record(
    agent: Agent, env: Env, tasks: PyTree, state: AgentState, key: PRNGKeyArray, batch: int = 10_000
) -> Recording:
    """Play the table `[M, ...]` as `play` does and keep every step of its last task, for pictures and for people.

    What is kept is the trial that `play` scores in row M - 1, of this table or of a longer one, with the same key and batch.
    """
    last = jax.tree.leaves(tasks)[0].shape[0] - 1
    low = last // batch * batch
    rows = jax.tree.map(lambda table: jnp.asarray(table[low:]), tasks)
    first, steps, alive = _record(agent, env, rows, state, jr.fold_in(key, last // batch))
    steps = jax.tree.map(lambda leaf: np.asarray(leaf)[: int(alive.sum())], steps)
    states = jax.tree.map(
        lambda one, more: np.concatenate([np.asarray(one)[None], more]), first, steps.states
    )
    return steps._replace(states=states)
