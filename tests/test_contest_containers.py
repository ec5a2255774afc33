"""Docker and Podman as sandboxes, with a fake program on the path: command lines, and what becomes of an evaluation."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headstart.contest import containers, leftovers, sandbox
from headstart.contest.environment import Game
from headstart.contest.evaluation import Job, Verdict, evaluate_submission
from headstart.contest.sandbox import Cell, Limits, Running
from headstart.errors import UsageError

FAKE = """#!/bin/sh
# writes down what it is asked; runs the submission's command, without a container, where it is asked to run one
echo "$@" >> "$STATE/asked"
case "$1" in
  info) test ! -e "$STATE/down" || { echo "Cannot connect to the daemon" >&2; exit 1; } ;;
  image) grep -qx "$3" "$STATE/images" ;;
  ps) cat "$STATE/running" 2>/dev/null || true ;;
  rm) if test -e "$STATE/slow"; then exec sleep 600; fi
      grep -vx "$3" "$STATE/running" > "$STATE/left"; mv "$STATE/left" "$STATE/running" ;;
  run) echo "$4" >> "$STATE/running"
       shift; while test "$1" != numpy; do
         case "$1" in *:/agent:ro) folder="${1%%:*}" ;; *:/contest:ro) run="${1%%:*}" ;; esac
         shift; done; shift
       cd "$folder"; export HEADSTART_CONTEST="$run/socket"; shift; exec "$PYTHON" "$@" ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called docker, with one image called numpy; the folder of what it knows."""
    tools = tmp_path / "tools"
    state = tmp_path / "state"
    tools.mkdir()
    state.mkdir()
    (tools / "docker").write_text(FAKE)
    (tools / "docker").chmod(0o755)
    (state / "images").write_text("numpy\n")
    (state / "running").touch()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("STATE", str(state))
    monkeypatch.setenv("PYTHON", sys.executable)
    return state


def evaluate(tmp_path: Path, toml: str, images: tuple[str, ...] = ("numpy",)) -> Verdict:
    folder, out = tmp_path / "agent", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (folder / "submission.toml").write_text(f'name = "a"\ncommand = ["python", "-S", "agent.py"]\n{toml}')
    (folder / "agent.py").write_text("print('it runs')")
    job = Job("cartpole", "task-0", 0, 40, 60.0, "docker", 0)
    return evaluate_submission(folder, job, out, lambda _: True, films=False, images=images)


def test_a_containers_command_says_all_limits(tmp_path: Path) -> None:
    limits = Limits(memory=200 << 20, processes=24, disk=4 << 20, files=32, cpu=20)
    words = containers.words(
        "podman", "name", Cell(tmp_path, tmp_path, ("python", "agent.py"), "img"), limits
    )
    text = " ".join(words)
    for part in ("--network none", "--read-only", "--cap-drop ALL", "no-new-privileges", "--pids-limit 24"):
        assert part in text
    assert f"--memory {200 << 20}" in text
    assert "--ulimit cpu=20:25" in text
    assert "--pull never" in text
    assert "--log-driver none" in text
    assert words[:5] == ["podman", "run", "--rm", "--name", "name"]
    assert words[-3:] == ["img", "python", "agent.py"]


def test_a_submission_runs_in_the_organisers_image(tmp_path: Path, docker: Path) -> None:
    Game("cartpole", "task-0", 0, 1).compile()
    verdict = evaluate(tmp_path, "")
    assert "it runs" in verdict.log.read_text()
    (ran,) = (line for line in (docker / "asked").read_text().splitlines() if line.startswith("run"))
    assert " --ulimit cpu=240:245 " in ran, "four times the wall clock"
    assert ran.endswith(" numpy python -S agent.py")
    assert (docker / "running").read_text() == "", "the container is removed"


def test_an_image_that_the_organiser_has_not_allowed_is_refused(tmp_path: Path, docker: Path) -> None:
    verdict = evaluate(tmp_path, 'image = "evil/miner"')
    assert (verdict.status, verdict.spent) == ("refused", 0)
    assert verdict.message == "submission.toml: image is one of numpy here, not 'evil/miner'."
    assert "run" not in {line.split()[0] for line in (docker / "asked").read_text().splitlines()}


def test_what_is_missing_is_said_before_any_submission_comes(docker: Path) -> None:
    sandbox.check("docker", ["numpy"])
    with pytest.raises(UsageError, match="--images NAME"):
        sandbox.check("docker")
    with pytest.raises(UsageError, match="docker pull other"):
        sandbox.check("docker", ["numpy", "other"])
    (docker / "down").touch()
    with pytest.raises(UsageError, match="Cannot connect to the daemon"):
        sandbox.check("docker", ["numpy"])


def test_docker_is_chosen_where_it_is_wanted_or_there_is_nothing_else(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sandbox.choose("docker", images=["numpy"]) == "docker"
    monkeypatch.setenv("PATH", str(docker.parent / "tools") + ":/bin-without-bwrap")
    monkeypatch.setattr(containers, "_ask", lambda *_: (True, ""))
    assert shutil.which("bwrap") is None
    assert sandbox.choose(images=["numpy"]) == "docker"


def test_a_daemon_that_hangs_does_not_hang_the_evaluator(
    tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_PATIENCE", 0.5)
    (docker / "slow").touch()
    (tmp_path / "agent.py").write_text("import time; time.sleep(600)")
    running = Running("docker", Cell(tmp_path, tmp_path, ("python", "-S", "agent.py"), "numpy"), Limits())
    begun = time.monotonic()
    running.close()
    assert running.code() is not None
    assert time.monotonic() - begun < 20


def test_containers_of_killed_workers_are_removed(docker: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from headstart.contest import leftovers; import os\n"
         "print(leftovers.fresh(), flush=True); os.kill(os.getpid(), 9)"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    ).stdout.strip()  # fmt: skip
    alive = leftovers.fresh()
    (docker / "running").write_text(f"{dead}\n{alive}\nsomebody-elses\n")
    assert dead in leftovers.sweep()
    assert (docker / "running").read_text().split() == [alive, "somebody-elses"]
