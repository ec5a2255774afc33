"""The loop that fits an environment: `jit` for pure ones, `host` for foreign simulators; the same calls, the same `Carry`.

A foreign run's simulators travel in its carry, as `carry.lanes`, and end with it.
"""

import logging
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key, PRNGKeyArray, PyTree

from headstart.hosts.env import HostEnv
from headstart.loops import jit
from headstart.loops.host import HostLoop
from headstart.loops.jit import Carry, Log
from headstart.types import Agent, AgentState, Env

_LOG = logging.getLogger("headstart")
_NOWHERE: Any = ()
FACTS = ("deaths", "unrewarded")
"""what results say of foreign runs alone"""


def is_foreign(env: Env) -> bool:
    """Whether an environment runs in processes of its own."""
    return isinstance(env, HostEnv)


def start(agent: Agent, env: Env, tasks: PyTree, key: PRNGKeyArray, n: int) -> Carry:
    """A fresh run of `n` lanes on tasks drawn from the table `[M, ...]`."""
    if isinstance(env, HostEnv):
        return HostLoop(agent, env, n).start(tasks, key)
    return jit.start(agent, env, tasks, key, n)


def check(agent: Agent, env: Env, tasks: PyTree, carry: Carry, key: PRNGKeyArray, updates: int) -> None:
    """Trace a chunk without playing it: settings that do not fit each other show.

    Raises:
      UsageError: whatever the agent raises.
    """
    if isinstance(carry.lanes, HostLoop):
        carry.lanes.check(carry)
    else:
        jax.eval_shape(lambda carry: jit.chunk(agent, env, tasks, carry, key, updates), carry)


def place(carry: Carry) -> Carry:
    """Spread the lanes over the devices, where there are several that divide them; say so where they do not."""
    devices, lanes = jax.device_count(), carry.timestep.first.shape[0]
    if isinstance(carry.lanes, HostLoop) or devices == 1:
        return carry
    if lanes % devices:
        _LOG.warning(
            "%d lanes cannot be shared evenly by %d devices: one of them does it all.", lanes, devices
        )
        return carry
    return jit.place(carry, Mesh(np.array(jax.devices()), ("lanes",)))


def chunk(
    agent: Agent, env: Env, tasks: PyTree, carry: Carry, key: PRNGKeyArray, updates: int
) -> tuple[Carry, Log]:
    """`updates` updates; `carry` is donated. The log's leaves are `[updates]`."""
    if isinstance(carry.lanes, HostLoop):
        return carry.lanes.chunk(carry, key, updates)
    return jit.chunk(agent, env, tasks, carry, key, updates)


def starts(
    agent: Agent, env: Env, tasks: PyTree, keys: Key[Array, " R"], n: int, rows: Int[Array, " R"]
) -> Carry:
    """`start` for R runs side by side, run i on task `rows[i]` alone; of a foreign simulator one run at a time."""
    if not isinstance(env, HostEnv):
        return jit.starts(agent, env, tasks, keys, n, rows)
    (row,) = np.asarray(rows).tolist()
    table = jax.tree.map(lambda leaf: leaf[row : row + 1], tasks)
    return _as_row(start(agent, env, table, keys[0], n))


def chunks(
    agent: Agent,
    env: Env,
    tasks: PyTree,
    carries: Carry,
    keys: Key[Array, " R"],
    updates: int,
    rows: Int[Array, " R"],
) -> tuple[Carry, Log]:
    """`chunk` for R runs side by side; the log's leaves are `[R, updates]`."""
    if not isinstance(carries.lanes, HostLoop):
        return jit.chunks(agent, env, tasks, carries, keys, updates, rows)
    carry, log = carries.lanes.chunk(_of_row(carries), keys[0], updates)
    return _as_row(carry), jax.tree.map(lambda leaf: leaf[None], log)


def close(carry: Carry) -> None:
    """End a foreign run's simulators."""
    if isinstance(carry.lanes, HostLoop):
        carry.lanes.close()


def facts(carry: Carry) -> dict[str, Any]:
    """What a result is to say of a foreign run: simulators that died, and whether there was any reward."""
    if not isinstance(carry.lanes, HostLoop):
        return {}
    loop = carry.lanes
    if not loop.rewarded:
        _LOG.warning("%s never paid a reward; most often that is the wrong scenario or task.", loop.env.name)
    return {"deaths": loop.deaths} | ({} if loop.rewarded else {"unrewarded": True})


def recall(carry: Carry, deaths: int, rewarded: bool) -> None:
    """Tell a foreign run that is resumed how often its simulators died before, and whether there was any reward."""
    if isinstance(carry.lanes, HostLoop):
        carry.lanes.recall(deaths, rewarded)


def _as_row(carry: Carry) -> Carry:
    """One run as the first of one; only the agent, which may be large, is donated: the loop still needs its memory."""
    rest = carry._replace(agent=(), lanes=_NOWHERE)  # a compiled program would keep the loop
    rest = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], rest)
    return rest._replace(agent=_add_axis(carry.agent), lanes=carry.lanes)


def _of_row(carry: Carry) -> Carry:
    rest = carry._replace(agent=(), lanes=_NOWHERE)
    rest = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), rest)
    return rest._replace(agent=_drop_axis(carry.agent), lanes=carry.lanes)


@partial(jax.jit, donate_argnums=0)
def _add_axis(state: AgentState) -> AgentState:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], state)


@partial(jax.jit, donate_argnums=0)
def _drop_axis(state: AgentState) -> AgentState:
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), state)
