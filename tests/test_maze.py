"""Mazes are spanning trees, walls are solid, rays are exact, and the target ends an episode."""

import itertools
import math
from collections import deque

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.envs import lanes
from headstart.envs.maze import FORWARD, LEFT, RADIUS, RAYS, REACH, RIGHT, Maze, MazeState
from headstart.envs.maze_map import TURNS, MazeTask
from headstart.envs.maze_view import BALL, PALETTE, WALL, cast, picture
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.suites import suite

MAZES = 64
SIZES = (5, 9)
HORIZON = 60


@pytest.fixture(scope="module", params=SIZES)
def mazes(request) -> tuple[int, list[MazeTask]]:
    """The size and many mazes of it, as NumPy arrays."""
    n = request.param
    table = jax.device_get(jax.jit(jax.vmap(Maze(n, 1).sample))(jr.split(jr.key(n), MAZES)))
    return n, [jax.tree.map(lambda leaf, i=i: leaf[i], table) for i in range(MAZES)]


@pytest.fixture(scope="module")
def small() -> tuple[Maze, MazeTask]:
    """An environment and a table of its tasks."""
    env = Maze(5, HORIZON)
    return env, jax.jit(jax.vmap(env.sample))(jr.split(jr.key(0), MAZES))


def neighbours(task: MazeTask, x: int, y: int) -> list[tuple[int, int]]:
    """The cells joined to (x, y), read from the walls' bits in plain Python."""
    vertical, horizontal = [int(w) for w in task.vertical], [int(w) for w in task.horizontal]
    near = []
    if not vertical[x + 1] >> y & 1:
        near.append((x + 1, y))
    if not vertical[x] >> y & 1:
        near.append((x - 1, y))
    if not horizontal[y + 1] >> x & 1:
        near.append((x, y + 1))
    if not horizontal[y] >> x & 1:
        near.append((x, y - 1))
    return near


def flood(task: MazeTask, x: int, y: int) -> dict[tuple[int, int], int]:
    """Breadth-first distances from a cell."""
    distance = {(x, y): 0}
    queue = deque(distance)
    while queue:
        here = queue.popleft()
        for there in neighbours(task, *here):
            if there not in distance:
                distance[there] = distance[here] + 1
                queue.append(there)
    return distance


def test_a_maze_is_a_spanning_tree_with_closed_borders(mazes):
    n, tasks = mazes
    for task in tasks:
        cells = list(itertools.product(range(n), range(n)))
        doors = sum(len(neighbours(task, x, y)) for x, y in cells)
        assert doors == 2 * (n * n - 1)
        assert set(flood(task, 0, 0)) == set(cells)


def test_the_distance_field_is_breadth_first_search(mazes):
    n, tasks = mazes
    for task in tasks:
        distance = flood(task, *(int(i) for i in task.target))
        field = np.array([[distance[x, y] for x in range(n)] for y in range(n)])
        np.testing.assert_array_equal(task.distance, field)


def test_starts_targets_and_headings_are_uniform_over_different_cells(mazes):
    n, tasks = mazes
    assert all(tuple(task.start[:2]) != tuple(task.target) for task in tasks)
    for place in (lambda t: t.start[:2], lambda t: t.target):
        mean = np.mean([place(task) for task in tasks], axis=0)
        error = math.sqrt((n * n - 1) / 12 / MAZES)
        np.testing.assert_allclose(mean, (n - 1) / 2, atol=4 * error)
    assert {int(task.start[2]) for task in tasks} == set(range(TURNS))


def test_sampled_tasks_are_distinct(mazes):
    _, tasks = mazes
    assert len({task.vertical.tobytes() + task.horizontal.tobytes() for task in tasks}) == MAZES


def segments(task: MazeTask) -> list[tuple[float, float, float, float]]:
    """Every wall as (x0, y0, x1, y1)."""
    walls = []
    for k, place in itertools.product(range(len(task.vertical)), range(len(task.vertical) - 1)):
        if int(task.vertical[k]) >> place & 1:
            walls.append((k, place, k, place + 1))
        if int(task.horizontal[k]) >> place & 1:
            walls.append((place, k, place + 1, k))
    return walls


def test_no_walk_ever_leaves_the_body_inside_a_wall(small):
    """Random walks that mostly run: the body never overlaps a wall, however it slides round corners."""
    env, table = small

    def walk(task, key):
        def one(state, key):
            k_any, k_run = jr.split(key)
            action = jnp.where(jr.bernoulli(k_run, 0.7), FORWARD, jr.randint(k_any, (), 0, 3))
            state, step = env.step(task, state, action, key)
            return state, (state.position, step.reward)

        return jax.lax.scan(one, env.reset(task, key), jr.split(key, 500))[1]

    position, reward = jax.jit(jax.vmap(walk))(table, jr.split(jr.key(1), MAZES))
    tasks = jax.device_get(table)
    for i in range(MAZES):
        walls = np.array(segments(jax.tree.map(lambda leaf, i=i: leaf[i], tasks)), np.float32)
        low = np.asarray(position[i])[:, None, :] - RADIUS
        high = np.asarray(position[i])[:, None, :] + RADIUS
        overlap = (low < walls[None, :, 2:]) & (high > walls[None, :, :2])
        assert not overlap.all(axis=-1).any()
    assert np.isclose(reward, -0.041).mean() > 0.1  # the test did run into walls
    assert np.std(np.asarray(position), axis=1).mean() > 0.5  # and the agent got about


def twin(task: MazeTask, x: float, y: float, angle: float) -> float:
    """The distance to the first wall, by solving every wall segment for its intersection with the ray."""
    u, v = math.cos(angle), math.sin(angle)
    nearest = math.inf
    for x0, y0, x1, y1 in segments(task):
        ex, ey = x1 - x0, y1 - y0
        det = u * ey - v * ex
        if abs(det) < 1e-9:
            continue
        t = ((x0 - x) * ey - (y0 - y) * ex) / det
        s = ((x0 - x) * v - (y0 - y) * u) / det
        if t > 0 and 0 <= s <= 1:
            nearest = min(nearest, t)
    return nearest


def test_rays_are_those_of_a_slow_twin(mazes):
    n, tasks = mazes
    env = Maze(n, HORIZON)
    rng = np.random.default_rng(0)
    table = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *tasks)
    position = rng.integers(0, n, (MAZES, 2)) + rng.uniform(0.25, 0.75, (MAZES, 2))
    heading = rng.integers(0, TURNS, MAZES)
    state = MazeState(
        jnp.asarray(position, jnp.float32), jnp.asarray(heading, jnp.int32), jnp.zeros(MAZES, jnp.int32)
    )
    seen = np.asarray(jax.jit(jax.vmap(env.observe))(table, state))
    assert seen.shape[1:] == env.spec.obs.shape
    sighted = 0
    for i, task in enumerate(tasks):
        angle = heading[i] * 2 * math.pi / TURNS
        far = np.array([twin(task, *position[i], angle + ray) for ray in RAYS.tolist()])
        np.testing.assert_allclose(seen[i, :7], far / (1 + far), atol=1e-4)
        dx, dy = np.asarray(task.target) + 0.5 - position[i]
        distance, bearing = math.hypot(dx, dy), math.atan2(dy, dx)
        off = (bearing - angle + math.pi) % (2 * math.pi) - math.pi
        visible = abs(off) < math.pi / 3 and twin(task, *position[i], bearing) > distance
        sighted += visible
        expected = [1, 1 / (1 + distance), math.sin(off)] if visible else [0, 0, 0]
        np.testing.assert_allclose(seen[i, -3:], expected, atol=1e-5)
    assert sighted >= 1


def first_wall(task: MazeTask, eye: np.ndarray, u: np.float32, v: np.float32) -> tuple[float, int, int]:
    """A cast as a plain loop over a ray's crossings: distance, line and place of the wall it ends at."""
    n = len(task.vertical) - 1
    hits = [(4.0 * n, 0, 0)]
    for line in range(2 * n + 2):
        axis, k = divmod(line, n + 1)
        lines, (a, b) = (task.vertical, task.horizontal)[axis], ((u, v), (v, u))[axis]
        t = (k - float(eye[axis])) / (float(a) or 1e-6)
        place = min(max(math.floor(eye[1 - axis] + t * float(b)), 0), n - 1)
        if t > 0 and int(lines[k]) >> place & 1:
            hits.append((t, line, place))
    return min(hits)


def test_a_cast_names_the_wall_that_a_plain_loop_finds(mazes):
    n, tasks = mazes
    rng = np.random.default_rng(1)
    eye = rng.uniform(0.01, n - 0.01, (MAZES, 2)).astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi, (MAZES, 20))
    u, v = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    u[:, 0], v[:, 0] = 0.0, 1.0  # parallel to half of the lines
    table = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *tasks)
    hit = jax.device_get(jax.jit(jax.vmap(cast))(table, eye, u, v))
    found = [[first_wall(task, eye[i], u[i, r], v[i, r]) for r in range(20)] for i, task in enumerate(tasks)]
    distance, line, place = np.moveaxis(np.array(found), -1, 0)
    same = (hit.line == line) & (hit.place == place)
    assert same.mean() > 0.999, "but for a ray that meets a corner"
    np.testing.assert_allclose(hit.distance[same], distance[same], rtol=1e-4, atol=1e-5)
    assert len(np.unique(line)) == 2 * n + 2


def test_a_ray_that_meets_no_wall_ends_far_away(small):
    _, table = small
    task = jax.tree.map(lambda leaf: leaf[0], table)
    hit = jax.jit(cast)(task, jnp.array([-1.0, -1.0]), jnp.array([-0.6]), jnp.array([-0.8]))
    assert (float(hit.distance[0]), int(hit.line[0]), int(hit.place[0])) == (20.0, 0, 0)


def test_looks_tell_walls_apart_and_belong_to_the_wall(small):
    env, table = small
    view = jax.jit(jax.vmap(env.observe))
    state = jax.vmap(env.reset)(table, jr.split(jr.key(0), MAZES))
    here = np.asarray(view(table, state))[:, 7:21]
    nudged = np.asarray(view(table, state._replace(position=state.position + 1e-4)))[:, 7:21]
    other = np.asarray(view(table._replace(texture=table.texture + 1), state))[:, 7:21]
    assert np.mean(here == nudged) > 0.99
    assert np.mean(here == other) == pytest.approx(0.25, abs=0.08)
    np.testing.assert_allclose(np.unique(here), np.arange(4) / 3, atol=1e-6)


def pixel(task: MazeTask, eye: np.ndarray, angle: float, row: int, column: int) -> int:
    """What is seen in one pixel of a 30 x 40 picture: the row of PALETTE; walls by solving segments."""
    a, rise = (column + 0.5) / 20 - 1, (14.5 - row) / 20
    ahead, right = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    u, v = ahead + a * right
    depth = twin(task, *eye, math.atan2(v, u)) / math.hypot(u, v)
    gap = np.asarray(task.target) + 0.5 - eye
    far, beside = gap @ ahead, gap @ right
    if 0.1 < far < depth and (a * far - beside) ** 2 + (rise * far) ** 2 < BALL**2:
        return 6
    if abs(rise * depth) > WALL / 2:
        return 5 if rise > 0 else 4
    x, y = eye + depth * np.array([u, v])
    upright = abs(x - round(x)) < abs(y - round(y))
    line, place = (round(x), math.floor(y)) if upright else (round(y), math.floor(x))
    seed = int(task.texture)
    word = ((line // 2 * 16 + place // 2) * 0x9E3779B1 & 0xFFFFFFFF) ^ seed
    word = (word ^ word >> 15) * 0x2C1B3C6D & 0xFFFFFFFF
    word = (word ^ word >> 12) * 0x297A2D39 & 0xFFFFFFFF
    return word >> 30


def test_the_picture_is_that_of_a_slow_twin(small):
    """Every pixel's material, told from its colour, against a scalar ray caster."""
    _, table = small
    env = Maze(5, HORIZON, "rgb")
    state = jax.vmap(env.reset)(table, jr.split(jr.key(0), MAZES))
    state = state._replace(position=state.position + 0.1)
    pictures = np.asarray(jax.jit(jax.vmap(env.observe))(table, state))
    assert pictures.shape[1:] == env.spec.obs.shape
    assert pictures.dtype == np.uint8
    unit = PALETTE / np.linalg.norm(PALETTE, axis=1, keepdims=True)
    tasks = jax.device_get(table)
    right, balls = [], 0
    # Mazes in which the ball can be seen come first, so that it is among those compared.
    for i in np.argsort([-np.sum(p[..., 0] > 3.0 * p[..., 1]) for p in pictures])[:4]:
        task = jax.tree.map(lambda leaf, i=i: leaf[i], tasks)
        angle = int(state.heading[i]) * 2 * math.pi / TURNS
        eye = np.asarray(state.position[i], np.float64)
        told = np.argmax(pictures[i] @ unit.T, axis=-1)
        truth = np.array([[pixel(task, eye, angle, r, c) for c in range(0, 40, 3)] for r in range(30)])
        right.append(told[:, ::3] == truth)
        balls += np.sum(truth == 6)
    assert np.mean(right) > 0.985  # a clipped or dark colour may be mistaken
    assert balls > 20


def test_a_bigger_picture_shows_the_same(small):
    _, table = small
    task = jax.tree.map(lambda leaf: leaf[3], table)
    view = jax.jit(picture, static_argnums=(3, 4))
    eye, ahead = jnp.array([0.4, 0.6]), jnp.array([0.6, 0.8])
    coarse = np.asarray(view(task, eye, ahead, 30, 40), np.float32)
    fine = np.asarray(view(task, eye, ahead, 150, 200), np.float32)
    shrunk = fine.reshape(30, 5, 40, 5, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - coarse).mean() < 8.0


def test_turns_moves_rewards_and_both_ends():
    """In a cell without walls to the east the agent's numbers follow the docstring."""
    env = Maze(2, 7)
    empty = MazeTask(
        vertical=jnp.array([3, 0, 3], jnp.int16),
        horizontal=jnp.array([3, 0, 3], jnp.int16),
        start=jnp.array([0, 0, 0], jnp.int8),
        target=jnp.array([1, 0], jnp.int8),
        texture=jnp.int32(0),
        distance=jnp.array([[1, 0], [2, 1]], jnp.uint8),
    )
    step = jax.jit(env.step)

    def play(actions):
        state, outs = env.reset(empty, jr.key(0)), []
        for action in actions:
            state, out = step(empty, state, jnp.int32(action), jr.key(0))
            outs.append(jax.tree.map(float, out))
        return state, outs

    state, outs = play([FORWARD, FORWARD])
    np.testing.assert_allclose(state.position, [0.5 + 2 / 3, 0.5], atol=1e-6)
    assert REACH > 1 - 2 / 3
    assert outs[0] == pytest.approx((-0.04, 0.0, 0.0))
    assert outs[1] == pytest.approx((0.96, 1.0, 0.0))
    state, outs = play([LEFT, LEFT, LEFT, FORWARD])
    assert int(state.heading) == TURNS - 3
    assert outs[-1] == pytest.approx((-0.041, 0.0, 0.0))
    np.testing.assert_allclose(state.position, [0.5, RADIUS], atol=2e-3)
    state, outs = play([RIGHT] * 7)
    assert int(state.heading) == 7
    assert outs[-2] == pytest.approx((-0.04, 0.0, 0.0))
    assert outs[-1] == pytest.approx((-0.04, 0.0, 1.0))


def way(view: jax.Array, n: int) -> jax.Array:
    """The privileged view's action: turn towards the next cell's centre, or the target's, else run."""
    position, target, step = view[:2] * n, view[2:4] * n, view[7:9]
    aim = jnp.where(jnp.any(step != 0), jnp.floor(position) + 0.5 + step, target) - position
    off = jnp.arctan2(view[4] * aim[1] - view[5] * aim[0], view[4] * aim[0] + view[5] * aim[1])
    return jnp.where(jnp.abs(off) <= math.pi / TURNS + 1e-4, FORWARD, jnp.where(off > 0, RIGHT, LEFT))


def test_the_privileged_way_leads_every_lane_to_its_target(small):
    """Trials in lanes: following the critic's view ends all episodes at the target, each in the same way."""
    _, table = small
    env = Trial(Maze(5, 250), 2)

    def one(state, key):
        view = jax.tree.leaves(lanes.privileged(env, state))[0]
        action = jax.vmap(way, (0, None))(view, 5).astype(jnp.int32)
        state, timestep = lanes.step(env, table, state, action, key, pinned=True)
        return state, (timestep.reward, timestep.obs.ended, timestep.first)

    start = lanes.reset(env, table, jr.key(0), MAZES, pinned=True)[0]
    played = jax.jit(lambda start, keys: jax.lax.scan(one, start, keys)[1])(start, jr.split(jr.key(1), 260))
    reward, ended, first = (np.asarray(leaf).T for leaf in played)
    lengths = []
    for lane in range(MAZES):
        ends = np.flatnonzero(ended[lane])
        np.testing.assert_array_equal(np.flatnonzero(reward[lane] > 0.9), ends)
        np.testing.assert_array_equal(np.flatnonzero(first[lane]), ends[1::2])
        assert len(ends) >= 2
        assert np.all(np.diff(ends) == ends[0] + 1)
        lengths.append(ends[0] + 1)
    assert 15 < np.mean(lengths) < 45


def test_the_suites_are_registered_and_refuse_nonsense():
    for name, size, horizon in (("maze-small", 5, 250), ("maze-large", 9, 1000)):
        loaded = suite(name, obs="rays", episodes=3)
        assert loaded.env.spec.steps == 3 * horizon
        assert loaded.env.env.size == size
    with pytest.raises(UsageError, match="rays or rgb"):
        suite("maze-small", obs="pixels")
    with pytest.raises(UsageError, match="at least one step"):
        suite("maze-small", horizon=0)
