"""A pure environment behind `HostLanes`, with the device loop's own random numbers: what one plays, the other plays.

It is the slow twin by which the two loops are held against each other, and measures what the host loop costs by itself.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from headstart.envs import lanes
from headstart.envs.lanes import Lanes
from headstart.hosts.env import HostEnv
from headstart.types import Env, Spec, TimeStep


@partial(jax.jit, static_argnums=(0, 3, 4))
def _reset(env: Env, tasks: PyTree, key: PRNGKeyArray, n: int, pinned: bool) -> tuple[Lanes, TimeStep]:
    return lanes.reset(env, tasks, key, n, pinned)


@partial(jax.jit, static_argnums=(0, 7, 8))
def _step(
    env: Env,
    tasks: PyTree,
    state: Lanes,
    action: Array,
    key: PRNGKeyArray,
    t: Array,
    chances: Float[Array, " M"] | None,
    unroll: int,
    pinned: bool,
) -> tuple[Lanes, TimeStep]:
    k_rollout, _ = jr.split(jr.fold_in(key, t // unroll))  # as loops.jit derives step t's randomness
    _, k_env = jr.split(jr.split(k_rollout, unroll)[t % unroll])
    return lanes.step(env, tasks, state, action, k_env, pinned, chances)


class PureLanes:
    """`n` lanes of a pure environment.

    Args:
      env: the environment, without a privileged view.
      tasks: the table `[M, ...]`.
      n: how many.
      key: of the run, as `loops.jit.chunk` is given it.
      unroll: steps a lane between updates.
      first: the first lane's name; lanes of other names have other random numbers.
      pinned: whether lane i keeps task i mod M.
    """

    def __init__(
        self,
        env: Env,
        tasks: PyTree,
        n: int,
        key: PRNGKeyArray,
        unroll: int,
        first: int = 0,
        pinned: bool = False,
    ) -> None:
        self._env, self._tasks, self._n = env, tasks, n
        self._key = jr.fold_in(key, first) if first else key
        self._unroll, self._first, self._pinned = unroll, first, pinned
        self._t = 0
        self._chances: Array | None = None
        self._row: Any = np.zeros(n, np.int32)
        self.deaths, self.busy = 0, 0.0

    @property
    def spec(self) -> Spec:
        """What the lanes show and take."""
        return self._env.spec

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode in every lane; `seed` is a key's 64 bits, as `loops.host` gives it."""
        words = np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
        key = jr.wrap_key_data(jnp.asarray(words))
        key = jr.fold_in(key, self._first) if self._first else key
        self._t, self._chances = 0, None
        self._state, timestep = _reset(self._env, self._tasks, key, self._n, self._pinned)
        self._row = self._state.row
        return jax.device_get(timestep)

    def step(self, action: np.ndarray) -> TimeStep:
        """Play one action in every lane."""
        t = np.int32(self._t)
        now = (self._state, action, self._key, t, self._chances)
        self._state, timestep = _step(self._env, self._tasks, *now, self._unroll, self._pinned)
        self._t, self._row = self._t + 1, self._state.row
        return jax.device_get(timestep)

    @property
    def episode(self) -> np.ndarray:
        """Always 0: trials are for `envs.trial`."""
        return np.zeros(self._n, np.int32)

    @property
    def rows(self) -> np.ndarray:
        """The row of the table that each lane plays, `[N]`."""
        return np.array(self._row)

    def choose(self, chances: Float[np.ndarray, " M"]) -> None:
        """Draw the tasks of episodes to come with these chances, as `loops.jit` draws them."""
        self._chances = jnp.asarray(chances)

    def close(self) -> None:
        """Nothing is open."""


def on_host(env: Env, key: PRNGKeyArray, unroll: int, halves: int = 1, staleness: int = 0) -> HostEnv:
    """A pure environment as the host loop plays it, with the randomness of a device loop of this key and unroll."""

    def opened(tasks: PyTree, n: int, first: int, pinned: bool) -> PureLanes:
        return PureLanes(env, tasks, n, key, unroll, first, pinned)

    return HostEnv("a pure environment", env.spec, opened, halves, staleness)
