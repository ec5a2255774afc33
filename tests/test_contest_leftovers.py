"""What a killed evaluation leaves behind is cleared away; what a living one uses is not touched."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from headstart.contest import leftovers

EVALUATING = """
import sys, time
from pathlib import Path
from headstart.contest import leftovers
from headstart.contest.sandbox import Cell, Limits, Running
job, run = leftovers.folder("job"), leftovers.folder("run", leftovers.memory())
(job / "film.gif").write_bytes(bytes(9))
(run / "observations").write_bytes(bytes(9))
running = Running(sys.argv[1], Cell(job, run, ("sleep", "600")), Limits())
print(leftovers.fresh().rsplit("-", 2)[0], flush=True)
time.sleep(600)
"""
KIND = "bubblewrap" if shutil.which("bwrap") else "none"


def things(owner: str) -> set[str]:
    """What bears a process's name, its lock included."""
    places = {leftovers.memory(), Path(tempfile.gettempdir())}
    found = {path.name for place in places for path in place.glob(f"{owner}*")}
    groups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", f"{owner}*"], capture_output=True, text=True, check=False
    )
    return found | {Path(line).name for line in groups.stdout.split()}


def test_a_killed_evaluation_is_cleared_away_and_a_living_one_is_not() -> None:
    command = [sys.executable, "-c", EVALUATING, KIND]
    crowd = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        dead, alive = (process.stdout.readline().strip() for process in crowd)
        before = things(alive)
        assert len(before) >= 4, "lock, job, run, home"
        assert not set(leftovers.sweep()) & (things(dead) | before), "both live"
        assert len(things(dead)) == len(before)
        crowd[0].kill()
        crowd[0].wait()
        left = things(dead) - {f"{dead}.lock"}
        assert set(leftovers.sweep()) >= left
        assert things(dead) == set()
        assert things(alive) == before
    finally:
        for process in crowd:
            process.kill()
            process.wait()
            process.stdout.close()
        leftovers.sweep()
    assert things(alive) == set()


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_no_agent_outlives_its_evaluator(tmp_path: Path) -> None:
    mark = f"600.{os.getpid()}"
    script = EVALUATING.replace('"600"', f'"{mark}"')
    with subprocess.Popen(
        [sys.executable, "-c", script, "bubblewrap"], stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        end = time.monotonic() + 20
        while not playing(mark) and time.monotonic() < end:
            time.sleep(0.02)
        assert playing(mark)
        process.kill()
        process.wait()
        leftovers.sweep()
        while playing(mark) and time.monotonic() < end:
            time.sleep(0.02)
        assert not playing(mark)


def playing(mark: str) -> list[str]:
    """The agents whose command ends with a mark."""
    found = list[str]()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"/usr/bin/sleep", mark.encode()]:
            found.append(path.parent.name)
    return found


def test_names_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link instead of a lock, and folders without one."""
    monkeypatch.setattr(leftovers, "memory", lambda: tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "headstart-aa.lock").symlink_to(tmp_path / "precious")
    for name in ("headstart-aa-job-1", "headstart-bb-job-1", "headstart-cc-job-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "headstart-cc.lock").touch()
    assert leftovers.sweep() == ["headstart-cc-job-1"]
    kept = {"precious", "headstart-aa.lock", "headstart-aa-job-1", "headstart-bb-job-1"}
    assert {path.name for path in tmp_path.iterdir()} == kept
