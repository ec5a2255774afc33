"""The organiser's desk: a contest that cannot be played is not made, and each board is run again for itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart import suites
from headstart.commands.contest_admin import admin
from headstart.contest.contests import Contest, Level
from headstart.contest.queue import Outcome
from headstart.contest.store import Store
from headstart.errors import UsageError

LEVEL = (Path(suites.__file__).parents[1] / "data" / "levels" / "practice-1.txt").read_text()


def written(folder: Path, suite: str, public: str, final: str = "") -> Path:
    """A contest's file; `final` is the text of a level."""
    path = folder / "cup.toml"
    more = ""
    if final:
        (folder / "hidden").mkdir()
        (folder / "hidden" / "end.txt").write_text(final)
        more = '[final]\nfolder = "hidden"\n'
    path.write_text(f'title = "T"\nsuite = "{suite}"\nbudget = 10\n[public]\nlevels = ["{public}"]\n{more}')
    return path


@pytest.mark.parametrize(
    ("suite", "public", "final", "complaint"),
    [
        ("platfomer-v0", "practice-1", "", "no suite called 'platfomer-v0'; did you mean .*platformer"),
        ("platformer:sticky=often", "practice-1", "", "sticky"),
        ("bandit-v0:episodes=3", "task-0", "", "episodes"),
        ("retro", "Level1", "", "runs in processes of its own"),
        ("maze-small", "task-0", "", "plays single episodes"),
        (
            "platformer:levels=practice",
            "practise-1",
            "",
            r"practise-1 of \[public\].*did you mean practice-1",
        ),
        ("platformer-v0", "fern-hill-1", LEVEL.replace("S", "?"), r"end of \[final\].*line \d+"),
        ("cartpole", "task-0", LEVEL, r"end of \[final\].*has no levels that are texts"),
    ],
)
def test_a_contest_that_cannot_be_played_is_not_made(
    tmp_path: Path, suite: str, public: str, final: str, complaint: str
) -> None:
    path = written(tmp_path, suite, public, final)
    with pytest.raises(UsageError, match=complaint) as caught:
        admin(["add-contest", str(path), "--data", str(tmp_path / "data")])
    assert "\n" not in str(caught.value)
    store = Store(tmp_path / "data")
    assert store.contests() == []
    store.close()


def test_a_contest_that_can_be_played_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "platformer:levels=practice", "practice-1", LEVEL)
    admin(["add-contest", str(path), "--data", str(tmp_path / "data")])
    assert capsys.readouterr().out == "contest: cup\nlevels: 1\nfinal: 1\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "data")
    levels = (Level("one", "one"),)
    made.add_contest(Contest("cup", "Cup", "bandit-v0", 100, (7,), 60.0, levels, (Level("end", "end"),)))
    yield made
    made.close()


def test_a_board_is_run_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    def play() -> int:
        count = 0
        while lease := store.queue.lease("w"):
            store.queue.finish(lease.job, lease.lease, Outcome("budget", 1.0, 100, "", [], ""))
            count += 1
        return count

    one = store.submit(store.contest("cup"), store.users.add("Ada"), "agent", b"zip")
    desk = ["--data", str(store.database.folder)]
    assert play() == 1
    admin(["final", "cup", *desk])
    assert play() == 1
    admin(["rerun", one.id, "--board", "final", *desk])
    assert capsys.readouterr().out.endswith(f"submission: {one.id}\nboard: final\nstate: scored\n")
    assert play() == 1
    admin(["rerun", one.id, *desk])
    assert store.score(one.id, "final") == (1.0, None)
    assert [line["what"] for line in store.audits()][:2] == [f"rerun {one.id}", f"rerun {one.id} (final)"]
