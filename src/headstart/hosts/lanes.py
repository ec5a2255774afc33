"""Lanes of a Gymnasium environment that workers step: processes of this machine, or actors of a Ray cluster.

    reset(seed) → every lane begins an episode, with random numbers of (seed, lane's name, worker's attempt)
    choose(p)   → each lane's next task is drawn here, with these chances, and put into the block for its worker
    step(a_t)   → actions into the block, a word to every worker, their answers
    a worker that dies is replaced: its lanes' episodes count as truncated, and as a death;
    three deaths with no episode finished between them end the run, with the worker's own error

Nothing but the weights' age depends on timing, and nothing on who the workers are: the same seed and actions give the same
steps, as far as the simulator does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float, PyTree

from headstart.errors import RunError, UsageError
from headstart.hosts.shared import Block, Layout
from headstart.hosts.worker import Answer, Job
from headstart.types import Box, Discrete, MultiDiscrete, Space, Spec, TimeStep

_DEATHS = 3
"""in a row end the run"""
_OWN = -1
"""for the row that comes next, where the lane's worker draws it"""


@runtime_checkable
class Worker(Protocol):
    """Who steps some lanes, somewhere."""

    def ask(self, *command: Any) -> None:
        """Tell it what to do next: `"reset", seed, attempt`, or `"step"` by the actions in the block."""
        ...

    def answer(self) -> Answer:
        """How that went; what its lanes show is in the block by then."""
        ...

    def close(self) -> None:
        """End it."""
        ...


Hire = Callable[[Job, Block], Worker]
"""`hire(job, block)` starts a worker whose lanes are the block's rows `job.lanes`."""


@dataclass(frozen=True)
class Program:
    """What the workers of a suite run."""

    name: str
    """as errors have it"""
    factory: str
    """`module:function`, or a registered id"""
    kwargs: dict[str, Any]
    by: Any
    """"make" or "reset": whether a task is keyword arguments or reset options"""
    leaves: tuple[tuple[tuple[int, ...], str], ...]
    """shape and dtype of an observation's leaves"""
    per_worker: int = 4
    """lanes in one process; 1 where a process holds only one simulator"""
    episodes: int = 1
    """of a lane before it draws another task"""


@dataclass
class _Post:
    """Some lanes' worker, and how those who held the post fared."""

    job: Job
    worker: Worker
    attempt: int = 0
    streak: int = 0


class WorkerLanes:
    """`n` lanes of a program, stepped by the workers that `hire` starts."""

    def __init__(
        self,
        program: Program,
        spec: Spec,
        tasks: tuple[dict[str, Any], ...],
        n: int,
        first: int,
        pinned: bool,
        hire: Hire,
    ) -> None:
        per = program.per_worker
        groups = [range(low, min(low + per, n)) for low in range(0, n, per)]
        layout = Layout(program.leaves, action_layout(spec), n, len(groups))
        shows, takes = tuple(map(_kind, jax.tree.leaves(spec.obs))), (_kind(spec.action),)
        self.program, self._spec, self._hire = program, spec, hire
        self._tree = jax.tree.structure(spec.obs)
        self._block = Block(layout)
        self._jobs = [
            Job(
                *(program.factory, program.kwargs, tasks, program.by, spec.horizon),
                *(tuple(group), tuple(first + lane for lane in group), pinned, i, layout),
                *(shows, takes, program.episodes),
            )
            for i, group in enumerate(groups)
        ]
        self._posts: list[_Post] = []
        self._seed, self._first, self._m = 0, first, len(tasks)
        self._chances: np.ndarray | None = None
        self._seen: list[np.ndarray] = []
        self.deaths = 0

    @property
    def spec(self) -> Spec:
        """What the lanes show and take."""
        return self._spec

    @property
    def rows(self) -> np.ndarray:
        """The row of the table that each lane plays, `[N]`."""
        return self._block["row"].copy()

    @property
    def episode(self) -> np.ndarray:
        """Which of its task's episodes each lane plays, `[N]`, from 0."""
        return self._block["episode"].copy()

    @property
    def busy(self) -> float:
        """Seconds of simulation so far, a mean over the workers."""
        return float(self._block["busy"].mean())

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode in every lane, its task drawn evenly; the same seed begins the same ones.

        Raises:
          UsageError: if the environment cannot be made as it was asked for.
          RunError: if it breaks Gymnasium's interface, or its worker dies three times.
        """
        self._seed, self._chances = seed, None
        self._random = np.random.default_rng(np.random.SeedSequence((seed, self._first), spawn_key=(0,)))
        self._block["next"][...] = _OWN
        if not self._posts:
            self._posts = [_Post(job, self._hire(job, self._block)) for job in self._jobs]
        for post in self._posts:
            post.attempt = post.streak = 0
            self._block["episode"][list(post.job.lanes)] = 0
            post.worker.ask("reset", seed, 0)
        for post in self._posts:
            self._settle(post)
        n = self._block.layout.n
        obs = self._look()
        blank: Any = (np.zeros(n, np.float32), np.ones(n, np.float32), np.ones(n, bool))
        reward, discount, first = blank
        return TimeStep(self._obs(obs), reward, discount, first, self._obs(obs))

    def choose(self, chances: Float[np.ndarray, " M"]) -> None:
        """Draw the tasks of episodes (of trials) to come with these chances, until the next reset or choice."""
        self._chances = chances / chances.sum(dtype=np.float64)
        self._draw(np.ones(self._block.layout.n, bool))

    def _draw(self, which: Bool[np.ndarray, " N"]) -> None:
        """Put down what comes next in some lanes, where that is not left to their workers."""
        if self._chances is not None and which.any():
            self._block["next"][which] = self._random.choice(self._m, int(which.sum()), p=self._chances)

    def step(self, action: np.ndarray) -> TimeStep:
        """Play one action `[N, ...]` in every lane; an episode that ends is followed by the next one's beginning.

        Raises:
          RunError: if the environment breaks Gymnasium's interface, or a worker has died three times in a row.
        """
        self._block["action"][...] = action
        self._was = self.rows, self.episode
        for post in self._posts:
            post.worker.ask("step")
        died = [post for post in self._posts if not self._stepped(post)]
        before, block = self._seen, self._block
        reward, terminated = block["reward"].copy(), block["terminated"].copy()
        first = terminated | block["truncated"]
        lost = np.zeros_like(first)
        for post in died:
            lost[list(post.job.lanes)] = True
        reward[lost], terminated[lost], first[lost] = 0.0, False, True
        self._draw(first & (block["episode"] == 0))
        obs = self._look()
        final = [leaf.copy() for leaf in obs]
        for leaf, last, old in zip(final, block.final, before, strict=True):
            leaf[first] = last[first]
            leaf[lost] = old[lost]
        outcome: Any = (reward, 1.0 - terminated.astype(np.float32), first)
        reward, discount, first = outcome
        return TimeStep(self._obs(obs), reward, discount, first, self._obs(final))

    def _stepped(self, post: _Post) -> bool:
        """Take a worker's answer; False if it had died, and another has begun its lanes' next episodes."""
        kind, why = post.worker.answer()
        if kind == "ok":
            lanes = list(post.job.lanes)
            if np.any(self._block["terminated"][lanes] | self._block["truncated"][lanes]):
                post.streak = 0
            return True
        lanes, (row, episode) = list(post.job.lanes), self._was
        self._block["row"][lanes] = row[lanes]  # whatever the worker did to it before it died
        self._block["episode"][lanes] = (episode[lanes] + 1) % self.program.episodes
        self._revive(post, kind, why)
        return False

    def _settle(self, post: _Post) -> None:
        """Wait for the first answer of a worker that was told to begin."""
        kind, why = post.worker.answer()
        if kind != "ok":
            self._revive(post, kind, why)

    def _revive(self, post: _Post, kind: str, why: str) -> None:
        """Hire another worker until one has begun the lanes' next episodes."""
        while kind != "ok":
            name = self.program.name
            if kind == "broken":
                raise self._stop(RunError(f"{name} breaks Gymnasium's interface: {why}."))
            if kind == "refused":
                raise self._stop(UsageError(why))
            if kind == "stranded":
                raise self._stop(RunError(why))
            post.streak += 1
            self.deaths += 1
            if post.streak == _DEATHS:
                raise self._stop(
                    RunError(
                        f"a simulator of {name} died {_DEATHS} times without finishing an episode: {why.rstrip('.')}."
                    )
                )
            post.worker.close()
            post.worker, post.attempt = self._hire(post.job, self._block), post.attempt + 1
            post.worker.ask("reset", self._seed, post.attempt)
            kind, why = post.worker.answer()

    def _stop(self, error: Exception) -> Exception:
        self.close()
        return error

    def _look(self) -> list[np.ndarray]:
        self._seen = [leaf.copy() for leaf in self._block.obs]
        return self._seen

    def _obs(self, leaves: list[np.ndarray]) -> PyTree:
        return jax.tree.unflatten(self._tree, leaves)

    def close(self) -> None:
        """End the workers."""
        for post in self._posts:
            post.worker.close()
        if self._jobs:
            self._block.close()
        self._posts, self._jobs = [], []

    def __del__(self) -> None:
        try:  # noqa: SIM105
            self.close()
        except Exception:  # at the interpreter's end modules are gone, contextlib too
            pass


def action_layout(spec: Spec) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of an action."""
    return _kind(spec.action)[:2]


def _kind(space: Space) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
    """Shape, dtype and choices, as `gymnasium_api.kinds` has them."""
    match space:
        case Discrete(n):
            return (), "int32", (n,)
        case MultiDiscrete(nvec):
            return (len(nvec),), "int32", nvec
        case Box(shape, dtype=dtype):
            return tuple(shape), np.dtype(dtype).name, ()
