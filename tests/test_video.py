"""Films have the right frames, tell the right story of a trial, and are refused with a sentence."""

import errno
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from PIL import Image

from headstart.envs.maze import FORWARD, LEFT, RIGHT, MazeState
from headstart.envs.maze_map import MazeTask
from headstart.envs.trial import Trial, TrialState
from headstart.errors import RunError, UsageError
from headstart.reports.video import sheet, trial_film, write_film
from headstart.suites import suite
from headstart.suites._maze_pictures import draw_map, paths_of

FRAMES = np.random.default_rng(0).integers(0, 255, (4, 20, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def trial() -> tuple[MazeTask, TrialState]:
    """An open maze of four cells: one episode reaches the target in 2 steps, one runs out of its 5."""
    env = Trial(suite("maze-small", obs="rays", horizon=5).env.env, 2)
    task = MazeTask(
        vertical=jnp.array([3, 0, 3], jnp.int16),
        horizontal=jnp.array([3, 0, 3], jnp.int16),
        start=jnp.array([0, 0, 0], jnp.int8),
        target=jnp.array([1, 0], jnp.int8),
        texture=jnp.int32(7),
        distance=jnp.array([[1, 0], [2, 1]], jnp.uint8),
    )
    step = jax.jit(env.step)
    states = [env.reset(task, jr.key(0))]
    for action in (FORWARD, FORWARD, LEFT, FORWARD, RIGHT, RIGHT, RIGHT):
        states.append(step(task, states[-1], jnp.int32(action), jr.key(0))[0])
    return task, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def test_the_story_of_a_trial(trial):
    task, states = trial
    story = paths_of(jax.device_get(task), states)
    assert [len(paths) for paths in story] == [1, 1, 2, 2, 2, 2, 2, 3]
    first, second, third = story[-1]
    assert (first.steps, first.reached) == (2, True)
    assert first.total == pytest.approx(0.92)
    np.testing.assert_allclose(first.points, [(0.5, 0.5), (0.5 + 1 / 3, 0.5), (1.5, 0.5)], atol=1e-6)
    assert (second.steps, second.reached) == (5, False)
    assert second.total == pytest.approx(-0.2, abs=0.01)
    assert (third.steps, third.total) == (0, 0.0)


def test_a_lane_that_goes_on_to_another_trial_is_cut(trial):
    task, states = trial
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), states)
    assert len(paths_of(jax.device_get(task), twice)) == len(states.episode)


def test_the_map_shows_target_agent_and_path_where_they_are(trial):
    task, states = trial
    task = jax.device_get(task)
    plain = np.asarray(draw_map(task, [], None, 240), np.int32)
    ball = np.argwhere((plain[..., 0] > 180) & (plain[..., 1] < 70)).mean(axis=0)
    np.testing.assert_allclose(ball, [70, 170], atol=6)  # the cell at the upper right
    path = paths_of(task, states)[-1][0]
    drawn = np.asarray(draw_map(task, [path], (0.5, 1.5, 0.0), 240), np.int32)
    rows, columns = np.nonzero(np.abs(drawn - plain).sum(axis=-1) > 60)
    low = rows > 95
    assert columns[low].min() > 40  # an agent that looks to the right, in the cell at the lower left
    assert 150 < columns[low].max() < 165  # its cone of sight
    assert rows[~low].min() > 60
    assert rows[~low].max() < 80


def test_a_trial_becomes_a_film(trial, tmp_path):
    task, states = trial
    maze = suite("maze-small", obs="rays", horizon=5)
    film = maze.render(task, states)
    assert film.shape[0] == 8
    assert film.dtype == np.uint8
    assert all(np.any(a != b) for a, b in zip(film[1:], film[:-1], strict=True))
    path = trial_film(tmp_path / "new" / "trial.gif", maze, task, states)
    with Image.open(path) as image:
        assert image.n_frames == 8
        assert image.size == (film.shape[2], film.shape[1])
    assert maze.render(task, MazeState(*(leaf[:2] for leaf in states.inner))).shape[1:] == film.shape[1:]


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_films_keep_their_frames_and_their_time(tmp_path, ending):
    path = write_film(tmp_path / f"a.{ending}", FRAMES, rate=10.0, hold=1.0)
    with Image.open(path) as image:
        times = []
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            times.append(image.info["duration"])
    assert times == [100, 100, 100, 1100]


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="not '"):
        write_film(tmp_path / "a.avi", FRAMES)
    with pytest.raises(UsageError, match="at least one frame"):
        write_film(tmp_path / "a.gif", FRAMES[:0])
    with pytest.raises(UsageError, match="frames a second"):
        write_film(tmp_path / "a.gif", FRAMES, rate=0.0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="needs ffmpeg"):
        write_film(tmp_path / "a.mp4", FRAMES)
    with pytest.raises(UsageError, match="no pictures"):
        trial_film(tmp_path / "a.gif", suite("bandit"), (), ())


def test_a_disk_without_room_keeps_the_film_before(tmp_path, monkeypatch):
    path = write_film(tmp_path / "a.gif", FRAMES)
    before = path.read_bytes()

    def full(image, file, **_):
        Path(file).write_bytes(b"half a film")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RunError, match=r"a.gif could not be written \(No space left on device\)"):
        write_film(path, FRAMES[:2])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RunError, match=r"b.gif could not be written \(File exists\)"):
        write_film(path / "b.gif", FRAMES)


def test_a_sheet_of_stills_fills_rows_first():
    image = np.asarray(sheet(FRAMES[:3], 2, gap=2))
    assert image.shape == (42, 62, 3)
    np.testing.assert_array_equal(image[:20, 32:], FRAMES[1])
    np.testing.assert_array_equal(image[22:, :30], FRAMES[2])
    assert (image[22:, 32:] == 255).all()
