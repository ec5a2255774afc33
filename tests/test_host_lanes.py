"""Gymnasium environments in worker processes: what they show, how they end, and what happens when they die."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.errors import RunError, UsageError
from headstart.hosts.lanes import Program, WorkerLanes
from headstart.hosts.processes import Process
from headstart.hosts.spaces import of_action, of_observation
from headstart.types import Box, Discrete, Spec

MODULE = '''
import contextlib, os, sys
import gymnasium as gym
import numpy as np


class Toy(gym.Env):
    """Shows (steps taken, the seed's own number, the task's); ends after `length` steps; `fault` says what goes wrong."""

    observation_space = gym.spaces.Dict(
        {"t": gym.spaces.Box(0, 99, (2,), np.float64), "kind": gym.spaces.Discrete(9)}
    )
    action_space = gym.spaces.Discrete(3, start=1)

    def __init__(self, length=3, kind=0, fault=""):
        self.length, self.kind, self.fault = length, kind, fault

    def seen(self):
        return {"kind": self.kind, "t": np.array([self.t, self.luck])}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.kind = (options or {}).get("kind", self.kind)
        self.t, self.luck = 0, self.np_random.random()
        return self.seen() if self.fault == "old" else (self.seen(), {})

    def step(self, action):
        assert action in (1, 2, 3), action
        self.t += 1
        if self.fault == "raise" and self.t == 2:
            raise ValueError("the ball is gone")
        if self.fault == "exit" and self.t == 2:
            print("out of cheese", file=sys.stderr, flush=True)
            os._exit(3)
        if self.fault == "once":
            with contextlib.suppress(FileExistsError):
                open(mark, "x").close()  # of two workers at once, one makes it
                os._exit(3)
        if self.fault == "four":
            return self.seen(), 0.0, False, {}
        if self.fault == "shape":
            return {"kind": 0, "t": np.zeros(3)}, 0.0, False, False, {}
        return self.seen(), float(action), self.t >= self.length, False, {}


mark = os.path.join(os.path.dirname(__file__), "mark")
'''

SPEC = Spec({"kind": Discrete(9), "t": Box((2,), 0.0, 99.0)}, Discrete(3), 5, truncates=True)
LEAVES = (((), "int32"), ((2,), "float32"))


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toys.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@contextmanager
def lanes(
    n: int = 2,
    tasks: tuple[dict[str, Any], ...] = ({},),
    by: str = "make",
    pinned: bool = False,
    **kwargs: Any,
) -> Iterator[WorkerLanes]:
    program = Program("toys:Toy", "toys:Toy", kwargs, by, LEAVES, per_worker=2)
    with closing(WorkerLanes(program, SPEC, tasks, n, 0, pinned, Process)) as opened:
        yield opened


def worker_of(opened: WorkerLanes) -> Process:
    """The first of its workers."""
    worker = opened._posts[0].worker
    assert isinstance(worker, Process)
    return worker


def process_of(opened: WorkerLanes) -> Any:
    return worker_of(opened)._process


def push(opened: WorkerLanes, steps: int) -> None:
    opened.reset(0)
    for _ in range(steps):
        opened.step(np.zeros(1, np.int32))


def test_episodes_follow_each_other_and_their_ends_are_kept(toys: Path) -> None:
    with lanes(3, by="reset", tasks=({"kind": 4}, {"kind": 7}), pinned=True) as opened:
        first = opened.reset(5)
        assert first.first.all()
        assert first.obs["t"].dtype == np.float32
        assert first.obs["kind"].tolist() == [4, 7, 4]
        luck = first.obs["t"][:, 1]
        assert len(set(luck)) == 3, "every lane has its own random numbers"
        steps = [opened.step(np.array([0, 1, 2], np.int32)) for _ in range(4)]
        assert [step.reward.tolist() for step in steps] == [[1.0, 2.0, 3.0]] * 4
        assert [step.first.tolist() for step in steps] == [[False] * 3, [False] * 3, [True] * 3, [False] * 3]
        assert [step.discount.tolist() for step in steps] == [[1.0] * 3, [1.0] * 3, [0.0] * 3, [1.0] * 3]
        ended = steps[2]
        np.testing.assert_array_equal(ended.final_obs["t"], np.stack([np.full(3, 3.0, np.float32), luck], 1))
        assert ended.obs["t"][:, 0].tolist() == [0.0] * 3
        assert not set(ended.obs["t"][:, 1]) & set(luck), "another episode has other luck"
        np.testing.assert_array_equal(steps[1].final_obs["t"], steps[1].obs["t"])
        again = opened.reset(5)
        np.testing.assert_array_equal(again.obs["t"], first.obs["t"])
        assert opened.reset(6).obs["t"][0, 1] != luck[0]
        assert opened.busy > 0


def test_a_task_is_made_of_keyword_arguments_and_drawn_anew_each_episode(toys: Path) -> None:
    tasks = ({"length": 1, "kind": 1}, {"length": 2, "kind": 2}, {"length": 9, "kind": 3})
    with lanes(2, tasks) as opened:
        now, seen, age = opened.reset(0), set(), np.zeros(2, int)
        for _ in range(40):
            kinds = now.obs["kind"].copy()
            now, age = opened.step(np.zeros(2, np.int32)), age + 1
            for lane in np.flatnonzero(now.first):
                seen.add(int(kinds[lane]))
                expected = {1: (1, 0.0), 2: (2, 0.0), 3: (5, 1.0)}  # the last is cut off at the horizon
                assert (age[lane], now.discount[lane]) == expected[kinds[lane]]
                age[lane] = 0
        assert seen == {1, 2, 3}


def test_a_worker_that_dies_is_started_again_and_its_episodes_are_truncated(toys: Path) -> None:
    with lanes(3, fault="once") as opened:
        before = opened.reset(0)
        now = opened.step(np.zeros(3, np.int32))  # whichever worker is first dies of it, once
        lost = now.first
        assert lost.sum() in (1, 2)
        assert opened.deaths == 1
        assert now.discount.tolist() == [1.0, 1.0, 1.0], "truncated, not terminated"
        assert not now.reward[lost].any()
        np.testing.assert_array_equal(now.final_obs["t"][lost], before.obs["t"][lost])
        assert not np.any(now.obs["t"][lost, 1] == before.obs["t"][lost, 1])
        later = [opened.step(np.zeros(3, np.int32)) for _ in range(6)]
        assert opened.deaths == 1
        assert sum(step.first.sum() for step in later) == 6


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", r"died 3 times without finishing an episode: ValueError: the ball is gone \(toys.py:\d+\)"),
        ("exit", "died 3 times without finishing an episode: exit code 3; it last said: out of cheese"),
    ],
)
def test_three_deaths_in_a_row_end_the_run_with_the_workers_own_words(
    toys: Path, fault: str, message: str
) -> None:
    with lanes(1, fault=fault) as opened, pytest.raises(RunError, match=message) as error:
        push(opened, 6)
    assert opened.deaths == 3
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("old", r"reset\(\) returned .*; Gymnasium's returns \(observation, info\)"),
        ("four", r"step\(\) returned 4 values \(the old gym's\)"),
        (
            "shape",
            r"step\(\)'s observation\['t'\] is an array of shape \(3,\) and type float64, not of its space",
        ),
    ],
)
def test_a_broken_environment_is_told_what_and_where(toys: Path, fault: str, message: str) -> None:
    with (
        lanes(1, fault=fault) as opened,
        pytest.raises(RunError, match=f"breaks Gymnasium's interface: {message}"),
    ):
        push(opened, 1)


def test_what_cannot_be_made_is_refused_at_once(toys: Path) -> None:
    with (
        lanes(1, tasks=({"colour": "red"},)) as opened,
        pytest.raises(
            UsageError, match=r"toys:Toy cannot be made with colour: .*unexpected keyword argument 'colour'"
        ),
    ):
        opened.reset(0)


def test_closing_leaves_no_process_behind(toys: Path) -> None:
    with lanes(2) as opened:
        opened.reset(0)
        process = process_of(opened)
    assert process.poll() is not None
    opened.close()  # twice does no harm


def test_a_worker_whose_run_is_gone_goes_as_well(toys: Path) -> None:
    with lanes(1) as opened:
        opened.reset(0)
        process = process_of(opened)
        worker_of(opened)._line.close()
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert process.poll() == 0


def test_spaces_no_network_fits_are_refused() -> None:
    from gymnasium import spaces

    assert of_observation(spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(2)]))[0] == Discrete(3)
    assert of_action(spaces.MultiBinary(2)).nvec == (2, 2)  # pyright: ignore[reportAttributeAccessIssue]
    assert of_observation(spaces.Box(0, 255, (7, 7, 3), np.uint8)) == Box((7, 7, 3), 0.0, 255.0, np.uint8)
    with pytest.raises(UsageError, match="no network fits a space of kind Text"):
        of_observation(spaces.Text(5))
    with pytest.raises(UsageError, match="no agent takes actions of a Dict space"):
        of_action(spaces.Dict({"a": spaces.Discrete(2)}))
    with pytest.raises(UsageError, match="no network fits the observation space MultiDiscrete"):
        of_observation(spaces.MultiDiscrete([[2, 2]]))
