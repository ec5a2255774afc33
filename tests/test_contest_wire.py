"""The evaluator's end of the wire: what is no request ends the evaluation, and nothing that arrives harms the process."""

import os
import random
import resource
import socket
import struct
import threading
import time
from collections import Counter

import msgpack
import numpy as np
import pytest

from headstart.contest import wire
from headstart.contest.client import MOST, PREFIX, message, pack, unpack
from headstart.contest.environment import Game
from headstart.contest.meter import Ledger, NotNowError
from headstart.contest.serving import Server
from headstart.contest.wire import Channel, HungUpError, MalformedError

HELLO = message({"do": "hello", "protocol": 1, "shared": False})
RESET, STEP = message({"do": "reset"}), message({"do": "step"}, struct.pack("<i", 1))
VALUES = [
    None, True, False, 0, 127, 128, -1, -33, 2**40, -(2**40), 0.5, -1e300, "", "do", "é" * 20, "x" * 40, "y" * 70_00,
    [], [1, [2, [3]]], {}, {"a": {"b": [None, 1.5]}}, {str(i): i for i in range(40)}, list(range(300)),
]  # fmt: skip


@pytest.fixture(scope="module")
def game():
    game = Game("cartpole", "task-0", 0, 1)
    game.compile()
    return game


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(wire, "STALL", 0.6)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, lambda: None), theirs


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_headers_are_messagepack(value):
    assert msgpack.unpackb(pack(value)) == value
    assert unpack(pack(value)) == value
    assert unpack(msgpack.packb(value)) == value


@pytest.mark.parametrize("number", [1, 200, 40_000, 2**31, 2**33, -100, -1000, -(2**20), -(2**40)])
def test_whole_numbers_of_every_length_are_read(number):
    assert unpack(msgpack.packb(number)) == number
    assert unpack(msgpack.packb([1.5, number], use_single_float=True)) == [1.5, number]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc1", b"\xc4\x01a", b"\xd4\x00\x00", b"\xa5abc", b"\x92\x01", b"\xdd\xff\xff\xff\xff", b"\x00\x00",
        b"\x81\x01\x02", b"\xa1\xff", b"\x91" * 50 + b"\x00", msgpack.packb({b"a": 1}),
        msgpack.packb(msgpack.Timestamp(0, 0)),
    ],
)  # fmt: skip
def test_what_is_no_header_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        unpack(data)


def test_a_header_that_claims_much_costs_little():
    start = time.perf_counter()
    for claim in (b"\xdd\x7f\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xdb\x7f\xff\xff\xff"):
        with pytest.raises(ValueError, match="cut off"):
            unpack(claim + b"\x00" * 64)
    assert time.perf_counter() - start < 0.5


def test_a_request_is_read_whatever_pieces_it_comes_in(pair):
    channel, agent = pair
    data = message({"do": "step", "more": [1]}, b"12345678")

    def dribble():
        for byte in data:
            agent.sendall(bytes([byte]))

    thread = threading.Thread(target=dribble)
    thread.start()
    request = channel.receive()
    thread.join()
    assert (request.verb, request.header["more"], bytes(request.body)) == ("step", [1], b"12345678")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (PREFIX.pack(wire.MOST_REQUEST + 1, 4), "65537 bytes was announced"),
        (PREFIX.pack(2**32 - 1, 4), "4294967295 bytes was announced"),
        (PREFIX.pack(4, 5) + b"12345", "header of 5 bytes"),
        (PREFIX.pack(4, 0) + b"1234", "header of 0 bytes"),
        (PREFIX.pack(1, 1) + b"\xc1", "unreadable"),
        (message(["do"]), "one of hello, reset and step"),
        (message({"do": "eval"}), "one of hello, reset and step"),
        (message({"do": ["step"]}), "one of hello, reset and step"),
        (message({"do": "reset"}, b"x"), "reset has no body"),
        (RESET + RESET, "before the last one was answered"),
    ],
)
def test_what_is_no_request_is_refused(pair, data, complaint):
    channel, agent = pair
    agent.sendall(data)
    with pytest.raises(MalformedError, match=complaint):
        channel.receive()


def test_half_a_message_is_not_waited_for_long(pair):
    channel, agent = pair
    agent.sendall(RESET[:-1])
    start = time.monotonic()
    with pytest.raises(MalformedError, match="begun and not completed"):
        channel.receive()
    assert time.monotonic() - start < 5


def test_half_a_message_and_the_end_is_refused_and_no_message_is_a_farewell(pair):
    channel, agent = pair
    agent.sendall(RESET[:5])
    agent.shutdown(socket.SHUT_WR)
    with pytest.raises(MalformedError, match="cut off"):
        channel.receive()
    with pytest.raises(HungUpError):
        channel.receive()


def test_who_does_not_read_is_not_waited_for(pair):
    channel, _ = pair
    with pytest.raises(MalformedError, match="not read"):
        channel.answer(wire.OK, bytes(8 << 20))


def test_a_long_answer_arrives_whole(pair):
    channel, agent = pair
    block = np.random.default_rng(0).integers(0, 256, 3 << 20, np.uint8)
    got = bytearray()

    def read():
        size = PREFIX.size + len(wire.OK) + block.size
        while len(got) < size:
            got.extend(agent.recv(70_000))

    thread = threading.Thread(target=read)
    thread.start()
    channel.answer(wire.OK, block)
    thread.join()
    assert PREFIX.unpack_from(got) == (len(wire.OK) + block.size, len(wire.OK))
    assert bytes(got[PREFIX.size + len(wire.OK) :]) == block.tobytes()
    assert len(got) < MOST


def test_while_it_waits_the_clock_is_looked_at():
    def stop():
        raise NotNowError("wall-clock", "over")

    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(NotNowError):
        Channel(ours, stop).receive()


class Counting(Channel):
    """A channel that counts the messages it has read to their end or refused."""

    read = 0

    def receive(self):
        try:
            request = super().receive()
        except HungUpError:
            raise
        except MalformedError:
            self.read += 1
            raise
        self.read += 1
        return request


def _serve(game: Game, messages: list[bytes]) -> tuple[str, Ledger, int]:
    """What became of an agent that sends these messages, each once the one before is answered, and hangs up.

    Also how many of them were read. A packet is what one reading gets, so nobody has to wait for the answers.
    """
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    channel = Counting(ours, lambda: None)
    with ours, theirs:
        for message in messages:
            theirs.send(message)
        theirs.shutdown(socket.SHUT_WR)
        ledger = Ledger(1000, game.n, game.spec.horizon)
        try:
            Server(game, ledger, {"budget": 1000}).serve(channel, lambda: None)
            outcome = "over"
        except (HungUpError, MalformedError) as error:
            outcome = type(error).__name__
    return outcome, ledger, channel.read


@pytest.mark.parametrize(
    "step",
    [
        message({"do": "step"}),
        message({"do": "step"}, b"\x00" * 3),
        message({"do": "step"}, b"\x00" * 400),
        message({"do": "step"}, struct.pack("<i", 2)),
        message({"do": "step"}, struct.pack("<i", -1)),
        message({"do": "hello", "protocol": 1}),
    ],
)
def test_actions_that_are_none_cost_no_step_and_end_it(game, step):
    outcome, ledger, read = _serve(game, [HELLO, RESET, step])
    assert (outcome, ledger.spent, read) == ("MalformedError", 0, 3)


def _junk(rng: random.Random) -> bytes:
    """A message as a fool or a foe might send it."""
    data = bytearray(rng.choice([HELLO, RESET, STEP, message({"do": "step", "x": [1, "y"]}, b"abcd")]))
    match rng.randrange(6):
        case 0:  # some bytes changed
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 1:  # cut off
            del data[rng.randrange(1, len(data)) :]
        case 2:  # noise
            data = bytearray(rng.randbytes(rng.randrange(1, 200)))
        case 3:  # a wrong length
            struct.pack_into("<I", data, rng.choice([0, 4]), rng.choice([0, 1, 2**16, 2**31, 2**32 - 1]))
        case 4:  # a nest
            head = bytes([rng.choice([0x91, 0x81, 0xDC, 0xDF])]) * rng.randrange(1, 2000)
            data = bytearray(PREFIX.pack(len(head), len(head)) + head)
        case _:  # well formed, at the wrong time
            pass
    return bytes(data)


class Fed(Channel):
    """A channel whose every reading gets one more message, or, after half of one, some bytes of any number."""

    def __init__(self, ours: socket.socket, theirs: socket.socket, rng: random.Random) -> None:
        super().__init__(ours, lambda: None)
        self._theirs, self._rng = theirs, rng

    def _read(self, got: int) -> int:
        self._theirs.send(bytes(self._rng.randrange(1, 1 << 16)) if got else _junk(self._rng))
        return super()._read(got)


@pytest.mark.parametrize("count", [5000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_message_harms_the_parser(count):
    """Each of `count` is junk that the parser reads from its beginning, and takes for a request or refuses."""
    found, before = Counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)  # a packet is what one reading gets
    with ours, theirs:
        channel = Fed(ours, theirs, random.Random(count))
        for _ in range(count):
            try:
                found[channel.receive().verb] += 1
            except MalformedError as error:
                found[str(error)[:20]] += 1
    assert found.total() == count
    assert {"hello", "reset", "step", "a header is unreadab", "a request is one of "} < set(found)
    assert min(found[verb] for verb in ("hello", "reset", "step")) > count // 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_message_harms_the_server(game, count):
    """All end in a verdict; no step is played that was not asked for; neither files nor memory are left behind.

    `count` is of messages that are junk and that the server has read, whatever came before them.
    """
    rng, outcomes, junk = random.Random(count), set(), 0
    files, before = len(os.listdir("/proc/self/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while junk < count:
        sound = rng.choice([[], [HELLO], [HELLO], [HELLO, RESET, *[STEP] * rng.randrange(4)]])
        outcome, ledger, read = _serve(game, [*sound, *(_junk(rng) for _ in range(4 if sound[1:] else 1))])
        assert read > len(sound), "all that is sound was answered"
        assert ledger.spent <= (7 if sound[1:] else 0)
        junk += read - len(sound)
        outcomes.add(outcome)
    assert outcomes == {"HungUpError", "MalformedError"}
    assert len(os.listdir("/proc/self/fd")) == files
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
