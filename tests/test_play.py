"""`headstart play` and `headstart levels`: keys, the terminal's pictures, tapes, checks, and what is refused."""

import json
import os
import pty
import re
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from headstart.commands import _terminal, levels, play
from headstart.commands._terminal import Keys, drawn, fitted
from headstart.commands.levels import levels as levels_command
from headstart.commands.play import Game, action_of
from headstart.commands.play import play as play_command
from headstart.envs.platformer import DOWN, DOWN_JUMP, FRAMES, JUMP, LEFT, LEFT_DOWN, NONE, RIGHT, RIGHT_DOWN
from headstart.envs.platformer_level import parse
from headstart.envs.platformer_search import SearchConfig
from headstart.errors import RunError, UsageError
from headstart.suites import _platformer_levels as stored

EASY = """zone: fern-hill
act: 1
par: 3
title: A short walk
---
..........................
...S....o..o....G.........
##########################
"""
WALLED = EASY.replace("...S....o..o....G.........", "...S....#..o....G.........").replace(
    "..........................", "........#.................", 1
)


@pytest.fixture
def easy(tmp_path: Path) -> Path:
    path = tmp_path / "easy.txt"
    path.write_text(EASY)
    return path


def test_held_keys_are_the_eight_actions() -> None:
    table = {
        NONE: set(),
        LEFT: {"left"},
        RIGHT: {"right"},
        LEFT_DOWN: {"left", "down"},
        RIGHT_DOWN: {"right", "down"},
        DOWN: {"down"},
        DOWN_JUMP: {"down", "jump"},
        JUMP: {"jump"},
    }
    assert {action_of(held) for held in table.values()} == set(range(8))
    assert all(action_of(held) == action for action, held in table.items())
    assert action_of({"right", "jump"}) == JUMP
    assert action_of({"right", "left"}) == NONE


def test_a_key_counts_as_held_until_its_repeats_stop() -> None:
    keys = Keys()
    keys.signal("d", 0.0)
    assert keys.held(0.4) == {"right"}
    assert keys.held(0.6) == set()
    for t in (1.0, 1.4, 1.45, 1.5):
        keys.signal("\x1b[C", t)
    assert keys.held(1.6) == {"right"}
    assert keys.held(2.1) == set()


def test_another_key_keeps_the_first_and_the_other_way_ends_it() -> None:
    keys = Keys()
    keys.signal("d", 0.0)
    for t in (0.4, 0.5, 0.6, 0.7):
        keys.signal(" ", t)
    assert keys.held(0.8) == {"right", "jump"}
    keys.signal("a", 0.8)
    assert keys.held(0.9) == {"left", "jump"}


def test_terminals_that_tell_of_releases_are_believed() -> None:
    keys = Keys()
    keys.signal("\x1b[100;1:1u\x1b[32;1:1u", 0.0)
    assert keys.held(60.0) == {"right", "jump"}
    keys.signal("\x1b[32;1:3u", 60.0)
    assert keys.held(99.0) == {"right"}
    keys.signal("\x1b[1;1:1D", 99.0)
    assert keys.held(99.1) == {"left"}
    keys.signal("\x1b[1;1:3D", 99.2)
    assert keys.held(99.3) == set()


@pytest.mark.parametrize("text", ["q", "\x1b", "\x03", "\x1b[113;1:1u", "\x1b[27;1:1u", "\x1b[99;5:1u"])
def test_ways_to_quit(text: str) -> None:
    keys = Keys()
    keys.signal(text, 0.0)
    assert keys.held(0.1) == {"quit"}


def test_noise_presses_nothing() -> None:
    keys = Keys()
    keys.signal("xyz\t\n\x1b[?11u\x1b[15~", 0.0)
    assert keys.held(0.1) <= {"quit"}


def emulated(text: str, grid: dict[tuple[int, int], tuple[str, str]]) -> None:
    """A terminal that knows cursor moves, colours and half blocks, slowly."""
    x = y = 0
    upper = lower = ""
    for move, colours, char in re.findall(r"\x1b\[(\d+;\d+)H|\x1b\[([\d;]+)m|(▀)", text):
        if move:
            y, x = (int(part) - 1 for part in move.split(";"))
        elif colours:
            upper, lower = re.fullmatch(r"38;(.+);48;(.+)", colours).groups()  # type: ignore[union-attr]
        elif char:
            grid[y, x] = upper, lower
            x += 1


@pytest.mark.parametrize("true_colour", [True, False])
def test_what_is_sent_turns_one_picture_into_the_next(true_colour: bool) -> None:
    dice = np.random.default_rng(3)
    grid: dict[tuple[int, int], tuple[str, str]] = {}
    before, sent = None, []
    picture = dice.integers(0, 256, (10, 12, 3)).astype(np.uint8)
    for k in range(6):
        picture[dice.integers(0, 10), dice.integers(0, 12)] = dice.integers(0, 256, 3)
        after = _terminal._codes(picture, true_colour)
        text = drawn(before, after, true_colour)
        emulated(text, grid)
        sent.append(len(text))
        for y in range(5):
            for x in range(12):
                want = tuple(_terminal._paint(int(after[2 * y + j, x]), true_colour) for j in (0, 1))
                assert grid[y, x] == want, (k, y, x)
        before = after
    assert max(sent[1:]) < sent[0] / 4
    assert drawn(before, before, true_colour) == ""


@pytest.mark.parametrize(("columns", "rows"), [(80, 23), (200, 60), (10, 3), (400, 20), (1, 1)])
def test_pictures_fit_every_terminal(columns: int, rows: int) -> None:
    picture = np.zeros((224, 320, 3), np.uint8)
    small = fitted(picture, columns, rows)
    assert small.shape[0] % 2 == 0
    assert small.shape[1] <= columns
    assert small.shape[0] <= 2 * rows


def test_a_shipped_tape_finishes_with_the_score_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    play_command(["fern-hill-1", "--tape", "best", "--show", "none", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["result"] == "finished"
    frames = result["seconds"] * 60
    assert result["score"] == pytest.approx(9000 + 1000 * (1 - frames / 18000), abs=0.1)
    assert result["steps"] == pytest.approx(frames / FRAMES, abs=1)


def test_a_game_restarts_as_it_began() -> None:
    game = Game(parse(EASY))
    first = game.story[0]
    for action in (RIGHT, RIGHT, JUMP, RIGHT):
        game.step(action)
    score, place = game.score, game.story[-1].x
    assert place > first.x
    assert 0 < score < 1000
    game.restart()
    assert (game.score, game.actions, len(game.story)) == (0.0, [], 1)
    for action in (RIGHT, RIGHT, JUMP, RIGHT):
        game.step(action)
    assert (game.score, game.story[-1].x) == (score, place)


class Paper:
    """A screen without a clock: remembers what it is shown, holds what it is told to."""

    def __init__(self, held: list[set[str]]) -> None:
        self.held, self.shown, self.lines = held, list[np.ndarray](), list[str]()

    def show(self, picture: np.ndarray, line: str) -> None:
        self.shown.append(picture)
        self.lines.append(line)

    def wait(self, until: float) -> set[str]:
        time.sleep(max(min(until - time.monotonic(), 0.01), 0.0))
        return self.held.pop(0) if self.held else {"quit"}


def test_the_loop_plays_what_is_held_and_stops_at_quit() -> None:
    game, screen = Game(parse(EASY)), Paper([{"right"}, set(), {"right", "down"}, set(), {"quit"}])
    play.run(game, screen)
    assert set(game.actions) <= {RIGHT, RIGHT_DOWN, NONE}
    assert game.actions[0] == RIGHT
    assert all(picture.shape == (224, 320, 3) for picture in screen.shown)


def test_a_person_plays_in_a_terminal(
    easy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In a real pseudo-terminal: run to the right until the goal; the run recorded finishes again."""
    ours, theirs = pty.openpty()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("COLUMNS", "64")
    monkeypatch.setenv("LINES", "20")
    read = bytearray()

    def person() -> None:
        pressed = False
        while True:
            try:
                read.extend(os.read(ours, 65536))
            except OSError:  # the terminal is closed and all it was sent is read
                return
            if not pressed and b"\x1b[?1049h" in read:
                os.write(ours, b"\x1b[1;1:1C")  # the right arrow goes down and stays down
                pressed = True

    with open(os.dup(theirs)) as stdin, open(os.dup(theirs), "w") as stdout:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(play, "_LINGER", 0.1)
        thread = threading.Thread(target=person, daemon=True)
        thread.start()
        play_command([str(easy), "--record", str(tmp_path / "mine.tape")])
        monkeypatch.undo()
    os.close(theirs)
    thread.join(5)
    text = read.decode(errors="ignore")
    assert text.count("▀") > 1000
    assert text.index("\x1b[?1049h") < text.index("▀") < text.index("\x1b[?1049l")
    assert "A short walk: finished" in text
    play_command([str(easy), "--tape", str(tmp_path / "mine.tape"), "--show", "none", "--json"])
    assert json.loads(capsys.readouterr().out)["result"] == "finished"


def test_films_of_tapes(easy: Path, tmp_path: Path) -> None:
    (tmp_path / "easy.tape").write_text("2x4")
    play_command([str(easy), "--tape", "best", "--out", str(tmp_path / "run.gif")])
    assert (tmp_path / "run.gif").read_bytes()[:6] == b"GIF89a"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["nowhere.txt"], "there is no level file 'nowhere.txt'"),
        (["{easy}"], "neither a display nor a terminal"),
        (["{easy}", "--show", "window"], "no display"),
        (["{easy}", "--show", "none"], "needs a tape"),
        (["{easy}", "--out", "a.gif"], "needs a tape"),
        (["{easy}", "--tape", "best", "--show", "none"], "there is no tape"),
        (["{easy}", "--tape", "{bad}", "--show", "none"], "word 1"),
        (["{easy}", "--tape", "{bad}", "--record", "x"], "leave --tape away"),
        (["{easy}", "--sticky", "2"], "between 0 and 1"),
        (["{binary}"], "cannot be read as text"),
        (["{broken}"], "broken.txt, line 5, column 6"),
    ],
)
def test_what_cannot_be_played_is_said_in_a_sentence(
    args: list[str], sentence: str, easy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    files = {
        "easy": easy,
        "bad": tmp_path / "bad.tape",
        "binary": tmp_path / "b.txt",
        "broken": tmp_path / "broken.txt",
    }
    files["bad"].write_text("9x9")
    files["binary"].write_bytes(b"\xff\xfe\x00")
    files["broken"].write_text("zone: fern-hill\nact: 1\npar: 3\n---\n.S...&..G.\n##########\n")
    with pytest.raises(UsageError, match=re.escape(sentence)):
        play_command([arg.format(**files) for arg in args])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for easy levels."""
    monkeypatch.setattr(levels, "SearchConfig", partial(SearchConfig, lanes=64, polish=2))


def test_levels_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    some = dict.fromkeys(("fern-hill-1", "frost-peak-1", "not-made-yet"), "train")
    monkeypatch.setattr(stored, "index", lambda: some)
    levels_command(["list", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["level"] for row in rows] == ["fern-hill-1", "frost-peak-1"]
    assert all(0 < row["best"] <= 300 for row in rows)
    assert next(row for row in rows if row["level"] == "fern-hill-1")["world"] == "Wildwood"


def test_a_level_is_searched_once_and_then_has_its_tape(
    easy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levels_command(["check", str(easy), "--rounds", "40"])
    assert "was found and stored in easy.tape" in capsys.readouterr().out
    found = (easy.parent / "easy.tape").read_text()
    levels_command(["check", str(easy), "--rounds", "40"])
    assert "its tape finishes it" in capsys.readouterr().out
    assert (easy.parent / "easy.tape").read_text() == found
    play_command([str(easy), "--tape", "best", "--show", "none", "--json"])
    assert json.loads(capsys.readouterr().out)["result"] == "finished"


@pytest.mark.usefixtures("quick")
def test_a_level_without_a_way_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "walled.txt"
    high = "\n".join(["........#................."] * 12)
    path.write_text(WALLED.replace("---\n", f"---\n{high}\n"))
    with pytest.raises(RunError, match=r"no way to finish walled\.txt was found in 2 rounds"):
        levels_command(["check", str(path), "--rounds", "2", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["seconds"] is None
    assert not (tmp_path / "walled.tape").exists()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["check"], "name the level files"),
        (["check", "x", "--rounds", "0"], "at least one round"),
        (["check", "x"], "no level file 'x'"),
        (["list", "x"], "did you mean headstart levels check"),
    ],
)
def test_wrong_checks_are_refused(args: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        levels_command(args)


def test_the_searchs_defaults_are_the_commands() -> None:
    assert levels.LevelsOptions().rounds == SearchConfig().rounds
