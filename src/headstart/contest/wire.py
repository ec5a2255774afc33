"""The evaluator's end of the wire: it trusts nothing that arrives.

    message  = length (u32) | header length (u32) | header (MessagePack map) | body (raw bytes)     little-endian
    requests   {"do": "hello", "protocol": 1, "shared": bool}      {"do": "reset"}      {"do": "step"} + actions
    answers    {"ok": true} + block       {"error": name, "message": sentence}

One request at a time, 64 KiB at most. What is malformed is answered with `refused` and ends the evaluation; whoever sends
half a message has seconds to send the rest. Headers are data: nothing that arrives is evaluated or unpickled.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from headstart.contest.client import PREFIX, PROTOCOL, pack, unpack

MOST_REQUEST = 1 << 16
"""bytes of the longest request"""
TICK = 0.5
"""seconds after which whoever waits for the other side looks at the clock"""
STALL = 10.0
"""seconds in which a message that was begun must be complete"""

STEP, RESET = pack({"do": "step"}), pack({"do": "reset"})
OK = pack({"ok": True})


class MalformedError(Exception):
    """What arrived is no request of the protocol; the sentence is for the agent's author."""


class HungUpError(Exception):
    """The other side closed the connection."""


class Request(NamedTuple):
    """A request: "hello", "reset" or "step", what else a hello says, and the body (valid until the next request)."""

    verb: str
    header: dict[str, Any]
    body: memoryview


class Channel:
    """One connection to an agent.

    `tick` is called every half second while the channel waits; it raises to stop waiting.
    """

    def __init__(self, connection: socket.socket, tick: Callable[[], None]) -> None:
        self._socket, self._tick = connection, tick
        self._buffer = bytearray(PREFIX.size + MOST_REQUEST + 1)
        self._view = memoryview(self._buffer)
        timeout = struct.pack("ll", 0, int(TICK * 1e6))  # in the kernel: one system call a message
        connection.setblocking(True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def receive(self) -> Request:
        """The next request.

        Raises:
          MalformedError: for bytes that are no request, and for a message that is not completed in time.
          HungUpError: if the other side hung up between two messages.
        """
        got, end, body, begun = 0, PREFIX.size, 0, 0.0
        while got < end:
            read = self._read(got)
            if read == 0:
                raise HungUpError if got == 0 else MalformedError("a message was cut off.")
            if read < 0:
                self._tick()
            else:
                begun = begun or time.monotonic()
                got += read
                if got >= PREFIX.size:
                    body, end = self._ends()
            if 0 < got < end and time.monotonic() - begun > STALL:
                raise MalformedError("a message was begun and not completed.")
        if got > end:
            raise MalformedError("a request came before the last one was answered.")
        return self._request(body, end)

    def _read(self, got: int) -> int:
        """Bytes that arrived; 0 at the end of the connection, -1 if none came within a tick."""
        try:
            return self._socket.recv_into(self._view[got:])
        except (BlockingIOError, InterruptedError):
            return -1
        except OSError:
            return 0

    def _ends(self) -> tuple[int, int]:
        """Where the header and the body of a message end."""
        size, head = PREFIX.unpack_from(self._buffer)
        if size > MOST_REQUEST:
            raise MalformedError(
                f"a message of {size} bytes was announced; a request has {MOST_REQUEST} at most."
            )
        if not 0 < head <= size:
            raise MalformedError(f"a header of {head} bytes was announced in a message of {size}.")
        return PREFIX.size + head, PREFIX.size + size

    def _request(self, body: int, end: int) -> Request:
        raw = bytes(self._view[PREFIX.size : body])
        if raw == STEP:
            return Request("step", {}, self._view[body:end])
        try:
            header = unpack(raw)
        except ValueError as error:
            raise MalformedError(f"a header is unreadable: {error}.") from None
        verb = header.get("do") if isinstance(header, dict) else None
        if verb not in ("hello", "reset", "step"):
            raise MalformedError("a request is one of hello, reset and step.")
        if verb != "step" and end > body:
            raise MalformedError(f"a {verb} has no body.")
        return Request(verb, header, self._view[body:end])

    def answer(self, header: bytes, block: Any = b"") -> None:
        """Send an answer; `block` is bytes-like and follows the header.

        Raises:
          HungUpError: if nobody reads it any more.
          MalformedError: if it is not read in time.
        """
        size = memoryview(block).nbytes
        data = b"".join((PREFIX.pack(len(header) + size, len(header)), header, block))
        sent, begun = self._write(data), 0.0
        while sent < len(data):
            begun = begun or time.monotonic()
            if time.monotonic() - begun > STALL:
                raise MalformedError("an answer was not read.")
            sent += self._write(memoryview(data)[sent:])

    def _write(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; 0 if none were within a tick."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            self._tick()
            return 0
        except OSError:
            raise HungUpError from None

    def error(self, name: str, message: str) -> None:
        """Answer with a named error, if anybody still listens."""
        with contextlib.suppress(HungUpError, MalformedError):
            self.answer(pack({"error": name, "message": message}))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def check_hello(request: Request) -> bool:
    """Whether a hello asks for shared observations.

    Raises:
      MalformedError: for another protocol.
    """
    if request.header.get("protocol") != PROTOCOL:
        raise MalformedError(f"this evaluator speaks version {PROTOCOL} of the protocol; update the client.")
    return request.header.get("shared") is True


__all__ = [
    "OK",
    "Channel",
    "HungUpError",
    "MalformedError",
    "Request",
    "check_hello",
]
