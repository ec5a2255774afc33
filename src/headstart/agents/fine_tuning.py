"""Aids for a learner that starts from a prior; each is off by default, and a learner without any is the learner as it is.

    kickstarting    loss + w_t KL(π_prior(· | o_t) || π(· | o_t)), w_t falling linearly to 0
    fresh heads     the last layers of actor and critic are those of a fresh agent, all before them the prior's
    warm-up         the step size rises linearly from nothing to its own

Kickstarting is Schmitt et al. 2018 (arXiv:1803.03835): the prior, which no longer learns, is asked about every observation
the learner sees, and has a memory of its own to answer from. Their cross-entropy has the same gradient as this divergence.

Deviates from the paper: the weight falls along a line instead of being found by a population of learners; the teacher knows
other tasks than the student's, so that the weight should be small or fall early.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.agents._backtracking import backtracking
from headstart.agents._policy_gradient import Aids
from headstart.agents.ppo import PPOConfig, PPOState, ppo
from headstart.agents.rainbow import RainbowConfig, RainbowState, rainbow
from headstart.errors import UsageError
from headstart.ops.distributions import Distribution
from headstart.types import Agent, AgentState, Memory, Metrics, Rollout, Spec, TimeStep


class Kickstarted(NamedTuple):
    """A learner and its teacher: the prior's network, which stays as it is."""

    learner: AgentState
    teacher: PyTree


class Memories(NamedTuple):
    """What the learner and its teacher remember, `[N, ...]`."""

    learner: Memory
    teacher: Memory


class Taught(NamedTuple):
    """What `act` leaves for `update`: the learner's own (`pg.Acted`), and what the teacher would have done."""

    log_prob: Float[Array, "*b"]
    critic: Float[Array, "*b f"]
    teacher: Distribution


def fine_tuned(spec: Spec, config: Any, aids: Aids) -> Agent:
    """The learner with these settings, helped along; its `adopt` takes the state of one that was not.

    Raises:
      UsageError: for an aid this learner does not take.
    """
    match config:
        case PPOConfig():
            agent = ppo(spec, replace(config, backtracking=False), aids)
        case RainbowConfig() if not aids.kickstart and not aids.warm_up_steps:
            agent = rainbow(spec, replace(config, backtracking=False))
        case _:
            wanted = (
                "kickstarting" if aids.kickstart else "a warm-up" if aids.warm_up_steps else "fresh heads"
            )
            who = "ppo, rl2 and rainbow" if wanted == "fresh heads" else "ppo and rl2"
            raise UsageError(
                f"{wanted} is an aid for {who} alone; leave it out, or leave the other priors out."
            )
    if aids.fresh_heads:
        agent = agent._replace(adopt=_with_fresh_heads(agent))
    agent = _kickstarted(agent) if aids.kickstart else agent
    return backtracking(agent, spec) if config.backtracking else agent


def _with_fresh_heads(agent: Agent) -> Any:
    """`adopt`, but for the last layers."""

    def adopt(fresh: AgentState, trained: AgentState) -> AgentState:
        return _beheaded(fresh, agent.adopt(fresh, trained))

    return adopt


def _beheaded(fresh: AgentState, tuned: AgentState) -> AgentState:
    """`tuned` with the heads of `fresh`, and its exploration, since a fresh head's choice is no better than any."""
    match fresh, tuned:
        case PPOState(), PPOState():
            heads = (fresh.network.policy_head, fresh.network.value_head)
            network = eqx.tree_at(lambda n: (n.policy_head, n.value_head), tuned.network, heads)
            return tuned._replace(network=network)
        case RainbowState(), RainbowState():
            online = eqx.tree_at(lambda n: n.layers[-1], tuned.online, fresh.online.layers[-1])
            copy = jax.tree.map(jnp.copy, online)
            return tuned._replace(online=online, target=copy, steps=fresh.steps)
        case _:
            raise TypeError(f"no heads are known of {type(tuned).__name__}")


def _kickstarted(agent: Agent) -> Agent:
    """A policy-gradient learner that hears what its prior would do."""

    def init(key: PRNGKeyArray) -> Kickstarted:
        learner = agent.init(key)
        return Kickstarted(learner, jax.tree.map(jnp.copy, learner.network))

    def memory(n: int) -> Memories:
        return Memories(agent.memory(n), jax.tree.map(jnp.copy, agent.memory(n)))

    def act(
        state: Kickstarted, memory: Memories, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[Memories, Array, Taught]:
        own, action, acted = agent.act(state.learner, memory.learner, timestep, key)
        heard, features = state.teacher.step(memory.teacher, timestep.obs, timestep.first)
        taught = Taught(acted.log_prob, acted.critic, state.teacher.policy(features))
        return Memories(own, heard), action, taught

    def update(state: Kickstarted, rollout: Rollout, key: PRNGKeyArray) -> tuple[Kickstarted, Metrics]:
        before, after = rollout.memory.learner, rollout.memory_after.learner
        own = rollout._replace(memory=before, memory_after=after)
        learner, metrics = agent.update(state.learner, own, key)
        return state._replace(learner=learner), metrics

    def adopt(fresh: Kickstarted, trained: AgentState) -> Kickstarted:
        # a buffer of its own, since both are donated
        return Kickstarted(agent.adopt(fresh.learner, trained), jax.tree.map(jnp.copy, trained.network))

    return Agent(init, memory, act, update, adopt, unroll=agent.unroll, learns=True)


__all__ = ["Aids", "Kickstarted", "Memories", "Taught", "fine_tuned"]
