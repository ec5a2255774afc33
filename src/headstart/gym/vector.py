"""Many lanes of one suite as a Gymnasium vector environment."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from headstart.envs import lanes
from headstart.envs.lanes import Lanes
from headstart.errors import UsageError
from headstart.gym._tasks import FPS, Tasks, row
from headstart.gym.spaces import holds_something, space_of, to_action, to_gymnasium
from headstart.tasks import Role
from headstart.types import Env, EnvState, Spec, Step, Task, TimeStep


@dataclass(frozen=True)
class _EndsShown:
    """`env` whose lanes also show the last observation of episodes that terminate."""

    env: Env

    @property
    def spec(self) -> Spec:
        return replace(self.env.spec, truncates=True)

    def reset(self, task: Task, key: PRNGKeyArray) -> EnvState:
        return self.env.reset(task, key)

    def step(self, task: Task, state: EnvState, action: Array, key: PRNGKeyArray) -> tuple[EnvState, Step]:
        return self.env.step(task, state, action, key)

    def observe(self, task: Task, state: EnvState) -> PyTree:
        return self.env.observe(task, state)

    def privileged(self, task: Task, state: EnvState) -> PyTree:
        return self.env.privileged(task, state)


@partial(jax.jit, static_argnames=("env", "n", "pinned"))
def _reset_lanes(
    env: Env, table: PyTree, rows: Int[Array, " R"] | None, key: PRNGKeyArray, n: int, pinned: bool
) -> tuple[PyTree, Lanes, TimeStep]:
    """The tasks in play (those of `rows`, or all of the table) and lanes started on them."""
    tasks = table if rows is None else row(table, rows)
    return tasks, *lanes.reset(env, tasks, key, n, pinned)


@partial(jax.jit, static_argnames=("env", "pinned"))
def _step_lanes(
    env: Env, tasks: PyTree, carry: Lanes, action: Array, key: PRNGKeyArray, t: Array, pinned: bool
) -> tuple[Lanes, TimeStep]:
    return lanes.step(env, tasks, carry, action, jr.fold_in(key, t), pinned)


class SuiteVectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """`num_envs` lanes of one suite, stepped together by one compiled program; else as `SuiteEnv`.

    A lane whose episode ends is reset in the same step: `info["final_obs"]` holds its last observation.
    Without a fixed task it goes on with another one, drawn uniformly. `reset(options={"task": i})`, with an
    index or one for each lane, keeps the lanes on these tasks until the next reset.
    """

    def __init__(
        self,
        suite: str,
        num_envs: int = 1,
        split: Role = "train",
        size: int | None = None,
        seed: int = 0,
        task: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise UsageError(f"a vector environment has at least one lane, not {num_envs}.")
        self._tasks = Tasks(suite, split, size, seed, task, options)
        self._env = _EndsShown(self._tasks.suite.env)
        self._spec = self._env.spec
        self.num_envs = num_envs
        self.metadata = {
            "render_modes": self._tasks.render_modes(render_mode),
            "render_fps": FPS,
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.render_mode = render_mode
        self.single_observation_space = space_of(self._spec.obs)
        self.single_action_space = space_of(self._spec.action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._in_play: PyTree = None
        self._rows: np.ndarray | None = None
        self._lanes: Lanes | None = None
        self._t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every lane."""
        super().reset(seed=seed)
        asked = self._tasks.asked(options)
        self._rows = None if asked is None else self._lane_tasks(asked)
        self._key = jr.key(int(self.np_random.integers(2**32, dtype=np.uint32)))
        self._in_play, self._lanes, timestep = _reset_lanes(
            self._env,
            self._tasks.table,
            None if self._rows is None else jnp.asarray(self._rows, jnp.int32),
            jr.fold_in(self._key, 0),
            self.num_envs,
            self._rows is not None,
        )
        self._t = 0
        return self._observation(jax.device_get(timestep.obs)), self._info()

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one step in every lane, and reset those whose episode ended."""
        before = self._started()
        actions = np.asarray(actions)
        if not self.action_space.contains(actions):
            raise UsageError(f"{actions!r} are no actions of {self.action_space}.")
        self._t += 1
        self._lanes, timestep = _step_lanes(
            self._env,
            self._in_play,
            before,
            to_action(self._spec, actions),
            self._key,
            jnp.uint32(self._t),
            self._rows is not None,
        )
        timestep = jax.device_get(timestep)
        ended = np.array(timestep.first)
        terminated = timestep.discount == 0.0
        info = self._info()
        if ended.any():
            info |= self._final(timestep.final_obs, ended, before)
        reward = np.array(timestep.reward, np.float64)
        return self._observation(timestep.obs), reward, terminated, ended & ~terminated, info

    def render(self) -> Any:
        """The present state of every lane as `[H, W, 3]`, or None without a render mode."""
        if self.render_mode is None:
            return None
        now = jax.device_get(self._started())
        return tuple(self._tasks.picture(row(now.task, i), row(now.state, i)) for i in range(self.num_envs))

    def _started(self) -> Lanes:
        if self._lanes is None:
            raise UsageError("no episode has begun; call reset() first.")
        return self._lanes

    def _lane_tasks(self, asked: Any) -> np.ndarray:
        """The index of each lane's task, out of one for all or one for each."""
        given = np.asarray(asked)
        if given.shape not in ((), (self.num_envs,)):
            raise UsageError(
                f"options['task'] is one index or {self.num_envs} of them, not of shape {given.shape}."
            )
        return np.array([self._tasks.check(task) for task in np.broadcast_to(given, self.num_envs).tolist()])

    def _observation(self, obs: PyTree) -> Any:
        if not holds_something(self._spec.obs):
            return np.zeros(self.num_envs, np.int64)
        return to_gymnasium(self._spec.obs, obs)

    def _played(self, carry: Lanes) -> np.ndarray:
        """The index in the split of the task that each lane plays."""
        index = np.array(carry.row, np.int64)
        return index if self._rows is None else self._rows[index]

    def _info(self) -> dict[str, Any]:
        return {"task": self._played(self._started()), "_task": np.ones(self.num_envs, bool)}

    def _final(self, final_obs: PyTree, ended: np.ndarray, before: Lanes) -> dict[str, Any]:
        """What Gymnasium's same-step reset tells of the lanes that ended."""
        last = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            last[i] = to_gymnasium(self._spec.obs, row(final_obs, i))
        task = np.where(ended, self._played(before), 0)
        return {
            "final_obs": last,
            "_final_obs": ended.copy(),
            "final_info": {"task": task, "_task": ended.copy()},
            "_final_info": ended.copy(),
        }
