"""From the terminal to the board, seen by a browser: the server, a worker and Chromium as processes of their own."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.contest_load import Crew

from headstart.commands import contest_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    made = Crew(tmp_path_factory.mktemp("site") / "data", 0.01, 60.0)
    try:
        made.wait_until_up()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def said(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `headstart contest submit` printed for an agent."""
    folder = tmp_path_factory.mktemp("agent") / "first-try"
    folder.mkdir()
    (folder / "submission.toml").write_text("first-try")
    secret = folder.parent / "token"
    secret.write_text(crew.store.users.new_token(crew.store.users.add("Ada")))
    secret.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        contest_server.submit([str(folder), "--server", crew.url, "--token-file", str(secret)])
    return printed[-1]


def dom(crew: Crew, path: str, folder: Path) -> str:
    """A page as the browser has it after its scripts have run."""
    assert CHROMIUM is not None
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        "--timeout=10000",
    ]
    command = [CHROMIUM, *flags, "--enable-logging=stderr", "--dump-dom", crew.url + path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Content Security Policy" not in ran.stderr, "the page does what its own policy forbids"
    assert "Uncaught" not in ran.stderr
    return ran.stdout


def test_submitting_ends_with_a_score_and_a_link(crew: Crew, said: str) -> None:
    score, link = re.fullmatch(r"score ([\d.]+) ± [\d.]+  (http\S+)", said).groups()
    key = link.rpartition("/")[2]
    assert link == f"{crew.url}/s/{key}"
    assert float(score) == pytest.approx(crew.store.score(key, "public")[0], abs=0.05)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_browser_shows_the_board_and_the_submission(crew: Crew, said: str, tmp_path: Path) -> None:
    score = float(said.split()[1])
    page = dom(crew, "/c/load", tmp_path / "one")
    assert ">Ada</a>" in page
    assert f"{score:,.1f}" in page
    assert '<svg class="chart"' in page
    page = dom(crew, "/s/" + said.rpartition("/")[2], tmp_path / "two")
    assert "scored" in page
    assert page.count("seed ") >= 6
