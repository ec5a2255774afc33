"""Batching, and the only auto-reset in the house.

Every lane holds its own task, drawn from a table `[M, ...]`. A lane whose episode ends is reset in the same step: a new
task is drawn, unless lanes are pinned to theirs, and the observation the agent sees next is the new episode's first.

Decision on `final_obs` (docs/decisions/002): it is observed and stored only for environments that can truncate, since only
truncation bootstraps; and observations are computed once a step, after the reset, because `observe` is the expensive part
of an environment.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from headstart.types import Env, EnvState, Task, TimeStep

_FEW = 16
"""Up to one lane in so many is reset by itself; where more end at once, all are reset and most of that is thrown away."""


class Lanes(NamedTuple):
    """`N` environments: the row of the task table each plays, that task, and the environment's state."""

    row: Int[Array, " N"]
    task: Task
    state: EnvState


def _table_size(tasks: PyTree) -> int:
    return jax.tree.leaves(tasks)[0].shape[0]


def _gather(tasks: PyTree, index: Int[Array, " N"]) -> PyTree:
    return jax.tree.map(lambda table: jnp.asarray(table)[index], tasks)


def _where(mask: Bool[Array, " N"], new: PyTree, old: PyTree) -> PyTree:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, new, old)


def reset(env: Env, tasks: PyTree, key: PRNGKeyArray, n: int, pinned: bool = False) -> tuple[Lanes, TimeStep]:
    """Start `n` lanes, each on a task drawn uniformly from the table `[M, ...]`, or lane i on task i mod M if `pinned`."""
    k_task, k_reset = jr.split(key)
    m = _table_size(tasks)
    index = jnp.arange(n, dtype=jnp.int32) % m if pinned else jr.randint(k_task, (n,), 0, m)
    task = _gather(tasks, index)
    state = jax.vmap(env.reset)(task, jr.split(k_reset, n))
    obs = jax.vmap(env.observe)(task, state)
    timestep = TimeStep(
        obs, jnp.zeros(n), jnp.ones(n), jnp.ones(n, bool), obs if env.spec.truncates else None
    )
    return Lanes(index, task, state), timestep


def step(
    env: Env,
    tasks: PyTree,
    lanes: Lanes,
    action: Array,
    key: PRNGKeyArray,
    pinned: bool = False,
    chances: Float[Array, " M"] | None = None,
) -> tuple[Lanes, TimeStep]:
    """Advance all lanes one step and reset those whose episode ended; `action` is `[N, ...]`.

    A new task is drawn uniformly, or with `chances` that add up to 1.
    """
    n = lanes.row.shape[0]
    k_step, k_task, k_reset = jr.split(key, 3)
    state, out = jax.vmap(env.step)(lanes.task, lanes.state, action, jr.split(k_step, n))
    last = out.terminated | out.truncated
    final_obs = jax.vmap(env.observe)(lanes.task, state) if env.spec.truncates else None

    ended = jnp.sum(last, dtype=jnp.int32)
    lanes = lanes._replace(state=state)

    def drawn() -> Int[Array, " N"]:
        if pinned:
            return lanes.row
        if chances is None:
            return jr.randint(k_task, (n,), 0, _table_size(tasks))
        return jr.categorical(k_task, jnp.log(chances), shape=(n,)).astype(jnp.int32)

    def fresh(which: Int[Array, " k"]) -> Lanes:
        index = drawn()[which]
        task = _gather(lanes.task, which) if pinned else _gather(tasks, index)
        return Lanes(index, task, jax.vmap(env.reset)(task, jr.split(k_reset, n)[which]))

    def restart_few() -> Lanes:
        which = jnp.flatnonzero(last, size=few, fill_value=n)
        return jax.tree.map(lambda a, b: a.at[which].set(b, mode="drop"), lanes, fresh(which))

    def restart() -> Lanes:
        return _where(last, fresh(jnp.arange(n)), lanes)

    few = n // _FEW
    branches = [lambda: lanes, restart_few, restart]
    lanes = jax.lax.switch((ended > 0).astype(jnp.int32) + (ended > few).astype(jnp.int32), branches)
    obs = jax.vmap(env.observe)(lanes.task, lanes.state)
    discount = 1.0 - out.terminated.astype(jnp.float32)
    return lanes, TimeStep(obs, out.reward, discount, last, final_obs)


def privileged(env: Env, lanes: Lanes) -> PyTree:
    """What a critic may see in training: `[N, ...]` leaves, or None if the environment offers nothing."""
    if env.spec.privileged is None:
        return None
    return jax.vmap(env.privileged)(lanes.task, lanes.state)
