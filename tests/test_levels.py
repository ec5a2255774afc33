"""The shipped levels of the platformer, the generator, and the search: every level is legal and can be finished."""

from functools import cache
from typing import get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from headstart.envs.platformer import HORIZON, JUMP, RIGHT, Platformer
from headstart.envs.platformer_body import FINISHED, LOST, PLAYING
from headstart.envs.platformer_level import parse
from headstart.envs.platformer_search import SearchConfig, check
from headstart.envs.platformer_table import stack, tasks_of
from headstart.envs.platformer_zones import ZONES
from headstart.errors import UsageError
from headstart.suites import _platformer_levels as shelf
from headstart.suites._platformer_generator import generate, reach
from headstart.suites._platformer_styles import STYLES

NAMES = tuple(shelf.index())
GREEDY_SEEDS = 2


@cache
def _levels():
    found = {}
    for which in get_args(shelf.LevelSet):
        found |= dict(zip(*shelf.shipped(which), strict=True))
    return [found[name] for name in NAMES]


@cache
def _outcomes() -> tuple[np.ndarray, np.ndarray]:
    """Status and step at the end of every shipped tape, then of greedy players `[seeds, levels]`, in one compiled replay.

    Greedy holds right and now and then jumps for six steps.
    """
    env, tasks = Platformer(stack(_levels()), sticky=0.0), tasks_of(_levels())
    tapes = [shelf.tape(name) for name in NAMES]
    length = max(map(len, tapes))
    actions = np.full((1 + GREEDY_SEEDS, len(NAMES), length), RIGHT, np.int32)
    for i, tape in enumerate(tapes):
        actions[0, i, : len(tape)] = tape
    jumps = np.random.default_rng(0).random(actions[1:].shape) < 0.08
    for shift in range(6):
        actions[1:][np.roll(jumps, shift, -1)] = JUMP

    @jax.jit
    def play(actions):
        def one(task, actions):
            def body(carry, action):
                state, steps = carry
                steps += (state.body.status == PLAYING).astype(jnp.int32)
                return (env.step(task, state, action, jr.key(0))[0], steps), None

            (state, steps), _ = jax.lax.scan(body, (env.reset(task, jr.key(0)), jnp.int32(0)), actions)
            return state.body.status, steps

        flat = jax.vmap(one, (0, 0))
        return flat(
            jax.tree.map(lambda leaf: jnp.tile(leaf, (len(actions),) + (1,) * (leaf.ndim - 1)), tasks),
            actions.reshape(-1, length),
        )

    status, steps = play(jnp.asarray(actions))
    shape = actions.shape[:2]
    return np.asarray(status).reshape(shape), np.asarray(steps).reshape(shape)


def test_the_set_is_complete() -> None:
    """58 levels, 47 of them for training; 11 for the contest, 5 for practice; files and index name the same."""
    count = {which: len(shelf.shipped(which)[0]) for which in ("train", "test", "contest", "practice")}
    assert count == {"train": 47, "test": 11, "contest": 11, "practice": 5}
    assert {path.stem for path in shelf.folder().glob("*.txt")} - {"index"} == set(NAMES)
    assert {path.stem for path in shelf.folder().glob("*.tape")} == set(NAMES)


def test_acts_and_splits_follow_the_zones() -> None:
    """A test level's zone has other acts, which are training levels; contest zones are met nowhere else."""
    sets = shelf.index()
    for name, level in zip(NAMES, _levels(), strict=True):
        zone = ZONES[level.zone]
        if sets[name] == "practice":
            continue
        assert name == f"{level.zone}-{level.act}"
        assert (sets[name] == "contest") == (zone.world == "Contest")
        if zone.world != "Contest":
            assert (sets[name] == "test") == (level.act == zone.test)
    tested = {level.zone for level in shelf.shipped("test")[1]}
    trained = {level.zone for level in shelf.shipped("train")[1]}
    assert len(tested) == 11
    assert tested <= trained


def test_no_two_levels_are_the_same() -> None:
    digests = [level.digest for level in _levels()]
    assert len(set(digests)) == len(digests)
    assert {level.tiles.tobytes() for level in shelf.shipped("train")[1]}.isdisjoint(
        level.tiles.tobytes() for level in shelf.shipped("test")[1]
    )


def test_levels_have_a_levels_size() -> None:
    assert all(180 <= level.columns <= 400 and level.rows == 32 for level in _levels())


def test_every_tape_finishes_its_level() -> None:
    status, steps = _outcomes()
    assert [name for name, end in zip(NAMES, status[0], strict=True) if end != FINISHED] == []
    lengths = [len(shelf.tape(name)) for name in NAMES]
    assert steps[0].tolist() == lengths, "a tape ends with the step that reaches the goal"
    assert max(lengths) <= HORIZON // 3


def test_holding_right_does_not_finish() -> None:
    """The greedy player dies, or is still stuck when the expert has long been there, on nearly every level."""
    status, _ = _outcomes()
    finished = (status[1:] == FINISHED).mean()
    assert finished < 0.1
    assert (status[1:] == LOST).any()
    assert (status[1:] == PLAYING).any()


def test_the_generator_is_deterministic_and_its_levels_are_legal() -> None:
    for seed, zone in enumerate(ZONES):
        text = generate(seed, zone, difficulty=seed / len(ZONES))
        assert text == generate(seed, zone, difficulty=seed / len(ZONES))
        level = parse(text)
        assert level.zone == zone
        assert 180 <= level.columns <= 400
    assert generate(0, "fern-hill") != generate(1, "fern-hill")


def test_bad_requests_to_the_generator() -> None:
    with pytest.raises(UsageError, match="fern-hill"):
        generate(0, "fern-hil")
    with pytest.raises(UsageError, match="between 0 and 1"):
        generate(0, "fern-hill", difficulty=1.5)


def test_every_zone_has_a_style_whose_pieces_exist() -> None:
    from headstart.suites._platformer_barriers import BARRIERS
    from headstart.suites._platformer_passages import PASSAGES

    assert set(STYLES) == set(ZONES)
    for style in STYLES.values():
        assert set(style.passage_names()) <= set(PASSAGES)
        assert set(style.barrier_names()) <= set(BARRIERS)


def test_reach_is_the_closed_form() -> None:
    """A plain jump of 6.5 px a frame under 0.22 rises v²/2g = 96 px, six tiles; a spring of 10 rises 14 tiles."""
    plain = reach(ZONES["fern-hill"].physics)
    assert (plain.jump, plain.spring) == (6, 13)
    assert all(reach(zone.physics).jump >= 5 and reach(zone.physics).leap >= 5 for zone in ZONES.values())


def test_generated_roles_are_disjoint_and_nested() -> None:
    sets = {role: shelf.generated(role, n) for role, n in (("train", 6), ("valid", 2), ("test", 2))}
    digests = {role: {level.digest for level in levels} for role, (_, levels) in sets.items()}
    assert not (
        digests["train"] & digests["valid"]
        | digests["train"] & digests["test"]
        | digests["valid"] & digests["test"]
    )
    assert shelf.generated("train", 3)[0] == sets["train"][0][:3]


def test_tapes_survive_writing() -> None:
    actions = np.array([2, 2, 2, 7, 7, 0, 1, 1], np.uint8)
    assert shelf.write_tape(actions) == "2x3 7x2 0x1 1x2\n"
    assert (shelf.read_tape(shelf.write_tape(actions)) == actions).all()
    with pytest.raises(UsageError, match="word 2"):
        shelf.read_tape("2x3 8x1")


HEAD = "zone: fern-hill\nact: 1\npar: 5\n---\n"
SWITCH = """\
....................
..............#.....
..............#.....
..............#.....
..............#.....
..............#.....
..............#.....
..............P.....
.p.......S....P..G..
####################
"""
SEARCH = SearchConfig(lanes=32, steps=24, rounds=30, polish=2)


def test_check_finds_a_way_back_to_a_switch_and_says_where_there_is_none() -> None:
    """The switch lies to the left; without it, the gate never opens."""
    report = check(HEAD + SWITCH, config=SEARCH)
    assert report.tape is not None
    assert not report.stored
    assert 1 in report.tape.tolist()
    again = check(HEAD + SWITCH, tape=report.tape, config=SEARCH)
    assert again.stored
    walled = SWITCH.replace("P", "#").replace("p", ".")
    lost = check(HEAD + walled, tape=report.tape, config=SEARCH)
    assert lost.tape is None
    assert (lost.column, lost.closed) == (14, ())
    assert lost.obstacle == "the search came to column 14 of 18, where the goal is"


def test_check_names_the_gates_that_stayed_shut() -> None:
    """A wall up to the sky stands between the start and the switch."""
    shut = SWITCH.replace(".p.", "p..")
    rows = [row[:1] + "#" + row[2:] if i < 9 else row for i, row in enumerate(shut.splitlines())]
    rows = ["#" * 20, *[".#" + "." * 12 + "#" + "." * 5] * 4, *rows]
    report = check(HEAD + "\n".join(rows), config=SEARCH)
    assert report.tape is None
    assert report.closed == ("P",)
    assert report.obstacle.endswith("it never stepped on a switch 'p' for the gate in row 13, column 15")


def test_check_refuses_what_is_no_level() -> None:
    with pytest.raises(UsageError, match="no goal"):
        check(HEAD + SWITCH.replace("G", "."))
