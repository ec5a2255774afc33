"""The retro path end to end, on the game that ships with the emulator.

    python -m benchmarks.retro [--budget 1024] [--tasks 1] [--seeds 1] [--lanes 4] [--agents random jerk ppo rainbow]

A script plays Airstriker-Genesis-v0 and saves its state now and then; the states are tasks with roles; random play, JERK,
PPO and Rainbow then learn the test states from scratch under the budget; what is kept is not played again. Kept under
results/retro: the states' manifest and picture, a result a run, and speed.json: decisions a second (4 frames each) of one
emulator alone, and of all runs together. The states themselves are made again, bit for bit, by the same command, and are
not kept.
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
from typing import Any

import headstart as hs
from headstart import results
from headstart.hosts.retro import RetroGame

GAME = "Airstriker-Genesis-v0"
OUT = Path(__file__).parent / "results" / "retro"
STATES = OUT / "states"
AGENTS = ("random", "jerk", "ppo", "rainbow")


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


def configs(budget: int, lanes: int) -> dict[str, Any]:
    """The learners' settings: the Retro benchmark's, but for a budget forty times smaller; chosen on a valid state.

    Rainbow learns more from each decision (longer n-step returns, more updates) of a nearer future, on atoms closer to each
    other: what the next hundred decisions pay is less than 80 points.
    """
    rainbow = {
        "warm_up": 1600,
        "steps_per_update": 4,
        "target_updates": 256,
        "capacity": budget,
        "lr": 2.5e-4,
        "n_step": 10,
        "gamma": 0.98,
        "v_min": -2.0,
        "v_max": 80.0,
    }
    return {
        "jerk": hs.configure("jerk", total_steps=budget),
        "ppo": hs.configure(
            "ppo", unroll=256 // lanes, epochs=3, minibatches=4, lr=5e-4, standardise_values=True
        ),
        "rainbow": hs.configure("rainbow", **rainbow),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--tasks", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=AGENTS)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if not (STATES / "states.json").exists() or not (STATES / "state000.state").exists():
        make_states()
    options = hs.TransferOptions(
        suite=f"retro:{GAME},states={os.path.relpath(STATES)},horizon=300",
        agents=tuple(args.agents),
        budget=args.budget,
        tasks=args.tasks,
        seeds=args.seeds,
        lanes=args.lanes,
        run=OUT,
    )
    begun = time.monotonic()
    found = hs.transfer(
        options, configs=configs(args.budget, args.lanes), command="python -m benchmarks.retro"
    )
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
