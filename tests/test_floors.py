"""The house stands: a floor imports its own floor or lower, and some neighbours do not know each other."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "headstart"

FLOORS = [
    {"types", "tasks", "budget", "results", "errors", "_registry"},
    {"ops", "nets"},
    {"envs", "hosts", "agents"},
    {"suites", "loops"},
    {"protocol", "gym"},
    {"reports", "contest"},
    {"cli", "commands", "_console", "__init__", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
STRANGERS = {
    "agents": {"envs", "hosts"},
    "envs": {"agents"},
    "hosts": {"agents"},
    "loops": {"agents", "suites"},
    "reports": {"agents"},
    "contest": {"agents"},
}


def room_of(path: Path) -> str:
    """The file or folder right under the package that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(source: str, module: str) -> set[str]:
    """Dotted names that `module` (say, "headstart.envs.trial") imports, relative ones resolved."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def imported_rooms(source: str, module: str) -> set[str]:
    """The rooms of the house among them; a name of the package itself (`headstart.train`) is its roof."""
    rooms: set[str] = set()
    for name in imported_modules(source, module):
        package, _, rest = name.partition(".")
        if package == "headstart":
            room = rest.partition(".")[0]
            known = (SOURCE / room).is_dir() or (SOURCE / f"{room}.py").exists() or room in FLOOR
            rooms.add(room if room and known else "__init__")
    return rooms


def violations(room: str, source: str, module: str) -> list[str]:
    found = []
    for other in sorted(imported_rooms(source, module)):
        if other not in FLOOR:
            found.append(f"{module} imports {other}, which is on no floor")
        elif FLOOR[other] > FLOOR[room]:
            found.append(f"{module} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})")
        elif other in STRANGERS.get(room, ()):
            found.append(f"{module} imports {other}: {room} know no {other}")
    return found


FILES = sorted(SOURCE.rglob("*.py"))


def test_every_file_lives_on_a_floor() -> None:
    assert {room_of(path) for path in FILES} <= set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_stay_on_their_floor_or_below(path: Path) -> None:
    module = ".".join(["headstart", *path.relative_to(SOURCE).with_suffix("").parts])
    assert violations(room_of(path), path.read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("headstart.types", "import headstart.ops.returns"),
        ("headstart.ops.returns", "from headstart.envs import lanes"),
        ("headstart.envs.lanes", "from headstart.suites import suite"),
        ("headstart.suites.bandit", "def f():\n    from headstart import gym"),
        ("headstart.loops.jit", "from .. import protocol"),
        ("headstart.protocol.train", "from headstart import train"),
        ("headstart.gym", "from headstart.reports.page import page"),
        ("headstart.reports.page", "from headstart.cli import main"),
        ("headstart.agents.ppo", "from headstart.envs.trial import TrialObs"),
        ("headstart.agents.ppo", "from ..hosts import gymnasium"),
        ("headstart.envs.bandit", "import headstart.agents"),
        ("headstart.loops.jit", "from headstart.agents.ppo import ppo"),
        ("headstart.loops.jit", "from headstart import suites"),
        ("headstart.reports.page", "from headstart.agents import agent"),
        ("headstart.contest.server", "from headstart.agents import agent"),
    ],
)
def test_a_violation_would_be_caught(module: str, line: str) -> None:
    assert len(violations(module.split(".")[1], line, module)) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("headstart.envs.lanes", "from headstart.types import Env"),
        ("headstart.envs.lanes", "from . import trial"),
        ("headstart.agents.ppo", "import jax\nfrom headstart.nets import mlp"),
        ("headstart.reports.page", "from headstart.results import Result"),
        ("headstart.cli", "import headstart as hs"),
    ],
)
def test_what_is_allowed_passes(module: str, line: str) -> None:
    assert violations(module.split(".")[1], line, module) == []
