"""Workers in processes of this machine: they share the run's memory, and a socket carries commands and complaints."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from typing import Any

from headstart.hosts.shared import Block
from headstart.hosts.worker import PATIENCE, Answer, Job


class Process:
    """A worker in a process of this machine, which shares the block of memory."""

    def __init__(self, job: Job, block: Block) -> None:
        mine, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        given = (theirs.fileno(), block.fd)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headstart.hosts.worker", *map(str, given)],
                pass_fds=given,
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the run, which stops at a chunk's end
            )
        self._line = Connection(mine.detach())
        self._tell(job)

    def _tell(self, message: Any) -> None:
        with contextlib.suppress(
            BrokenPipeError, ConnectionError
        ):  # who has died is noticed when it should answer
            self._line.send(message)

    def ask(self, *command: Any) -> None:
        """Tell it what to do next."""
        self._tell(command)

    def answer(self) -> Answer:
        """How that went; it has happened to the block by then."""
        try:
            if self._line.poll(PATIENCE):
                return self._line.recv()
        except (EOFError, ConnectionError):
            return "died", self._last_words()
        return "died", f"it did not answer for {PATIENCE:.0f} s"

    def _last_words(self) -> str:
        """What a process that is gone said last, or what killed it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        ended = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        return f"{ended}; it last said: {said[-1].strip()}" if said else f"{ended}, without a word"

    def close(self) -> None:
        """End it."""
        self._line.close()  # at which a worker that listens goes
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
