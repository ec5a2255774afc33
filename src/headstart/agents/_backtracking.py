"""Backtracking allowed (Nichol et al. 2018, arXiv:1804.03720, and the wrapper of its released code): going back is free.

    R_t = r_1 + … + r_t                                     the return of the episode so far
    the learner is paid   max(0, R_t - max(0, R_1, …, R_{t-1}))   for the step that brought r_t

Only what the learner is told changes. The environment pays, and scores count, what they always do, so that runs with and
without it stand in one table.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.errors import UsageError
from headstart.types import Agent, AgentState, Memory, Metrics, Rollout, Spec, TimeStep


class Record(NamedTuple):
    """Of each lane's episode: its return before a step, and the greatest that it had by then."""

    total: Float[Array, "*N"]
    greatest: Float[Array, "*N"]


class Memories(NamedTuple):
    """What the agent remembers, and the record."""

    agent: Memory
    record: Record


class Acted(NamedTuple):
    """What the agent's `act` left for its `update`, and the record before the step."""

    agent: PyTree
    record: Record


def backtracking(agent: Agent, spec: Spec) -> Agent:
    """The agent, which learns from new records of an episode's return alone.

    Raises:
      UsageError: for trials, of whose episodes the agent is not told apart.
    """
    if spec.episodes > 1:
        raise UsageError(
            "backtracking is free in single episodes, not in trials; leave it out, or the trials."
        )
    estimate = agent.advantage

    def memory(n: int) -> Memories:
        return Memories(agent.memory(n), Record(jnp.zeros(n), jnp.zeros(n)))

    def act(
        state: AgentState, memory: Memories, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Memories, Array, Acted]:
        total = jnp.where(timestep.first, 0.0, memory.record.total + timestep.reward)
        greatest = jnp.where(timestep.first, 0.0, jnp.maximum(memory.record.greatest, total))
        own, action, extras = agent.act(state, memory.agent, timestep, key)
        record = Record(total, greatest)
        return Memories(own, record), action, Acted(extras, record)

    def told(rollout: Rollout) -> Rollout:
        steps = rollout.transitions
        before: Record = steps.extras.record
        paid = jnp.maximum(before.total + steps.reward - before.greatest, 0.0)
        return rollout._replace(
            memory=rollout.memory.agent,
            memory_after=rollout.memory_after.agent,
            transitions=steps._replace(reward=paid, extras=steps.extras.agent),
        )

    def update(state: AgentState, rollout: Rollout, key: PRNGKeyArray) -> tuple[AgentState, Metrics]:
        return agent.update(state, told(rollout), key)

    def advantage(state: AgentState, rollout: Rollout) -> Float[Array, "T n"]:
        assert estimate is not None
        return estimate(state, told(rollout))

    return agent._replace(memory=memory, act=act, update=update, advantage=estimate and advantage)
