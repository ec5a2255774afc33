"""Runs under way: everything that they go on from between two pieces of their budget, as bytes and back.

    a head:   a line of JSON: whose it is, the steps of each piece, name, type and shape of each array, a checksum
    a body:   the arrays, as they lie in memory

A run that goes on from there ends as one that was never stopped, to the last bit: all randomness of update u is derived
from (seed, u), and what is kept is all that is carried from one update to the next. So nothing in a result shows it.
"""

import hashlib
import json
import logging
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from headstart import results
from headstart.errors import HeadstartError
from headstart.loops import either, jit
from headstart.protocol.contenders import Plan, Run, named
from headstart.protocol.keepers import Keeper
from headstart.protocol.outcomes import Piece, unplayed
from headstart.types import Metrics

_LOG = logging.getLogger("headstart")
_FIGURES = ("episodes", "returns", "lengths")


class Underway(NamedTuple):
    """Runs side by side, between two pieces of their budget."""

    carries: jit.Carry
    """`[R, ...]`"""
    tried: np.ndarray
    """scores of the priors that were tried, `[R, priors]`"""
    pieces: list[Piece]
    """all that was played, tries first"""

    @property
    def spent(self) -> int:
        """Steps of each run's budget."""
        return sum(piece.steps for piece in self.pieces)

    def made(self, plan: Plan) -> int:
        """Pieces of the learning curve that were played, tries apart."""
        return len(self.pieces) - len(plan.tried)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _bare(tree: PyTree) -> PyTree:
    """The same with keys as the numbers they are."""
    return jax.tree.map(lambda leaf: jr.key_data(leaf) if _is_key(leaf) else leaf, tree)


def size(now: Underway) -> int:
    """Bytes of what is carried, nearly all there is to keep."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(now.carries))


def pack(stamp: str, now: Underway) -> bytes:
    """Runs under way as bytes.

    Args:
      stamp: whose they are; who asks with another gets nothing.
    """
    carried = jax.device_get(jax.tree.leaves(_bare(now.carries)))
    arrays: list[tuple[str, str, Any]] = [("carry", str(i), leaf) for i, leaf in enumerate(carried)]
    arrays.append(("tried", "", now.tried))
    for i, (_, log) in enumerate(now.pieces):
        arrays += [(f"log {i}", what, getattr(log, what)) for what in _FIGURES]
        arrays += [(f"log {i}", f"metrics {name}", value) for name, value in log.metrics.items()]
    raw = [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for *_, array in arrays]
    head = {
        "stamp": stamp,
        "steps": [piece.steps for piece in now.pieces],
        "arrays": [[part, name, str(array.dtype), list(array.shape)] for part, name, array in arrays],
        "sum": reduce(lambda total, one: zlib.crc32(one, total), raw, 0),
    }
    return b"".join([json.dumps(head).encode(), b"\n", *raw])  # one copy: a replay may be large


def unpack(stamp: str, data: bytes, like: jit.Carry) -> Underway | None:
    """What was packed; None if it is not this run's, or no longer whole.

    Args:
      like: what is carried, as `ShapeDtypeStruct`s.
    """
    end = data.find(b"\n") + 1
    try:
        head: Any = json.loads(data[:end])
    except ValueError:
        return None
    if not isinstance(head, dict) or head.get("stamp") != stamp:
        return None
    if head["sum"] != zlib.crc32(memoryview(data)[end:]):
        return None
    parts, at = defaultdict[str, dict[str, np.ndarray]](dict), end
    for part, name, kind, shape in head["arrays"]:
        dtype, count = jnp.dtype(kind), math.prod(shape)
        empty = np.zeros(shape, dtype)
        parts[part][name] = np.frombuffer(data, dtype, count, at).reshape(shape) if count else empty
        at += count * dtype.itemsize
    pieces = [Piece(steps, _log(parts[f"log {i}"])) for i, steps in enumerate(head["steps"])]
    carries = _carries(parts["carry"], like)
    return None if carries is None else Underway(carries, parts["tried"][""], pieces)


def _log(arrays: Mapping[str, np.ndarray]) -> jit.Log:
    """The log of a piece."""
    metrics = {name.removeprefix("metrics "): value for name, value in arrays.items() if name not in _FIGURES}
    return jit.Log(cast(Metrics, metrics), *(cast(Array, arrays[what]) for what in _FIGURES))


def _carries(arrays: Mapping[str, np.ndarray], like: jit.Carry) -> jit.Carry | None:
    """What is carried, on the device; None if it is of another shape."""
    leaves, structure = jax.tree.flatten(like)
    wanted = jax.tree.leaves(jax.eval_shape(_bare, like))
    found = list(arrays.values())
    if [(x.shape, x.dtype) for x in found] != [(x.shape, x.dtype) for x in wanted]:
        return None
    back = [_like(jnp.array(one), leaf) for one, leaf in zip(found, leaves, strict=True)]
    return jax.tree.unflatten(structure, back)  # copies: a donated buffer must not be that of the bytes


def _like(value: Array, leaf: Any) -> Array:
    """A key again, if it was one."""
    return jr.wrap_key_data(value, impl=jr.key_impl(jnp.empty((), leaf.dtype))) if _is_key(leaf) else value


def stamp_of(plan: Plan, runs: Sequence[Run]) -> str:
    """Whose a run under way is: all that decides how it goes on, code and kind of device included.

    Where anything differs it begins again, which costs time and nothing else.
    """
    priors = [plan.contender.prior, *plan.tried]
    weights = hashlib.sha256()
    for leaf in jax.tree.leaves([prior.state for prior in priors if prior is not None]):
        weights.update(np.asarray(leaf).tobytes())
    about = {
        "runs": [results.to_json(unplayed(plan, run, "")) for run in runs],
        "pieces": [plan.updates, plan.size, plan.steps_per_update, len(plan.tried), plan.try_updates],
        "weights": weights.hexdigest(),
        "device": jax.local_devices()[0].device_kind,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class Keeping:
    """Keeps runs side by side under way, now and then; nothing where there is no keeper.

    Kept under the name of the first of them: who plays others together with it finds another's stamp, and begins again.
    """

    def __init__(self, keeper: Keeper | None, plan: Plan, runs: Sequence[Run]) -> None:
        self._plan = plan
        self._name = named(plan, runs[0])
        # a foreign simulator cannot be saved in the middle of an episode
        self._keeper = None if either.is_foreign(plan.suite.env) else keeper
        self._stamp = stamp_of(plan, runs) if self._keeper else ""
        self._due = time.monotonic() + (self._keeper.pace.seconds if self._keeper else 0.0)
        self._warned = False

    def found(self, keys: Key[Array, " R"], rows: Int[Array, " R"]) -> Underway | None:
        """What these runs go on from, if something fitting was kept."""
        if self._keeper is None:
            return None
        try:
            data = self._keeper.find(self._name)
        except HeadstartError as error:
            self._warn(error)
            return None
        if data is None:
            return None
        o, env, tasks = self._plan.options, self._plan.suite.env, self._plan.split.tasks

        def fresh(keys: Key[Array, " R"], rows: Int[Array, " R"]) -> jit.Carry:
            return jit.starts(self._plan.agent, env, tasks, keys, o.lanes, rows)

        return unpack(self._stamp, data, jax.eval_shape(fresh, keys, rows))

    def keep(self, now: Underway, leaving: bool = False) -> None:
        """Keep these runs if it is time, or if who plays them is leaving; a run does not fail with it."""
        begun = time.monotonic()
        if self._keeper is None or not now.made(self._plan) or not (leaving or begun >= self._due):
            return
        pace = self._keeper.pace
        if size(now) > pace.most:
            _LOG.info(
                "%s takes %d MB, too many to keep while it is played.", self._name, size(now) // 1_000_000
            )
            self._keeper = None
            return
        try:
            self._keeper.keep(self._name, pack(self._stamp, now))
        except HeadstartError as error:
            self._warn(error)
        ended = time.monotonic()
        self._due = ended + max(pace.seconds, (ended - begun) / pace.share)

    def _warn(self, error: HeadstartError) -> None:
        if not self._warned:
            _LOG.warning("%s is not kept while it is played: %s", self._name, error)
        self._warned = True


__all__ = ["Keeping", "Underway", "pack", "size", "stamp_of", "unpack"]
