"""What the rules for tabular MDPs share: a posterior over models as memory, a plan at every episode's start.

    p(·|s,a) ~ Dirichlet(α₀, …, α₀),    p | data ~ Dirichlet(α₀ + n(s,a,·))
    μ(s,a) ~ N(μ₀, 1),  r ~ N(μ, 1),    μ | data ~ N((μ₀ + Σr) / (1 + n(s,a)), 1 / (1 + n(s,a)))

    at an episode's start:
        q_t(s,a), t = 0 … H-1 ← plan(posterior)
    at each step:
        a_t = argmax_a q_t(s_t, a), ties broken at random

With α₀ = 1, μ₀ = 1 the priors are what the tasks are drawn from; with μ₀ = 0 the rules score as those of Duan et al.
(2016, section 3.2) do (docs/agents/mdp-rules.md). What follows an episode's last action is the next one's
first state: that action's reward is counted, but no transition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from headstart.agents._gamma import gamma
from headstart.errors import UsageError
from headstart.types import Agent, Box, Discrete, Spec, TimeStep


class Posterior(NamedTuple):
    """What is known of one MDP (in a memory, of each of `N` lanes'), the prior's pseudo-counts included."""

    transitions: Float[Array, "*N S A S"]
    """α₀ + how often each state followed each state and action"""
    visits: Float[Array, "*N S A"]
    """1 + how many rewards each state and action has paid"""
    rewards: Float[Array, "*N S A"]
    """μ₀ + their sum"""

    @property
    def mean_transition(self) -> Float[Array, "*N S A S"]:
        """E[p(s'|s,a) | data]."""
        return self.transitions / self.transitions.sum(-1, keepdims=True)

    @property
    def mean_reward(self) -> Float[Array, "*N S A"]:
        """E[μ(s,a) | data]."""
        return self.rewards / self.visits

    def sample(self, key: PRNGKeyArray) -> tuple[Float[Array, "*N S A S"], Float[Array, "*N S A"]]:
        """Transition probabilities and expected rewards of one MDP drawn from the posterior."""
        k_transition, k_reward = jr.split(key)
        mass = gamma(k_transition, self.transitions)
        noise = jr.normal(k_reward, self.visits.shape) / jnp.sqrt(self.visits)
        return mass / mass.sum(-1, keepdims=True), self.mean_reward + noise


class ModelMemory(NamedTuple):
    """`N` lanes: what is known, the plan of this episode, the last state, and the time within the episode."""

    posterior: Posterior
    q: Float[Array, "N H S A"]
    state: Int[Array, " N"]
    time: Int[Array, " N"]


@dataclass(frozen=True)
class ModelConfig:
    """What every rule believes before it has seen anything."""

    prior_mean: float = 1.0
    """μ₀, the expected reward of what was never tried; 1 is the truth, 0 reproduces the published columns"""
    prior_count: float = 1.0
    """α₀, pseudo-visits to each next state, above 0 (at least 1 where models are sampled); 1 is the truth"""


Plan = Callable[[Posterior, PRNGKeyArray], Float[Array, "H S A"]]
"""Action values of every step of an episode from one lane's posterior."""


def mdp_of(spec: Spec, agent: str) -> tuple[int, int]:
    """How many states and actions there are in the tabular MDPs whose trials a spec describes.

    Raises:
      UsageError: if the spec describes anything else.
    """
    match jax.tree.leaves(spec.obs):
        case [Discrete(states), Discrete(actions), Box(()), Discrete(2)]:
            return states, actions
        case _:
            raise UsageError(
                f"{agent} plays trials of tabular MDPs only (finitely many states and actions): choose "
                "the suite tabular-mdp, or an agent that reads any observation, such as rl2."
            )


def require_drawable(agent: str, config: ModelConfig) -> None:
    """Raise a UsageError if `Posterior.sample` cannot draw from a posterior of this prior."""
    if config.prior_count < 1.0:
        raise UsageError(f"{agent} draws models with a prior_count of at least 1, not {config.prior_count}.")


def planner(spec: Spec, agent: str, config: ModelConfig, plan: Plan, epsilon: float = 0.0) -> Agent:
    """The rule that follows `plan`, but for a uniformly random action with probability `epsilon`.

    Raises:
      UsageError: if the spec is not a tabular MDP's trial.
    """
    states, actions = mdp_of(spec, agent)
    if config.prior_count <= 0.0:
        raise UsageError(f"{agent}'s prior_count is above 0, not {config.prior_count}.")

    def memory(n: int) -> ModelMemory:
        ones = jnp.ones((n, states, actions))
        alpha = jnp.full((n, states, actions, states), config.prior_count)
        known = Posterior(alpha, ones, config.prior_mean * ones)
        q = jnp.zeros((n, spec.horizon, states, actions))
        return ModelMemory(known, q, jnp.zeros(n, jnp.int32), jnp.zeros(n, jnp.int32))

    def act(
        state: Any, memory: ModelMemory, timestep: TimeStep, key: PRNGKeyArray
    ) -> tuple[ModelMemory, Array, Any]:
        del state
        k_plan, k_choose = jr.split(key)
        known = _recall(memory, timestep, config)
        s_t, begins = timestep.obs.obs, timestep.obs.ended
        q = _replan(plan, known, memory.q, begins, k_plan)
        t = jnp.where(begins, 0, memory.time + 1)
        action = choose(q[jnp.arange(t.size), t, s_t], k_choose, epsilon)
        return ModelMemory(known, q, s_t, t), action, ()

    return Agent(init=lambda _: (), memory=memory, act=act)


def _recall(memory: ModelMemory, timestep: TimeStep, config: ModelConfig) -> Posterior:
    """The posterior with the last step added; the prior alone in lanes where a trial begins."""
    obs, first = timestep.obs, timestep.first
    took = (jnp.arange(first.size), memory.state, obs.action)
    moved = ~obs.ended
    known = Posterior(
        memory.posterior.transitions.at[(*took, obs.obs)].add(moved.astype(jnp.float32)),
        memory.posterior.visits.at[took].add(1.0),
        memory.posterior.rewards.at[took].add(obs.reward),
    )
    prior = Posterior(*(jnp.float32(x) for x in (config.prior_count, 1.0, config.prior_mean)))

    def forget() -> Posterior:
        return jax.tree.map(lambda fresh, old: jnp.where(_expand(first, old), fresh, old), prior, known)

    return jax.lax.cond(first.any(), forget, lambda: known)


def _replan(
    plan: Plan, known: Posterior, q: Float[Array, "N H S A"], begins: Bool[Array, " N"], key: PRNGKeyArray
) -> Float[Array, "N H S A"]:
    """A new plan in lanes where an episode begins; where there are none, planning costs nothing."""

    def fresh() -> Float[Array, "N H S A"]:
        planned = jax.vmap(plan)(known, jr.split(key, begins.size))
        return jnp.where(_expand(begins, q), planned, q)

    return jax.lax.cond(begins.any(), fresh, lambda: q)


def _expand(mask: Bool[Array, " N"], like: Array) -> Bool[Array, "N *ones"]:
    return mask.reshape(mask.shape + (1,) * (like.ndim - 1))


def choose(q: Float[Array, "N A"], key: PRNGKeyArray, epsilon: float = 0.0) -> Int[Array, " N"]:
    """The action of the highest value, ties broken at random; any action with probability `epsilon`."""
    k_tie, k_explore = jr.split(key)
    best = q >= q.max(-1, keepdims=True)
    if epsilon > 0.0:
        best |= jr.bernoulli(k_explore, epsilon, (q.shape[0], 1))
    return jnp.argmax(jnp.where(best, jr.uniform(k_tie, q.shape), -1.0), axis=-1).astype(jnp.int32)
