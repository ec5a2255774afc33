"""Speed: training and playing, beside peers, each case in a fresh process.

    python -m benchmarks.speed --json > benchmarks/results/speed.jsonl
    python -m benchmarks.speed --page                                    # writes the results into the page

One line a case: steps a second (the median of five runs), seconds to compile the longest program, peak memory, the
share of the machine's matmul peak that was measured in the same run, the peer run in turn with it (A B A B) and the
ratio of their speeds. A peer needs a Python that has it: `uv run --group bench python -m benchmarks.speed --json`, or
`--peer-python` with the path of one with rejax and gymnax 0.0.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "speed.jsonl"
PAGE = HERE.parent / "docs" / "benchmarks" / "speed.md"
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")


@dataclass(frozen=True)
class Case:
    """What is aimed at: steps a second, or a ratio to the peer; and a peer's published speed where none is run."""

    about: str
    aim: float
    aim_is_ratio: bool = False
    runs_peer: bool = False
    quoted: tuple[str, float] | None = None


CASES: dict[str, Case] = {
    "ppo-cartpole": Case(
        "PPO on CartPole: MLP 64x64 tanh, 16 lanes x 128 steps, 4 epochs, 4 minibatches", 2.0, True, True
    ),
    "ppo-gru-bandit": Case(
        "recurrent PPO on 100-step bandit trials: embedding 256, GRU 256, 256 lanes x 128 steps, 4 epochs, "
        "4 minibatches",
        10_200.0,
        quoted=("PureJaxRL (7 300 steps/s, as published with issue 2)", 7_300.0),
    ),
    "ppo-platformer": Case(
        "adaptation of `ppo-retro` to a level of the platformer: two layers of 128, 8 lanes x 512 steps, 3 epochs, "
        "8 minibatches",
        15_000.0,
    ),
    "env-bandit": Case("5-armed bandit trials, random agent, 4096 lanes", 10e6, runs_peer=True),
    "env-cartpole": Case("CartPole with varied physics, random agent, 4096 lanes", 10e6, runs_peer=True),
    "env-maze-rays": Case("maze-small seen by rays, random agent, 1024 lanes", 1e6),
    "env-tabular-mdp": Case("tabular MDPs, random agent, 2048 lanes", 0.0),
}


class Worker:
    """A process that has compiled one case and runs it when asked."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
        )
        self.ready = self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker ended with exit code {self._process.wait()}; its error is above.")
        return json.loads(line)

    def run(self) -> dict[str, Any]:
        """One timed run."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate()


def has_peer(python: str) -> bool:
    """Whether a Python can import rejax and gymnax, without importing them (which takes seconds)."""
    find = "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, ('rejax', 'gymnax'))))"
    return subprocess.run([python, "-c", find], check=False).returncode == 0


def measure(name: str, peer_python: str | None, repeats: int, tiny: bool) -> dict[str, Any]:
    """One case's line."""
    case, size = CASES[name], ["--tiny"] if tiny else []
    ours = Worker([sys.executable, "-m", "benchmarks._speed_worker", name, *size])
    peer = None
    if case.runs_peer and peer_python:
        peer = Worker([peer_python, str(HERE / "_speed_peer.py"), name, *size])
    load = os.getloadavg()[0]
    runs, peer_seconds = [], []
    for _ in range(repeats):
        runs.append(ours.run())
        if peer:
            peer_seconds.append(peer.run()["seconds"])
    ours.close()
    if peer:
        peer.close()
    speed = ours.ready["steps"] / median(run["seconds"] for run in runs)
    line = {
        "name": name,
        "steps_per_second": round(speed),
        "compile_seconds": round(max(ours.ready["compile_seconds"].values()), 2),
        "peak_rss_mb": round(runs[-1]["peak_rss_mb"]),
        "share_of_matmul_peak": None,
        "peer": None,
        "ratio": None,
        "seconds": [round(run["seconds"], 4) for run in runs],
        "programs": {key: round(value, 2) for key, value in ours.ready["compile_seconds"].items()},
        "machine": {
            "cpus": os.cpu_count(),
            "load": load,
            "backend": ours.ready["backend"],
            "jax": ours.ready["jax"],
        },
    }
    if "matmul_peak" in runs[0]:
        peak = max(run["matmul_peak"] for run in runs)
        share = ours.ready["flops"] / ours.ready["steps"] * speed / peak
        line |= {"share_of_matmul_peak": round(share, 3), "matmul_peak_gflops": round(peak / 1e9, 1)}
        line["flops_a_step"] = ours.ready["flops"] / ours.ready["steps"]
    if peer:
        peer_speed = peer.ready["steps"] / median(peer_seconds)
        line |= {"peer": peer.ready["peer"], "ratio": round(speed / peer_speed, 2)}
        line |= {
            "peer_steps_per_second": round(peer_speed),
            "peer_seconds": [round(s, 4) for s in peer_seconds],
        }
        line["peer_compile_seconds"] = round(max(peer.ready["compile_seconds"].values()), 2)
    elif case.quoted:
        line |= {"peer": case.quoted[0], "ratio": round(speed / case.quoted[1], 2)}
    return line


def table(lines: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    rows = [
        "| case | steps/s | aim | peer | ratio | share of matmul peak | compile | memory |",
        "|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    for line in lines:
        case = CASES[line["name"]]
        aim = f"{case.aim:g}x the peer" if case.aim_is_ratio else f"{case.aim:,.0f}" if case.aim else ""
        peer = line["peer"] or ""
        if "peer_steps_per_second" in line:
            peer += f" ({line['peer_steps_per_second']:,} steps/s)"
        share = "" if line["share_of_matmul_peak"] is None else f"{line['share_of_matmul_peak']:.0%}"
        ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}"
        cells = [f"`{line['name']}`: {case.about}", f"{line['steps_per_second']:,}", aim, peer, ratio, share]
        rows.append(
            "| " + " | ".join([*cells, f"{line['compile_seconds']} s", f"{line['peak_rss_mb']} MB"]) + " |"
        )
    machine = lines[0]["machine"]
    loads = [line["machine"]["load"] for line in lines]
    about = f"{machine['cpus']} cores, jax {machine['jax']} on {machine['backend']}"
    rows += [
        "",
        f"Measured on {about}; load average when each case began: {min(loads):.1f} to {max(loads):.1f}.",
    ]
    return "\n".join(rows)


def write_page() -> None:
    """Put the table of the committed results between the page's marks."""
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    PAGE.write_text(f"{before}{MARKS[0]}\n{table(lines)}\n{MARKS[1]}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line a case; else a table at the end")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--peer-python", default=sys.executable, help="a Python that has rejax and gymnax 0.0"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs a case, in turn with its peer's")
    parser.add_argument("--tiny", action="store_true", help="sizes for a test; the numbers mean nothing")
    parser.add_argument("--page", action="store_true", help="only write the committed results into the page")
    args = parser.parse_args()
    if args.page:
        write_page()
        return
    peer_python = args.peer_python if has_peer(args.peer_python) else None
    if peer_python is None:
        print(f"{args.peer_python} lacks rejax or gymnax: the peers are left out.", file=sys.stderr)
    lines = []
    for name in args.case:
        lines.append(measure(name, peer_python, args.repeats, args.tiny))
        if args.json:
            print(json.dumps(lines[-1]), flush=True)
    if not args.json:
        print(table(lines))


if __name__ == "__main__":
    main()
