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


def _text(name: str) -> str:
    return (resources.files("headstart.contest") / "templates" / f"{name}.txt").read_text()


def files(name: str, template: str) -> dict[str, str]:
    """The files of a new submission by their names.

    Raises:
      UsageError: for an unknown template.
    """
    if template not in TEMPLATES:
        raise unknown("template", template, TEMPLATES)
    manifest = _text("submission.toml").format(name=name, lanes=TEMPLATES[template][1])
    found = {"agent.py": _text(f"{template}.py"), "submission.toml": manifest}
    found["test_agent.py"] = _text("test_agent.py")
    found["client.py"] = (resources.files("headstart.contest") / "client.py").read_text()
    if template in _LEARNERS:
        found["learn.py"] = _text("learn.py")
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
    texts = files(name, template)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.") from None
    return [folder / file for file in texts]


__all__ = ["TEMPLATES", "files", "write"]
