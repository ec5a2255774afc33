"""One suite as a Gymnasium environment."""

from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from headstart.errors import UsageError
from headstart.gym._tasks import FPS, Tasks, row
from headstart.gym.spaces import space_of, to_action, to_gymnasium
from headstart.tasks import Role
from headstart.types import Env, EnvState, Step, Task

# Three programs, so that `observe`, which may be a renderer, is compiled once; instances share them.


@partial(jax.jit, static_argnames="env")
def _reset(env: Env, table: PyTree, index: Int[Array, ""], key: PRNGKeyArray) -> tuple[Task, EnvState]:
    task = row(table, index)
    return task, env.reset(task, key)


@partial(jax.jit, static_argnames="env")
def _step(
    env: Env, task: Task, state: EnvState, action: Array, key: PRNGKeyArray, t: Array
) -> tuple[EnvState, Step]:
    return env.step(task, state, action, jr.fold_in(key, t))


@partial(jax.jit, static_argnames="env")
def _observe(env: Env, task: Task, state: EnvState) -> PyTree:
    return env.observe(task, state)


class SuiteEnv(gymnasium.Env[Any, Any]):
    """One suite as a Gymnasium environment.

    Args:
      suite: its registered name.
      split: "train", "valid" or "test".
      size: how many tasks the split has; None is 16 384 for "train" and 1000 otherwise.
      seed: draws other tasks of the same split (the randomness of play is seeded by `reset(seed=...)`).
      task: the index of the one task to play, or None for a new one, drawn uniformly, each episode.
      render_mode: "rgb_array" where the suite has pictures.
      **options: the suite's own, such as `arms=10`.

    `reset(options={"task": i})` plays task i for one episode. An episode that terminates in its last allowed
    step is not truncated as well.

    Raises:
      UsageError: for an unknown suite, split, option, task or render mode, an action outside the space, or
        a step without a reset.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": FPS}

    def __init__(
        self,
        suite: str,
        split: Role = "train",
        size: int | None = None,
        seed: int = 0,
        task: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self._tasks = Tasks(suite, split, size, seed, task, options)
        self._env = self._tasks.suite.env
        self._spec = self._env.spec
        self.metadata = {"render_modes": self._tasks.render_modes(render_mode), "render_fps": FPS}
        self.render_mode = render_mode
        self.observation_space = space_of(self._spec.obs)
        self.action_space = space_of(self._spec.action)
        self._playing = False
        self._task: Task = None
        self._state: EnvState = None
        self._index = self._t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode of the task asked for, or of one drawn from the split."""
        super().reset(seed=seed)
        asked = self._tasks.asked(options)
        drawn = int(self.np_random.integers(self._tasks.size))
        self._key = jr.key(int(self.np_random.integers(2**32, dtype=np.uint32)))
        self._index = drawn if asked is None else self._tasks.check(asked)
        self._task, self._state = _reset(
            self._env, self._tasks.table, jnp.int32(self._index), jr.fold_in(self._key, 0)
        )
        self._t, self._playing = 0, True
        return self._observation(), {"task": self._index}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one step."""
        if not self._playing:
            raise UsageError("there is no episode to step, it has ended or not begun; call reset() first.")
        if not self.action_space.contains(action):
            raise UsageError(f"{action!r} is no action of {self.action_space}.")
        self._t += 1
        self._state, out = _step(
            self._env, self._task, self._state, to_action(self._spec, action), self._key, jnp.uint32(self._t)
        )
        out = jax.device_get(out)
        terminated = bool(out.terminated)
        truncated = bool(out.truncated) and not terminated
        self._playing = not (terminated or truncated)
        return self._observation(), float(out.reward), terminated, truncated, {"task": self._index}

    def _observation(self) -> Any:
        return to_gymnasium(self._spec.obs, jax.device_get(_observe(self._env, self._task, self._state)))

    def render(self) -> Any:
        """The present state as `[H, W, 3]`, or None without a render mode."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise UsageError("there is nothing to show before the first reset(); call it first.")
        return self._tasks.picture(self._task, self._state)
