"""Prioritised level replay (Jiang, Grefenstette & Rocktäschel 2021, arXiv:2010.03934): play again what surprises.

    for every episode that ended on level i:      S_i ← mean |Â_t| over its steps
    a new episode's level, with probability |seen| / M:  one that has been seen, i ~ (1 - ρ) P_S + ρ P_C
                           otherwise:                    one that has not, uniformly
        P_S(i) ∝ (1 / rank(S_i))^(1/β)            rank 1 has the greatest score
        P_C(i) ∝ c - C_i                          c episodes begun so far, C_i when level i was last begun

Deviates from the paper: scores, ranks and chances change between rollouts only, and of several episodes of one level
that end in the same rollout the mean counts. An episode longer than a rollout is scored whole, when it ends, with each
step's advantage as it was estimated in its own rollout.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from headstart.errors import UsageError
from headstart.hosts.env import HostEnv
from headstart.tasks import Suite
from headstart.types import Agent, AgentState, Curriculum, Rollout


@dataclass(frozen=True)
class LevelReplay:
    """Settings of prioritised level replay, the paper's for Procgen."""

    on: bool = False
    """whether tasks are replayed by priority; else each is as likely as any other"""
    temperature: float = 0.1
    """β: 0 would play the first in rank alone, large values all seen levels alike"""
    staleness: float = 0.1
    """ρ: the part of the chances that goes by how long a level has not been played"""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UsageError(f"level replay's temperature is positive, not {self.temperature}.")
        if not 0 <= self.staleness <= 1:
            raise UsageError(f"level replay's staleness is between 0 and 1, not {self.staleness}.")


class Scores(NamedTuple):
    """What is known of M levels, and of the episode each of N lanes is in."""

    score: Float[Array, " M"]
    seen: Bool[Array, " M"]
    """whether an episode has ended there"""
    stamp: Int[Array, " M"]
    """C_i: episodes begun in all when the level was last begun"""
    begun: Int[Array, ""]
    total: Float[Array, " N"]
    """sum of |Â_t| so far in a lane's episode, also after its end"""
    length: Int[Array, " N"]


def init(m: int, n: int) -> Scores:
    """Nothing seen yet of M levels, in N lanes."""
    none = jnp.zeros(m, jnp.int32)
    return Scores(jnp.zeros(m), none.astype(bool), none, jnp.int32(0), jnp.zeros(n), jnp.zeros(n, jnp.int32))


def _share(weight: Float[Array, " M"], seen: Bool[Array, " M"]) -> Float[Array, " M"]:
    """Weights of the seen levels as probabilities; equal ones where all are 0."""
    weight = jnp.where(seen, weight, 0.0)
    weight = jnp.where(weight.sum() > 0, weight, seen.astype(jnp.float32))
    return weight / jnp.maximum(weight.sum(), 1.0e-30)


def chances(known: Scores, config: LevelReplay) -> Float[Array, " M"]:
    """How likely each level is to be drawn next.

    Examples:
      >>> known = init(4, 1)._replace(score=jnp.array([1., 3., 2., 0.]), seen=jnp.array([True, True, True, False]))
      >>> print(jnp.round(chances(known, LevelReplay(temperature=1.0, staleness=0.0)) * 44))
      [ 6. 18.  9. 11.]
    """
    m = known.score.shape[0]
    order = jnp.argsort(-jnp.where(known.seen, known.score, -jnp.inf))
    rank = jnp.zeros(m).at[order].set(jnp.arange(1, m + 1, dtype=jnp.float32))
    by_score = _share((1.0 / rank) ** (1.0 / config.temperature), known.seen)
    by_age = _share((known.begun - known.stamp).astype(jnp.float32), known.seen)
    replayed = (1.0 - config.staleness) * by_score + config.staleness * by_age
    share = known.seen.mean(dtype=jnp.float32)
    return share * replayed + (1.0 - share) * _share(jnp.ones(m), ~known.seen)


def update(
    known: Scores,
    row_t: Int[Array, "T1 N"],
    first_t: Bool[Array, "T N"],
    last_t: Bool[Array, "T N"],
    advantage_t: Float[Array, "T N"],
) -> Scores:
    """What a rollout adds: scores of the levels whose episodes ended in it, and when levels were begun."""

    def one(
        so_far: tuple[Array, Array], step: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], Float[Array, " N"]]:
        advantage, first, last = step
        # forgotten where an episode begins, not where one ends: those of a resumed run's simulators never do
        total, length = (jnp.where(first, 0, x) for x in so_far)
        total, length = total + jnp.abs(advantage), length + 1
        mean = jnp.where(last, total / length.astype(jnp.float32), 0.0)
        return (total, length), mean

    (total, length), mean_t = jax.lax.scan(one, (known.total, known.length), (advantage_t, first_t, last_t))
    m = known.score.shape[0]
    ended = jnp.zeros(m, jnp.int32).at[row_t[:-1]].add(last_t.astype(jnp.int32))
    summed = jnp.zeros(m).at[row_t[:-1]].add(mean_t)
    begun = known.begun + last_t.sum(dtype=jnp.int32)
    again = jnp.zeros(m, bool).at[row_t[1:]].max(last_t)
    return Scores(
        jnp.where(ended > 0, summed / jnp.maximum(ended, 1).astype(jnp.float32), known.score),
        known.seen | (ended > 0),
        jnp.where(again, begun, known.stamp),
        begun,
        total,
        length,
    )


def choosing(agent: Agent, config: LevelReplay, suite: Suite, size: int | None) -> Agent:
    """The agent with level replay for its curriculum, if that is on.

    Args:
      size: how many training tasks there are; None if they have no end.

    Raises:
      UsageError: if there is no end of tasks, the agent estimates no advantages, or the simulator draws tasks itself.
    """
    if not config.on:
        return agent
    estimate = agent.advantage
    if size is None:
        raise UsageError(f"level replay needs a finite training set of {suite.name}; say how many tasks.")
    if isinstance(suite.env, HostEnv) and suite.env.drawn_by:
        raise UsageError(
            f"level replay chooses training tasks, and those of {suite.name} are drawn by {suite.env.drawn_by}."
        )
    if estimate is None:
        raise UsageError("level replay needs an agent that estimates advantages, such as ppo.")

    def after(known: Scores, row_t: Array, rollout: Rollout, state: AgentState) -> Scores:
        steps = rollout.transitions
        return update(known, row_t, steps.first, steps.last, estimate(state, rollout))

    return agent._replace(curriculum=Curriculum(init, lambda known: chances(known, config), after))


__all__ = ["LevelReplay", "Scores", "chances", "choosing", "init", "update"]
