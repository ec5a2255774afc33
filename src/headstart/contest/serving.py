"""Answers an agent's requests, one after the other."""

import math
import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headstart.contest.client import pack
from headstart.contest.environment import Game
from headstart.contest.meter import Ledger, NotNowError
from headstart.contest.wire import OK, Channel, MalformedError, Request, check_hello

_MOST_ERRORS = 1000  # requests at the wrong time that are answered


class Server:
    """Plays a game for one agent and keeps the ledger.

    `actions` records what was played, `[T, N, ...]`, for films. `about` is told in the hello.
    """

    def __init__(self, game: Game, ledger: Ledger, about: dict[str, Any]) -> None:
        self._game, self._ledger = game, ledger
        self._about = about
        self._shared: mmap.mmap | None = None
        self._sharing = False
        self._wrong = 0
        still = game.nothing()
        steps = ledger.meter.budget.steps // game.n
        small = still.dtype == np.int32 and game.few
        self.actions = np.zeros((steps, *still.shape), np.uint8 if small else still.dtype)
        self._zeros = np.zeros(game.n, np.float32)

    @property
    def spent_all(self) -> bool:
        """Whether not one step more can be played."""
        return self._ledger.meter.left < self._game.n

    def share(self, path: Path) -> None:
        """Make the file that observations may be shared in; whoever reads it cannot write to it."""
        size = max(self._game.block, mmap.PAGESIZE)
        path.write_bytes(bytes(size))
        path.chmod(0o644)
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), size)

    def close(self) -> None:
        """Let go of the shared file."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def serve(self, channel: Channel, tick: Callable[[], None]) -> None:
        """Answer until the budget is spent and said to be.

        Raises:
          MalformedError: for a request that is not allowed at all.
          HungUpError: when the agent hangs up. Whatever `tick` raises.
        """
        self._greet(channel, channel.receive())
        asked = 0.0
        while True:
            request = channel.receive()
            now = time.monotonic()
            if now > asked:  # the clock is looked at ten times a second
                tick()
                asked = now + 0.1
            try:
                self._answer(channel, request)
            except NotNowError as error:
                channel.error(error.name, str(error))
                self._wrong += 1
                if error.name == "budget" or self._wrong > _MOST_ERRORS:
                    return

    def _greet(self, channel: Channel, request: Request) -> None:
        if request.verb != "hello":
            raise MalformedError("the first request is a hello.")
        self._sharing = check_hello(request) and self._shared is not None
        channel.answer(pack({"ok": True, "shared": self._sharing, **self._about, **self._game.hello()}))

    def _answer(self, channel: Channel, request: Request) -> None:
        game, ledger = self._game, self._ledger
        if request.verb == "step":
            action = game.actions(request.body)
            ledger.spend()
            t = ledger.t - 1
            self.actions[t] = action
            block = game.step(t, action)
            reward, ended = game.results(block)
            if math.isnan(self._zeros.dot(reward)):  # 0 times what is not finite is no number
                raise MalformedError("the environment gave a reward that is not finite; tell the organiser.")
            ledger.record(reward, ended)
        elif request.verb == "reset":
            block = game.reset(ledger.t, ledger.begin())
        else:
            raise MalformedError("a hello comes once.")
        shown = block.data
        if self._sharing and self._shared is not None:
            self._shared[: game.block] = shown[game.outcome :]
            shown = shown[: game.outcome]
        channel.answer(OK, shown)


__all__ = ["Server"]
