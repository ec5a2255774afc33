"""A worker takes jobs from a server, plays them, and says how they ended.

    lease a job                           none: wait a little
    unpack its archive                    refused: that is the verdict
    evaluate, with a heartbeat            not held any more: stop, the job is another's
                                          the evaluator failed: the job goes back, and the worker rests
    send films, then the verdict          the server counts it if the lease is still in force

A worker that is killed leaves a lease that runs out, and files and groups that the next one on the machine clears away. One
whose server is away goes on playing and asks again until the server is back.
"""

import math
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headstart.contest import archive, leftovers
from headstart.contest.evaluation import Job, Verdict
from headstart.contest.queue import ERROR
from headstart.contest.remote import GoneError, Remote
from headstart.errors import HeadstartError, RunError, UsageError

Evaluate = Callable[[Path, Job, Path, Callable[[int], bool]], Verdict]
_BEAT = 2.0  # seconds between two heartbeats to the server
_LOG = 1 << 18
_REST, _LONGEST = 5.0, 300.0  # seconds a worker rests after the first job it could not play, and at most


class EvaluatorError(RunError):
    """A job could not be played here through no fault of the agent; it has been given back for another to try."""


def name() -> str:
    """What a worker calls itself: machine and process."""
    return f"{socket.gethostname()}:{os.getpid()}"[:60]


class _Heart:
    """Tells the server that a job goes on, from a thread of its own so that a slow server does not slow the job."""

    def __init__(self, remote: Remote, lease: dict[str, Any]) -> None:
        self._remote, self._lease = remote, lease
        self._spent, self._held = 0, True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def beat(self, spent: int) -> bool:
        """Note the steps spent; False once the job is not ours any more."""
        self._spent = spent
        return self._held

    def stop(self) -> None:
        """No more heartbeats."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        path = f"/worker/jobs/{self._lease['job']}/heartbeat"
        while not self._over.wait(_BEAT):
            try:
                answer = self._remote.ask("POST", path, lease=self._lease["lease"], spent=self._spent)
                self._held = bool(answer.json()["held"])
            except (GoneError, HeadstartError):
                continue  # the server is away; should the lease run out meanwhile, the verdict will not count
            if not self._held:
                return


def _unfit(status: str, message: str) -> Verdict:
    """The verdict of a job that could not be played."""
    return Verdict(status, 0.0, [], 0, message, Path(os.devnull), ())


def _play(
    data: bytes, limits: archive.Limits, job: Job, folder: Path, evaluate: Evaluate, heart: _Heart
) -> Verdict:
    """Unpack and evaluate; what goes wrong in either is a verdict too."""
    out = folder / "out"
    out.mkdir()
    try:
        archive.unpack(data, folder / "submission", limits)
    except UsageError as error:
        return _unfit("refused", str(error))
    except OSError as error:
        return _unfit(ERROR, str(error))
    try:
        return evaluate(folder / "submission", job, out, heart.beat)
    except (HeadstartError, OSError) as error:
        return _unfit(ERROR, str(error))


def _log(verdict: Verdict) -> str:
    """The end of an agent's output."""
    try:
        with verdict.log.open("rb") as file:
            file.seek(max(0, verdict.log.stat().st_size - _LOG)) if verdict.log.is_file() else None
            return file.read(_LOG).decode(errors="replace").replace("\0", "\ufffd")
    except OSError:
        return ""


def _report(remote: Remote, lease: dict[str, Any], verdict: Verdict) -> bool:
    """Send films and verdict; whether it was counted."""
    path = f"/worker/jobs/{lease['job']}"
    for film in verdict.films:
        target = f"{path}/films/{film.stem[:30]}{film.suffix}?lease={lease['lease']}"
        try:
            remote.insist("PUT", target, film.read_bytes())
        except UsageError as error:  # a film that is refused takes nothing from the score
            print(f"film {film.name}: {error}", file=sys.stderr, flush=True)
    score = verdict.score if math.isfinite(verdict.score) else 0.0
    episodes = [[float(reward), int(length), bool(finished)] for reward, length, finished in verdict.episodes]
    answer = remote.insist(
        "POST",
        f"{path}/verdict",
        lease=lease["lease"],
        verdict=verdict.status,
        score=score,
        spent=verdict.spent,
        message=verdict.message,
        episodes=episodes,
        log=_log(verdict),
    )
    return bool(answer.json()["counted"])


def work_once(remote: Remote, evaluate: Evaluate, sandbox: str) -> bool:
    """Take one job and see it through; False if there was none.

    Args:
      remote: the server, with a worker's token.
      evaluate: plays a job: `evaluation.evaluate_submission`.
      sandbox: "bubblewrap", "docker", "podman" or "none".

    Raises:
      UsageError: if the server refuses the token.
      RunError: if the server stays away for ten minutes.
      EvaluatorError: if this machine could not play the job.
    """
    answer = remote.insist("POST", "/worker/lease", worker=name())
    if answer.status_code == 204:
        return False
    lease = answer.json()
    job = Job(
        lease["suite"],
        lease["level"],
        lease["seed"],
        lease["budget"],
        float(lease["wall_clock"]),
        sandbox,
        lease["noise"],
    )
    folder = leftovers.folder("job")
    heart = _Heart(remote, lease)
    try:
        data = remote.insist("GET", f"/worker/jobs/{lease['job']}/archive?lease={lease['lease']}").content
        verdict = _play(data, archive.Limits.of(lease["upload"]), job, folder, evaluate, heart)
        counted = verdict.status != "cancelled" and _report(remote, lease, verdict)
    except UsageError as error:  # the lease has gone to another worker, or the submission was taken back
        print(f"{lease['label']}, seed {job.seed}: {error}", file=sys.stderr, flush=True)
        return True
    finally:
        heart.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if verdict.status == ERROR:
        raise EvaluatorError(f"{lease['label']}, seed {job.seed}, goes back: {verdict.message}")
    told = f"{verdict.score:.1f}" if counted else "not counted"
    print(f"{lease['submission']} {lease['label']} seed {job.seed}: {verdict.status}, {told}", flush=True)
    return True


def work(
    remote: Remote,
    evaluate: Evaluate,
    sandbox: str,
    wanted: Callable[[], bool] = lambda: True,
    pause: float = 1.0,
) -> None:
    """Take jobs as long as `wanted`; where there is none, wait `pause` seconds. First clear away what killed workers left.

    Raises:
      UsageError: if the server refuses the token.
      RunError: if the server stays away for ten minutes.
    """
    if left := leftovers.sweep():
        print(f"cleared away {len(left)} things of workers that were killed", flush=True)
    rest = 0.0
    while wanted():
        try:
            if work_once(remote, evaluate, sandbox):
                rest = 0.0
            else:
                time.sleep(pause)
        except EvaluatorError as error:  # other machines may be whole: leave the jobs to them for a while
            rest = min(max(2 * rest, _REST), _LONGEST)
            print(f"{error} The next try is in {rest:.0f} s.", file=sys.stderr, flush=True)
            end = time.monotonic() + rest
            while wanted() and time.monotonic() < end:
                time.sleep(pause)


__all__ = ["Evaluate", "EvaluatorError", "name", "work", "work_once"]
