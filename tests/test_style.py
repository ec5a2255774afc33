"""The house limits, read off the syntax trees of src/."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted(SOURCE.rglob("*.py"))

FILE_LINES = 400
FUNCTION_LINES = 60
NESTED = 2


def _functions(node: ast.AST, depth: int = 1) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Every function below `node` and how deep it lies: 1 at module or class level, 2 within a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child, depth
            yield from _functions(child, depth + 1)
        else:
            yield from _functions(child, depth)


def _banned(node: ast.AST) -> str | None:
    match node:
        case ast.Global() | ast.Nonlocal():
            return "assigns a variable of an outer scope"
        case ast.Name(id="hasattr"):
            return "asks hasattr"
        case ast.Name(id="done" | "dones") | ast.arg(arg="done" | "dones"):
            return "says done: terminated, truncated, first or last?"
        case ast.Import(names=[ast.alias(name="yaml")]) | ast.ImportFrom(module="yaml"):
            return "imports yaml"
        case _:
            return None


def faults(source: str) -> list[str]:
    """One line for every broken rule of a file."""
    found = []
    if source.count("\n") > FILE_LINES:
        found.append(f"{source.count(chr(10))} lines, at most {FILE_LINES}")
    tree = ast.parse(source)
    for function, depth in _functions(tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            found.append(f"{function.lineno}: {function.name} has {lines} lines, at most {FUNCTION_LINES}")
        if depth > NESTED:
            found.append(f"{function.lineno}: {function.name} is nested {depth} deep, at most {NESTED}")
    for node in ast.walk(tree):
        reason = _banned(node)
        if reason:
            found.append(f"{getattr(node, 'lineno', 0)}: {reason}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_keeps_the_house_limits(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n" * 401, "401 lines"),
        ("def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
        ("def f():\n  def g():\n    def h(): pass", "h is nested 3 deep"),
        ("def f():\n  if f:\n    def g():\n      class C:\n        def h(self): pass", "h is nested 3 deep"),
        ("def f():\n  global x", "outer scope"),
        ("hasattr(1, 'real')", "hasattr"),
        ("def step(done): pass", "done"),
        ("import yaml", "yaml"),
    ],
)
def test_a_fault_would_be_caught(source: str, expected: str) -> None:
    (fault,) = faults(source)
    assert expected in fault


def test_the_limits_themselves_pass() -> None:
    assert faults("x = 1\n" * 400) == []
    assert faults("def f():\n" + "    x = 1\n" * 59) == []
    assert faults("def f():\n  class C:\n    def g(self): pass") == []
