"""`submission.toml`: what a submission is called and how it is run.

name = "my_agent"
command = ["python", "agent.py"]        # "python" is the evaluator's interpreter
lanes = 1                               # 1, 2, 4, ... 64: episodes the agent plays side by side
image = "name"                          # only for containers: one of the organiser's; without it, the first of them
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import UsageError, unknown

FILE = "submission.toml"
LANES = (1, 2, 4, 8, 16, 32, 64)
_WORDS = 100  # of a command: what the kernel refuses as too long would be the evaluator's failure


@dataclass(frozen=True)
class Manifest:
    """What `submission.toml` says."""

    name: str
    command: tuple[str, ...]
    lanes: int = 1
    image: str = ""


def read(folder: Path) -> Manifest:
    """The manifest of a submission.

    Raises:
      UsageError: if it is missing, unreadable or says what cannot be carried out.
    """
    path = folder / FILE
    if path.is_symlink() or not path.is_file():
        raise UsageError(f"{folder.name} has no {FILE}; headstart contest init writes a folder that has one.")
    try:
        found: dict[str, Any] = tomllib.loads(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{FILE} cannot be read: {error}.") from None
    for key in found:
        if key not in Manifest.__dataclass_fields__:
            raise unknown(f"entry of {FILE}", key, Manifest.__dataclass_fields__)
    name, command = found.get("name"), found.get("command")
    if not isinstance(name, str) or not 1 <= len(name) <= 60 or not name.isprintable():
        raise UsageError(f"{FILE} needs a name of 1 to 60 characters.")
    if not isinstance(command, list) or not command or not all(_word(word) for word in command):
        raise UsageError(f'{FILE} needs a command, a list of words such as ["python", "agent.py"].')
    if len(command) > _WORDS:
        raise UsageError(f"{FILE}: a command has at most {_WORDS} words, not {len(command)}.")
    lanes, image = found.get("lanes", 1), found.get("image", "")
    if lanes not in LANES:
        raise UsageError(f"{FILE}: lanes is one of {', '.join(map(str, LANES))}, not {lanes!r}.")
    if image != "" and (not _word(image) or image.startswith("-")):
        raise UsageError(f"{FILE}: image names a container's image, not {image!r}.")
    return Manifest(name, tuple(command), int(lanes), image)


def _word(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000 and "\0" not in value


__all__ = ["FILE", "LANES", "Manifest", "read"]
