"""Any Gymnasium environment as a suite: `asgym:env=CartPole-v1`, or a user's own, `asgym:env=my_package:make_env`.

A task is a dictionary in a JSON file: keyword arguments of the environment (`by=make`), or options of its reset
(`by=reset`); its key `name`, if it has one, is what results call it.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray, PyTree

from headstart.errors import UsageError
from headstart.hosts import gymnasium_api as api
from headstart.hosts import spaces
from headstart.hosts.env import HostEnv, Simulators
from headstart.hosts.lanes import Hire, Program, WorkerLanes
from headstart.hosts.processes import Process
from headstart.hosts.tasks import HostTask, Shelf, hold_out
from headstart.hosts.trials import in_trials
from headstart.tasks import Role, Suite
from headstart.types import Spec

_LONGEST = 10_000
"""steps of an episode where the environment has no limit of its own"""


def asgym(
    env: str = "CartPole-v1",
    train: str = "",
    valid: str = "",
    test: str = "",
    by: str = "make",
    horizon: int = 0,
    per_worker: int = 4,
    halves: int = 1,
    stale: int = 0,
    episodes: int = 0,
) -> Suite:
    """A Gymnasium environment and the tasks of three JSON files; score: mean return of an episode.

    Args:
      env: a registered id, or `module:function`, which is called with a task's keyword arguments.
      train: file of the training tasks; with no other file, five in eight of it train, two test, one is valid.
      valid: file of the tasks that priors are chosen on.
      test: file of the test tasks. Without any file there is one task, which has every role.
      by: "make" if a task is keyword arguments of the environment, "reset" if it is the options of its reset.
      horizon: steps after which an episode is truncated; 0 for the environment's own limit.
      per_worker: lanes in one process.
      halves: parts of the lanes that take turns; 2 computes the actions of one while the other is simulated.
      stale: updates that the acting weights may be behind; 1 simulates while the agent learns.
      episodes: 0 for single episodes; more for trials of so many episodes of one task (RL²).

    Raises:
      UsageError: for an environment that cannot be made, spaces no network fits, or files that hold no tasks.
    """
    if by not in ("make", "reset"):
        raise UsageError(f"a task is given by make or by reset, not by '{by}'.")
    for name, value in (("horizon", horizon), ("per_worker", per_worker - 1)):
        if value < 0:
            raise UsageError(f"{name} of suite asgym is too small.")
    shelf = _shelf(train, valid, test)
    first = next(task for tasks in shelf.roles.values() for task in tasks)
    kwargs = {key: value for key, value in first.items() if key != "name"} if by == "make" else {}
    spec, leaves = _probe(env, kwargs, horizon)
    program = Program(env, env, {}, by, leaves, per_worker)
    return foreign("asgym", program, spec, shelf, f"the Gymnasium environment {env}", halves, stale, episodes)


def foreign(
    name: str,
    program: Program,
    spec: Spec,
    shelf: Shelf,
    about: str,
    halves: int = 1,
    stale: int = 0,
    episodes: int = 0,
    ready: Callable[[tuple[dict[str, Any], ...]], None] = lambda _: None,
) -> Suite:
    """A suite whose environment is stepped by workers; `ready(tasks)` refuses what cannot be played."""
    if episodes:
        program = replace(program, episodes=episodes)

    def opened(hire: Hire, tasks: PyTree, n: int, first: int, pinned: bool) -> Simulators:
        found = shelf.find(tasks)
        ready(found)
        return WorkerLanes(program, spec, found, n, first, pinned, hire)

    tables = shelf.tables
    whole = next(table.tasks for table in tables.values() if table.labels)

    def sample(key: PRNGKeyArray) -> HostTask:
        row = jr.randint(key, (), 0, whole.digest.shape[0])
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[row], whole)

    pace = (halves, stale, 4 * program.per_worker, program.per_worker)
    env = HostEnv(program.name, spec, partial(opened, Process), *pace, by=lambda hire: partial(opened, hire))
    score = f"total reward of a trial of {episodes} episodes" if episodes else "mean return of an episode"
    env = in_trials(env, episodes) if episodes else env
    return Suite(name, env, sample, about=f"{about}; score: {score}", tables=tables)


def _shelf(train: str, valid: str, test: str) -> Shelf:
    given: dict[Role, str] = {"train": train, "valid": valid, "test": test}
    if not any(given.values()):
        alone = ({},)
        return Shelf({"train": alone, "valid": alone, "test": alone}, shared=True)
    if train and not (valid or test):
        return Shelf(hold_out(read(train)))
    roles: dict[Role, tuple[dict[str, Any], ...]] = {
        role: read(file) if file else () for role, file in given.items()
    }
    return Shelf(roles)


def read(file: str) -> tuple[dict[str, Any], ...]:
    """The tasks in a JSON file.

    Raises:
      UsageError: if it is missing or holds something else.
    """
    try:
        found = json.loads(Path(file).read_text())
    except FileNotFoundError:
        raise UsageError(f"there is no file of tasks at {file}.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as tasks ({error}).") from error
    if not isinstance(found, list) or not found or not all(isinstance(task, dict) for task in found):
        raise UsageError(f"{file} holds no tasks; it is to hold a JSON list of objects, such as [{{}}].")
    return tuple(found)


def _probe(env: str, kwargs: dict[str, Any], horizon: int) -> tuple[Spec, api.Leaves]:
    """The spec of an environment, which is made once to see it, and how its observations are kept."""
    made = api.make(env, kwargs)
    try:
        obs, action = spaces.of_observation(made.observation_space), spaces.of_action(made.action_space)
        own = getattr(getattr(made, "spec", None), "max_episode_steps", None)
        limit = horizon or own or _LONGEST
        return Spec(obs, action, limit, truncates=True), api.layout(made.observation_space)
    finally:
        made.close()
