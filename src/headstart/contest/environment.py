"""N lanes of one task as the evaluator plays them: compiled, seeded, and answering with bytes.

A step's randomness is a function of the job's noise (`chance`), the step's index and the lane: an agent that does the same
sees the same, and any episode can be played again for a film. One compiled program serves all levels, since a level is data
to it.

A block is `reward f32[N] | ended u8[N] | padding to 8 bytes | observations`, little-endian, each observation's array
`[N, ...]` at a multiple of 8 bytes; `ended` is 1 where an episode terminated and 2 where it was truncated.
"""

import os
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PyTree, UInt8, UInt32

from headstart import suites
from headstart.contest.packing import Packing
from headstart.contest.wire import MalformedError
from headstart.envs.platformer import Platformer
from headstart.envs.platformer_frames import Stacked
from headstart.envs.platformer_level import parse
from headstart.envs.platformer_table import stack, task_of
from headstart.errors import UsageError, unknown
from headstart.suites._platformer_pictures import pictures
from headstart.tasks import Role, Suite
from headstart.types import Box, Discrete, Env, EnvState, MultiDiscrete, Space, Step, Task

MOST_LANES = 64
"""lanes an agent may have"""
_WORD = 8  # bytes to whose multiples arrays are aligned


def keep_to_one_thread() -> None:
    """Have XLA compute with one thread, if called before anything was computed.

    A few lanes are thousands of small operations; to hand them from thread to thread takes three times as long as they do.
    """
    os.environ.setdefault("NPROC", "1")


@dataclass(frozen=True)
class _Rules:
    """An environment without its levels, so that levels are data to a compiled program."""

    env: Env | None
    backtracking: bool = False
    sticky: float = 0.0
    horizon: int = 0
    frames: int = 1

    def build(self, table: Any) -> Env:
        if self.env is not None:
            return self.env
        levels, atlas = table
        game = Platformer(levels, self.backtracking, self.sticky, self.horizon, atlas)
        return Stacked(game, self.frames) if self.frames > 1 else game


class _Level(NamedTuple):
    """One task to play: the environment's rules, its table of levels and pictures, the task, and pictures of it."""

    rules: _Rules
    table: Any
    task: Task
    render: Any


@dataclass(frozen=True, eq=False)
class _Program:
    """What a program is compiled for: the rules, and how a task and the lanes' states lie in words.

    Equal ones are one (`_program`), since jax asks in every step for the hash of what a program is compiled for.
    """

    rules: _Rules
    task: Packing
    state: Packing


@cache
def _program(rules: _Rules, task: Packing, state: Packing) -> _Program:
    return _Program(rules, task, state)


def _padded(size: int) -> int:
    return -(-size // _WORD) * _WORD


def _bytes(x: Array) -> UInt8[Array, " bytes"]:
    """An array's bytes, padded to whole words."""
    raw = x.astype(jnp.uint8) if x.dtype == bool else jax.lax.bitcast_convert_type(x, jnp.uint8)
    raw = raw.reshape(-1)
    return jnp.pad(raw, (0, _padded(raw.size) - raw.size))


def _block(env: Env, task: Task, state: EnvState, out: Step) -> UInt8[Array, " bytes"]:
    """What lanes `[N, ...]` show."""
    obs = jax.vmap(env.observe, (None, 0))(task, state)
    ended = jnp.where(out.terminated, 1, jnp.where(out.truncated, 2, 0)).astype(jnp.uint8)
    outcome = jnp.concatenate([jax.lax.bitcast_convert_type(out.reward, jnp.uint8).reshape(-1), ended])
    return jnp.concatenate([_bytes(outcome), *map(_bytes, jax.tree.leaves(obs))])


def _keys(noise: UInt32[Array, " 2"], t: Int[Array, ""], n: int) -> Key[Array, " n"]:
    return jr.split(jr.fold_in(jr.wrap_key_data(noise), t), n)


@partial(jax.jit, static_argnames="program")
def _reset(
    program: _Program,
    table: PyTree,
    packed: UInt32[Array, " task"],
    lanes: UInt32[Array, " state"],
    noise: UInt32[Array, " 2"],
    t: Int[Array, ""],
    which: Bool[Array, " N"],
) -> tuple[UInt32[Array, " state"], UInt8[Array, " bytes"]]:
    """Lanes `which` begin an episode."""
    env, task, n = program.rules.build(table), program.task.unpack(packed), which.shape[0]
    fresh = jax.vmap(env.reset, (None, 0))(task, _keys(noise, -1 - t, n))

    def chosen(new: Array, old: Array) -> Array:
        return jnp.where(which.reshape(which.shape + (1,) * (new.ndim - 1)), new, old)

    fresh = jax.tree.map(chosen, fresh, program.state.unpack(lanes))
    nothing = Step(jnp.zeros(n), jnp.zeros(n, bool), jnp.zeros(n, bool))
    return program.state.pack(fresh), _block(env, task, fresh, nothing)


@partial(jax.jit, static_argnames="program")
def _step(
    program: _Program,
    table: PyTree,
    packed: UInt32[Array, " task"],
    lanes: UInt32[Array, " state"],
    noise: UInt32[Array, " 2"],
    t: Int[Array, ""],
    action: Array,
) -> tuple[UInt32[Array, " state"], UInt8[Array, " bytes"]]:
    """All lanes advance by one step."""
    env, task, n = program.rules.build(table), program.task.unpack(packed), action.shape[0]
    state = program.state.unpack(lanes)
    state, out = jax.vmap(env.step, (None, 0, 0, 0))(task, state, action, _keys(noise, t, n))
    return program.state.pack(state), _block(env, task, state, out)


class Game:
    """N lanes of one task.

    Args:
      suite: its name with options.
      level: a level's text, or a task's name.
      noise: 64 bits, the key of all randomness; who knows them can compute what will happen.
      lanes: N.

    Raises:
      UsageError: for an unknown suite or level, or a suite of trials, whose score is no mean of episodes.
    """

    def __init__(self, suite: str, level: str, noise: int, lanes: int) -> None:
        if not 1 <= lanes <= MOST_LANES:
            raise UsageError(f"an agent has 1 to {MOST_LANES} lanes, not {lanes}.")
        self.suite, self.n = suites.suite(suite), lanes
        self.spec = self.suite.env.spec
        if self.spec.episodes != 1:
            raise UsageError(f"a contest plays single episodes; leave episodes out of '{suite}'.")
        rules, table, self.task, self.render = _find(self.suite, level)
        env = rules.build(table)
        fresh = jax.eval_shape(jax.vmap(env.reset, (None, 0)), self.task, jr.split(jr.key(0), lanes))
        self._program = _program(rules, Packing.of(self.task), Packing.of(fresh))
        self._table, self._task = jax.device_put((table, self._program.task.pack(self.task)))
        self._noise = jax.device_put(np.array([noise >> 32, noise & 0xFFFFFFFF], np.uint32))
        self._lanes = self._program.state.pack(
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), fresh)
        )
        self.outcome = _padded(5 * lanes)
        self.leaves, self.block = _layout(self.spec.obs, lanes)
        least = self.nothing()
        self._kind, self._shape, self._size = least.dtype, least.shape, least.nbytes

    def compile(self) -> None:
        """Compile both programs, by running them; the first reset of all lanes leaves no trace of that."""
        self.reset(0, np.ones(self.n, bool))
        self.step(0, self.nothing())

    @property
    def few(self) -> bool:
        """Whether an action is whole numbers below 256, so that a byte keeps each."""
        space = self.spec.action
        return not isinstance(space, Box) and max(_described(space)["nvec"]) <= 256

    def nothing(self) -> np.ndarray:
        """The least action, for all lanes."""
        action = self.spec.action
        if isinstance(action, Box):
            return np.full((self.n, *action.shape), max(action.low, -1.0), action.dtype)
        return np.zeros((self.n, *_shape(action)), np.int32)

    def reset(self, t: int, which: Bool[np.ndarray, " N"]) -> UInt8[np.ndarray, " bytes"]:
        """Lanes `which` begin an episode, `t` steps after the start; the block."""
        return self._advance(_reset, t, which)

    def step(self, t: int, action: np.ndarray) -> UInt8[np.ndarray, " bytes"]:
        """Step number `t` of every lane; the block."""
        return self._advance(_step, t, action)

    def _advance(self, program: Any, t: int, what: np.ndarray) -> UInt8[np.ndarray, " bytes"]:
        self._lanes, block = program(
            self._program, self._table, self._task, self._lanes, self._noise, np.int32(t), what
        )
        return np.asarray(block)

    def results(self, block: UInt8[np.ndarray, " bytes"]) -> tuple[np.ndarray, np.ndarray]:
        """Rewards and ends `[N]` of a block."""
        return np.frombuffer(block, np.float32, self.n), block[4 * self.n : 5 * self.n]

    def state(self, lane: int) -> EnvState:
        """One lane's state, on the host."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[lane], self._program.state.unpack(self._lanes))

    def actions(self, body: memoryview) -> np.ndarray:
        """The actions `[N, ...]` in a request's body.

        Raises:
          MalformedError: if they are not actions of this suite.
        """
        if body.nbytes != self._size:
            raise MalformedError(
                f"a step has {self._shape} actions of {self._kind.itemsize} bytes, not {body.nbytes} bytes."
            )
        action = np.frombuffer(body, self._kind).reshape(self._shape)
        match self.spec.action:
            case Discrete(count):
                legal = action.view(np.uint32).max() < count  # what is below 0 is far above then
            case MultiDiscrete(nvec):
                legal = bool(((action >= 0) & (action < np.array(nvec))).all())
            case Box(_, low, high):
                legal = bool((np.isfinite(action) & (action >= low) & (action <= high)).all())
        if not legal:
            raise MalformedError("an action lies outside the space of actions.")
        return action

    def hello(self) -> dict[str, Any]:
        """What an agent is told of observations and actions."""
        return {"lanes": self.n, "action": _described(self.spec.action), "observation": self.leaves}


def _shape(space: Space) -> tuple[int, ...]:
    match space:
        case Discrete():
            return ()
        case MultiDiscrete(nvec):
            return (len(nvec),)
        case Box(shape):
            return shape


def _described(space: Space) -> dict[str, Any]:
    """A space as the wire has it."""
    match space:
        case Discrete(count):
            return {"dtype": "<i4", "shape": [], "nvec": [count]}
        case MultiDiscrete(nvec):
            return {"dtype": "<i4", "shape": [len(nvec)], "nvec": list(nvec)}
        case Box(shape, low, high, dtype):
            kind = np.dtype(dtype)
            return {"dtype": kind.str, "shape": list(shape), "low": float(low), "high": float(high)}


def _layout(spaces: PyTree, n: int) -> tuple[list[dict[str, Any]], int]:
    """Name, kind and place of every array of the observations, and the bytes of all of them."""
    leaves, offset = list[dict[str, Any]](), 0
    for path, space in jax.tree_util.tree_flatten_with_path(spaces)[0]:
        about: dict[str, Any] = _described(space)
        nvec = about.pop("nvec", None)
        if nvec is not None:
            about |= {"low": 0.0, "high": float(max(nvec) - 1)}
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        leaves.append({"name": name, "offset": offset, **about})
        offset += _padded(np.dtype(about["dtype"]).itemsize * n * int(np.prod(about["shape"])))
    return leaves, offset


def _find(suite: Suite, level: str) -> _Level:
    """The task of a level's text or of a task's name."""
    game = suite.env.env if isinstance(suite.env, Stacked) else suite.env
    if not isinstance(game, Platformer):
        if "\n" in level:
            raise UsageError(f"suite {suite.name} has no levels that are texts; name one of its tasks.")
        return _Level(_Rules(suite.env), None, _named(suite, level), suite.render)
    frames = suite.env.frames if isinstance(suite.env, Stacked) else 1
    rules = _Rules(None, game.backtracking, game.sticky, game.horizon, frames)
    if "\n" in level:
        drawn = parse(level, "the level")
        return _Level(rules, (stack([drawn]), game.atlas), task_of(drawn), pictures((drawn,)))
    task = _named(suite, level)
    row = int(task.level)
    levels = jax.tree.map(lambda leaf: np.asarray(leaf)[row : row + 1], game.levels)

    def shown(one: Task, states: EnvState) -> UInt8[np.ndarray, "T H W 3"]:
        return suite.render(one._replace(level=np.array(row, np.int32)), states)

    return _Level(rules, (levels, game.atlas), task._replace(level=np.array(0, np.int32)), shown)


def _named(suite: Suite, name: str) -> Task:
    """A stored task: one of the suite's labels, or task-N of its test split."""
    roles: tuple[Role, ...] = ("test", "valid", "train")
    labels: dict[str, tuple[Role, int]] = {}
    for role in roles:
        if role in suite.tables:
            labels |= {label: (role, row) for row, label in enumerate(suite.tables[role].labels)}
    number = name.removeprefix("task-")
    if name not in labels and "test" not in suite.tables and number.isdecimal() and int(number) < 1000:
        role, row = "test", int(number)
    elif name in labels:
        role, row = labels[name]
    else:
        raise unknown(f"level of {suite.name}", name, labels or ["task-0"])
    tasks = suite.split(role).tasks
    return jax.tree.map(lambda leaf: np.asarray(leaf)[row], tasks)


__all__ = ["MOST_LANES", "Game", "keep_to_one_thread"]
