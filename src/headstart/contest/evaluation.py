"""One job of a contest: a stranger's agent, one level, one seed, one budget, and a verdict.

    compile the environment                                     (before the agent's clock begins)
    start the agent in its sandbox; it connects once
    until the budget, the clock or the agent ends it:
        reset: begin an episode, refused in mid-episode          free
        step:  spend, play, record                               the meter is the evaluator's
    the score (meter.py), the log, films of the first, the best and the last episode

Environment, budget, clock and noise are in this process, the agent is in another; all they share is a socket (wire.py) and
one file of observations that the agent can only read.
"""

import math
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from headstart.contest import containers, leftovers, manifest, sandbox
from headstart.contest import films as pictures
from headstart.contest.client import OBSERVATIONS
from headstart.contest.environment import Game
from headstart.contest.manifest import Manifest
from headstart.contest.meter import Episode, Ledger
from headstart.contest.sandbox import Cell, Limits, Running
from headstart.contest.serving import Server
from headstart.contest.wire import TICK, Channel, HungUpError, MalformedError
from headstart.errors import HeadstartError, UsageError

BEAT = 1.0
"""seconds between two heartbeats"""
GRACE = 30.0
"""seconds an agent that hung up has to end, so that its exit code is known"""
FAREWELL = 2.0
"""seconds an agent has for its last words once its evaluation is over"""

_LIMITED = {"memory": "memory", "processes": "processes", "cpu-time": "processor time"}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Job:
    """What one evaluation plays, and what it may use."""

    suite: str
    """a suite's name with its options; of a level's text only the game's options matter"""
    level: str
    """a level's text (more than one line), or the name of one of the suite's tasks"""
    seed: int
    """the agent is told, for its own randomness; the environment's is another"""
    budget: int
    """steps, over all lanes"""
    wall_clock: float
    """seconds from the agent's start to its end at the latest"""
    sandbox: str
    """"bubblewrap", "docker", "podman", or "none" for code that is trusted"""
    noise: int
    """64 bits, of the environment's randomness (`chance`); never told to the agent"""


class Verdict(NamedTuple):
    """How an evaluation ended, and what it is worth.

    `status`: "budget" (played to the end), "finished" (the agent ended earlier, of its own will), "wall-clock", "crashed",
    "memory", "processes", "cpu-time", "refused" (a submission or a message that breaks the rules) or "cancelled". `score`
    counts what was played, whatever the status. `message` is a sentence for the author, `log` a file with the agent's
    output.
    """

    status: str
    score: float
    episodes: list[Episode]
    spent: int
    message: str
    log: Path
    films: tuple[Path, ...]


class _OverError(Exception):
    """The evaluation ends now, with a status and a sentence."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Clock:
    """The wall clock and the heart."""

    def __init__(self, seconds: float, heartbeat: Callable[[int], bool]) -> None:
        self._seconds, self._heartbeat = seconds, heartbeat
        self._deadline = float("inf")
        self._next = 0.0
        self.ledger: Ledger | None = None

    def start(self) -> None:
        self._deadline = time.monotonic() + self._seconds

    def tick(self) -> None:
        """Beat if it is time; end what is over time or cancelled."""
        if not self.beat():
            raise _OverError("cancelled", "the evaluation was cancelled.")
        if time.monotonic() >= self._deadline:
            raise _OverError("wall-clock", f"the time of {self._seconds:g} seconds is over.")

    def beat(self) -> bool:
        """Beat if it is time; False if the evaluation is cancelled."""
        now = time.monotonic()
        if now < self._next:
            return True
        self._next = now + BEAT
        return self._heartbeat(self.ledger.spent if self.ledger else 0)

    def during(self, work: Callable[[], _T]) -> _T:
        """Do something long in a thread, with the heart beating; if that ends it, the thread is left to finish alone."""
        pool = ThreadPoolExecutor(1)
        try:
            future = pool.submit(work)
            while not wait([future], TICK).done:
                self.tick()
            return future.result()
        finally:
            pool.shutdown(wait=False)


def evaluate_submission(
    folder: Path,
    job: Job,
    out: Path,
    heartbeat: Callable[[int], bool],
    *,
    limits: Limits | None = None,
    films: bool = True,
    images: Sequence[str] = (),
) -> Verdict:
    """Run one submission on one job.

    Args:
      folder: the unpacked submission.
      job: what to play.
      out: an existing folder for the log and the films.
      heartbeat: called with the steps spent at least every two seconds; False cancels.
      limits: memory, processes, disk, processor time; None for the defaults.
      films: whether to make films of the first, the best and the last episode, where the suite has pictures.
      images: of containers, those that a submission may name; the first is for one that names none.

    Raises:
      UsageError: for a job that cannot be carried out (level, suite, sandbox); what a submission does wrong is a verdict.
      RunError: if the sandbox cannot be started.
    """
    sandbox.check(job.sandbox, images)
    limits = limits or Limits()
    limits = replace(limits, cpu=min(limits.cpu, math.ceil(limits.cores * job.wall_clock)))
    log = out / "log.txt"
    clock = _Clock(job.wall_clock, heartbeat)
    try:
        about = _allowed(manifest.read(folder), job, images)
    except UsageError as error:
        log.write_text(f"{error}\n")
        return Verdict("refused", 0.0, [], 0, str(error), log, ())
    try:
        game = clock.during(lambda: _game(job, about))
    except _OverError as over:
        log.write_text(f"{over}\n")
        return Verdict(over.status, 0.0, [], 0, str(over), log, ())
    played = _Evaluation(game, job, clock)
    text = played.run(folder.resolve(), about, limits)
    made, missing = _films(played, out, clock) if films and played.status != "cancelled" else ((), "")
    log.write_text(text + missing, errors="replace")
    ledger = played.ledger
    return Verdict(played.status, ledger.score(), ledger.episodes, ledger.spent, played.message, log, made)


def _allowed(about: Manifest, job: Job, images: Sequence[str]) -> Manifest:
    """A manifest with the image it runs in; refused where the organiser has not allowed it."""
    if job.sandbox not in containers.PROGRAMS or about.image in images:
        return about
    if about.image:
        raise UsageError(f"{manifest.FILE}: image is one of {', '.join(images)} here, not '{about.image}'.")
    return replace(about, image=images[0])


def _game(job: Job, about: Manifest) -> Game:
    game = Game(job.suite, job.level, job.noise, about.lanes)
    game.compile()
    return game


def _films(played: "_Evaluation", out: Path, clock: _Clock) -> tuple[tuple[Path, ...], str]:
    """Films, or a line for the log: what was scored stays scored."""
    clock.start()  # films are not on the agent's time
    try:
        return clock.during(lambda: pictures.make(played.game, played.ledger, played.server.actions, out)), ""
    except (_OverError, HeadstartError, OSError, ValueError) as error:
        return (), f"[films] there are none: {error}\n"


class _Evaluation:
    """One agent's evaluation: `status` and `message` once it has run."""

    def __init__(self, game: Game, job: Job, clock: _Clock) -> None:
        self.game, self._job, self._clock = game, job, clock
        self.ledger = clock.ledger = Ledger(job.budget, game.n, game.spec.horizon)
        self.server = Server(game, self.ledger, {"budget": job.budget, "seed": job.seed, "suite": job.suite})
        self.status, self.message = "finished", ""

    def run(self, folder: Path, about: Manifest, limits: Limits) -> str:
        """Run the agent; its output."""
        run = leftovers.folder("run", leftovers.memory())
        running: Running | None = None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                self._listen(listener, run)
                self._clock.start()
                running = Running(self._job.sandbox, Cell(folder, run, about.command, about.image), limits)
                self._serve(listener, run, running)
            return self._said(running)
        except UsageError as error:  # a command that is not there
            self.status, self.message = "refused", str(error)
            return f"{error}\n"
        finally:
            if running is not None:
                running.close()
            self.server.close()
            self.ledger.finish()
            shutil.rmtree(run, ignore_errors=True)

    def _listen(self, listener: socket.socket, run: Path) -> None:
        other = self._job.sandbox in containers.PROGRAMS  # there the agent is another user
        run.chmod(0o755 if other else 0o700)
        listener.bind(str(run / "socket"))
        (run / "socket").chmod(0o666 if other else 0o600)
        listener.listen(1)
        listener.settimeout(TICK)
        self.server.share(run / OBSERVATIONS)

    def _serve(self, listener: socket.socket, run: Path, running: Running) -> None:
        """Until it is over; then status and message say how."""
        channel: Channel | None = None
        try:
            channel = self._accept(listener, run, running)
            if channel is not None:
                self.server.serve(channel, self._clock.tick)
        except HungUpError:
            pass
        except MalformedError as error:
            self.status, self.message = "refused", str(error)
            if channel is not None:
                channel.error("refused", str(error))
        except _OverError as over:
            self.status, self.message = over.status, str(over)
            if channel is not None and over.status == "wall-clock":
                channel.error("wall-clock", str(over))
        finally:
            if channel is not None:
                channel.close()
        self._end(running)

    def _accept(self, listener: socket.socket, run: Path, running: Running) -> Channel | None:
        """The agent's connection; None if it ended without one. A second connection finds no socket."""
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                self._clock.tick()
                if running.code() is not None:
                    return None
                continue
            listener.close()
            (run / "socket").unlink()
            return Channel(connection, self._clock.tick)

    def _end(self, running: Running) -> None:
        """How the process ended, if nothing else ended the evaluation."""
        end = time.monotonic() + (
            GRACE if self.status == "finished" and not self.server.spent_all else FAREWELL
        )
        while (code := running.code()) is None and time.monotonic() < end and self._clock.beat():
            time.sleep(0.02)
        if running.reason and self.status in ("finished", "refused"):
            self.status = running.reason
            self.message = f"the agent used more {_LIMITED[running.reason]} than it may."
        elif self.server.spent_all:
            self.status, self.message = "budget", f"played all {self.ledger.spent} steps."
        elif self.status == "finished" and code not in (0, None):
            self.status, self.message = "crashed", f"the agent ended with exit code {code}; its log says why."
        elif self.status == "finished":
            self.message = f"the agent ended after {self.ledger.spent} of {self._job.budget} steps."

    def _said(self, running: Running) -> str:
        running.kill()
        return f"{running.output.text()}\n[{self.status}] {self.message}\n"


__all__ = ["Episode", "Job", "Verdict", "evaluate_submission"]
