"""Docker and Podman as sandboxes: the command that runs a submission, and how what it started is found and removed.

Which images a submission may name is the organiser's word, and they lie on the machine before the first submission comes:
nothing is ever pulled for a stranger. An image needs Python and NumPy; nothing of headstart.
"""

import fnmatch
import shutil
import subprocess
from collections.abc import Sequence

from headstart.contest.cell import Cell, Limits, environment

PROGRAMS = ("docker", "podman")
_PATIENCE = 30.0  # seconds a daemon has to answer


def installed() -> list[str]:
    """The programs that are on the path."""
    return [program for program in PROGRAMS if shutil.which(program)]


def _ask(program: str, *words: str) -> tuple[bool, str]:
    """Whether a command went well, and what it said."""
    try:
        ran = subprocess.run(
            [program, *words], capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f"it did not answer ({type(error).__name__})"
    return ran.returncode == 0, (ran.stdout if ran.returncode == 0 else ran.stderr).strip()


def refusal(program: str, images: Sequence[str]) -> str:
    """What keeps submissions from running in these images, in one sentence; "" if nothing does."""
    if shutil.which(program) is None:
        return f"{program} is not installed; install it, or choose another sandbox."
    if not images:
        return f"{program} needs to be told which images submissions may use: --images NAME, with Python and NumPy in it."
    well, said = _ask(program, "info")
    if not well:
        why = said.splitlines()[-1] if said else "no reason given"
        return f"{program} cannot run containers here ({why}); start it, or choose another sandbox."
    for image in images:
        if not _ask(program, "image", "inspect", image)[0]:
            return f"{program} has no image {image}; fetch it first: {program} pull {image}."
    return ""


def words(program: str, name: str, cell: Cell, limits: Limits) -> list[str]:
    """The words that run a submission in a container of a name."""
    found = [program, "run", "--rm", "--name", name, "--pull", "never", "--log-driver", "none"]
    found += ["--network", "none", "--read-only", "--user", "65534:65534"]
    found += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    found += ["--memory", str(limits.memory), "--memory-swap", str(limits.memory)]
    found += ["--pids-limit", str(limits.processes), "--ulimit", f"nofile={limits.files}:{limits.files}"]
    found += ["--ulimit", f"cpu={limits.cpu}:{limits.cpu + 5}", "--ulimit", "core=0:0"]
    found += ["--tmpfs", f"/tmp:rw,size={limits.disk}", "--workdir", "/agent"]
    found += ["--volume", f"{cell.folder}:/agent:ro", "--volume", f"{cell.run}:/contest:ro"]
    for key, value in environment("/contest/socket", "/tmp").items():
        if key != "PATH":  # the image knows where its Python is
            found += ["--env", f"{key}={value}"]
    return [*found, cell.image, *cell.command]


def remove(program: str, name: str) -> None:
    """End a container and remove it, if it is there and the program answers."""
    _ask(program, "rm", "--force", name)


def remove_all(pattern: str) -> list[str]:
    """End and remove the containers whose names match a pattern; their names."""
    found: list[str] = []
    for program in installed():
        well, said = _ask(program, "ps", "--all", "--format", "{{.Names}}")
        for name in fnmatch.filter(said.split() if well else [], pattern):
            remove(program, name)
            found.append(name)
    return found


__all__ = ["PROGRAMS", "installed", "refusal", "remove", "remove_all", "words"]
