"""Workers in actors of a Ray cluster: the same jobs as in processes, with messages in place of shared memory.

    a step:  the lanes' actions  →  actor  →  what its lanes show and were paid      one message each way

Arrays travel pickled to bytes, which Ray hands on in half the time that it takes over arrays. An answer may be several
objects, each small enough to be in Ray's own message, where a lane's observation is.

An actor is not restarted by Ray: one that is asked and is gone counts as a death, and the lanes hire another, which Ray
places where there is room. Actors import this module, and not JAX.
"""

import contextlib
import importlib
import itertools
import math
import os
import pickle
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart import results
from headstart.hosts.shared import Block
from headstart.hosts.worker import PATIENCE, Answer, Crew, Job

_PLACE = 60.0
"""seconds within which Ray finds a place for a worker and starts it"""
_PAUSE = 1.0
"""seconds between one try to place it and the next, where its place was lost meanwhile"""
_BROKEN = "an error raised in its creation task"
"""in what Ray says of an actor that no place would help"""
_WORDS = 5.0
"""seconds for which the last words of a worker that died are looked for"""
_TOLD = ("reward", "terminated", "truncated", "row", "episode", "busy")
"""what an actor says of its lanes beside what they show"""
_HELD = ("row", "episode", "next")
"""what it is told of them where they begin anew"""

_DIRECT = 90_000
"""bytes that surely travel with an answer: beyond 100 000 Ray lays an object into a store, from where it is fetched"""

Told = tuple[Answer, dict[str, np.ndarray], list[np.ndarray], list[np.ndarray]]
"""How it went, figures of each lane, what was seen last where an episode ended (those lanes only), and what the lanes of
the first part show."""


def unlike(versions: Mapping[str, str]) -> str:
    """Why this node does not fit the machine that asks, whose `results.versions()` are given; "" if it does."""
    here = results.versions()
    other = ", ".join(name for name, version in versions.items() if here.get(name) != version)
    text = "a Ray worker has another {} than the machine that asks; install the same on every node."
    return text.format(other) if other else ""


class Stepper:
    """What an actor is: a crew with a memory of its own.

    Args:
      versions: of the machine that asks.
      path: where that one finds modules; what lies in the same places here is found, too.
      parts: of the lanes, whose observations are objects of their own.
    """

    def __init__(
        self, job: Job, versions: Mapping[str, str], path: list[str], parts: Sequence[slice]
    ) -> None:
        sys.path += [place for place in path if place not in sys.path]
        self._unlike = unlike(versions)
        self._crew, self._parts = Crew(job), parts

    def home(self) -> tuple[str, str]:
        """The node this is, and the file there that holds what is printed as an error."""
        node = importlib.import_module("ray").get_runtime_context().get_node_id()
        try:
            return node, os.readlink("/proc/self/fd/2")
        except OSError:
            return node, ""

    def reset(self, seed: int, attempt: int, *held: list[int]) -> Any:
        """Begin the episodes that `held` says, a list for each of `_HELD`; what is told is the same as of a step."""
        for name, values in zip(_HELD, held, strict=True):
            self._crew.block[name][...] = values
        return self._told("reset", seed, attempt)

    def step(self, action: bytes) -> Any:
        """Play actions, given as they lie in memory, and after them the rows of the tasks that come next.

        Returns:
          What is told; where there are several parts of the lanes, a list of that and of what those after the first show.
        """
        block = self._crew.block
        given, size = np.frombuffer(action, np.uint8), block["action"].nbytes
        block["action"].reshape(-1).view(np.uint8)[...] = given[:size]
        block["next"].view(np.uint8)[...] = given[size:]
        return self._told("step")

    def _told(self, command: str, *numbers: int) -> Any:
        block = self._crew.block
        block["busy"][0] = 0.0
        answer = ("refused", self._unlike) if self._unlike else self._crew.do(command, *numbers)
        ended = block["terminated"] | block["truncated"]
        figures, final = {name: block[name] for name in _TOLD}, [leaf[ended] for leaf in block.final]
        first, *others = ([leaf[part] for leaf in block.obs] for part in self._parts)
        told: Told = (answer, figures, final, first)
        messages = [pickle.dumps(found, pickle.HIGHEST_PROTOCOL) for found in (told, *others)]
        return messages if others else messages[0]


def said_last(file: str) -> str:
    """The last line of what a worker printed, without what Ray notes there of itself."""
    with contextlib.suppress(OSError), open(file, errors="replace") as lines:
        words = [line.strip() for line in lines]
        return next((line for line in reversed(words) if line and not line.startswith(":")), "")
    return ""


def slices(n: int, parts: int) -> list[slice]:
    """`n` lanes in so many runs of about equal length.

    >>> slices(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    edges = [n * i // parts for i in range(parts + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(edges)]


class Actor:
    """A worker in an actor of a Ray cluster, seen from the run.

    Args:
      ray: the module, connected.
      cpus: how many cores, or what part of one, it takes.
    """

    def __init__(self, ray: Any, cpus: float, job: Job, block: Block) -> None:
        n = len(job.lanes)
        own = replace(job, lanes=tuple(range(n)), worker=0, layout=replace(job.layout, n=n, workers=1))
        each = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in job.layout.obs)
        self._ray, self._cpus, self._block = ray, cpus, block
        self._lanes, self._worker = np.array(job.lanes), job.worker
        self._parts = slices(n, math.ceil(n / (_DIRECT // each)) if 0 < each <= _DIRECT else 1)
        self._given = (own, results.versions(), list(filter(None, sys.path)), self._parts)
        self._until: float | None = time.monotonic() + _PLACE
        self._home, self._begun = ("", ""), tuple[int, ...]()
        self._start()

    def _start(self) -> None:
        """Ask Ray for it."""
        remote = self._ray.remote(Stepper).options(num_cpus=self._cpus, max_restarts=0, max_task_retries=0)
        self._actor = remote.remote(*self._given)
        self._started = self._actor.home.remote()
        several = {"num_returns": len(self._parts)}
        self._step, self._reset = (do.options(**several) for do in (self._actor.step, self._actor.reset))

    def ask(self, command: str, *numbers: int) -> None:
        """Tell it what to do next."""
        if command == "reset":
            held = [self._block[name][self._lanes].tolist() for name in _HELD]
            self._begun, self._asked = numbers, self._reset.remote(*numbers, *held)
        else:
            given = (self._block[name][self._lanes].tobytes() for name in ("action", "next"))
            self._asked = self._step.remote(b"".join(given))

    def answer(self) -> Answer:
        """How that went; what its lanes show is in the block by then."""
        ray = self._ray
        try:
            if not self._placed():
                return "stranded", self._why_not_placed()
            found = ray.get(self._asked, timeout=PATIENCE)
        except ray.exceptions.GetTimeoutError:
            return "died", f"it did not answer for {PATIENCE:.0f} s"
        except ray.exceptions.RayError as error:
            return "died", last_words(str(error)) + self._said_last()
        told, *others = map(pickle.loads, found if len(self._parts) > 1 else [found])
        answer, figures, final, first = told
        self._show(figures, [first, *others], final)
        return answer

    def _placed(self) -> bool:
        """Whether Ray has found a place for it, for which it is waited, also where the place is lost meanwhile."""
        while self._until is not None:
            left = self._until - time.monotonic()
            if not self._ray.wait([self._started], timeout=max(left, 0.0))[0]:
                return False
            try:
                self._home, self._until = self._ray.get(self._started), None
            except self._ray.exceptions.RayActorError as error:
                if _BROKEN in str(error) or left < _PAUSE:
                    raise
                time.sleep(_PAUSE)
                self._start()
                self.ask("reset", *self._begun)
        return True

    def _said_last(self) -> str:
        """What it printed last, which a task on its node looks up, if that is still there."""
        node, file = self._home
        if not file:
            return ""
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        there = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        ask = self._ray.remote(said_last).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        try:
            words = self._ray.get(ask.remote(file), timeout=_WORDS)
        except self._ray.exceptions.RayError:
            return ""
        return f"; it last said: {words}" if words else ""

    def _why_not_placed(self) -> str:
        free, there = (
            found.get("CPU", 0.0)
            for found in (self._ray.available_resources(), self._ray.cluster_resources())
        )
        return (
            f"the Ray cluster started no worker for lanes within {_PLACE:.0f} s: each takes {self._cpus:g} CPU, and "
            f"{free:g} of {there:g} are free; add nodes, play fewer lanes, put more into a worker, or lower --ray-cpus."
        )

    def _show(
        self, figures: dict[str, np.ndarray], obs: list[list[np.ndarray]], final: list[np.ndarray]
    ) -> None:
        """Write into the block what the actor has told."""
        block, lanes = self._block, self._lanes
        block["busy"][self._worker] += figures.pop("busy")[0]
        for name, values in figures.items():
            block[name][lanes] = values
        for part, leaves in zip(self._parts, obs, strict=True):
            for where, leaf in zip(block.obs, leaves, strict=True):
                where[lanes[part]] = leaf
        ended = lanes[figures["terminated"] | figures["truncated"]]
        for where, leaf in zip(block.final, final, strict=True):
            where[ended] = leaf

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(Exception):  # it, or all of Ray, may be gone
            if self._ray.is_initialized():  # or asking would start a Ray
                self._ray.kill(self._actor)


@dataclass(frozen=True)
class Actors:
    """Hires workers in actors of a Ray cluster: `ray` is the module, connected, `cpus` what each of them takes."""

    ray: Any
    cpus: float = 1.0

    def __call__(self, job: Job, block: Block) -> Actor:
        """Start one."""
        return Actor(self.ray, self.cpus, job, block)


def last_words(said: str) -> str:
    """What ended an actor, out of what Ray says of it.

    >>> last_words("The actor died. Worker exit detail: Worker exits with an exit code 4.")
    'Worker exits with an exit code 4'
    """
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", said).split())
    for mark in ("Worker exit detail: ", f"The actor died because of {_BROKEN}, "):
        text = text.partition(mark)[2] or text
    return text.partition(" Some common causes")[0][-200:].rstrip(".")
