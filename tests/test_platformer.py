"""The platformer as an environment and a suite: rewards, ends, sticky actions, planks, and what the agent sees."""

import re
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.envs.platformer import (
    DOWN,
    FALLS,
    FRAMES,
    HORIZON,
    JUMP,
    LEFT,
    NONE,
    RETURNS,
    RIGHT,
    Platformer,
    PlatformerState,
)
from headstart.envs.platformer_body import FINISHED, LOST, PLAYING
from headstart.envs.platformer_level import CODES, Level, Mover, parse
from headstart.envs.platformer_sight import ABOVE, BEHIND, BODY, WINDOW
from headstart.envs.platformer_table import UNIT, stack, task_of
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.suites import suite
from headstart.types import Step

HEAD = "zone: fern-hill\nact: 1\npar: 40\n---\n"
LANES, STEPS = 8, 128
FLAT = HEAD + "\n".join(["." * 60, "....S" + "." * 54 + "G", "#" * 60])


@jax.jit
def _run(levels: Any, options: Any, task: Any, actions: jax.Array, keys: jax.Array) -> Any:
    """States `[lanes, steps + 1]`; steps, the reward with backtracking, and observations `[lanes, steps]`."""
    env, free = Platformer(levels), Platformer(levels, backtracking=True)
    for field, value in zip(("sticky", "horizon"), options, strict=True):
        object.__setattr__(env, field, value)  # traced, so that one compiled program serves all settings

    def one(actions: jax.Array, key: jax.Array) -> Any:
        def step(state: PlatformerState, now: Any) -> Any:
            action, key = now
            after, out = env.step(task, state, action, key)
            return after, (after, out, free.reward(task, state, after), env.observe(task, after))

        first = env.reset(task, key)
        later = jax.lax.scan(step, first, (actions, jr.split(key, STEPS)))[1]
        states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later[0])
        return states, *later[1:]

    return jax.vmap(one)(actions, keys)


@cache
def _level(text: str) -> tuple[Level, Any, Any]:
    level = parse(text)
    return level, stack([level]), task_of(level)


def play(
    text: str, actions: Any, sticky: float = 0.0, horizon: int = HORIZON, seed: int = 0
) -> tuple[PlatformerState, Step, np.ndarray, Any]:
    """Play one action, a list (its last goes on), or an array `[lanes, steps]`; everything as NumPy arrays."""
    _, levels, task = _level(text)
    if isinstance(actions, int | list):
        listed = [actions] if isinstance(actions, int) else actions
        actions = np.array([*listed, *[listed[-1]] * (STEPS - len(listed))])
    actions = np.broadcast_to(actions, (LANES, STEPS)).astype(np.int32)
    keys = jr.split(jr.key(seed), LANES)
    options = (jnp.float32(sticky), jnp.int32(horizon))
    return jax.tree.map(np.asarray, _run(levels, options, task, jnp.asarray(actions), keys))


def _over(step: Step, lane: int = 0) -> int:
    """Steps until the episode is over."""
    return int(np.argmax(step.terminated[lane])) + 1


def test_holding_right_on_a_flat_level_finishes_it_for_9000_and_a_bonus_for_speed() -> None:
    states, step, _, _ = play(FLAT, RIGHT)
    n = _over(step)
    assert step.terminated[0, n - 1]
    assert not step.truncated.any()
    assert states.body.status[0, n] == FINISHED
    clock = states.clock[0, n]
    assert FRAMES * (n - 1) < clock <= FRAMES * n
    assert step.reward[0, :n].sum() == pytest.approx(9000 + 1000 * (1 - clock / 18000), abs=0.05)


def test_what_is_gained_is_lost_by_going_back_unless_backtracking_is_free() -> None:
    states, step, free, _ = play(FLAT, [RIGHT] * 20 + [LEFT] * 60 + [NONE])
    start, goal = 4 * UNIT + UNIT // 2, 59 * UNIT
    progress = np.clip(states.body.x[0] - start, 0, goal - start) / (goal - start)
    np.testing.assert_allclose(np.cumsum(step.reward[0]), 9000 * progress[1:], atol=0.02)
    np.testing.assert_allclose(np.cumsum(free[0]), 9000 * np.maximum.accumulate(progress)[1:], atol=0.02)
    assert progress[-1] == 0.0, "back behind the start, which costs nothing more"
    assert (free >= 0).all()


def test_a_lost_life_ends_the_episode_and_keeps_what_was_gained() -> None:
    states, step, _, _ = play(FLAT.replace("S......", "S.....^"), RIGHT)
    n = _over(step)
    assert states.body.status[0, n] == LOST
    x = states.body.x[0, n]
    start, goal = 4 * UNIT + UNIT // 2, 59 * UNIT
    assert step.reward[0, :n].sum() == pytest.approx(9000 * (x - start) / (goal - start), abs=0.02)


def test_an_episode_ends_after_its_horizon_which_is_4500_steps() -> None:
    states, step, _, obs = play(FLAT, NONE, horizon=100)
    assert _over(step) == 100
    assert not step.terminated[0, :99].any()
    assert states.body.status[0, 100] == PLAYING
    np.testing.assert_allclose(obs.body[0, :100, -1], 1 - np.arange(1, 101) / 100, atol=1e-6)
    assert HORIZON == 4500


def test_a_sticky_action_begins_one_frame_late_and_only_then() -> None:
    """From a stand, the first step is four frames of acceleration or, where the action is late, three."""
    prompt, _, _, _ = play(FLAT, RIGHT, sticky=0.0)
    late, _, _, _ = play(FLAT, RIGHT, sticky=1.0)
    assert prompt.body.vx[0, 1] == 4 * 12
    assert late.body.vx[0, 1] == 3 * 12
    np.testing.assert_array_equal(np.diff(late.body.vx[0, 1:30]), 4 * 12)
    turned, _, _, _ = play(FLAT, [RIGHT] * 10 + [NONE], sticky=1.0)
    assert turned.body.vx[0, 11] - turned.body.vx[0, 10] == 12 - 3 * 12, "one frame more, then friction"


def test_a_quarter_of_the_actions_is_late_and_the_key_decides_which() -> None:
    actions = np.random.default_rng(0).integers(0, 2, (LANES, STEPS)) * RIGHT
    actions[:, ::2] = 0
    one, again, other = (play(FLAT, actions, sticky=0.25, seed=seed)[0] for seed in (1, 1, 2))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.body.x != other.body.x).any()
    first = np.concatenate([play(FLAT, RIGHT, sticky=0.25, seed=s)[0].body.vx[:, 1] for s in range(24)])
    share = (first == 3 * 12).mean()
    assert set(first.tolist()) == {3 * 12, 4 * 12}
    assert share == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / len(first)))


def test_a_plank_falls_some_frames_after_it_was_stepped_on_and_comes_back() -> None:
    rows = ["." * 20] * 3 + ["....S" + "." * 14 + "G", "###bbb" + "#" * 14, "." * 20, "#" * 20]
    states, _, _, obs = play(HEAD + "\n".join(rows), NONE)
    on = states.body.y[0] == 4 * UNIT
    falls = int(np.argmin(on))
    assert falls in (FALLS // FRAMES + 1, FALLS // FRAMES + 2)
    assert states.body.y[0, -1] == 6 * UNIT, "down on the floor below"
    assert states.stepped[0, -1].max() < FALLS
    plank = obs.window.reshape(LANES, STEPS, *WINDOW)[0, :, ABOVE - 1, 1, BEHIND] == 255
    back = falls + int(np.argmax(plank[falls:]))
    assert back == pytest.approx(RETURNS // FRAMES, abs=1)
    assert plank[back:].all()
    running, _, _, _ = play(HEAD + "\n".join(rows), RIGHT)
    assert (running.body.y[0, : FALLS // FRAMES] == 4 * UNIT).all()


def _place(mover: Mover, frame: int) -> tuple[float, float]:
    """x and y of a moving thing in pixels, by the formula, in sixteenths."""
    u = (mover.rate * frame + mover.phase) % 65536
    off = mover.span * 16 * min(u, 65536 - u) // 32768 / 16
    return (mover.x, mover.y + off) if mover.vertical else (mover.x + off, mover.y)


def _picture(level: Level, state: Any) -> np.ndarray:
    """The planes around the player, tile by tile from the level as it was drawn: a slow twin."""
    names = {code: tile for tile, code in CODES.items()}
    column, row = state.body.x // UNIT - BEHIND, (state.body.y - 1) // UNIT - ABOVE
    ring, wall = CODES["o"], CODES["%"]
    rings = [tuple(place) for place in np.argwhere(ring == level.tiles.T)]
    walls = sorted(set(np.argwhere(level.tiles == wall)[:, 1].tolist()))
    taken = [int(word) >> k & 1 for word in state.world.taken for k in range(32)]
    kinds = {"#": (0, 255), "=": (1, 255), "b": (1, 255), "^": (2, 255), "o": (3, 85), "G": (3, 255)}
    kinds |= dict.fromkeys("/12", (1, 170)) | dict.fromkeys("\\34", (1, 85))
    kinds |= dict.fromkeys("pqr", (3, 170)) | {"{": (4, 85), "}": (4, 170), "Y": (4, 255)}
    out = np.zeros(WINDOW, np.uint8)
    for r in range(WINDOW[0]):
        for c in range(WINDOW[2]):
            y, x = row + r, column + c
            if not 0 <= y < 32:
                continue
            tile = names[int(level.tiles[y, x])] if 0 <= x < level.columns else "#"
            if tile == "o" and taken[rings.index((x, y))]:
                continue
            if tile in "PQR":
                if not int(state.world.pressed) >> "PQR".index(tile) & 1:
                    out[r, 0, c] = 170
            elif tile == "%":
                if not int(state.world.smashed) >> walls.index(x) & 1:
                    out[r, 0, c] = 85
            elif tile in kinds:
                plane, value = kinds[tile]
                out[r, plane, c] = value
    for i, mover in enumerate(level.enemies):
        x, y = _place(mover, int(state.clock))
        r, c = int((y - 8) // 16) - row, int(x // 16) - column
        if 0 <= r < WINDOW[0] and 0 <= c < WINDOW[2] and not int(state.world.dead) >> i & 1 and row + r >= 0:
            out[r, 2, c] = max(out[r, 2, c], 170)
    for mover in level.platforms:
        x, y = _place(mover, int(state.clock))
        for c in range(int((x - 24) // 16) - column, int((x + 23.99) // 16) - column + 1):
            r = int(y // 16) - row
            if 0 <= r < WINDOW[0] and 0 <= c < WINDOW[2] and row + r >= 0:
                out[r, 1, c] = 255
    return out.reshape(WINDOW[0], -1)


ZOO = HEAD + "\n".join([
    "................................................",
    "......................ooo...........f...........",
    "...............o......===......m................",
    "..............ooo............................o..",
    "....S..oo.e..12#34.p./#\\.}.P.^....Y.{.q.%%.Q.e.G",
    "#########################.###..#################",
    "################################################",
])  # fmt: skip


def test_the_window_shows_what_is_drawn_and_what_has_become_of_it() -> None:
    dice = np.random.default_rng(0)
    actions = np.repeat(dice.choice([RIGHT, RIGHT, JUMP, DOWN, LEFT, 6], (LANES, STEPS // 4)), 4, 1)
    level, _, _ = _level(ZOO)
    states, step, _, obs = play(ZOO, actions)
    met: set[tuple[int, int]] = set()
    for lane in range(LANES):
        for t in range(0, _over(step, lane) if step.terminated[lane].any() else STEPS, 5):
            state = jax.tree.map(lambda leaf, at=(lane, t + 1): leaf[at], states)
            twin = _picture(level, state)
            np.testing.assert_array_equal(obs.window[lane, t], twin, err_msg=f"lane {lane}, step {t}")
            planes = twin.reshape(WINDOW)
            met |= {(plane, int(value)) for plane in range(5) for value in np.unique(planes[:, plane])}
    assert len(met) >= 17, "nearly all planes and values were seen"
    assert states.world.taken.any()


def test_the_body_feels_its_speed_posture_and_time() -> None:
    states, _, _, obs = play(ZOO, [RIGHT] * 20 + [JUMP] * 10 + [DOWN])
    body, feel = states.body, obs.body[0]
    assert obs.body.shape == (LANES, STEPS, BODY)
    assert (np.abs(obs.body) <= 1).all()
    np.testing.assert_allclose(feel[:, 0], body.vx[0, 1:] / 4095, atol=1e-6)
    np.testing.assert_allclose(feel[:, 1], body.vy[0, 1:] / 4095, atol=1e-6)
    np.testing.assert_allclose(feel[:, 6], body.x[0, 1:] % UNIT / UNIT, atol=1e-6)
    np.testing.assert_array_equal(feel[:, 8] == 1, body.ground[0, 1:])
    np.testing.assert_array_equal(feel[:, 12] == 1, body.rings[0, 1:] > 0)


def test_the_suite_has_the_papers_split_and_names_its_levels() -> None:
    paper = suite("platformer")
    train, valid, test = (paper.split(role) for role in ("train", "valid", "test"))
    assert (train.size, test.size) == (47, 11)
    assert "fern-hill-1" in train.labels
    assert "fern-hill-2" in test.labels
    digests = [{tuple(row) for row in np.asarray(split.tasks.digest)} for split in (train, valid, test)]
    assert sum(map(len, digests)) == len(set.union(*digests)) == 47 + 11 + (valid.size or 0), "no level twice"
    assert paper.split("test", 3).labels == test.labels[:3]
    spec = paper.env.spec
    assert sum(int(np.prod(space.shape)) for space in spec.obs) < 900
    assert (spec.horizon, spec.truncates, spec.episodes) == (4500, False, 1)
    assert suite("platformer").env == paper.env, "one environment, one compilation"


def test_other_sets_share_the_training_levels_and_a_trial_is_several_episodes() -> None:
    paper, contest, practice = (suite("platformer", levels=name) for name in ("paper", "contest", "practice"))
    assert [s.split("test").size for s in (contest, practice)] == [11, 5]
    train = [np.asarray(s.split("train").tasks.digest) for s in (paper, contest, practice)]
    np.testing.assert_array_equal(train[0], train[1])
    np.testing.assert_array_equal(train[0], train[2])
    trial = suite("platformer:episodes=3").env
    assert isinstance(trial, Trial)
    assert trial.spec.episodes == 3
    drawn = paper.sample(jr.key(0))
    assert int(drawn.level) < 47


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": "sonic"}, "paper, contest, practice and generated levels, not 'sonic'"),
        ({"obs": "smell"}, "not 'smell'"),
        ({"sticky": 1.5}, "sticky is a probability between 0 and 1, not 1.5"),
        ({"episodes": -1}, "a trial has at least one episode, not -1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        suite("platformer", **options)


@pytest.mark.slow
def test_compiled_in_stages_it_is_the_same_game_as_run_operation_by_operation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The slow twin of `stage` and `turns`: no compiler, no conditionals."""
    states, step, _, obs = play(ZOO, [RIGHT] * 30 + [JUMP] * 6 + [DOWN] * 4 + [RIGHT])
    _, levels, task = _level(ZOO)
    env = Platformer(jax.tree.map(jnp.asarray, levels), sticky=0.0)
    task = jax.tree.map(jnp.asarray, task)
    monkeypatch.setattr(jax, "default_backend", lambda: "none")
    with jax.disable_jit():
        for t in (20, 33, 38):
            state = jax.tree.map(lambda leaf, t=t: jnp.asarray(leaf[0, t]), states)
            action = jnp.int32([RIGHT, JUMP, DOWN][(20, 33, 38).index(t)])
            after, out = env.step(task, state, action, jr.key(0))
            for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(states), strict=True):
                np.testing.assert_array_equal(a, b[0, t + 1])
            assert float(out.reward) == pytest.approx(float(step.reward[0, t]), abs=1e-3)
            np.testing.assert_array_equal(env.observe(task, after).window, obs.window[0, t])
