"""The templates of `headstart contest init` in a contest of their own: what they score on the practice levels.

    python -m benchmarks.contest_templates OUT.json [--data FOLDER] [--budget 50000] [--seeds 1] [--workers 2]

A real contest: `headstart contest serve` with its workers, agents written by `init` and sent in by `submit`, evaluated in
the sandbox. Learners and tapes stand as unranked rows of reference; Ada plays the template that presses buttons at random,
Ben the same with the right button held. The best known tapes are a constant. `FOLDER` keeps the contest: the same
command goes on where it was stopped, and `headstart contest serve --data FOLDER` shows the board. Learners play four lanes
here, not the eight or sixteen of the templates, which are meant for a budget of a million: in so few steps sixteen lanes
would not play one episode of full length each.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from headstart import suites
from headstart.contest import board, contests, starting
from headstart.contest.store import Store
from headstart.protocol.expert import expert

SLUG, SUITE, PORT = "practice-cup", "platformer:levels=practice", 8041
LANES = 4
"""of the learners"""
SENT = {
    "random": ("Ada", "buttons at random"),
    "right": ("Ben", "right, with jumps"),
    "jerk": ("Baselines", "JERK"),
    "ppo": ("Baselines", "PPO"),
    "ppo-finetuned": ("Baselines", "Joint PPO"),
    "rainbow": ("Baselines", "Rainbow"),
}
"""template, who sends it in, and what the board calls it"""
_PRESSED = "rng.integers(actions)"
_RIGHT = "2 if rng.random() < 0.7 else 7"


def found_contest(store: Store, budget: int, seeds: int) -> None:
    """Make the contest, with the score of the best known tapes as a constant."""
    suite = suites.suite(SUITE)
    split = suite.split("test")
    tapes = [float(result.scores[0]) for result in expert(suite, split, budget)]
    about = (
        "The five templates of headstart contest init, and one that holds the right button, on the practice "
        f"levels: how well does an agent play while it learns, in its first {budget:,} steps on a level it has never seen?"
    )
    data: dict[str, Any] = {"title": "Practice cup", "about": about, "suite": SUITE, "budget": budget}
    data |= {"seeds": seeds, "wall_clock": 7200.0, "public": {"levels": list(split.labels)}}
    source = "the best known tapes, replayed with no button late"
    data["reference"] = [{"name": "Expert", "score": sum(tapes) / len(tapes), "source": source}]
    store.add_contest(contests.from_data(SLUG, data, Path(), "benchmarks.contest_templates"))
    for name in dict.fromkeys(name for name, _ in SENT.values()):
        store.users.add(name, reference=name == "Baselines")


def _change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{file.name} has no {old}"
    file.write_text(text.replace(old, new))


def send(store: Store, url: str, folder: Path) -> None:
    """Write each template as `init` does, and send it in as a contestant would."""
    headstart = [sys.executable, "-m", "headstart.cli", "contest"]
    for template, (who, title) in SENT.items():
        agent, kind = folder / template, "random" if template == "right" else template
        starting.write(agent, kind)
        lanes = starting.TEMPLATES[kind][1]
        _change(agent / "submission.toml", f"lanes = {lanes}\n", f"lanes = {min(lanes, LANES)}\n")
        if template == "right":
            _change(agent / "agent.py", _PRESSED, _RIGHT)
        secret = store.users.new_token(store.users.named(who))
        words = ["submit", str(agent), "--server", url, "--name", title, "--no-follow"]
        subprocess.run([*headstart, *words], env=os.environ | {"HEADSTART_TOKEN": secret}, check=True)


def wait_until_up(url: str) -> None:
    """Return when the server answers."""
    for _ in range(600):
        try:
            httpx.get(f"{url}/healthz", timeout=10.0, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise TimeoutError("the server did not come up")


def results(store: Store, command: str) -> dict[str, Any]:
    """The board, and every evaluation that has ended."""
    runs: list[dict[str, Any]] = []
    for one in reversed(store.submissions(SLUG)):
        for job in board.jobs(store, one.id):
            episodes = store.queue.episodes(job.id)
            seconds = None if job.ended is None or job.started is None else round(job.ended - job.started, 1)
            row = {"agent": one.name, "level": job.label, "seed": job.seed, "verdict": job.verdict}
            row |= {"score": job.score, "spent": job.spent, "seconds": seconds}
            runs.append(row | {"episodes": sum(bool(finished) for _, _, finished in episodes)})
    return {"command": command, "board": board.to_json(board.standing(store, SLUG, "public")), "runs": runs}


def main() -> None:
    """Hold the contest until everything is scored."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    for name, default in (("budget", 50_000), ("seeds", 1), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data, url = o.data or Path(scratch) / "data", f"http://127.0.0.1:{PORT}"
        words = [
            "serve",
            "--data",
            str(data),
            "--port",
            str(PORT),
            "--workers",
            str(o.workers),
            "--lease",
            "600",
        ]
        server = subprocess.Popen([sys.executable, "-m", "headstart.cli", "contest", *words])
        store = Store(data)
        try:
            wait_until_up(url)
            if not store.contests():
                found_contest(store, o.budget, o.seeds)
            if not store.submissions(SLUG):
                send(store, url, Path(scratch))
            while (queue := store.queue.waiting())["waiting"] + queue["leased"]:
                time.sleep(5.0)
            command = f"python -m benchmarks.contest_templates {' '.join(sys.argv[1:])}"
            o.out.write_text(json.dumps(results(store, command), indent=1) + "\n")
        finally:
            store.close()
            server.send_signal(signal.SIGINT)
            server.wait(60)


if __name__ == "__main__":
    main()
