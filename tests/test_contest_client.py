"""The agent's side, against a real server in a thread: Gymnasium's interface, several lanes, and errors by name."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import jax
import jax.random as jr
import numpy as np
import pytest

from headstart import suites
from headstart.contest import client
from headstart.contest.environment import Game
from headstart.contest.meter import Ledger
from headstart.contest.serving import Server
from headstart.contest.wire import Channel, HungUpError, MalformedError

LANES = 4


@pytest.fixture(scope="module")
def games() -> dict[int, Game]:
    made = {n: Game("cartpole", "task-0", 7, n) for n in (1, LANES)}
    for game in made.values():
        game.compile()
    return made


@contextlib.contextmanager
def served(
    folder: Path, game: Game, budget: int = 1000, shared: bool = True, tick: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, Ledger]]:
    """A server for one client: the socket's path and the ledger. A `tick` that raises TimeoutError ends it."""
    ledger = Ledger(budget, game.n, game.spec.horizon)
    server = Server(game, ledger, {"budget": budget, "seed": 7, "suite": "cartpole"})
    path = folder / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    if shared:
        server.share(folder / client.OBSERVATIONS)

    def serve():
        connection, _ = listener.accept()
        listener.close()
        with connection:
            channel = Channel(connection, lambda: None)
            try:
                server.serve(channel, tick)
            except TimeoutError:
                channel.error("wall-clock", "the time is over.")
            except MalformedError as error:
                channel.error("refused", str(error))
            except HungUpError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield str(path), ledger
    finally:
        thread.join(10)
        server.close()
        assert not thread.is_alive()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "sent"])
def test_a_lane_goes_the_way_the_pure_environment_goes(tmp_path, games, shared):
    """The slow twin: every observation and reward once more by the pure environment, with the keys documented."""
    pure = suites.suite("cartpole").env
    task = jax.tree.map(lambda leaf: leaf[0], suites.suite("cartpole").split("test").tasks)
    reset, step, observe = jax.jit(pure.reset), jax.jit(pure.step), jax.jit(pure.observe)

    def key(t):
        return jr.split(jr.fold_in(jr.key(7), np.uint32(t % 2**32)), 1)[0]

    with served(tmp_path, games[1], shared=shared) as (path, ledger):
        env = client.connect(path)
        assert isinstance(env, gymnasium.Env)
        assert env.action_space == gymnasium.spaces.Discrete(2)
        obs, info = env.reset(seed=3)
        assert info == {"left": 1000}
        state, total, ends = reset(task, key(-1)), 0.0, 0
        for t in range(60):
            np.testing.assert_allclose(obs, observe(task, state), rtol=1e-6)
            assert obs in env.observation_space
            obs, reward, terminated, truncated, info = env.step(t % 2)
            state, out = step(task, state, np.int32(t % 2), key(t))
            assert (reward, terminated, truncated) == (float(out.reward), bool(out.terminated), False)
            total += reward
            if terminated:
                ends += 1
                obs, _ = env.reset()
                state = reset(task, key(-1 - (t + 1)))
        env.close()
    assert ends >= 1
    assert info["left"] == 940
    assert ledger.spent == 60
    assert len(ledger.episodes) == ends
    ledger.finish()
    assert sum(episode.reward for episode in ledger.episodes) == total
    assert sum(episode.length for episode in ledger.episodes) == 60


def test_lanes_begin_anew_by_themselves(tmp_path, games):
    with served(tmp_path, games[LANES], 400) as (path, ledger):
        with pytest.raises(client.ContestError, match="asks for 4 lanes"):
            client.connect(path)
        assert not ledger.spent
    other = tmp_path / "other"
    other.mkdir()
    with served(other, games[LANES], 400) as (path, ledger):
        lanes = client.connect(path, lanes=True)
        obs, _ = lanes.reset()
        assert obs.shape == (LANES, 4)
        assert len({tuple(row) for row in obs.tolist()}) == LANES
        ends = 0
        for _ in range(100):
            obs, reward, terminated, truncated, info = lanes.step(np.ones(LANES, np.int64))
            assert reward.tolist() == [1.0] * LANES
            ended = terminated | truncated
            ends += int(ended.sum())
            if ended.any():
                assert (np.abs(info["final_obs"][ended]).max(1) > 0.1).all()
                assert (np.abs(obs[ended]) <= 0.05).all()  # cart-pole's first states
        with pytest.raises(client.BudgetSpentError, match="400 steps is spent"):
            lanes.step(np.ones(LANES, np.int64))
        lanes.close()
    assert (ledger.spent, len(ledger.episodes)) == (400, ends)
    assert ends > 30


def test_the_same_actions_bring_the_same(tmp_path, games):
    def play(folder):
        folder.mkdir()
        with served(folder, games[1], 50) as (path, ledger):
            env = client.connect(path)
            env.reset()
            with contextlib.suppress(client.OverError):
                while True:
                    if env.step(1)[2]:
                        env.reset()
            env.close()
        return ledger.episodes

    assert play(tmp_path / "a") == play(tmp_path / "b")


def test_errors_have_names_and_a_wrong_moment_is_forgiven(tmp_path, games):
    with served(tmp_path, games[1], 30) as (path, ledger):
        env = client.connect(path)
        with pytest.raises(client.EpisodeOverError, match="reset first"):
            env.step(0)
        env.reset()
        with pytest.raises(client.MidEpisodeError, match="has not ended"):
            env.reset()
        while not env.step(1)[2]:
            pass
        spent = ledger.spent
        with pytest.raises(client.EpisodeOverError):
            env.step(1)
        assert ledger.spent == spent
        env.reset()
        while ledger.spent < 30:
            if env.step(1)[2]:
                env.reset()
        with pytest.raises(client.BudgetSpentError):
            env.step(1)
        env.close()
    assert ledger.spent == 30


def test_what_is_refused_is_said(tmp_path, games):
    with served(tmp_path, games[1]) as (path, _):
        env = client.connect(path)
        env.reset()
        with pytest.raises(client.RefusedError, match="outside the space"):
            env.step(2)
        with pytest.raises(client.LostError, match=r"hung up|broke"):
            env.step(0)
        env.close()


def test_when_the_time_is_over_that_is_said_also_to_who_asks_later(tmp_path, games):
    def late():
        raise TimeoutError

    with served(tmp_path, games[1], tick=late) as (path, ledger):
        env = client.connect(path)
        with pytest.raises(client.WallClockError, match="time is over"):
            env.reset()
        with pytest.raises(client.LostError):
            env.reset()
        env.close()
    assert ledger.spent == 0


def test_without_an_evaluator_the_agent_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(client.SOCKET, raising=False)
    with pytest.raises(client.LostError, match="headstart contest score"):
        client.connect()
    with pytest.raises(client.LostError, match="there is no evaluator at"):
        client.connect(str(tmp_path / "socket"))


def test_it_needs_numpy_alone():
    """In a fresh interpreter that has no Gymnasium, as a copied file."""
    code = (
        "import sys; sys.modules['gymnasium'] = None; import numpy; before = set(sys.modules);"
        f"sys.path.insert(0, {str(Path(client.__file__).parent)!r}); import client;"
        "print({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names) - {'client'})"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
