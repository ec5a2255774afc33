"""Tasks, splits and suites: what there is to learn, and which part of it an agent may train on.

A procedural suite is a distribution over tasks. A task's *role* (train, valid or test) is a function of its content alone,
a hash of its parameters, so that splits are disjoint by construction: no seed, no size and no fresh test set drawn by
a sceptical reader can put one task into two roles.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, UInt32

from headstart.errors import UsageError
from headstart.types import Env, Task

Role = Literal["train", "valid", "test"]
ROLES: tuple[Role, ...] = get_args(Role)

_DRAWS = (
    4096  # candidates drawn at once; part of every split's definition, since sets of all sizes share a prefix
)
_SHARE = {"test": (0, 1), "valid": (1, 2), "train": (2, 8)}  # eighths of the hash space


def _mix(x: UInt32[Array, "*n"]) -> UInt32[Array, "*n"]:
    """A 32-bit finaliser (the "lowbias32" constants of Wellons' hash prospector)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def task_hash(task: Task) -> UInt32[Array, ""]:
    """A 32-bit hash of one task's parameters (float, int or bool leaves), the same on every backend."""

    def words(leaf: Array) -> UInt32[Array, " n"]:
        wide = (
            leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.int32)
        )
        return jax.lax.bitcast_convert_type(wide, jnp.uint32).reshape(-1)

    word = jnp.concatenate([words(jnp.asarray(leaf)) for leaf in jax.tree.leaves(task)])
    place = jnp.arange(word.size, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
    return _mix(jnp.sum(_mix(word ^ _mix(place)), dtype=jnp.uint32))


def has_role(role: Role, hashed: UInt32[Array, "*n"]) -> Array:
    """Whether tasks with these hashes belong to `role`."""
    low, high = _SHARE[role]
    eighth = hashed >> 29
    return (eighth >= low) & (eighth < high)


@partial(jax.jit, static_argnums=(0, 1))
def _candidates(
    sample: Callable[[PRNGKeyArray], Task], role: Role, key: PRNGKeyArray, batch: Int[Array, ""]
) -> tuple[PyTree, Array, Array]:
    """A batch of tasks `[_DRAWS, ...]` of the distribution, their hashes, and which of them have the role."""
    tasks = jax.vmap(sample)(jr.split(jr.fold_in(key, batch), _DRAWS))
    hashed = jax.vmap(task_hash)(tasks)
    return tasks, hashed, has_role(role, hashed)


class _Batch(NamedTuple):
    """Tasks `[n, ...]` and their hashes `[n]`."""

    tasks: PyTree
    hashed: UInt32[np.ndarray, " n"]


def _rows(tree: PyTree, which: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[which], tree)


def _joined(batches: list[_Batch], distinct: bool) -> _Batch:
    """Batches in a row; of tasks that repeat, if they are to be distinct, the first.

    Only tasks of equal hash are compared, of which there are few where few repeat.
    """
    every: _Batch = jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)
    if not distinct:
        return every
    _, place, count = np.unique(every.hashed, return_inverse=True, return_counts=True)
    first, seen = count[place] == 1, set[bytes]()
    for row in np.flatnonzero(~first):
        content = b"".join(leaf[row].tobytes() for leaf in jax.tree.leaves(every.tasks))
        first[row] = content not in seen
        seen.add(content)
    return _rows(every, first)


@dataclass(frozen=True)
class Split:
    """Tasks with a role: a finite table `tasks` of `[M, ...]` leaves, or, where `tasks` is None, an endless distribution."""

    suite: str
    role: Role
    tasks: PyTree
    draw: Callable[[PRNGKeyArray, int], PyTree] = field(repr=False)
    labels: tuple[str, ...] = ()

    @property
    def size(self) -> int | None:
        """How many tasks there are; None if they are endless."""
        return None if self.tasks is None else int(jax.tree.leaves(self.tasks)[0].shape[0])

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits naming exactly these tasks of this suite in this role."""
        digest = hashlib.sha256(f"{self.suite}|{self.role}|{self.size}".encode())
        for leaf in jax.tree.leaves(self.tasks):
            array = np.ascontiguousarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """12 hexadecimal digits for each task of a finite split, whatever the suite's options and the other tasks."""
        leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(self.tasks)]
        rows = (b"".join(leaf[row].tobytes() for leaf in leaves) for row in range(self.size or 0))
        return tuple(hashlib.sha256(row).hexdigest()[:12] for row in rows)

    def block(self, key: PRNGKeyArray, n: int) -> PyTree:
        """The table `[M, ...]` a chunk of training draws from: a finite split whole, `n` fresh tasks of an endless one."""
        return self.draw(key, n) if self.tasks is None else self.tasks


class Table(NamedTuple):
    """Tasks that were made, not drawn: their names, and the table `[M, ...]`."""

    labels: tuple[str, ...]
    tasks: PyTree


class Expert(NamedTuple):
    """The best that is known of a suite's tasks: what to do, one action after another."""

    tape: Callable[[str], Int[np.ndarray, " steps"] | None]
    """the actions for a task, by its label; None where no way is known"""
    env: Env
    """single episodes of the suite's environment without its luck, which a tape cannot answer to"""


class Scale(NamedTuple):
    """Scores that are published as 0 and as 1: what chance gets, and the most there is, say."""

    low: float
    high: float

    def place(self, score: float) -> float:
        """(score - low) / (high - low)."""
        return (score - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Suite:
    """An environment, the distribution of its tasks, and how a score is computed.

    The score of a task is the mean, over its episodes (trials, where `env.spec.episodes` > 1), of the summed reward.
    """

    name: str
    env: Env
    sample: Callable[[PRNGKeyArray], Task]
    rules: tuple[str, ...] = ("random",)
    """agents without learned weights that make sense on this suite, the weakest first"""
    standard: Task | None = None
    """the one textbook task, where there is one"""
    render: Any = None
    """pictures for people: `render(task, states) -> uint8 [T, H, W, 3]`, or None"""
    about: str = ""
    tables: Mapping[Role, Table] = field(default_factory=dict[Role, Table], repr=False)
    """all the tasks there are of a role, where they were made (levels drawn by hand, say); the others are drawn"""
    expert: Expert | None = field(default=None, repr=False)
    """the best known way through each task, where such ways are kept: a mark on the scale"""
    scale: Scale | None = None
    """what scores are normalised by, where that is published: results then have `facts["normalised"]`"""

    def most(self, role: Role) -> int | None:
        """How many tasks of a role there are; None where there is no end of them."""
        return len(self.tables[role].labels) if role in self.tables else None

    def split(self, role: Role, size: int | None = None, seed: int = 0) -> Split:
        """The tasks of one role.

        Args:
          role: "train", "valid" or "test".
          size: how many, all different; None is an endless distribution for "train" and 1000 fixed tasks otherwise, or all
            there are where there are fewer. Sets of the same seed are nested: the first ten of a hundred are the set of ten.
          seed: another seed draws other tasks of the same role; tasks that were made have none but 0.

        Raises:
          UsageError: for an unknown role, or a size that is not positive or more than there are.
        """
        if role not in ROLES:
            raise UsageError(f"a split's role is train, valid or test, not '{role}'.")
        if size is not None and size < 1:
            raise UsageError(
                f"a split has at least one task, not {size}; leave the size out for the suite's default."
            )
        if role in self.tables:
            return self._made(role, self.tables[role], size, seed)
        root = jr.fold_in(jr.key(seed), ROLES.index(role))

        draw = partial(self._drawn, role)
        if size is None and role == "train":
            return Split(self.name, role, None, draw)
        return Split(self.name, role, self._drawn(role, root, size or 1000, size or 1), draw)

    def _made(self, role: Role, table: Table, size: int | None, seed: int) -> Split:
        """The first `size` of the tasks that were made for a role."""
        m = len(table.labels)
        if seed != 0:
            raise UsageError(
                f"suite {self.name} has {m} {role} tasks, the same for every seed; leave the task seed at 0."
            )
        if m == 0:
            raise UsageError(f"suite {self.name} has no {role} tasks; choose another split, or give it some.")
        if size is not None and size > m:
            raise UsageError(f"suite {self.name} has {m} {role} tasks, not {size}; ask for at most {m}.")
        tasks = jax.tree.map(lambda leaf: leaf[:size], table.tasks)

        def draw(key: PRNGKeyArray, n: int) -> PyTree:
            rows = np.asarray(jr.randint(key, (n,), 0, size or m))
            return jax.tree.map(lambda leaf: leaf[rows], tasks)

        return Split(self.name, role, tasks, draw, table.labels[:size])

    def _drawn(self, role: Role, key: PRNGKeyArray, n: int, distinct: int = 0) -> PyTree:
        """Tasks `[n, ...]` of one role, by rejection on their hash.

        If some are to be `distinct`, each is there once, and where there are no more than those, fewer than n will do.

        Raises:
          UsageError: if there are fewer.
        """
        kept: list[_Batch] = []
        found = 0
        for batch in range(100 + 32 * n // _DRAWS):
            *drawn, mask = jax.device_get(_candidates(self.sample, role, key, jnp.int32(batch)))
            kept.append(_rows(_Batch(*drawn), mask))
            found += int(mask.sum())
            if found >= n:
                kept = [_joined(kept, distinct > 0)]
                found = len(kept[0].hashed)
            if found >= n:
                return _rows(kept[0].tasks, slice(n))
        every = _joined(kept, distinct > 0)
        if not 0 < distinct <= len(every.hashed):
            most = len(every.hashed)
            hint = f"ask for at most {most}" if most else "ask for fewer"
            raise UsageError(f"suite {self.name} has too few distinct tasks to give {role} {n}; {hint}.")
        return every.tasks
