"""What it takes to keep a run under way: bytes, and seconds to pack them, to write the file and to read it back.

    python -m benchmarks.keeping > benchmarks/results/keeping.jsonl

Lines of JSON, one a learner: a fresh run of eight lanes of the platformer, whose replay has its full size from the
beginning; median of `TIMES`. The file is synced to disk.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart import agents, suites
from headstart.loops import jit
from headstart.protocol.keepers import Files, Pace
from headstart.protocol.underway import Underway, pack, size, unpack

TIMES, LANES = 3, 8
LEARNERS = ("jerk", "ppo-retro", "rl2-retro", "rainbow-frugal", "rainbow")


def measure(learner: str, folder: Path) -> dict[str, object]:
    """One learner's line."""
    suite = suites.suite("platformer", episodes=5 if learner == "rl2-retro" else 1)
    agent, tasks = agents.agent(learner, suite.env.spec), suite.split("test", 1).tasks
    carries = jit.starts(agent, suite.env, tasks, jr.split(jr.key(0), 1), LANES, jnp.zeros(1, jnp.int32))
    jax.block_until_ready(carries)
    now, files, times = Underway(carries, np.zeros((1, 0)), []), Files(folder, Pace()), []
    like = jax.eval_shape(lambda carry: carry, carries)
    for _ in range(TIMES):
        marks = [time.perf_counter()]
        data = pack("", now)
        marks.append(time.perf_counter())
        files.keep("run", data)
        marks.append(time.perf_counter())
        assert unpack("", files.find("run") or b"", like) is not None
        marks.append(time.perf_counter())
        times.append(np.diff(marks))
    seconds = np.median(times, axis=0).round(4).tolist()
    return {"learner": learner, "bytes": size(now)} | dict(
        zip(("pack", "write", "read"), seconds, strict=True)
    )


def main() -> None:
    about = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as folder:
        for learner in LEARNERS:
            print(json.dumps(measure(learner, Path(folder)) | about), flush=True)


if __name__ == "__main__":
    main()
