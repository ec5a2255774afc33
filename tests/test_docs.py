"""What README and the documentation show in Python runs, in smoke size, as a reader would run it."""

import dataclasses
import re
from pathlib import Path

import pytest

from headstart.agents import ppo
from headstart.types import Entry

ROOT = Path(__file__).parents[1]
FRAGMENTS = {
    "docs/contest/taking-part.md": "needs the environment that a contest gives a submission",
    "docs/hosts.md": "is part of examples/06_own_gymnasium.py, which test_asgym compares with it",
    "docs/suites/maze.md 1": "goes on from a trial that the reader has played",
}
_SMOKE = (
    (r"steps=[\d_]+", "steps=320"),
    (r"lanes=\d+", "lanes=8"),
    (r"tasks=\d+", "tasks=3"),
)
"""what a block asks for, and what is enough to see that it runs"""


def blocks() -> dict[str, str]:
    """The Python of README and of all pages, by page and place."""
    found: dict[str, str] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for i, code in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        ):
            found[f"{page.relative_to(ROOT)} {i}" if i else str(page.relative_to(ROOT))] = code
    return found


BLOCKS = blocks()


def small(entry: Entry) -> Entry:
    """The same learner with a network of a few units and updates of a few steps."""
    network = dataclasses.replace(entry.config.network, torso=(8,), memory_size=8, actor=(), critic=())
    config = dataclasses.replace(entry.config, network=network, unroll=20, epochs=1, minibatches=1)
    return dataclasses.replace(entry, config=config)


@pytest.mark.parametrize("name", sorted(BLOCKS.keys() - FRAGMENTS))
def test_a_block_runs_as_it_stands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ppo, "RL2", small(ppo.RL2))
    code = BLOCKS[name]
    for what, smaller in _SMOKE:
        code = re.sub(what, smaller, code)
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
    for page in re.findall(r'"(\w+\.html)"', code):
        assert "<!doctype html>" in (tmp_path / page).read_text()


def test_what_is_left_out_is_there() -> None:
    assert set(FRAGMENTS) <= set(BLOCKS)
