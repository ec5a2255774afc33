"""The retro path end to end, on the game that ships with the emulator.

    python -m benchmarks.retro [--budget 1024] [--tasks 1] [--seeds 1] [--lanes 1]

A script plays Airstriker-Genesis-v0 and saves its state now and then; the states are tasks with roles; random play, JERK
and PPO then learn the test states from scratch under the budget. Kept under results/retro: the states' manifest and
picture, a result a run, and speed.json: decisions a second (4 frames each) of one emulator alone, and of all runs
together. The states themselves are made again, bit for bit, by the same command, and are not kept.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import headstart as hs
from headstart import results
from headstart.hosts.retro import RetroGame

GAME = "Airstriker-Genesis-v0"
OUT = Path(__file__).parent / "results" / "retro"
STATES = OUT / "states"
AGENTS = ("random", "jerk", "ppo")


def emulator(decisions: int = 300) -> float:
    """Decisions a second of processor time, one emulator in this process."""
    env = RetroGame(GAME)
    env.reset(seed=0)
    begun = time.process_time()
    for t in range(decisions):
        if env.step(t // 8 % 8)[2]:
            env.reset(seed=t)
    speed = decisions / (time.process_time() - begun)
    env.close()
    return speed


def make_states() -> None:
    """Save states in a process of their own, as a user makes them."""
    shutil.rmtree(STATES, ignore_errors=True)
    words = ["retro", "make-states", GAME, "--out", str(STATES), "--states", "16", "--every", "60"]
    subprocess.run([sys.executable, "-m", "headstart.cli", *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--tasks", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=1)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if not (STATES / "states.json").exists() or not (STATES / "state000.state").exists():
        make_states()
    options = hs.TransferOptions(
        suite=f"retro:{GAME},states={os.path.relpath(STATES)},horizon=300",
        agents=AGENTS,
        budget=args.budget,
        tasks=args.tasks,
        seeds=args.seeds,
        lanes=args.lanes,
        run=OUT,
    )
    configs = {
        "ppo": hs.configure("ppo", unroll=128 // args.lanes, epochs=3, minibatches=4),
        "jerk": hs.configure("jerk", total_steps=args.budget),
    }
    begun = time.monotonic()
    found = hs.transfer(options, configs=configs, command="python -m benchmarks.retro")
    speed = {
        "emulator_decisions_per_cpu_second": round(emulator()),
        "seconds_of_all_runs": round(time.monotonic() - begun),
        "steps_of_all_runs": sum(result.spent for result in found),
        "machine": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
    }
    results.write_text(OUT / "speed.json", json.dumps(speed, indent=1) + "\n")
    for result in found:
        print(
            f"{result.agent:<8}{result.facts['task']}  seed {result.seed}  {result.scores}  {result.facts['episodes']}"
        )
    print(speed)


if __name__ == "__main__":
    main()
