"""A folder with a working agent, for `headstart contest init`."""

import re
from importlib import resources
from pathlib import Path

from headstart.errors import RunError, UsageError, unknown

TEMPLATES: dict[str, tuple[str, int]] = {
    "jerk": ("tapes of the best runs, no network", 1),
    "ppo": ("PPO from scratch", 16),
    "ppo-finetuned": ("PPO that starts from a prior of the training levels", 16),
    "rainbow": ("Rainbow from scratch", 8),
    "random": ("buttons at random", 1),
}
"""what the templates are, and how many lanes they play"""
_LEARNERS = ("ppo", "ppo-finetuned", "rainbow")
_PRIOR = "ppo-platformer.npz"
"""the prior that ships, for the template that goes on learning from one"""


def _read(*names: str) -> bytes:
    """A file of the package."""
    return resources.files("headstart").joinpath(*names).read_bytes()


def files(name: str, template: str) -> dict[str, bytes]:
    """The files of a new submission by their names.

    Raises:
      UsageError: for an unknown template.
    """
    if template not in TEMPLATES:
        raise unknown("template", template, TEMPLATES)
    texts = {"agent.py": template + ".py", "test_agent.py": "test_agent.py"}
    if template in _LEARNERS:
        texts["learn.py"] = "learn.py"
    found = {file: _read("contest", "templates", f"{text}.txt") for file, text in texts.items()}
    manifest = _read("contest", "templates", "submission.toml.txt").decode()
    found["submission.toml"] = manifest.format(name=name, lanes=TEMPLATES[template][1]).encode()
    found["client.py"] = _read("contest", "client.py")
    if template == "ppo-finetuned":
        found["prior.npz"] = _read("data", "priors", _PRIOR)
    return found


def write(folder: Path, template: str = "random") -> list[Path]:
    """Write a new submission into a new folder; what was written.

    Raises:
      UsageError: if there is something already, the folder's name cannot be a submission's, or for an unknown template.
    """
    name = folder.resolve().name
    if not re.fullmatch(r"[\w.-][\w. -]{0,59}", name):
        raise UsageError(
            f"'{name}' cannot be an agent's name; use letters, digits, dots, dashes, underscores."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; choose another name, or remove it.")
    made = files(name, template)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in made.items():
            (folder / file).write_bytes(data)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.") from None
    return [folder / file for file in made]


__all__ = ["TEMPLATES", "files", "write"]
