"""Random tabular MDPs (Osband et al. 2013; the set-up of Duan et al. 2016, arXiv:1611.02779, section 3.2).

    p(·|s,a) ~ Dirichlet(1, …, 1),   μ(s,a) ~ N(1, 1),   r ~ N(μ(s,a), 1)

An episode starts in state 0 and terminates after `horizon` steps. The agent sees the state, not the time.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from headstart.ops import planning
from headstart.types import Box, Discrete, Foresight, Spec, Step


class TabularTask(NamedTuple):
    """One MDP.

    A row of `cuts` is a distribution over next states as the points that cut [0, 1] into them: a uniform
    number falls into a state's piece with its probability. `mean` are expected rewards, `q` the optimal
    values at every step of an episode.
    """

    cuts: Float[Array, "S A S-1"]
    mean: Float[Array, "S A"]
    q: Float[Array, "H S A"]

    @property
    def transition(self) -> Float[Array, "*N S A S"]:
        """The probabilities p(s'|s,a)."""
        return jnp.diff(self.cuts, axis=-1, prepend=0.0, append=1.0)


class TabularState(NamedTuple):
    """Where one is, and how many steps of the episode have been taken."""

    s: Int[Array, ""]
    t: Int[Array, ""]


@dataclass(frozen=True)
class TabularMDP:
    """`states` states, `actions` actions in each, episodes of `horizon` steps."""

    states: int = 10
    actions: int = 5
    horizon: int = 10

    @property
    def spec(self) -> Spec:
        return Spec(
            obs=Discrete(self.states),
            action=Discrete(self.actions),
            horizon=self.horizon,
            privileged=Foresight(Box((self.actions + 2,)), Box(()), Box((self.actions,))),
        )

    def sample(self, key: PRNGKeyArray) -> TabularTask:
        """One task; exponential variables divided by their sum are Dirichlet(1, …, 1)."""
        k_cuts, k_mean = jr.split(key)
        ends = jnp.cumsum(jr.exponential(k_cuts, (self.states, self.actions, self.states)), axis=-1)
        mean = 1.0 + jr.normal(k_mean, (self.states, self.actions))
        return self.task(ends[..., :-1] / ends[..., -1:], mean)

    def task(self, cuts: Float[Array, "S A S-1"], mean: Float[Array, "S A"]) -> TabularTask:
        """The task with these dynamics and expected rewards, planned."""
        task = TabularTask(cuts, mean, jnp.zeros((self.horizon, *mean.shape)))
        return task._replace(q=planning.finite_horizon(task.transition, mean, self.horizon))

    def reset(self, task: TabularTask, key: PRNGKeyArray) -> TabularState:
        del task, key
        return TabularState(jnp.int32(0), jnp.int32(0))

    def step(
        self, task: TabularTask, state: TabularState, action: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[TabularState, Step]:
        u = jr.uniform(key, (2,), minval=2.0**-24)  # never 0, whose quantile is -∞
        s = jnp.sum(task.cuts[state.s, action] <= u[0], dtype=jnp.int32)
        reward = task.mean[state.s, action] + jax.scipy.special.ndtri(u[1])
        t = state.t + 1
        return TabularState(s, t), Step(reward, t >= self.horizon, jnp.bool_(False))

    def observe(self, task: TabularTask, state: TabularState) -> Int[Array, ""]:
        del task
        return state.s

    def privileged(self, task: TabularTask, state: TabularState) -> Foresight:
        """q*_t(s,·) and v*_0(s_0) a step of the horizon, the share of the episode played; v*_t(s); q*_t(s,·)."""
        played = state.t.astype(jnp.float32) / self.horizon
        q = task.q[state.t, state.s]
        seen = jnp.append(jnp.append(q, task.q[0, 0].max()) / self.horizon, played)
        return Foresight(seen, q.max(), q)
