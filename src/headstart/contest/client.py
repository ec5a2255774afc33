"""The agent's side of a contest: one file that needs NumPy and nothing else. Copy it wherever you like.

    from headstart.contest import client            # or your copy: import client

    env = client.connect()
    try:
        obs, info = env.reset()
        while True:
            obs, reward, terminated, truncated, info = env.step(policy(obs))
            if terminated or truncated:
                obs, info = env.reset()
    except client.OverError:                        # the budget is spent, or the time is over
        pass

`connect(lanes=True)` is for agents that learn from several lanes at once (`lanes` in submission.toml says how many). Where
Gymnasium is installed, `Env` is a `gymnasium.Env` with Gymnasium's spaces. The bytes on the wire: docs/contest/protocol.md.
"""

import contextlib
import math
import mmap
import os
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np

try:
    import gymnasium

    _Base: Any = gymnasium.Env
except ImportError:  # then the environment only looks like Gymnasium's
    gymnasium = None  # pyright: ignore[reportConstantRedefinition, reportAssignmentType]
    _Base = object

PROTOCOL = 1
"""version of the wire protocol; the evaluator refuses others"""
SOCKET = "HEADSTART_CONTEST"
"""environment variable that names the evaluator's Unix socket"""
OBSERVATIONS = "observations"
"""file beside the socket that holds the observations where they are shared"""
MOST = 64 << 20
"""bytes of the longest message a client takes"""
PREFIX = struct.Struct("<II")
"""a message begins with the bytes that follow, and how many of them are its header; both little-endian"""

_DEPTH = 8  # nested lists and maps of a header


class ContestError(RuntimeError):
    """Whatever the evaluator refuses, and a connection that is lost."""


class OverError(ContestError):
    """It is over."""


class BudgetSpentError(OverError):
    """The budget holds no further step."""


class WallClockError(OverError):
    """The time is over."""


class MidEpisodeError(ContestError):
    """A reset in mid-episode: play on until the episode ends."""


class EpisodeOverError(ContestError):
    """A step after an episode's end, or before the first reset: call reset()."""


class RefusedError(ContestError):
    """A request that is not understood or not allowed; the evaluator hangs up."""


class LostError(ContestError):
    """There is no evaluator at the other end (any more)."""


ERRORS: dict[str, type[ContestError]] = {
    "budget": BudgetSpentError,
    "episode-over": EpisodeOverError,
    "mid-episode": MidEpisodeError,
    "refused": RefusedError,
    "wall-clock": WallClockError,
}
"""the names of errors on the wire"""


# --- headers: the part of MessagePack that the protocol uses (nil, bool, int, float, str, array, map) ---


def pack(value: Any) -> bytes:
    """A header as MessagePack.

    >>> pack({"do": "reset"}).hex()
    '81a2646fa57265736574'
    """
    match value:
        case None | bool():
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        case int():
            return bytes([value]) if 0 <= value < 128 else b"\xd3" + struct.pack(">q", value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            raw = value.encode()
            return (bytes([0xA0 | len(raw)]) if len(raw) < 32 else _sized(b"\xda", raw)) + raw
        case list() | tuple():
            return _sized(b"\xdc", value) + b"".join(map(pack, value))
        case dict():
            head = bytes([0x80 | len(value)]) if len(value) < 16 else _sized(b"\xde", value)
            return head + b"".join(pack(key) + pack(item) for key, item in value.items())
        case _:
            raise TypeError(f"a header holds no {type(value).__name__}")


def _sized(code: bytes, value: Any) -> bytes:
    if len(value) > 0xFFFF:
        raise ValueError("a header's parts have at most 65535 entries")
    return code + struct.pack(">H", len(value))


def unpack(data: bytes) -> Any:
    """A header's value; data only, nothing in it is ever run.

    Raises:
      ValueError: for what is no MessagePack of the kinds above, is nested more than 8 deep, or has bytes left over.
    """
    try:
        value, end = _value(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"no MessagePack: {error}") from None
    if end != len(data):
        raise ValueError("bytes are left over after the header")
    return value


_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_LENGTHS = {
    0xD9: ">B", 0xDA: ">H", 0xDB: ">I",
    0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I",
}  # fmt: skip


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at a byte, and where it ends."""
    if depth > _DEPTH:
        raise ValueError("nested too deep")
    code, at = data[at], at + 1
    if code < 0x80 or code >= 0xE0:
        return (code if code < 0x80 else code - 256), at
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at
    if code in _NUMBERS:
        form = _NUMBERS[code]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if code < 0xC0:
        kind = 0xDE if code < 0x90 else 0xDC if code < 0xA0 else 0xDA
        size = code & (0x1F if kind == 0xDA else 0x0F)
    elif code in _LENGTHS:
        form, kind = _LENGTHS[code], code
        size = struct.unpack_from(form, data, at)[0]
        at += struct.calcsize(form)
    else:
        raise ValueError(f"byte {code:#x} begins nothing a header may hold")
    if kind < 0xDC:
        if at + size > len(data):
            raise ValueError("cut off")
        return data[at : at + size].decode(), at + size
    return _several(data, at, size, kind >= 0xDE, depth + 1)


def _several(data: bytes, at: int, size: int, is_map: bool, depth: int) -> tuple[Any, int]:
    """The entries of an array or a map."""
    if size * (1 + is_map) > len(data) - at:  # each takes a byte at least
        raise ValueError("cut off")
    items: list[Any] = []
    for _ in range(size * (1 + is_map)):
        item, at = _value(data, at, depth)
        items.append(item)
    if not is_map:
        return items, at
    if not all(isinstance(key, str) for key in items[::2]):
        raise ValueError("a map's keys are strings")
    return dict(zip(items[::2], items[1::2], strict=True)), at


def message(header: Any, body: bytes = b"") -> bytes:
    """A whole message."""
    head = pack(header)
    return PREFIX.pack(len(head) + len(body), len(head)) + head + body


class Leaf:
    """One array of an observation: its name, and where in the block of `n` lanes it lies."""

    def __init__(self, spec: dict[str, Any], n: int) -> None:
        self.name, self.offset = str(spec["name"]), int(spec["offset"])
        self.dtype, self.shape = np.dtype(spec["dtype"]), tuple(spec["shape"])
        self.low, self.high = float(spec["low"]), float(spec["high"])
        self._lanes = (n, *self.shape)
        self._count = math.prod(self._lanes)

    def of(self, block: Any) -> np.ndarray:
        """A view of the array `[N, ...]` in a block of bytes."""
        return np.frombuffer(block, self.dtype, self._count, self.offset).reshape(self._lanes)


class Connection:
    """The wire: one request, one answer. `hello` is what the evaluator says of the contest."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError as error:
            self.close()
            raise LostError(
                f"there is no evaluator at {path} ({error.strerror}); each serves one client only."
            ) from None
        shared = Path(path).with_name(OBSERVATIONS)
        self._buffer = bytearray(1 << 16)
        hello, _ = self.ask(message({"do": "hello", "protocol": PROTOCOL, "shared": shared.is_file()}))
        self.hello: dict[str, Any] = hello
        self.lanes = int(hello["lanes"])
        self.leaves = [Leaf(spec, self.lanes) for spec in hello["observation"]]
        self.outcome = -(-5 * self.lanes // 8) * 8
        self.views: dict[str, np.ndarray] = {}
        if hello["shared"]:
            with shared.open("rb") as file:
                block = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.views = {leaf.name: leaf.of(block) for leaf in self.leaves}

    def ask(self, request: bytes | bytearray) -> tuple[Any, memoryview]:
        """The header and the body of the answer; the body is overwritten by the next one.

        Raises:
          ContestError: by its name, if the evaluator answers with an error.
        """
        with contextlib.suppress(OSError):  # it may have hung up, with a reason that is still to be read
            self._socket.sendall(request)
        got = self._fill(0, PREFIX.size)
        size, head = PREFIX.unpack_from(self._buffer)
        if size > MOST or head > size:
            raise LostError("the evaluator's answer is no message of this protocol.")
        end = PREFIX.size + size
        if end > len(self._buffer):
            self._buffer += bytearray(end - len(self._buffer))
        if got < end:
            self._fill(got, end)
        body = PREFIX.size + head
        raw = bytes(self._buffer[PREFIX.size : body])
        header = _OK if raw == _OK_BYTES else unpack(raw)
        if "error" in header:
            raise ERRORS.get(header["error"], ContestError)(header.get("message", header["error"]))
        return header, memoryview(self._buffer)[body:end]

    def _fill(self, got: int, end: int) -> int:
        while got < end:
            try:
                n = self._socket.recv_into(memoryview(self._buffer)[got:])
            except OSError as error:
                raise LostError(f"the connection to the evaluator broke: {error.strerror}.") from None
            if n == 0:
                raise LostError("the evaluator hung up.")
            got += n
        return got

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


_OK: dict[str, Any] = {"ok": True}
_OK_BYTES = pack(_OK)
_RESET = message({"do": "reset"})
_STEP = pack({"do": "step"})


class Lanes:
    """Several lanes advanced together; arrays have a leading axis [N].

    A lane whose episode ended begins the next one in the same call: `obs` is then its new first observation and the
    last one of the episode is in `info["final_obs"]` (all lanes' observations; only those that ended matter).
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.num_envs, self.hello = connection.lanes, connection.hello
        self.left = int(self.hello["budget"])
        action = self.hello["action"]
        self._dtype, self._shape = np.dtype(action["dtype"]), (self.num_envs, *action["shape"])
        size = len(_STEP) + math.prod(self._shape) * self._dtype.itemsize
        self._head = PREFIX.pack(size, len(_STEP)) + _STEP
        self.single_action_space, self.single_observation_space = _spaces(connection)

    def reset(self) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every lane that is in none."""
        return self._observed(self.connection.ask(_RESET)[1]), {"left": self.left}

    def step(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Observations, rewards, terminated, truncated and `info` of all lanes; errors as `Env.step`'s."""
        obs, reward, ended, info = self.play(action)
        if any(ended.tobytes()):
            info["final_obs"] = obs
            obs = self.reset()[0]
        return obs, reward, ended == 1, ended == 2, info

    def play(self, action: Any) -> tuple[Any, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step and nothing else: observations, rewards, and 1 where an episode terminated, 2 where truncated."""
        array = np.ascontiguousarray(action, self._dtype).reshape(self._shape)
        body = self.connection.ask(self._head + array.tobytes())[1]
        self.left -= (n := self.num_envs)
        reward = np.frombuffer(body, np.float32, n).copy()
        ended = np.frombuffer(body, np.uint8, n, 4 * n).copy()
        return self._observed(body), reward, ended, {"left": self.left}

    def _observed(self, body: memoryview) -> Any:
        wire = self.connection
        views = wire.views or {leaf.name: leaf.of(body[wire.outcome :]) for leaf in wire.leaves}
        arrays = {name: view.copy() for name, view in views.items()}
        return arrays.get("", arrays)  # the array itself, where there is one without a name

    def close(self) -> None:
        self.connection.close()


class Env(_Base):
    """One lane, as Gymnasium has it. The evaluator owns seed and budget: `reset(seed=...)` changes nothing."""

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, connection: Connection) -> None:
        self._lanes = Lanes(connection)
        self.hello = connection.hello
        self.action_space = self._lanes.single_action_space
        self.observation_space = self._lanes.single_observation_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; a MidEpisodeError if one is being played."""
        del seed, options
        obs, info = self._lanes.reset()
        return _first(obs), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one step.

        Raises:
          EpisodeOverError: if the episode has ended or none has begun.
          BudgetSpentError, WallClockError: it is over.
          RefusedError: for an action outside the space.
        """
        obs, reward, ended, info = self._lanes.play(action)
        return _first(obs), float(reward[0]), bool(ended[0] == 1), bool(ended[0] == 2), info

    def close(self) -> None:
        self._lanes.close()


def _first(obs: Any) -> Any:
    return {name: leaf[0] for name, leaf in obs.items()} if isinstance(obs, dict) else obs[0]


def _spaces(connection: Connection) -> tuple[Any, Any]:
    """The spaces of one lane's actions and observations: Gymnasium's, or their description where that is missing."""
    action = connection.hello["action"]
    if gymnasium is None:
        return action, connection.hello["observation"]
    kinds, shape = gymnasium.spaces, tuple(action["shape"])
    boxes: dict[str, Any] = {
        x.name: kinds.Box(x.low, x.high, x.shape, x.dtype.type) for x in connection.leaves
    }
    seen = boxes[""] if "" in boxes else kinds.Dict(boxes)
    if "nvec" in action:
        return (kinds.MultiDiscrete(action["nvec"]) if shape else kinds.Discrete(action["nvec"][0])), seen
    return kinds.Box(action["low"], action["high"], shape, np.dtype(action["dtype"]).type), seen


def connect(path: str | None = None, *, lanes: bool = False) -> Any:
    """The environment of the evaluation this process belongs to: an `Env`, or `Lanes` if asked for."""
    path = path or os.environ.get(SOCKET)
    if not path:
        raise LostError("there is no evaluator here; run the agent with: headstart contest score FOLDER")
    connection = Connection(path)
    if lanes:
        return Lanes(connection)
    if connection.lanes != 1:
        connection.close()
        raise ContestError(f"submission.toml asks for {connection.lanes} lanes; use connect(lanes=True).")
    return Env(connection)
