"""What isolation costs: steps a second through the client and the sandbox, against the same environment in-process.

python -m benchmarks.contest [STEPS]            -> benchmarks/results/contest.json

`in process` calls the compiled game; `client` is an agent in bubblewrap that presses random buttons through client.py;
`wire` is the same with a game that computes nothing and answers with blocks of the same size: the cost of the wire alone.
Seconds are of the wall and of the processors, since other work may share the machine; compilation is not counted.
`evaluation` is all that a worker does for one job, the agent's start, the sandbox and the log included, once with the
compilation of the game (a worker's first job) and once without; how many of them are an hour's work.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from headstart.contest import client, sandbox
from headstart.contest.environment import Game, keep_to_one_thread
from headstart.contest.evaluation import Job, evaluate_submission
from headstart.contest.meter import Ledger
from headstart.contest.sandbox import Cell, Limits, Running
from headstart.contest.serving import Server
from headstart.contest.wire import Channel, HungUpError

SUITE = "platformer:levels=practice"
RESULTS = Path(__file__).parent / "results" / "contest.json"
AGENT = """
import sys, time
import numpy as np
from headstart.contest import client
lanes = client.connect(lanes=True)
n, steps = lanes.num_envs, int(sys.argv[1])
actions = np.random.default_rng(0).integers(0, 8, (steps, n)).astype(np.int32)
lanes.reset()
wall, cpu = time.perf_counter(), time.process_time()
for action in actions:
    lanes.step(action)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


class Still(Game):
    """Blocks of the platformer's size that cost nothing to make."""

    def compile(self) -> None:
        self._blank = np.zeros(self.outcome + self.block, np.uint8)

    def _advance(self, program: Any, t: int, what: np.ndarray) -> np.ndarray:
        del program, t, what
        return self._blank


def in_process(game: Game, steps: int) -> dict[str, float]:
    """The compiled game called as the server calls it, with resets."""
    actions = np.random.default_rng(0).integers(0, 8, (steps, game.n)).astype(np.int32)
    game.reset(0, np.ones(game.n, bool))
    wall, cpu = time.perf_counter(), time.process_time()
    for t in range(steps):
        _, ended = game.results(game.step(t, actions[t]))
        if ended.any():
            game.reset(t + 1, ended > 0)
    return _rates(game.n * steps, time.perf_counter() - wall, time.process_time() - cpu)


def through(game: Game, steps: int) -> dict[str, float]:
    """The same through wire, meter and sandbox."""
    with tempfile.TemporaryDirectory() as name:
        folder, run = Path(name) / "agent", Path(name) / "run"
        folder.mkdir()
        run.mkdir()
        (folder / "agent.py").write_text(AGENT)
        server = Server(game, Ledger(steps * game.n, game.n, game.spec.horizon), {"budget": steps * game.n})
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(run / "socket"))
            listener.listen(1)
            server.share(run / client.OBSERVATIONS)
            command = ("python", "agent.py", str(steps))
            running = Running(sandbox.choose(trusted=True), Cell(folder, run, command), Limits())
            connection, _ = listener.accept()
            cpu = time.process_time()
            with contextlib.suppress(HungUpError):
                server.serve(Channel(connection, lambda: None), lambda: None)
            ours = time.process_time() - cpu
            connection.close()
        said = running.output.text(30).split()
        running.close()
        server.close()
    wall, theirs = map(float, said)
    return _rates(game.n * steps, wall, ours + theirs) | {"server_cpu": ours, "agent_cpu": theirs}


def whole(lanes: int, budget: int) -> dict[str, float]:
    """An agent's whole evaluation: the first of a worker, and the next."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "agent", Path(name) / "out"
        folder.mkdir()
        out.mkdir()
        (folder / "agent.py").write_text(AGENT)
        command = f'["python", "agent.py", "{budget // lanes}"]'
        (folder / "submission.toml").write_text(f'name = "a"\ncommand = {command}\nlanes = {lanes}\n')
        for _ in range(2):
            begun = time.perf_counter()
            job = Job(SUITE, "practice-1", 0, budget, 3600.0, sandbox.choose(trusted=True), 0)
            verdict = evaluate_submission(folder, job, out, lambda _: True, films=False)
            assert verdict.spent == budget, verdict.message
            seconds.append(time.perf_counter() - begun)
    first, again = seconds
    return {"steps": budget, "first": first, "again": again, "an_hour": 3600.0 / again}


def _rates(steps: int, wall: float, cpu: float) -> dict[str, float]:
    return {
        "steps": steps,
        "wall": wall,
        "cpu": cpu,
        "steps_per_second": steps / wall,
        "steps_per_cpu_second": steps / cpu,
    }


def main() -> None:
    keep_to_one_thread()  # as a worker does
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    found: list[dict[str, Any]] = []

    def keep(what: str, game: Game, rates: dict[str, float]) -> None:
        found.append({"what": what, "lanes": game.n, "load": os.getloadavg()[0], **rates})
        print(json.dumps(found[-1]), flush=True)
        machine = {"cpus": os.cpu_count(), "used": len(os.sched_getaffinity(0))}
        command = "python -m benchmarks.contest " + " ".join(sys.argv[1:])
        table = {"command": command.strip(), "machine": machine, "rows": found}
        RESULTS.write_text(json.dumps(table, indent=1) + "\n")

    for n in (1, 16):
        budget = 8 * steps // n * n
        found.append({"what": "evaluation", "lanes": n, **whole(n, budget)})
    for kind, make in (("wire", Still), ("client", Game)):
        for n in (1, 16):
            game = make(SUITE, "practice-1", 0, n)
            game.compile()
            for _ in range(3):
                keep(kind, game, through(game, steps))
                if kind == "client":
                    keep("in process", game, in_process(game, steps))


if __name__ == "__main__":
    main()
