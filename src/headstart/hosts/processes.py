"""Lanes of a Gymnasium environment in worker processes.

    reset(seed) → every lane begins an episode, with random numbers of (seed, lane's name, worker's attempt)
    step(a_t)   → actions into shared memory, a word to every worker, their answers
    a worker that dies is started again: its lanes' episodes count as truncated, and as a death;
    three deaths with no episode finished between them end the run, with the worker's own error

Nothing but the weights' age depends on timing: the same seed and actions give the same steps, as far as the simulator does.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from headstart.errors import RunError, UsageError
from headstart.hosts.shared import Block, Layout
from headstart.hosts.worker import Job
from headstart.types import Discrete, MultiDiscrete, Spec, TimeStep

_DEATHS = 3
"""in a row end the run"""
_PATIENCE = 120.0
"""seconds after which a worker that does not answer counts as dead"""


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


class _Worker:
    """One process, the lanes it steps, and how it fared."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.attempt = 0
        self.streak = 0
        self._start()

    def _start(self) -> None:
        mine, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        words = [sys.executable, "-m", "headstart.hosts.worker", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                words,
                pass_fds=(theirs.fileno(), self.job.fd),
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the run, which stops at a chunk's end
            )
        self._line = Connection(mine.detach())
        self._tell(self.job)

    def _tell(self, message: Any) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionError
        ):  # who has died is noticed when it should answer
            self._line.send(message)

    def ask(self, *command: Any) -> None:
        """Tell it what to do next."""
        self._tell(command)

    def answer(self) -> tuple[str, str]:
        """How it went: "ok", or "broken", "refused", "failed" or "died", and why."""
        try:
            if self._line.poll(_PATIENCE):
                return self._line.recv()
        except (EOFError, ConnectionError):
            return "died", self._last_words()
        return "died", f"it did not answer for {_PATIENCE:.0f} s"

    def _last_words(self) -> str:
        """What a process that is gone said last, or what killed it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        ended = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        return f"{ended}; it last said: {said[-1].strip()}" if said else f"{ended}, without a word"

    def again(self) -> None:
        """Start a new process in its place."""
        self.close()
        self.attempt += 1
        self._start()

    def close(self) -> None:
        self._line.close()  # at which a worker that listens goes
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class ProcessLanes:
    """`n` lanes of a program in processes of their own."""

    def __init__(
        self,
        program: Program,
        spec: Spec,
        tasks: tuple[dict[str, Any], ...],
        n: int,
        first: int,
        pinned: bool,
    ) -> None:
        per = program.per_worker
        groups = [range(low, min(low + per, n)) for low in range(0, n, per)]
        layout = Layout(program.leaves, _action(spec), n, len(groups))
        self.program, self._spec = program, spec
        self._tree = jax.tree.structure(spec.obs)
        self._block = Block(layout)
        self._jobs = [
            Job(
                *(program.factory, program.kwargs, tasks, program.by, spec.horizon),
                *(tuple(group), tuple(first + lane for lane in group), pinned, i, layout, self._block.fd),
            )
            for i, group in enumerate(groups)
        ]
        self._workers: list[_Worker] = []
        self._seed = 0
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
    def busy(self) -> float:
        """Seconds of simulation so far, a mean over the workers."""
        return float(self._block["busy"].mean())

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode in every lane; the same seed begins the same ones.

        Raises:
          UsageError: if the environment cannot be made as it was asked for.
          RunError: if it breaks Gymnasium's interface, or its process dies three times.
        """
        self._seed = seed
        if not self._workers:
            self._workers = [_Worker(job) for job in self._jobs]
        for worker in self._workers:
            worker.attempt = worker.streak = 0
            worker.ask("reset", seed, 0)
        for worker in self._workers:
            self._settle(worker)
        n = self._block.layout.n
        obs = self._look()
        blank: Any = (np.zeros(n, np.float32), np.ones(n, np.float32), np.ones(n, bool))
        reward, discount, first = blank
        return TimeStep(self._obs(obs), reward, discount, first, self._obs(obs))

    def step(self, action: np.ndarray) -> TimeStep:
        """Play one action `[N, ...]` in every lane; an episode that ends is followed by the next one's beginning.

        Raises:
          RunError: if the environment breaks Gymnasium's interface, or a process has died three times in a row.
        """
        self._block["action"][...] = action
        for worker in self._workers:
            worker.ask("step")
        died = [worker for worker in self._workers if not self._stepped(worker)]
        before, block = self._seen, self._block
        reward, terminated = block["reward"].copy(), block["terminated"].copy()
        first = terminated | block["truncated"]
        lost = np.zeros_like(first)
        for worker in died:
            lost[list(worker.job.lanes)] = True
        reward[lost], terminated[lost], first[lost] = 0.0, False, True
        obs = self._look()
        final = [leaf.copy() for leaf in obs]
        for leaf, last, old in zip(final, block.final, before, strict=True):
            leaf[first] = last[first]
            leaf[lost] = old[lost]
        outcome: Any = (reward, 1.0 - terminated.astype(np.float32), first)
        reward, discount, first = outcome
        return TimeStep(self._obs(obs), reward, discount, first, self._obs(final))

    def _stepped(self, worker: _Worker) -> bool:
        """Take a worker's answer; False if it had died, and has begun its lanes' next episodes."""
        kind, why = worker.answer()
        if kind == "ok":
            lanes = list(worker.job.lanes)
            if np.any(self._block["terminated"][lanes] | self._block["truncated"][lanes]):
                worker.streak = 0
            return True
        self._revive(worker, kind, why)
        return False

    def _settle(self, worker: _Worker) -> None:
        """Wait for the first answer of a worker that was told to begin."""
        kind, why = worker.answer()
        if kind != "ok":
            self._revive(worker, kind, why)

    def _revive(self, worker: _Worker, kind: str, why: str) -> None:
        """Start a worker again until it has begun its lanes' next episodes."""
        while kind != "ok":
            name = self.program.name
            if kind == "broken":
                raise self._stop(RunError(f"{name} breaks Gymnasium's interface: {why}."))
            if kind == "refused":
                raise self._stop(UsageError(why))
            worker.streak += 1
            self.deaths += 1
            if worker.streak == _DEATHS:
                raise self._stop(
                    RunError(
                        f"a simulator of {name} died {_DEATHS} times without finishing an episode: {why.rstrip('.')}."
                    )
                )
            worker.again()
            worker.ask("reset", self._seed, worker.attempt)
            kind, why = worker.answer()

    def _stop(self, error: Exception) -> Exception:
        self.close()
        return error

    def _look(self) -> list[np.ndarray]:
        self._seen = [leaf.copy() for leaf in self._block.obs]
        return self._seen

    def _obs(self, leaves: list[np.ndarray]) -> PyTree:
        return jax.tree.unflatten(self._tree, leaves)

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()
        if self._workers or self._jobs:
            self._block.close()
        self._workers, self._jobs = [], []

    def __del__(self) -> None:
        try:  # noqa: SIM105
            self.close()
        except Exception:  # at the interpreter's end modules are gone, contextlib too
            pass


def _action(spec: Spec) -> tuple[tuple[int, ...], str]:
    match spec.action:
        case Discrete():
            return (), "int32"
        case MultiDiscrete(nvec):
            return (len(nvec),), "int32"
        case box:
            return tuple(box.shape), np.dtype(box.dtype).name
