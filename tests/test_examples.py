"""The examples run, in smoke size, as a reader would run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    # A compiled program that another run has left is used again.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "d" / "xla")}
    environment = {**os.environ, **cache, "HEADSTART_SMOKE": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(path)]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip(), "an example shows something"


def test_examples_are_numbered_in_order() -> None:
    numbers = [path.name[:3] for path in EXAMPLES]
    assert numbers
    assert all(number[:2].isdigit() and number[2] == "_" for number in numbers)
    assert len(set(numbers)) == len(numbers)
