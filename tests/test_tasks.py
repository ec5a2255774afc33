"""Splits: disjoint by content, nested, reproducible, named by their content."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

from headstart.envs.bandit import Bandit, BanditTask
from headstart.envs.trial import Trial
from headstart.errors import UsageError
from headstart.tasks import ROLES, Role, Split, Suite, Table, has_role, task_hash


@pytest.fixture(scope="module")
def suite() -> Suite:
    env = Bandit(3)
    return Suite("bandit", env, env.sample)


def _rows(split: Split) -> np.ndarray:
    return np.asarray(split.tasks.mean)


def _mix_twin(x: int) -> int:
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def _hash_twin(leaves: list[np.ndarray]) -> int:
    """`task_hash` word by word, in Python's integers."""
    words: list[int] = []
    for leaf in leaves:
        wide = leaf.astype(np.float32 if leaf.dtype.kind == "f" else np.int32)
        words += [int(word) for word in wide.reshape(-1).view(np.uint32)]
    places = [_mix_twin(place * 0x9E3779B9 % 2**32) for place in range(len(words))]
    return _mix_twin(sum(_mix_twin(word ^ place) for word, place in zip(words, places, strict=True)) % 2**32)


def test_the_hash_equals_its_slow_twin_on_every_kind_of_leaf() -> None:
    rng = np.random.default_rng(0)
    fast = jax.jit(task_hash)
    for _ in range(20):
        task = [
            rng.normal(size=(2, 3)).astype(np.float32),
            rng.integers(-5, 5, size=4).astype(np.int8),
            rng.random(3) < 0.5,
            np.float32(rng.normal()),
        ]
        assert int(fast(task)) == _hash_twin([np.asarray(leaf) for leaf in task])


def test_the_hash_sees_values_and_places() -> None:
    def hashed(*values: float) -> int:
        return int(task_hash(jnp.array(values)))

    next_to_two = float(np.nextafter(np.float32(2.0), np.float32(3.0)))
    others = {hashed(2.0, 1.0), hashed(1.0, 2.0, 0.0), hashed(1.0, next_to_two)}
    assert len({hashed(1.0, 2.0), *others}) == 4
    assert hashed(1.0, 2.0) == hashed(1.0, 2.0)


def test_roles_partition_the_tasks_in_their_shares() -> None:
    n = 65_536
    tasks = jax.vmap(Bandit(3).sample)(jr.split(jr.key(7), n))
    hashed = jax.vmap(task_hash)(tasks)
    masks = {role: np.asarray(has_role(role, hashed)) for role in ROLES}
    assert (sum(mask.astype(int) for mask in masks.values()) == 1).all(), "each task has exactly one role"
    for role, share in {"test": 1 / 8, "valid": 1 / 8, "train": 3 / 4}.items():
        four_sigma = 4 * np.sqrt(share * (1 - share) / n)
        assert masks[role].mean() == pytest.approx(share, abs=four_sigma)
    eighths = np.bincount(np.asarray(hashed >> 29), minlength=8)
    chi_square = ((eighths - n / 8) ** 2 / (n / 8)).sum()
    assert chi_square < 26.0, "0.05 % point of chi-square with 7 degrees of freedom"


def test_a_tasks_role_does_not_choose_its_content(suite: Suite) -> None:
    """The mean of an arm's probability is 1/2 in every role: the hash is blind to what makes a task hard."""
    for role in ROLES:
        rows = _rows(suite.split(role, 4000))
        assert rows.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / rows.size))


def test_splits_of_any_seed_and_size_are_disjoint_by_role(suite: Suite) -> None:
    seen: dict[Role, set[bytes]] = {role: set() for role in ROLES}
    for role in ROLES:
        for seed, size in [(0, 3000), (1, 500)]:
            split = suite.split(role, size, seed)
            assert (split.size, split.role) == (size, role)
            assert np.asarray(has_role(role, jax.vmap(task_hash)(split.tasks))).all()
            seen[role] |= {row.tobytes() for row in _rows(split)}
    assert {role: len(tasks) for role, tasks in seen.items()} == dict.fromkeys(ROLES, 3500), "no task twice"
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["valid"]
    assert not seen["valid"] & seen["test"]


@pytest.mark.parametrize("role", ROLES)
def test_sets_of_one_seed_are_nested(suite: Suite, role: Role) -> None:
    """Also across the batches that tasks are drawn in: 3000 test tasks take six of them, 7 take one."""
    large = _rows(suite.split(role, 3000))
    for size in [1, 7, 2000]:
        np.testing.assert_array_equal(_rows(suite.split(role, size)), large[:size])


def test_the_default_is_endless_training_and_a_thousand_tasks_otherwise(suite: Suite) -> None:
    assert suite.split("train").size is None
    assert suite.split("valid").size == suite.split("test").size == 1000


def test_a_fingerprint_names_the_content(suite: Suite) -> None:
    split = suite.split("test", 50)
    nudged = split.tasks.mean.copy()
    nudged[17, 1] = np.nextafter(nudged[17, 1], np.float32(2.0))
    others = [
        suite.split("test", 51),
        suite.split("test", 50, seed=1),
        suite.split("valid", 50),
        suite.split("train"),
        dataclasses.replace(split, suite="other"),
        dataclasses.replace(split, role="train"),
        dataclasses.replace(split, tasks=BanditTask(nudged)),
        dataclasses.replace(split, tasks=BanditTask(split.tasks.mean.reshape(50, 3, 1))),
        dataclasses.replace(split, tasks=BanditTask(split.tasks.mean.view(np.int32))),
    ]
    prints = {split.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 1 + len(others)
    assert suite.split("test", 50).fingerprint == split.fingerprint
    assert len(split.fingerprint) == 16
    assert int(split.fingerprint, 16) >= 0


def test_an_endless_split_offers_fresh_tasks_of_its_role(suite: Suite) -> None:
    split = suite.split("train")
    assert split.tasks is None
    one, again, other = (split.block(jr.key(seed), 1024) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.mean, again.mean)
    assert not {row.tobytes() for row in one.mean} & {row.tobytes() for row in other.mean}
    assert np.asarray(has_role("train", jax.vmap(task_hash)(one))).all()


def test_a_finite_split_offers_all_it_has(suite: Suite) -> None:
    split = suite.split("train", 5)
    assert split.block(jr.key(0), 1024) is split.tasks


@dataclass(frozen=True)
class Few:
    """A distribution of a few tasks, the last of which is rare."""

    n: int

    def __call__(self, key: PRNGKeyArray) -> BanditTask:
        rare = jr.uniform(key) < 1e-3
        row = jnp.where(rare, self.n - 1, jr.randint(key, (), 0, self.n - 1))
        return BanditTask(jnp.stack([row / 2, row / 3]).astype(jnp.float32))


def _by_role(n: int) -> dict[Role, int]:
    """How many of the tasks of `Few(n)` have each role."""
    rows = np.arange(n, dtype=np.float32)
    tasks = BanditTask(jnp.stack([jnp.asarray(rows) / 2, jnp.asarray(rows) / 3], axis=1))
    hashed = jax.vmap(task_hash)(tasks)
    return {role: int(np.sum(np.asarray(has_role(role, hashed)))) for role in ROLES}


def test_no_task_is_twice_in_a_set_and_too_few_are_refused() -> None:
    suite, most = Suite("few", Trial(Bandit(2), 3), Few(24)), _by_role(24)
    for role in ROLES:
        with pytest.raises(
            UsageError, match=f"to give {role} {most[role] + 1}; ask for at most {most[role]}"
        ):
            suite.split(role, most[role] + 1)
        every = _rows(suite.split(role, most[role]))
        assert len({row.tobytes() for row in every}) == most[role] == len(every)
        np.testing.assert_array_equal(_rows(suite.split(role, 2)), every[:2])
    assert suite.split("valid").size == most["valid"], "where there are no thousand, all there are"
    assert len(suite.split("train").block(jr.key(0), 1024).mean) == 1024, "an endless split may repeat itself"


def test_a_million_tasks() -> None:
    suite = Suite("bandit", Trial(Bandit(2), 3), Bandit(2).sample)
    begun = time.monotonic()
    split = suite.split("train", 1_000_000)
    rows = _rows(split)
    assert time.monotonic() - begun < 60, "seconds, not minutes"
    assert rows.shape == (1_000_000, 2)
    assert len(np.unique(rows.view(np.uint64))) == 1_000_000
    np.testing.assert_array_equal(_rows(suite.split("train", 100)), rows[:100])
    assert split.block(jr.key(0), 1024) is split.tasks, "held once"


@pytest.mark.parametrize("size", [0, -3])
def test_a_split_is_not_empty(suite: Suite, size: int) -> None:
    with pytest.raises(UsageError, match=f"at least one task, not {size}; leave the size out"):
        suite.split("train", size)


def test_an_unknown_role_is_refused(suite: Suite) -> None:
    # The same call as a user's, past the run-time check of annotations.
    split: Any = Suite.split
    while hasattr(split, "__wrapped__"):
        split = split.__wrapped__
    with pytest.raises(UsageError, match="role is train, valid or test, not 'dev'"):
        split(suite, "dev")


def test_a_suite_without_tasks_of_a_role_says_so() -> None:
    """One task there is has one role; the other two stay empty, and say so."""
    env = Bandit(2)
    lonely = Suite("lonely", env, lambda key: BanditTask(jnp.array([0.25, 0.75])))
    empty = [role for role in ROLES if not bool(has_role(role, task_hash(lonely.sample(jr.key(0)))))]
    assert len(empty) == 2
    with pytest.raises(UsageError, match=rf"suite lonely has too few distinct tasks to give {empty[0]} 3"):
        lonely.split(empty[0], 3)


@pytest.fixture(scope="module")
def made(suite: Suite) -> Suite:
    """A suite whose test tasks were made: three bandits."""
    table = Table(("easy", "fair", "hard"), BanditTask(np.array([[0.1, 0.9], [0.4, 0.6], [0.5, 0.51]])))
    return dataclasses.replace(suite, name="made", tables={"test": table})


def test_made_tasks_are_all_there_are_and_keep_their_names(made: Suite) -> None:
    whole, two = made.split("test"), made.split("test", 2)
    assert (whole.size, whole.labels, made.most("test")) == (3, ("easy", "fair", "hard"), 3)
    assert (two.size, two.labels) == (2, ("easy", "fair"))
    np.testing.assert_array_equal(_rows(two), _rows(whole)[:2])
    assert whole.fingerprint != two.fingerprint == made.split("test", 2).fingerprint
    drawn = np.asarray(two.draw(jr.key(0), 64).mean)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in _rows(two)}


def test_other_roles_of_a_suite_with_made_tasks_are_drawn(made: Suite, suite: Suite) -> None:
    assert made.most("train") is None
    assert made.split("train").size is None
    np.testing.assert_array_equal(_rows(made.split("valid", 5)), _rows(suite.split("valid", 5)))


def test_more_than_was_made_or_another_seed_is_refused(made: Suite) -> None:
    with pytest.raises(UsageError, match="suite made has 3 test tasks, not 4; ask for at most 3"):
        made.split("test", 4)
    with pytest.raises(UsageError, match="suite made has 3 test tasks, the same for every seed"):
        made.split("test", 2, seed=1)
