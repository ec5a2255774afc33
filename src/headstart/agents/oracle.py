"""The informed oracle of tabular MDPs: it is shown the true model, and marks the top of a report's scale.

at an episode's start:
    q ← finite-horizon value iteration of the true (p, μ)
at each step:
    a_t = argmax_a q_t(s_t, a)
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from headstart.agents._mdp_model import mdp_of
from headstart.ops.planning import finite_horizon
from headstart.types import Agent, Entry, Spec, TimeStep


class OracleMemory(NamedTuple):
    """`N` lanes: the values of the true model, and the time within the episode."""

    q: Float[Array, "N H S A"]
    time: Int[Array, " N"]


@dataclass(frozen=True)
class OracleConfig:
    """There is nothing to set."""


def oracle(spec: Spec, config: OracleConfig) -> Agent:
    """The oracle, which is shown the task (`timestep.obs.task`: `transition [N, S, A, S]`, `mean [N, S, A]`).

    Raises:
      UsageError: if the spec is not a tabular MDP's trial.
    """
    del config
    states, actions = mdp_of(spec, "oracle")

    def memory(n: int) -> OracleMemory:
        return OracleMemory(jnp.zeros((n, spec.horizon, states, actions)), jnp.zeros(n, jnp.int32))

    def act(
        state: Any, memory: OracleMemory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[OracleMemory, Array, Any]:
        del state, key
        obs, task = timestep.obs

        plans = jax.vmap(finite_horizon, (0, 0, None))
        plan = partial(plans, task.transition, task.mean, spec.horizon)
        q = jax.lax.cond(
            obs.ended.any(), plan, lambda: memory.q
        )  # a lane in mid-episode plans the same again
        time = jnp.where(obs.ended, 0, memory.time + 1)
        action = jnp.argmax(q[jnp.arange(time.size), time, obs.obs], axis=-1)
        return OracleMemory(q, time), action, ()

    return Agent(init=lambda _: (), memory=memory, act=act)


ENTRY = Entry(OracleConfig(), oracle, revealed=True)
"""The registry's line."""
