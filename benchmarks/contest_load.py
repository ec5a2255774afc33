"""The contest's server under load: users who poll the board, submissions that queue, processes that are killed.

    python -m benchmarks.contest_load OUT.json [--users 200] [--submissions 50] [--seconds 20]
                                            [--busy 0] [--kills 0] [--play 0.02]

A server and a worker run as processes of their own on loopback; the worker's evaluations are a fake that takes `--play`
seconds and no processor time, so that there are many of them. `--busy` processes compute all the while, as nice as local
workers and their agents are: two are what one evaluation takes at most. Every user asks for the board every two seconds,
all from one address, as a class would; every submission is another contestant's and comes over HTTP. The server's limits are
those it ships with.
With `--kills`, the server or the worker is killed with SIGKILL at a random moment, that many times, and started again;
afterwards every submission must be scored, each evaluation counted once and with its own score.
"""

import argparse
import asyncio
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from headstart.contest.contests import Contest, Level
from headstart.contest.server import NICE
from headstart.contest.store import Store

LEVELS, SEEDS, BUDGET = 3, 2, 1000
PERIOD = 2.0
"""seconds between two looks of one user at the board"""


def score_of(agent: str, label: str, seed: int) -> float:
    """What the fake evaluation of an agent is worth: its own number for every job."""
    return float(random.Random(f"{agent}|{label}|{seed}").randrange(10_000))


def archive_of(agent: str) -> bytes:
    """A submission that is only a name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("submission.toml", agent)
    return buffer.getvalue()


def run_server(folder: Path, port: int, lease: float) -> None:
    """The server's process."""
    from headstart.contest.server import ServeConfig, serve

    serve(folder, "", ServeConfig(port=port, workers=0, lease=lease))


def run_worker(url: str, seconds: float) -> None:
    """The worker's process: `seconds` an evaluation."""
    from headstart.contest.evaluation import Episode, Job, Verdict
    from headstart.contest.remote import Remote
    from headstart.contest.worker import work

    def evaluate(folder: Path, job: Job, out: Path, heartbeat: Callable[[int], bool]) -> Verdict:
        score = score_of((folder / "submission.toml").read_text(), job.level, job.seed)
        log = out / "log"
        log.write_text("played\n")
        time.sleep(seconds)
        heartbeat(job.budget)
        episodes = [Episode(score, job.budget // 10, True)] * 10
        return Verdict("budget", score, episodes, job.budget, "", log, ())

    work(Remote(url, os.environ["HEADSTART_TOKEN"]), evaluate, "none", pause=0.2)


class Crew:
    """The server's and the worker's process, started again after each end."""

    def __init__(self, folder: Path, seconds: float, lease: float, busy: int = 0) -> None:
        """`seconds`: of one evaluation; `lease`: seconds a killed worker holds its job; `busy`: processes that compute."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        store = Store(folder)
        levels = tuple(Level(f"level-{i}", f"level-{i}") for i in range(LEVELS))
        store.add_contest(Contest("load", "Load", "none", BUDGET, tuple(range(SEEDS)), 60.0, levels))
        self.token = store.users.new_token(store.users.add("hand", "worker"))
        self.store = store
        base = [sys.executable, "-m", "benchmarks.contest_load"]
        self._commands = {
            "server": [*base, "--server", str(folder), str(self.port), str(lease)],
            "worker": [*base, "--worker", self.url, str(seconds)],
        }
        self.running = {name: self._start(name) for name in self._commands}
        spin = [sys.executable, "-c", f"import os\nos.nice({NICE})\nwhile True: pass"]
        self._busy = [subprocess.Popen(spin) for _ in range(busy)]

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"HEADSTART_TOKEN": self.token}
        return subprocess.Popen(self._commands[name], env=environment)

    def kill(self, name: str) -> None:
        """End a process as a power cut would, and start it again."""
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()
        self.running[name] = self._start(name)

    def wait_until_up(self, seconds: float = 120.0) -> None:
        """Return when the server answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.url}/healthz", timeout=5.0, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise TimeoutError("the server did not come up")

    def close(self) -> None:
        """End both."""
        for process in (*self.running.values(), *self._busy):
            process.kill()
            process.wait()
        self.store.close()


async def _poll(client: httpx.AsyncClient, url: str, until: float, offset: float) -> list[tuple[float, int]]:
    """One user: seconds and status of every look at the board; status 0 where there was no answer."""
    await asyncio.sleep(offset)
    found: list[tuple[float, int]] = []
    while time.monotonic() < until:
        begun = time.monotonic()
        try:
            status = (await client.get(f"{url}/c/load")).status_code
        except httpx.TransportError:
            status = 0
        took = time.monotonic() - begun
        found.append((took, status))
        await asyncio.sleep(max(0.0, PERIOD - took))
    return found


async def poll(url: str, users: int, seconds: float) -> list[tuple[float, int]]:
    """All users for a while."""
    limits = httpx.Limits(max_connections=users, max_keepalive_connections=users)
    until = time.monotonic() + seconds
    async with httpx.AsyncClient(limits=limits, timeout=30.0, trust_env=False) as client:
        looks = await asyncio.gather(*(_poll(client, url, until, PERIOD * k / users) for k in range(users)))
    return [look for user in looks for look in user]


def send(crew: Crew, count: int) -> None:
    """Submissions, each by a contestant of its own."""
    with httpx.Client(base_url=crew.url, trust_env=False) as client:
        for agent in (f"agent-{k}" for k in range(count)):
            token = crew.store.users.new_token(crew.store.users.add(agent))
            path = f"/api/v1/contests/load/submissions?name={agent}"
            headers = {"authorization": f"Bearer {token}"}
            client.post(path, content=archive_of(agent), headers=headers).raise_for_status()


def faults(store: Store) -> list[str]:
    """What was lost, counted twice or mixed up."""
    with store.database.read() as c:
        rows = c.exec_driver_sql(
            "select s.name, l.label, j.seed, j.state, j.score from jobs j "
            "join submissions s on s.id = j.submission join levels l on l.id = j.level"
        ).all()
        states = c.exec_driver_sql("select name, state from submissions").all()
        kept = c.exec_driver_sql("select count(*) from outcomes").scalar()
        standings = dict(
            c.exec_driver_sql(
                "select s.name, p.score from standings p join submissions s on s.id = p.submission"
            ).all()
        )
    wrong = [f"{name} is {state}" for name, state in states if state != "scored"]
    wrong += [f"{row} has the wrong score" for row in map(tuple, rows) if row[4] != score_of(*row[:3])]
    wrong += (
        [] if len(rows) == len(states) * LEVELS * SEEDS == kept else [f"{len(rows)} jobs, {kept} outcomes"]
    )
    for name, _ in states:
        runs = [score_of(name, f"level-{i}", s) for i in range(LEVELS) for s in range(SEEDS)]
        if abs(standings.get(name, -1.0) - sum(runs) / len(runs)) > 1e-6:
            wrong.append(f"{name} stands at {standings.get(name)}")
    return wrong


def _kill_now_and_then(crew: Crew, kills: int, rng: random.Random, pause: float) -> list[tuple[str, int]]:
    """Kill server or worker at random moments; whom, and how many evaluations had not ended."""
    killed: list[tuple[str, int]] = []
    for _ in range(kills):
        time.sleep(rng.uniform(0.2, pause))
        name = rng.choice(["server", "worker"])
        crew.kill(name)
        queue = crew.store.queue.waiting()
        killed.append((name, queue["waiting"] + queue["leased"]))
        crew.wait_until_up()
    return killed


def drain(crew: Crew, seconds: float) -> None:
    """Wait until every submission is ended; leases of killed workers run out meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        queue = crew.store.queue.waiting()
        if queue["waiting"] == queue["leased"] == 0:
            return
        time.sleep(0.2)


def measure(
    folder: Path,
    users: int,
    submissions: int,
    seconds: float,
    kills: int,
    seed: int = 0,
    play: float = 0.02,
    lease: float = 5.0,
    busy: int = 0,
) -> dict[str, Any]:
    """Load, kill, and count what is left; see the module."""
    crew = Crew(folder, play, lease, busy)
    try:
        crew.wait_until_up()
        send(crew, submissions)
        looks = asyncio.run(poll(crew.url, users, seconds)) if users else []
        killed = _kill_now_and_then(crew, kills, random.Random(seed), 3.0)
        drain(crew, 120.0 + (60.0 + lease) * bool(kills) + 2.0 * play * submissions * LEVELS * SEEDS)
        wrong = faults(crew.store)
    finally:
        crew.close()
    times = np.sort(np.array([took for took, _ in looks])) * 1000
    found: dict[str, Any] = {"users": users, "submissions": submissions, "busy": busy}
    found |= {"kills": killed, "wrong": wrong}
    if users:
        found |= {f"p{p}_ms": round(float(np.percentile(times, p)), 1) for p in (50, 90, 99)}
        found |= {"looks": len(looks), "errors": sum(status != 200 for _, status in looks)}
        found |= {"looks_a_second": round(len(looks) / seconds, 1)}
    return found


def main() -> None:
    """Measure, or be one of the processes."""
    if sys.argv[1:2] == ["--server"]:
        run_server(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
        return
    if sys.argv[1:2] == ["--worker"]:
        run_worker(sys.argv[2], float(sys.argv[3]))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    counts = {"users": 200, "submissions": 50, "seconds": 20, "kills": 0, "seed": 0, "busy": 0}
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--play", type=float, default=0.02)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        found = measure(
            data, o.users, o.submissions, float(o.seconds), o.kills, o.seed, play=o.play, busy=o.busy
        )
    load = [round(x, 2) for x in os.getloadavg()]
    found |= {
        "command": f"python -m benchmarks.contest_load {' '.join(sys.argv[1:])}",
        "cores": len(os.sched_getaffinity(0)),
    }
    found |= {"load_average_after": load}
    o.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
