"""The server under load and under SIGKILL: nothing is lost, nothing is counted twice."""

from pathlib import Path

import pytest
from benchmarks import contest_load


def test_a_fault_would_be_found(tmp_path: Path) -> None:
    from headstart.contest.contests import Contest, Level
    from headstart.contest.queue import Outcome
    from headstart.contest.store import Store

    store = Store(tmp_path)
    levels = tuple(Level(f"level-{i}", f"level-{i}") for i in range(contest_load.LEVELS))
    cup = Contest("load", "Load", "none", contest_load.BUDGET, tuple(range(contest_load.SEEDS)), 60.0, levels)
    store.add_contest(cup)
    store.submit(cup, store.users.add("Ada"), "agent-0", contest_load.archive_of("agent-0"))
    assert "agent-0 is queued" in contest_load.faults(store)
    while lease := store.queue.lease("w"):
        score = contest_load.score_of("agent-0", lease.label, lease.seed)
        store.queue.finish(lease.job, lease.lease, Outcome("budget", score, 1000, "", [], ""))
    assert contest_load.faults(store) == []
    with store.database.write() as c:
        c.exec_driver_sql("update jobs set score = score + 1 where id = 1")
    assert len(contest_load.faults(store)) == 1
    store.close()


def test_polling_users_get_their_board_while_submissions_are_scored(tmp_path: Path) -> None:
    found = contest_load.measure(tmp_path / "data", users=40, submissions=8, seconds=4.0, kills=0)
    assert (found["wrong"], found["errors"]) == ([], 0)
    assert found["looks"] >= 40


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_nothing_is_lost_when_server_and_worker_are_killed(tmp_path: Path, kills: int) -> None:
    found = contest_load.measure(
        tmp_path / "data", 0, 4 if kills == 3 else 50, 0.0, kills, seed=kills, play=0.15
    )
    assert len(found["kills"]) == kills
    assert found["wrong"] == []


@pytest.mark.slow
def test_two_hundred_users_and_fifty_submissions(tmp_path: Path) -> None:
    found = contest_load.measure(tmp_path / "data", users=200, submissions=50, seconds=20.0, kills=0)
    assert (found["wrong"], found["errors"]) == ([], 0)
    assert found["p99_ms"] < 200.0
