"""The types every floor of the house shares: spaces, environments, time steps, agents.

Shapes are written `[T, N, ...]`: T steps in time, N lanes advanced together. `PyTree` fields hold one array a leaf.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

Memory = Any
"""An agent's memory of the current episode or trial: a pytree with a leading lane axis `[N, ...]`; `()` if none."""

AgentState = Any
"""Everything an agent learns: weights, optimiser, replay, counters; one pytree."""

Task = Any
"""The parameters of one thing to learn: a pytree of arrays (a table of tasks has a leading axis `[M, ...]`)."""

EnvState = Any
Metrics = dict[str, Array]


@dataclass(frozen=True)
class Discrete:
    """One choice out of `n`: an int32 scalar in `0 .. n-1`."""

    n: int


@dataclass(frozen=True)
class MultiDiscrete:
    """Several independent choices: an int32 vector, entry `d` in `0 .. nvec[d]-1`."""

    nvec: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """An array of `shape` and `dtype` whose entries lie between `low` and `high` (scalars)."""

    shape: tuple[int, ...]
    low: float = -np.inf
    high: float = np.inf
    dtype: Any = np.float32


Space = Discrete | MultiDiscrete | Box


@dataclass(frozen=True)
class Spec:
    """What an environment shows and takes.

    `obs` and `privileged` are pytrees of spaces, `action` is one space. `privileged` (or None) is what only a critic
    may see in training. `truncates` is False where episodes only ever end by termination: then no final observation
    is stored. `horizon` is the most steps an episode can have, `episodes` the number of episodes K that share one task
    (1 but for trials). `reward` is the range of one step's reward.
    """

    obs: PyTree
    action: Space
    horizon: int
    privileged: PyTree = None
    truncates: bool = False
    episodes: int = 1
    reward: Box = Box(())

    @property
    def steps(self) -> int:
        """The most steps there can be before the task changes: horizon times episodes."""
        return self.horizon * self.episodes


class Foresight(NamedTuple):
    """A privileged view, and how much reward, undiscounted, is still to come in the trial for one who knows the task.

    `ceiling` is that expectation (or about that), a scalar; `after` the same for each action `[A]`, were it taken now, or
    None where that is not known. A critic with foresight need only learn what ignorance costs, and `after` takes the luck
    of rewards and transitions out of what it learns from. In a `Spec`, spaces.
    """

    view: PyTree
    ceiling: Any
    after: Any = None


class Step(NamedTuple):
    """One decision's outcome in a pure environment, which never resets itself; scalars."""

    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


class TimeStep(NamedTuple):
    """What an agent sees: `N` lanes side by side.

    After an episode's end, `obs` is the next episode's first observation and `first` is True, while `reward` and
    `discount` (0 where it terminated, else 1) still belong to the episode that ended; its last observation is
    `final_obs` (None where the environment never truncates).
    """

    obs: PyTree
    reward: Float[Array, "*N"]
    discount: Float[Array, "*N"]
    first: Bool[Array, "*N"]
    final_obs: PyTree


class Transition(NamedTuple):
    """One step of `N` lanes, stacked to `[T, N, ...]` in a rollout.

    `obs`, `first` are before the action; `reward`, `discount`, `last`, `final_obs` come from it. `privileged` is what the
    critic may see of the state before the action; `extras` is whatever the agent's `act` wants to find again.
    """

    obs: PyTree
    first: Bool[Array, "*TN"]
    action: Array
    reward: Float[Array, "*TN"]
    discount: Float[Array, "*TN"]
    last: Bool[Array, "*TN"]
    final_obs: PyTree
    privileged: PyTree
    extras: PyTree


class Rollout(NamedTuple):
    """`memory` at the start, the `[T, N]` transitions, and what comes after them: time step, its privileged view, memory."""

    memory: Memory
    transitions: Transition
    timestep: TimeStep
    privileged: PyTree
    memory_after: Memory


@runtime_checkable
class Env(Protocol):
    """A pure environment: one episode of one task. All functions are unbatched and traceable."""

    @property
    def spec(self) -> Spec: ...

    def reset(self, task: Task, key: PRNGKeyArray) -> EnvState: ...

    def step(
        self, task: Task, state: EnvState, action: Array, key: PRNGKeyArray
    ) -> tuple[EnvState, Step]: ...

    def observe(self, task: Task, state: EnvState) -> PyTree: ...

    def privileged(self, task: Task, state: EnvState) -> PyTree: ...


@runtime_checkable
class HostLanes(Protocol):
    """`N` lanes of a foreign simulator, stepped from the host with NumPy arrays."""

    @property
    def spec(self) -> Spec: ...

    def reset(self, seed: int) -> TimeStep: ...

    def step(self, action: np.ndarray) -> TimeStep: ...

    def close(self) -> None: ...


def _no_update(state: AgentState, rollout: Rollout, key: PRNGKeyArray) -> tuple[AgentState, Metrics]:
    del rollout, key
    return state, {}


def _whole(fresh: AgentState, trained: AgentState) -> AgentState:
    del fresh
    return trained


class Curriculum(NamedTuple):
    """Pure functions that choose the tasks of new episodes in training, from what happened on the table `[M, ...]` so far.

    - `init(m, n) -> state` for M tasks and N lanes
    - `chances(state) -> [M]`: how likely each task is to be drawn next; they add up to 1
    - `update(state, row_t, rollout, agent) -> state`: after a rollout of the agent's state; `row_t` `[T+1, N]` is the row
      of the table each lane plays at every step and after the last
    """

    init: Callable[[int, int], PyTree]
    chances: Callable[[PyTree], Float[Array, " M"]]
    update: Callable[[PyTree, Int[Array, "T1 N"], Rollout, AgentState], PyTree]


class Agent(NamedTuple):
    """Pure functions. A fixed rule (UCB1, PSRL, random) keeps the default `update`, which does nothing.

    - `init(key) -> state`
    - `memory(n) -> memory` of n lanes, zeroed by `act` and `update` where `first`
    - `act(state, memory, timestep, key) -> (memory, action [N, ...], extras)`
    - `update(state, rollout, key) -> (state, metrics)`, each metric a scalar
    - `adopt(fresh, trained) -> state`: a fresh state with what a trained one learned (weights and normalisers, no optimiser)
    - `unroll`: steps per lane between updates; `learns`: whether `update` changes the state
    - `advantage(state, rollout) -> Â_t` `[T, N]`, in units of reward, where the agent estimates advantages; else None
    - `curriculum`: what chooses its training tasks; None draws them evenly
    - `pinned`: whether each lane it trains in keeps one task instead, lane i task i mod M
    """

    init: Callable[[PRNGKeyArray], AgentState]
    memory: Callable[[int], Memory]
    act: Callable[[AgentState, Memory, TimeStep, PRNGKeyArray], tuple[Memory, Array, PyTree]]
    update: Callable[[AgentState, Rollout, PRNGKeyArray], tuple[AgentState, Metrics]] = _no_update
    adopt: Callable[[AgentState, AgentState], AgentState] = _whole
    unroll: int = 1
    learns: bool = False
    advantage: Callable[[AgentState, Rollout], Float[Array, "T N"]] | None = None
    curriculum: Curriculum | None = None
    pinned: bool = False


def _as_it_is(config: Any, steps: int) -> Any:
    del steps
    return config


@dataclass(frozen=True)
class Entry:
    """What a registry line of an agent names: the default config, and `build(spec, config) -> Agent`.

    `build` raises UsageError where the agent cannot play what the spec describes. `revealed` marks an oracle: it is shown
    the task's parameters, `Revealed(env)`, and only serves as a mark on the scale. The same spec and config give the very
    same agent again, so that the programs compiled for it are found. `within(config, steps)` are the settings for a run of
    so many steps, where some depend on that.
    """

    config: Any
    build: Callable[[Spec, Any], Agent]
    revealed: bool = False
    within: Callable[[Any, int], Any] = _as_it_is

    def __post_init__(self) -> None:
        object.__setattr__(self, "build", _kept(self.build))


def _kept(build: Callable[[Spec, Any], Agent]) -> Callable[[Spec, Any], Agent]:
    kept = lru_cache(maxsize=64)(build)

    def call(spec: Spec, config: Any) -> Agent:
        try:
            hash((spec, config))
        except TypeError:  # a foreign environment's spaces may be dictionaries
            return build(spec, config)
        return kept(spec, config)

    call.__doc__ = build.__doc__
    return call
