"""The loop that runs wholly on the device: environments, agent and update in one compiled program.

    for each update:                                lax.scan
        for t in 0 .. T-1:                          lax.scan
            a_t ~ agent.act(o_t);  o_{t+1} ← lanes.step(a_t)
        agent.update(rollout)

A chunk of updates is one call; between chunks the host logs, saves and honours interrupts. All randomness of update u is
derived from (seed, u), so a run that is resumed at a chunk's edge repeats the one that was never stopped.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from headstart.envs import lanes
from headstart.envs.lanes import Lanes
from headstart.types import Agent, AgentState, Env, Memory, Metrics, Rollout, TimeStep, Transition


class Tally(NamedTuple):
    """Return and length so far of each lane's episode, `[N]`."""

    total: Float[Array, " N"]
    length: Int[Array, " N"]


class Carry(NamedTuple):
    """Everything a run is between two updates; what a checkpoint holds. `curriculum` is `()` where the agent has none."""

    agent: AgentState
    memory: Memory
    lanes: Lanes
    timestep: TimeStep
    tally: Tally
    update: Int[Array, ""]
    curriculum: PyTree = ()


class Log(NamedTuple):
    """One update's figures: the agent's metrics; the episodes (trials) that ended: how many, summed return and length."""

    metrics: Metrics
    episodes: Int[Array, ""]
    returns: Float[Array, ""]
    lengths: Int[Array, ""]


@partial(jax.jit, static_argnums=(0, 1, 4))
def start(agent: Agent, env: Env, tasks: PyTree, key: PRNGKeyArray, n: int) -> Carry:
    """A fresh run of `n` lanes on tasks drawn from the table `[M, ...]`, or pinned to them."""
    k_agent, k_lanes = jr.split(key)
    state, timestep = lanes.reset(env, tasks, k_lanes, n, agent.pinned)
    tally = Tally(jnp.zeros(n), jnp.zeros(n, jnp.int32))
    course = agent.curriculum.init(jax.tree.leaves(tasks)[0].shape[0], n) if agent.curriculum else ()
    return Carry(agent.init(k_agent), agent.memory(n), state, timestep, tally, jnp.int32(0), course)


def rollout(
    agent: Agent, env: Env, tasks: PyTree, carry: Carry, key: PRNGKeyArray
) -> tuple[Carry, Rollout, tuple[Array, Array, Array]]:
    """Run the policy T steps in N lanes; the last result is what episodes ended: count, returns, lengths."""
    curriculum = agent.curriculum
    chances = curriculum.chances(carry.curriculum) if curriculum else None

    def one(carry: Carry, key: PRNGKeyArray) -> tuple[Carry, tuple[Transition, Tally, PyTree]]:
        k_act, k_env = jr.split(key)
        now = carry.timestep
        seen = lanes.privileged(env, carry.lanes)
        memory, action, extras = agent.act(carry.agent, carry.memory, now, k_act)
        row = carry.lanes.row if curriculum else ()
        state, then = lanes.step(env, tasks, carry.lanes, action, k_env, agent.pinned, chances)
        transition = Transition(
            now.obs, now.first, action, then.reward, then.discount, then.first, then.final_obs, seen, extras
        )
        grown = Tally(carry.tally.total + then.reward, carry.tally.length + 1)
        ended = jax.tree.map(lambda x: jnp.where(then.first, x, 0), grown)
        tally = jax.tree.map(lambda x: jnp.where(then.first, 0, x), grown)
        carry = carry._replace(memory=memory, lanes=state, timestep=then, tally=tally)
        return carry, (transition, ended, row)

    memory = carry.memory
    carry, (transitions, ended, row_t) = jax.lax.scan(one, carry, jr.split(key, agent.unroll))
    seen = lanes.privileged(env, carry.lanes)
    episodes = transitions.last.sum(dtype=jnp.int32)
    ended = (episodes, ended.total.sum(), ended.length.sum(dtype=jnp.int32))
    found = Rollout(memory, transitions, carry.timestep, seen, carry.memory)
    if curriculum:
        row_t = jnp.concatenate([row_t, carry.lanes.row[None]])
        carry = carry._replace(curriculum=curriculum.update(carry.curriculum, row_t, found, carry.agent))
    return carry, found, ended


def iterate(agent: Agent, env: Env, tasks: PyTree, carry: Carry, key: PRNGKeyArray) -> tuple[Carry, Log]:
    """One update: a rollout and what the agent learns from it; `key` is the run's own, the same for every update."""
    k_rollout, k_update = jr.split(jr.fold_in(key, carry.update))
    carry, experience, ended = rollout(agent, env, tasks, carry, k_rollout)
    state, metrics = agent.update(carry.agent, experience, k_update)
    return carry._replace(agent=state, update=carry.update + 1), Log(metrics, *ended)


@partial(jax.jit, static_argnums=(0, 1, 5), donate_argnums=3)
def chunk(
    agent: Agent, env: Env, tasks: PyTree, carry: Carry, key: PRNGKeyArray, updates: int
) -> tuple[Carry, Log]:
    """`updates` updates in one call; `carry` is donated. The log's leaves are `[updates]`."""

    def body(carry: Carry, _: None) -> tuple[Carry, Log]:
        return iterate(agent, env, tasks, carry, key)

    return jax.lax.scan(body, carry, None, length=updates)


def _side_by_side(run: Callable[..., Any], *args: PyTree) -> Any:
    """`run` on every row of its arguments `[R, ...]`: together on an accelerator, one after the other on a CPU, whose
    cores a single run keeps busy and whose caches it fits (measured: a quarter faster than together).
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda row: run(*row), args)
    return jax.vmap(run)(*args)


def _table(tasks: PyTree, row: Int[Array, ""] | None) -> PyTree:
    """The table a run draws from: the whole, or one row of it."""
    return tasks if row is None else jax.tree.map(lambda table: jnp.asarray(table)[row][None], tasks)


@partial(jax.jit, static_argnums=(0, 1, 4))
def starts(
    agent: Agent,
    env: Env,
    tasks: PyTree,
    keys: Key[Array, " R"],
    n: int,
    rows: Int[Array, " R"] | None = None,
) -> Carry:
    """`start` for R runs side by side, a key each; with `rows`, run i plays only task `rows[i]` of the table."""
    return _side_by_side(lambda key, row: start(agent, env, _table(tasks, row), key, n), keys, rows)


@partial(jax.jit, static_argnums=(0, 1, 5), donate_argnums=3)
def chunks(
    agent: Agent,
    env: Env,
    tasks: PyTree,
    carries: Carry,
    keys: Key[Array, " R"],
    updates: int,
    rows: Int[Array, " R"] | None = None,
) -> tuple[Carry, Log]:
    """`chunk` for R runs side by side, in one program: `carries` and `keys` are `[R]`; the log's leaves `[R, updates]`."""

    def run(carry: Carry, key: PRNGKeyArray, row: Int[Array, ""] | None) -> tuple[Carry, Log]:
        return chunk(agent, env, _table(tasks, row), carry, key, updates)

    return _side_by_side(run, carries, keys, rows)


def place(carry: Carry, mesh: Mesh) -> Carry:
    """Spread the lanes over the devices of a mesh with one axis, "lanes", and copy the agent to each.

    The compiler then runs each device's lanes there and averages their gradients; results are those of one device.
    """
    spread = NamedSharding(mesh, PartitionSpec("lanes"))
    copied = NamedSharding(mesh, PartitionSpec())
    where: list[Any] = [copied, spread, spread, spread, spread, copied, copied]
    return jax.device_put(carry, Carry(*where))
