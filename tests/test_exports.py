"""What the package offers: names that exist, registries whose strings resolve, examples that run."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

from headstart import agents, suites
from headstart._registry import resolve
from headstart.errors import UsageError
from headstart.tasks import Suite
from headstart.types import Entry

SOURCE = Path(__file__).parents[1] / "src"


def _module(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def _declares_all(path: Path) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == "__all__" for node in ast.walk(ast.parse(path.read_text()))
    )


FILES = sorted(SOURCE.rglob("*.py"))
WITH_ALL = [_module(path) for path in FILES if _declares_all(path)]
WITH_EXAMPLES = [_module(path) for path in FILES if ">>>" in path.read_text()]


@pytest.mark.parametrize("name", WITH_ALL)
def test_exported_names_exist_and_are_there_once(name: str) -> None:
    """That they are sorted, ruff says (RUF022)."""
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    assert [export for export in module.__all__ if getattr(module, export, None) is None] == []


@pytest.mark.parametrize("registry", [agents.REGISTRY, suites.REGISTRY], ids=["agents", "suites"])
def test_a_registry_is_sorted_and_lowercase(registry: dict[str, str]) -> None:
    assert list(registry) == sorted(registry)
    assert [name for name in registry if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


@pytest.mark.parametrize("name", agents.REGISTRY)
def test_an_agents_line_resolves(name: str) -> None:
    entry = agents.entry(name)
    assert isinstance(entry, Entry)
    assert dataclasses.is_dataclass(entry.config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.config.anything = 1
    assert list(inspect.signature(entry.build).parameters) == ["spec", "config"]


@pytest.mark.parametrize("name", suites.REGISTRY)
def test_a_suites_line_resolves(name: str) -> None:
    assert re.search(r"-v\d+$", name), "a suite's name is versioned"
    suite = suites.suite(name)
    assert isinstance(suite, Suite)
    assert suite.name == name
    assert suite.about
    assert set(suite.rules) <= set(agents.REGISTRY)


def test_a_name_that_is_not_there_suggests_its_neighbours() -> None:
    registry = {"thompson": "json:loads", "ucb1": "json:dumps"}
    assert resolve("agent", registry, "ucb1") is importlib.import_module("json").dumps
    with pytest.raises(UsageError, match=r"no agent called 'tomson'; did you mean thompson\?"):
        resolve("agent", registry, "tomson")
    with pytest.raises(UsageError, match="choose from: thompson, ucb1"):
        resolve("agent", registry, "zzz")


def test_a_setting_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no setting of agent random called 'lr'"):
        agents.configure("random", lr=1e-3)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted > 0
