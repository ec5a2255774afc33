"""From the terminal to the board while browsers look on: server, worker and Chromium are processes of their own.

The agent is the one that `headstart contest init` writes. Its evaluation is pretended, and real with `--all`: in a
sandbox, on the cart-pole and on the platformer.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from benchmarks._chromium import CHROMIUM, DESK, PHONE, Browser

from headstart.contest import sandbox
from headstart.contest.contests import Contest, Level
from headstart.contest.store import Store
from headstart.errors import HeadstartError

HEADSTART = (sys.executable, "-m", "headstart.cli", "contest")
PRETENDED = ("none", "level")
GAMES = [("cartpole-v0", "task-0"), ("platformer-v0:levels=practice", "practice-1")]
browsing = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine")
STOPS = 'a, button, input, [tabindex="0"]'


class Seen(NamedTuple):
    """A submission from the terminal to the board."""

    url: str
    key: str
    said: str
    """what `submit` printed at its end"""
    before: str
    """the board, before there was a submission"""
    states: list[str]
    """what a page opened once said of the submission, one after the other"""
    board: str
    """the board's page, opened before the submission and never again, at the end"""
    faults: list[str]
    """what browsers complained of"""


def trust() -> list[str]:
    try:
        sandbox.choose()
    except HeadstartError:
        return ["--trust-submissions"]
    return []


def until_up(url: str) -> None:
    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        try:
            httpx.get(f"{url}/healthz", trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(url)


def text_of(browser: Browser) -> str:
    return browser.js("document.querySelector('main').innerText")


def follow(url: str, folder: Path, token: str) -> Seen:
    """Submit an agent while one browser shows the board, and another the submission."""
    agent = folder / "my_agent"
    subprocess.run([*HEADSTART, "init", str(agent)], check=True, capture_output=True)
    board, page = Browser(folder / "one"), Browser(folder / "two")
    try:
        board.go(f"{url}/c/cup")
        board.js("window.opened = 'once'")
        before = text_of(board)
        command = [*HEADSTART, "submit", str(agent), "--server", url]
        environment = os.environ | {"HEADSTART_TOKEN": token}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, **pipes) as sending:
            found = re.match(r"sent as (\w+): ", sending.stderr.readline())
            assert found is not None
            page.go(f"{url}/s/{found[1]}")
            page.js("window.opened = 'once'")
            states = [page.js("document.querySelector('.pill').innerText")]
            while states[-1] not in ("scored", "ended early"):
                state = "document.querySelector('.pill').innerText"
                states.append(page.until(f"{state} !== {states[-1]!r} && {state}", 150.0))
            said = sending.communicate(timeout=60.0)[0]
        board.until("document.querySelector('tbody a') !== null")
        opened = [one.js("window.opened") for one in (board, page)]
        assert opened == ["once", "once"], "no page was loaded again"
        return Seen(url, found[1], said, before, states, text_of(board), board.faults + page.faults)
    finally:
        board.close()
        page.close()


def work(url: str, suite: str) -> list[str]:
    """The command of a worker: not one of serve's, which stand back for other work."""
    if suite == PRETENDED[0]:
        return [sys.executable, "-m", "benchmarks.contest_load", "--worker", url, "1.5"]
    return [*HEADSTART, "worker", "--server", url, *trust()]


@pytest.fixture(
    scope="module", params=[PRETENDED, *(pytest.param(x, marks=pytest.mark.slow) for x in GAMES)], ids=str
)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    suite, level = request.param
    folder = tmp_path_factory.mktemp("site")
    store = Store(folder / "data")
    store.add_contest(Contest("cup", "Cup", suite, 300, (0, 1), 120.0, (Level(level, level),)))
    ada, hand = (
        store.users.new_token(store.users.add(n, r)) for n, r in (("Ada", "contestant"), ("hand", "worker"))
    )
    store.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    serve = [*HEADSTART, "serve", "--data", str(folder / "data"), "--port", port, "--workers", "0"]
    hands, quiet = work(url, suite), {"stdout": subprocess.DEVNULL}
    with (
        subprocess.Popen(serve, **quiet) as server,
        subprocess.Popen(hands, env=os.environ | {"HEADSTART_TOKEN": hand}, **quiet) as worker,
    ):
        try:
            until_up(url)
            yield follow(url, folder, ada)
        finally:
            worker.terminate()
            server.terminate()


@browsing
def test_a_submission_goes_from_the_terminal_to_the_board_before_ones_eyes(seen: Seen) -> None:
    score, link = re.fullmatch(r"score ([\d.]+) ± [\d.]+  (http\S+)\n", seen.said).groups()
    assert link == f"{seen.url}/s/{seen.key}"
    assert "Nobody stands here yet" in seen.before
    row = re.search(r"1\s+Ada\s+my_agent\s+([\d,.]+)", seen.board)
    assert row is not None
    assert float(row[1].replace(",", "")) == pytest.approx(float(score), abs=0.06)
    assert seen.states[-1] == "scored"
    assert len(seen.states) >= 2, "it has been seen on its way"
    assert seen.faults == []


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path / "browser")
    yield made
    made.close()


@browsing
@pytest.mark.parametrize("width", [320, PHONE])
def test_every_page_fits_a_phone(seen: Seen, browser: Browser, width: int) -> None:
    browser.size(width)
    paths = ("/", "/c/cup", "/c/cup/levels", "/c/cup/take-part", f"/s/{seen.key}", "/sign-in", "/c/none")
    for path in paths:
        browser.go(seen.url + path)
        assert browser.js("[document.documentElement.scrollWidth, innerWidth]") == [width, width], path
        fingers = "[...document.querySelectorAll('nav a, button, input:not([type=hidden])')]"
        small = f"{fingers}.filter((e) => e.offsetHeight < 24).length"
        assert browser.js(small) == 0, f"{path}: too small for a finger"


@browsing
def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(seen: Seen, browser: Browser) -> None:
    browser.size(DESK)
    for path in ("/c/cup", f"/s/{seen.key}", "/sign-in"):
        browser.go(seen.url + path)
        browser.js(
            f"window.stops = [...document.querySelectorAll({STOPS!r})].filter((e) => e.type !== 'hidden')"
        )
        count = browser.js("stops.length")
        for place in range(count):
            browser.press("Tab", 9)
            assert browser.js("stops.indexOf(document.activeElement)") == place, path
            assert browser.js(
                "(({ outlineStyle, outlineWidth }) => outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1)"
                "(getComputedStyle(document.activeElement))"
            ), f"{path}: stop {place} does not show the focus"
            assert browser.js("document.activeElement.getBoundingClientRect().left >= 0"), path


@browsing
def test_the_skip_link_leads_past_the_navigation(seen: Seen, browser: Browser) -> None:
    browser.go(f"{seen.url}/sign-in")
    browser.press("Tab", 9)
    assert browser.js("document.activeElement.className") == "skip"
    browser.press("Enter", 13, "\r")
    browser.press("Tab", 9)
    assert browser.js("document.activeElement.name") == "token"
