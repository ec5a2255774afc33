"""A step of all lanes by who steps them: processes of this machine, or actors of a Ray on this machine.

    python -m benchmarks.ray_lanes > benchmarks/results/ray_lanes.jsonl

Lines of JSON: milliseconds from handing over the actions to the time step, tenth percentile, median and ninetieth percentile
of the steps. The simulator does nothing, so that what is measured is the way there and back, for an observation of four
numbers and for one of 84 x 84 x 4 bytes; 1, 2 and 4 workers of `per_worker` lanes each. Processes and actors take turns,
`ROUNDS` times, since a machine's other work comes and goes: the tenth percentile is nearest to a machine without any. The
first line is Ray's own: a call of an actor's method that does nothing.
"""

import json
import os
import sys
import time
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np

from headstart.hosts import cluster
from headstart.hosts.actors import Actors
from headstart.hosts.lanes import Hire, Program, WorkerLanes
from headstart.hosts.processes import Process
from headstart.types import Box, Discrete, Spec

ROUNDS, WARM, STEPS = 4, 20, 100
SHAPES: dict[str, tuple[tuple[int, ...], str]] = {
    "vector": ((4,), "float32"),
    "picture": ((84, 84, 4), "uint8"),
}


class Idle(gymnasium.Env[Any, Any]):
    """A simulator that does nothing: an observation of zeros, an episode of 100 steps."""

    action_space = gymnasium.spaces.Discrete(4)

    def __init__(self, what: str) -> None:
        shape, dtype = SHAPES[what]
        self.observation_space = gymnasium.spaces.Box(0, 1, shape, np.dtype(dtype).type)
        self._seen = np.zeros(shape, dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        del options
        super().reset(seed=seed)
        self._t = 0
        return self._seen, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        del action
        self._t += 1
        return self._seen, 1.0, self._t == 100, False, {}


def steps_ms(hire: Hire, what: str, workers: int, per_worker: int) -> list[float]:
    """Milliseconds of each step."""
    shape, dtype = SHAPES[what]
    program = Program(
        "idle", "benchmarks.ray_lanes:Idle", {"what": what}, "make", ((shape, dtype),), per_worker
    )
    spec = Spec(Box(shape, 0.0, 1.0, dtype), Discrete(4), 1000, truncates=True)
    n, times = workers * per_worker, list[float]()
    with closing(WorkerLanes(program, spec, ({},), n, 0, False, hire)) as lanes:
        lanes.reset(0)
        for _ in range(WARM + STEPS):
            begun = time.perf_counter()
            lanes.step(np.zeros(n, np.int32))
            times.append(1e3 * (time.perf_counter() - begun))
    return times[WARM:]


def percentiles(times: list[float]) -> list[float]:
    """The tenth, the fiftieth and the ninetieth."""
    return [round(float(found), 3) for found in np.percentile(times, (10, 50, 90))]


class Nothing:
    """An actor without work."""

    def do(self) -> None:
        """Nothing."""


def calls(ray: Any) -> dict[str, Any]:
    """What Ray takes for itself."""
    actor, times = ray.remote(Nothing).remote(), list[float]()
    for _ in range(ROUNDS * (WARM + STEPS)):
        begun = time.perf_counter()
        ray.get(actor.do.remote())
        times.append(1e3 * (time.perf_counter() - begun))
    ray.kill(actor)
    return {"what": "a call of an actor that does nothing", "call_ms": percentiles(times[WARM:])}


def measured(ray: Any, what: str, workers: int, per_worker: int) -> dict[str, Any]:
    """One line of the results."""
    hires: dict[str, Hire] = {"processes": Process, "actors": Actors(ray, 0.25)}
    times: dict[str, list[float]] = {who: [] for who in hires}
    for _ in range(ROUNDS):
        for who, hire in hires.items():
            times[who] += steps_ms(hire, what, workers, per_worker)
    about = {"what": f"a step, {what}", "workers": workers, "per_worker": per_worker}
    return about | {f"{who}_ms": percentiles(found) for who, found in times.items()}


def main() -> None:
    about = {"cores": len(os.sched_getaffinity(0)), "load_before": round(os.getloadavg()[0], 1)}
    with cluster.joined(None, {"--lanes-on ray": True}) as ray:
        print(json.dumps(calls(ray) | about))
        for what in SHAPES:
            for workers, per_worker in ((1, 1), (1, 4), (2, 4), (4, 4)):
                print(json.dumps(measured(ray, what, workers, per_worker) | about))
                sys.stdout.flush()


if __name__ == "__main__":
    main()
