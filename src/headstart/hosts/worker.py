"""What a worker does, wherever it runs: it steps some lanes of a Gymnasium environment whenever it is told to.

    python -m headstart.hosts.worker SOCKET MEMORY       (descriptors of what is open; only `processes` starts this)

Observations, rewards and actions lie in a block of memory, which a process shares with the run, and an actor does not
(`actors`). A lane whose episode ended is reset in the same step, and its last observation kept; it draws its next task
itself, but where the run has put down which it is (`next`, from 0). JAX is not imported.
"""

import os
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np

from headstart.errors import UsageError
from headstart.hosts import gymnasium_api as api
from headstart.hosts.shared import Block, Layout

PATIENCE = 120.0
"""seconds after which a worker that does not answer counts as dead"""

Answer = tuple[str, str]
"""How a command went: "ok", or "broken", "refused", "failed", "died", "stranded"; and why."""


@dataclass(frozen=True)
class Job:
    """What one worker does."""

    factory: str
    """`module:function`, or a registered id"""
    kwargs: dict[str, Any]
    """of every environment"""
    tasks: tuple[dict[str, Any], ...]
    by: Literal["make", "reset"]
    """whether a task is further keyword arguments of the environment, or its `reset(options=...)`"""
    horizon: int
    """steps after which an episode is truncated"""
    lanes: tuple[int, ...]
    """rows of the block of memory"""
    names: tuple[int, ...]
    """of the lanes, in seeds"""
    pinned: bool
    """whether lane i keeps task i mod M; else each episode draws one"""
    worker: int
    layout: Layout
    shows: api.Kinds
    """the observations of every task"""
    takes: api.Kinds
    """the actions of every task"""
    episodes: int = 1
    """of a lane before it draws another task"""


class _Lane:
    """One environment, the task it plays, and its random numbers."""

    def __init__(self, job: Job, lane: int, name: int, block: Block) -> None:
        self._job, self._lane, self._name, self._block = job, lane, name, block
        self._env: Any = None
        self._made = -1
        self._t = 0

    def reset(self, seed: int, attempt: int) -> None:
        """Begin the episode that the block says, with random numbers of this seed."""
        self._random = np.random.default_rng([seed, self._name, attempt])
        self._begin()

    def _begin(self) -> None:
        job = self._job
        drawn, seed = int(self._random.integers(len(job.tasks))), int(self._random.integers(2**31))
        if not self._block["episode"][self._lane]:
            chosen = int(self._block["next"][self._lane])
            drawn = drawn if chosen < 0 else chosen
            self._block["row"][self._lane] = self._name % len(job.tasks) if job.pinned else drawn
        row = int(self._block["row"][self._lane])
        task = job.tasks[row]
        if self._env is None or (job.by == "make" and row != self._made):
            self.close()
            more = task if job.by == "make" else {}
            self._env, self._made = api.make(job.factory, {**job.kwargs, **more}), row
            self._compare(row)
        options = task if job.by == "reset" else None
        obs = api.check_reset(self._env.reset(seed=seed, options=options))
        self._show(self._block.obs, obs, "reset()'s observation")
        self._t = 0

    def _compare(self, row: int) -> None:
        """Refuse a task that another network would have to play."""
        env, job = self._env, self._job
        both = (("shows", env.observation_space, job.shows), ("takes", env.action_space, job.takes))
        for does, space, expected in both:
            if api.kinds(space) != expected:
                raise UsageError(
                    f"task {row} of {job.factory} {does} {space}, unlike the task its network is built for; give every "
                    "task the same observation and action space."
                )

    def _show(self, where: list[Any], obs: Any, what: str) -> None:
        for array, leaf in zip(where, api.values(self._env.observation_space, obs, what), strict=True):
            array[self._lane] = leaf

    def step(self) -> None:
        """Play the action in the shared memory; begin the next episode if that ended this one."""
        block, lane = self._block, self._lane
        action = api.to_action(self._env.action_space, block["action"][lane])
        obs, reward, terminated, truncated = api.check_step(self._env.step(action))
        self._t += 1
        truncated = not terminated and (truncated or self._t >= self._job.horizon)
        block["reward"][lane], block["terminated"][lane] = reward, terminated
        block["truncated"][lane] = truncated
        ended = terminated or truncated
        self._show(block.final if ended else block.obs, obs, "step()'s observation")
        if ended:
            block["episode"][lane] = (block["episode"][lane] + 1) % self._job.episodes
            self._begin()

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = None


def _complaint(error: BaseException) -> str:
    """The error's own words and the place it was raised at, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + place


class Crew:
    """A job's lanes, and the memory they are played in: that of `fd`, which is shared, or its own."""

    def __init__(self, job: Job, fd: int | None = None) -> None:
        self.block = Block(job.layout, fd)
        self._worker = job.worker
        named = zip(job.lanes, job.names, strict=True)
        self._lanes = [_Lane(job, lane, name, self.block) for lane, name in named]

    def do(self, command: str, *numbers: int) -> Answer:
        """Begin anew ("reset", with seed and attempt) or play the actions in the memory ("step").

        After any answer but "ok" there is no going on.
        """
        begun = time.perf_counter()
        try:
            for lane in self._lanes:
                lane.reset(*numbers) if command == "reset" else lane.step()
            answer = ("ok", "")
        except api.BrokenEnvironmentError as error:
            answer = ("broken", str(error))
        except UsageError as error:
            answer = ("refused", str(error))
        except Exception as error:  # whatever a user's environment raises
            traceback.print_exc()
            answer = ("failed", _complaint(error))
        self.block["busy"][self._worker] += time.perf_counter() - begun
        return answer


def serve(connection: Connection, fd: int) -> None:
    """Do what is asked until the other side hangs up."""
    crew = Crew(connection.recv(), fd)
    while True:
        try:
            answer = crew.do(*connection.recv())
            connection.send(answer)
        except (EOFError, ConnectionError):
            return
        if answer[0] != "ok":
            return


def main() -> None:
    """Speak with the run that started this process over the socket it was given."""
    line, memory = map(int, sys.argv[1:])
    with socket.socket(fileno=line) as held:
        serve(Connection(os.dup(held.fileno())), memory)


if __name__ == "__main__":
    main()
