"""What the single and the vector environment share: a suite, one of its splits, and the choice of tasks."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from headstart.errors import UsageError, unknown
from headstart.suites import suite
from headstart.tasks import Role, Suite
from headstart.types import EnvState, Task

FPS = 15
"""frames a second at which pictures of an episode are best shown"""

_ENDLESS = 16_384  # where a split is endless, the first tasks of it that are played


def row(tree: PyTree, i: Any) -> PyTree:
    """Row `i` of every leaf; None adds an axis."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


@lru_cache(maxsize=4)
def _load(name: str, split: Role, size: int | None, seed: int) -> tuple[Suite, PyTree, int]:
    """A suite, one split's table of tasks and their number; kept, since many instances may ask for it."""
    loaded = suite(name)
    tasks = loaded.split(split, size, seed)
    return loaded, jax.tree.map(jnp.asarray, tasks.tasks), tasks.size or 0


class Tasks:
    """A suite and the table of tasks of one split, which a constructor's and a reset's `task` picks from."""

    def __init__(
        self, name: str, split: Role, size: int | None, seed: int, task: int | None, options: dict[str, Any]
    ) -> None:
        loaded = suite(name, **options)
        if size is None and split == "train" and loaded.most(split) is None:
            size = _ENDLESS
        self.suite, self.table, self.size = _load(loaded.name, split, size, seed)
        self.fixed = None if task is None else self.check(task)

    def check(self, task: Any) -> int:
        """The index of a task, once it is known to be one."""
        if not isinstance(task, int | np.integer) or not 0 <= task < self.size:
            raise UsageError(f"a task is an index from 0 to {self.size - 1} into the split, not {task!r}.")
        return int(task)

    def asked(self, options: dict[str, Any] | None) -> Any:
        """The task (for lanes, perhaps tasks) that a reset's options or else the constructor ask for."""
        for option in options or {}:
            if option != "task":
                raise unknown("reset option", option, ["task"])
        return (options or {}).get("task", self.fixed)

    def render_modes(self, render_mode: str | None) -> list[str]:
        """The modes this suite offers.

        Raises:
          UsageError: if `render_mode` is not one of them.
        """
        modes = ["rgb_array"] if self.suite.render is not None else []
        if render_mode is not None and render_mode not in modes:
            offer = f"it offers {modes[0]}" if modes else "it offers none; leave render_mode out"
            raise UsageError(f"suite {self.suite.name} has no render_mode '{render_mode}': {offer}.")
        return modes

    def picture(self, task: Task, state: EnvState) -> np.ndarray:
        """One state of one task as `[H, W, 3]`."""
        task, state = jax.device_get((task, state))
        return np.array(self.suite.render(task, row(state, None))[0])
