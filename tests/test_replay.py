"""The replay against a slow twin that keeps every step in a Python list, and the tree of sums against plain sums."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2

from headstart.ops import replay as ring
from headstart.ops import sum_tree
from headstart.ops.replay import TERMINATED, TRUNCATED, Layout, Replay
from headstart.types import Box, Discrete, MultiDiscrete, Transition

GAMMA = 0.9


# The tree of sums -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [1, 4, 5, 300])
def test_every_node_is_the_sum_of_its_children(entries: int) -> None:
    rng = np.random.default_rng(entries)
    tree, plain = sum_tree.empty(entries), np.zeros(entries)
    for _ in range(3):
        index = rng.permutation(entries)[: max(1, entries // 2)]
        value = rng.uniform(0, 2, index.size).astype(np.float32)
        plain[index] = value
        tree = sum_tree.put(tree, jnp.asarray(index, jnp.int32), jnp.asarray(value))
    assert_allclose(sum_tree.get(tree, jnp.arange(entries, dtype=jnp.int32)), plain, rtol=1e-6)
    assert_allclose(sum_tree.total(tree), plain.sum(), rtol=1e-6)
    inner = (tree.size - 1) // 4
    for node in range(inner):
        assert_allclose(tree[node], np.asarray(tree)[4 * node + 1 : 4 * node + 5].sum(), rtol=1e-6)


@pytest.mark.parametrize("branch", [2, 4, 7])
def test_a_mass_is_found_where_the_cumulative_sum_passes_it(branch: int) -> None:
    rng = np.random.default_rng(branch)
    plain = rng.integers(0, 5, 200).astype(np.float32)  # whole numbers, so that sums are exact; a fifth is 0
    tree = sum_tree.empty(200, branch)
    tree = sum_tree.put(tree, jnp.arange(200, dtype=jnp.int32), jnp.asarray(plain), branch)
    mass = np.arange(0.0, plain.sum(), 0.5, np.float32)
    found = sum_tree.find(tree, jnp.asarray(mass), branch)
    assert_array_equal(found, np.searchsorted(np.cumsum(plain), mass, side="right"))
    assert plain[np.asarray(found)].min() > 0


# Drawing ----------------------------------------------------------------------------------------------------------


def priorities(replay: Replay) -> Any:
    return np.asarray(sum_tree.get(replay.tree, jnp.arange(replay.end.size, dtype=jnp.int32)))


def _with_priorities(priority: Any) -> Replay:
    replay = ring.empty((), len(priority))
    tree = sum_tree.put(replay.tree, jnp.arange(len(priority), dtype=jnp.int32), jnp.asarray(priority))
    return replay._replace(tree=tree)


def test_entries_are_drawn_in_proportion_to_their_priorities() -> None:
    priority = np.array([3.0, 0.0, 1.0, 0.5, 0.0, 2.0, 0.25, 1.25], np.float32)
    share = priority / priority.sum()
    draw = jax.jit(partial(ring.sample, shape=(4000, 1)))  # a batch of one: nothing is stratified
    for seed in range(4):
        index, probability = draw(_with_priorities(priority), jr.key(seed))
        counts = np.bincount(np.asarray(index).ravel(), minlength=8)
        assert counts[share == 0].sum() == 0
        expected = 4000 * share[share > 0]
        statistic = ((counts[share > 0] - expected) ** 2 / expected).sum()
        assert statistic < chi2.ppf(1 - 1e-4, expected.size - 1)
        assert_allclose(probability, share[np.asarray(index)], rtol=1e-6)


def test_a_batch_is_spread_over_the_priorities() -> None:
    index, _ = ring.sample(_with_priorities(np.ones(8, np.float32)), jr.key(0), (5, 8))
    assert_array_equal(index, np.tile(np.arange(8), (5, 1)))


def test_importance_weights_undo_how_often_entries_are_drawn() -> None:
    probability = jnp.array([0.5, 0.125, 0.25, 0.0])
    weight = ring.importance(probability, jnp.int32(16), 1.0)
    assert_allclose(weight, [0.25, 1.0, 0.5, 0.0])
    assert_allclose(ring.importance(probability, jnp.int32(16), 0.0), [1, 1, 1, 0])
    assert ring.importance(jnp.zeros(3), jnp.int32(16), 0.4).tolist() == [0, 0, 0]


def test_new_priorities_change_what_is_drawn_and_new_entries_get_the_greatest() -> None:
    replay = _with_priorities(np.array([1.0, 1.0, 0.0, 1.0], np.float32))
    replay = ring.reprioritise(replay, jnp.array([1, 2]), jnp.array([7.0, 9.0]))
    assert priorities(replay).tolist() == [1, 7, 0, 1], "an entry that cannot be drawn stays so"
    assert replay.peak == 7


def test_of_one_entry_drawn_again_and_again_the_last_priority_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wins where one place is written to several times: all of them write the same."""
    put, written = sum_tree.put, dict[int, set[float]]()

    def spy(tree: Any, index: Any, priority: Any) -> Any:
        for i, p in zip(index.tolist(), priority.tolist(), strict=True):
            written.setdefault(i, set()).add(p)
        return put(tree, index, priority)

    replay = _with_priorities(np.array([1.0, 1.0, 0.0, 1.0], np.float32))
    monkeypatch.setattr(sum_tree, "put", spy)
    replay = ring.reprioritise(
        replay, jnp.array([3, 1, 3, 2, 1, 3]), jnp.array([8.0, 7.0, 9.0, 5.0, 4.0, 2.0])
    )
    assert written == {3: {2.0}, 1: {4.0}, 2: {0.0}}
    assert priorities(replay).tolist() == [1, 4, 0, 2]


# The ring ---------------------------------------------------------------------------------------------------------


def _steps(t: int, n: int, rng: np.random.Generator, often: float) -> Iterator[Transition]:
    """Blocks `[t, n]` of experience in which an observation is a number that no other observation is."""
    start = 0
    while True:
        obs = (start + np.arange(t * n)).reshape(t, n, 1).astype(np.float32)
        start += t * n
        last = rng.random((t, n)) < often
        discount = np.where(last & (rng.random((t, n)) < 0.5), 0.0, 1.0).astype(np.float32)
        action = rng.integers(0, 5, (t, n)).astype(np.int32)
        reward = rng.normal(size=(t, n)).astype(np.float32)
        arrays = (obs, last, action, reward, discount, last)
        yield Transition(*map(jnp.asarray, arrays), None, None, ())


def slow_window(lane: list[Any], t: int, n: int) -> tuple[float, float, float | None]:
    """R, discount and the observation that follows, step by step; of a lane's whole history."""
    total = 0.0
    for k in range(n):
        _, _, reward, discount, last = lane[t + k]
        if last and discount > 0:
            return total, GAMMA**k, lane[t + k][0]
        total += GAMMA**k * reward
        if last:
            return total, 0.0, None
    return total, GAMMA**n, lane[t + n][0]


def slow_frames(lane: list[Any], t: int, frames: int) -> list[float]:
    """The last observations of the episode, oldest first, the episode's first repeated where there are too few."""
    back = [t]
    while len(back) < frames:
        back.append(back[-1] if back[-1] == 0 or lane[back[-1] - 1][4] else back[-1] - 1)
    return [lane[i][0] for i in reversed(back)]


@pytest.mark.parametrize(
    ("t", "n", "n_step", "frames", "capacity"),
    [(4, 3, 3, 1, 60), (1, 1, 2, 3, 17), (2, 4, 5, 1, 90)],
)
def test_the_ring_equals_a_list_that_forgets_nothing(
    t: int, n: int, n_step: int, frames: int, capacity: int
) -> None:
    layout = Layout(capacity, t, n, n_step, frames)
    replay, lanes = ring.empty(Box((1,)), capacity), [[] for _ in range(n)]
    push = jax.jit(ring.push, static_argnums=1)
    read = jax.jit(partial(ring.windows, gamma=GAMMA), static_argnums=1)
    blocks = _steps(t, n, np.random.default_rng(0), often=0.2)
    for number in range(3 * capacity // (t * n)):  # three times round
        block = next(blocks)
        replay = push(replay, layout, block)
        for row in range(t):
            for i, lane in enumerate(lanes):
                parts = (block.obs[..., 0], block.action, block.reward, block.discount, block.last)
                lane.append(tuple(np.asarray(part)[row, i].item() for part in parts))
        if number % 5 != 2:
            continue

        # What may be drawn: all that is kept, but for windows not complete, frames overwritten and truncated steps.
        length = len(lanes[0])
        oldest = max(0, length - layout.size // n)
        oldest += (frames - 1) * (oldest > 0)
        slots = {}
        for i, lane in enumerate(lanes):
            for at in range(oldest, length - n_step):
                if not (lane[at][4] and lane[at][3] > 0):
                    slots[(at * n + i) % layout.size] = (lane, at)
        assert sorted(slots) == np.flatnonzero(priorities(replay)).tolist()

        window = read(replay, layout, jnp.array(sorted(slots), jnp.int32))
        for row, slot in enumerate(sorted(slots)):
            lane, at = slots[slot]
            total, discount, after = slow_window(lane, at, n_step)
            assert window.action[row] == lane[at][1]
            assert window.obs[row].tolist() == slow_frames(lane, at, frames)
            assert_allclose(window.return_t[row], total, rtol=1e-5, atol=1e-6)
            assert_allclose(window.discount_t[row], discount, rtol=1e-6)
            if after is not None:
                assert window.next_obs[row, -1] == after


@pytest.mark.parametrize("seed", range(3))
def test_n_step_returns_equal_the_slow_twins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        n = 4
        lane = []
        for t in range(n + 1):
            last = bool(rng.random() < 0.3)
            lane.append((float(t), 0, float(rng.normal()), float(rng.random() < 0.5) if last else 1.0, last))
        end = [
            0 if not last else TRUNCATED if discount > 0 else TERMINATED for *_, discount, last in lane[:n]
        ]
        reward = jnp.array([step[2] for step in lane[:n]])
        total, discount, steps = ring.n_step(reward, jnp.array(end, jnp.uint8), GAMMA)
        expected = slow_window(lane, 0, n)
        assert_allclose([total, discount], expected[:2], rtol=1e-5, atol=1e-6)
        assert expected[2] is None or int(steps) == expected[2]


def test_runs_side_by_side_write_and_read_as_they_do_alone() -> None:
    layout = Layout(24, 2, 2, 2)
    streams = [_steps(2, 2, np.random.default_rng(seed), 0.3) for seed in range(3)]
    push = jax.jit(ring.push, static_argnums=1)
    alone = [ring.empty(Box((1,)), 24) for _ in streams]
    together = jax.tree.map(lambda *x: jnp.stack(x), *alone)
    every = jax.jit(jax.vmap(partial(ring.push, layout=layout)))
    for _ in range(9):
        blocks = [next(stream) for stream in streams]
        alone = [push(replay, layout, block) for replay, block in zip(alone, blocks, strict=True)]
        together = every(together, steps=jax.tree.map(lambda *x: jnp.stack(x), *blocks))
    for one, other in zip(
        jax.tree.leaves(jax.tree.map(lambda *x: jnp.stack(x), *alone)), jax.tree.leaves(together), strict=True
    ):
        assert_array_equal(one, other)


def test_a_write_copies_no_ring() -> None:
    """In a loop, as training runs it: the compiled program touches the ring in place."""
    layout = Layout(4096, 4, 2, 3)
    block = next(_steps(4, 2, np.random.default_rng(0), 0.1))

    def loop(replay: Replay) -> Replay:
        return jax.lax.fori_loop(0, 10, lambda _, r: ring.push(r, layout, block), replay)

    text = jax.jit(loop, donate_argnums=0).lower(ring.empty(Box((1,)), 4096)).compile().as_text()
    copies = [line for line in text.splitlines() if " copy(" in line and "[4096" in line.split("=")[1]]
    assert copies == []
    several = jax.vmap(loop)
    many = jax.tree.map(lambda x: jnp.stack([x, x]), ring.empty(Box((1,)), 4096))
    text = jax.jit(several, donate_argnums=0).lower(many).compile().as_text()
    copies = [line for line in text.splitlines() if " copy(" in line and "[2,4096" in line.split("=")[1]]
    assert copies == []


def test_observations_are_kept_as_small_as_their_space_allows() -> None:
    spaces = {
        "picture": Box((4, 4, 1), 0.0, 255.0, np.uint8),
        "speed": Box((3,)),
        "kind": Discrete(9),
        "many": Discrete(1000),
        "both": MultiDiscrete((3, 300)),
    }
    kept = {name: (x.dtype.name, x.shape) for name, x in ring.empty(spaces, 10, half=True).obs.items()}
    assert kept == {
        "picture": ("uint8", (10, 4, 4, 1)),
        "speed": ("float16", (10, 3)),
        "kind": ("uint8", (10,)),
        "many": ("int32", (10,)),
        "both": ("int32", (10, 2)),
    }
    assert ring.empty(spaces, 10).obs["speed"].dtype == jnp.float32


def test_frames_are_stacked_oldest_first_along_the_last_axis() -> None:
    picture = jnp.arange(12.0).reshape(3, 2, 2)  # three frames of 2 x 2, newest first
    assert ring.stack(picture).tolist() == [[8, 9, 4, 5, 0, 1], [10, 11, 6, 7, 2, 3]]
    assert ring.stacked(Box((2, 2)), 3) == Box((2, 6))
    assert ring.stacked(MultiDiscrete((2, 3)), 2) == MultiDiscrete((2, 3, 2, 3))
    assert ring.stack(jnp.array([5, 4, 3])) == 5
    assert ring.stacked(Discrete(9), 3) == Discrete(9)
