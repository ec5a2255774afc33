"""Trees as words, and games whose observations are pictures."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from headstart import suites
from headstart.contest.environment import Game
from headstart.contest.packing import Packing

LEVEL = Path(suites.__file__).parents[1] / "data" / "levels" / "practice-1.txt"


def test_what_is_packed_comes_out_again() -> None:
    tree = {
        "float": jnp.array([[-0.0, jnp.nan, jnp.inf], [1e-40, 3.5, -1.0]], jnp.float32),
        "int": jnp.array(-7, jnp.int32),
        "word": jnp.array([0xFFFFFFFF, 1], jnp.uint32),
        "flag": jnp.array([True, False]),
        "byte": jnp.arange(250, 256).astype(jnp.uint8),
        "short": jnp.array([-3, 3], jnp.int16),
        "none": None,
        "empty": jnp.zeros((0, 3)),
    }
    packing = Packing.of(tree)
    again = packing.unpack(jax.jit(packing.pack)(tree))
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    for old, new in zip(jax.tree.leaves(tree), jax.tree.leaves(again), strict=True):
        assert new.dtype == old.dtype
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_equal_trees_have_equal_packings() -> None:
    one, other = Packing.of((jnp.zeros(3), 1.0)), Packing.of((jnp.ones(3), 2.0))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Packing.of((jnp.zeros(4), 1.0))


@pytest.mark.parametrize("frames", [1, 2])
def test_a_contest_may_be_played_from_pictures(frames: int) -> None:
    game = Game(f"platformer:obs=grey,frames={frames}", LEVEL.read_text(), 0, 2)
    first = game.reset(0, np.ones(2, bool))
    (leaf,) = game.leaves
    assert leaf["shape"] == [84, 84, frames]
    pictures = first[game.outcome :][: 2 * 84 * 84 * frames].reshape(2, 84, 84, frames)
    assert pictures.std() > 10  # something is to be seen
    assert (pictures[0] == pictures[1]).all()
    for t in range(20):
        block = game.step(t, np.array([0, 3], np.int32))
    later = block[game.outcome :][: 2 * 84 * 84 * frames].reshape(2, 84, 84, frames)
    assert (later[0] != later[1]).any()  # one stands, the other runs
