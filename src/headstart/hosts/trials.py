"""K episodes of one task as one episode, around lanes of foreign simulators: what `envs.trial` is to pure environments.

    o_t = (observation, previous action, previous reward, previous episode ended)

The lanes stay on their task for K episodes and say which of them they play. A simulator that dies ends an episode, as in
single ones, and not the trial.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree

from headstart.envs.trial import Trial, TrialObs
from headstart.hosts.env import HostEnv, Open, Simulators
from headstart.hosts.lanes import Hire, action_layout
from headstart.types import Spec, TimeStep


class TrialLanes:
    """Lanes whose episodes are trials."""

    def __init__(self, lanes: Simulators, spec: Spec) -> None:
        self._lanes, self._spec = lanes, spec

    @property
    def spec(self) -> Spec:
        """What the lanes show and take."""
        return self._spec

    @property
    def deaths(self) -> int:
        """How often a simulator died and was started again."""
        return self._lanes.deaths

    @property
    def busy(self) -> float:
        """Seconds of simulation so far, a mean over the workers."""
        return self._lanes.busy

    @property
    def episode(self) -> np.ndarray:
        """Which of its trial's episodes each lane plays, `[N]`, from 0."""
        return self._lanes.episode

    @property
    def rows(self) -> np.ndarray:
        """The row of the table that each lane plays, `[N]`."""
        return self._lanes.rows

    def choose(self, chances: Float[np.ndarray, " M"]) -> None:
        """Draw the tasks of trials to come with these chances."""
        self._lanes.choose(chances)

    def reset(self, seed: int) -> TimeStep:
        """Begin a trial in every lane."""
        now = self._lanes.reset(seed)
        shape, dtype = action_layout(self._spec)
        action = np.zeros((*now.first.shape, *shape), dtype)
        return now._replace(obs=TrialObs(now.obs, action, now.reward, now.first), final_obs=None)  # pyright: ignore[reportArgumentType]

    def step(self, action: np.ndarray) -> TimeStep:
        """Play one action in every lane; the K-th episode's end is the trial's, by termination."""
        then = self._lanes.step(action)
        ended: Any = then.first
        over = ended & (self._lanes.episode == 0)
        previous, paid, discount = action.copy(), np.array(then.reward), 1.0 - over.astype(np.float32)
        previous[over], paid[over] = 0, 0.0  # a new trial's first observation knows of nothing before it
        obs: Any = TrialObs(then.obs, previous, paid, ended)  # pyright: ignore[reportArgumentType]
        return TimeStep(obs, then.reward, discount, over, None)

    def close(self) -> None:
        """End the simulators."""
        self._lanes.close()


def in_trials(env: HostEnv, episodes: int) -> HostEnv:
    """The environment in trials; its lanes are to stay on a task for `episodes` episodes.

    Raises:
      UsageError: if there is not at least one episode.
    """
    spec, by = Trial(env, episodes).spec, env.by
    hired: Callable[[Hire], Open] | None = (
        None if by is None else lambda hire: partial(_opened, by(hire), spec)
    )
    return replace(env, spec=spec, open=partial(_opened, env.open, spec), by=hired)


def _opened(inner: Open, spec: Spec, tasks: PyTree, n: int, first: int, pinned: bool) -> TrialLanes:
    return TrialLanes(inner(tasks, n, first, pinned), spec)
