"""The server as programs see it: one small client of the JSON API, for `submit` and for workers."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

from headstart.errors import RunError, UsageError

_SLOWEST = 6.4  # seconds between two questions at most: twice 0.2, again and again


class GoneError(Exception):
    """The server could not be reached, or refuses for the moment; asking again may help, after `wait` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class Remote:
    """A server, asked with a token."""

    def __init__(
        self,
        url: str,
        token: str,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        patience: float = 600.0,
    ) -> None:
        """Nothing is asked yet; `patience` is how many seconds `insist` asks a server that is gone.

        Raises:
          UsageError: if `url` is no address of a server.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"a server's address begins with http:// or https://, not {url[:60]!r}.")
        if not token:
            raise UsageError(
                "a token is needed: set HEADSTART_TOKEN, or name a private file with --token-file."
            )
        headers = {"authorization": f"Bearer {token}", "user-agent": "headstart"}
        self.url, self.patience = url.rstrip("/"), patience
        self._client = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def ask(self, method: str, path: str, content: bytes | None = None, **data: Any) -> httpx.Response:
        """One request below `/api/v1`; keywords are sent as JSON.

        Raises:
          GoneError: if there was no answer, or one that says to come again.
          UsageError: if the server refuses, in its own sentence.
        """
        body = json.dumps(data).encode() if data else content
        try:
            answer = self._client.request(method, f"/api/v1{path}", content=body)
        except httpx.TransportError as error:
            raise GoneError(f"{self.url} does not answer ({type(error).__name__})") from None
        if answer.status_code == 429 or answer.status_code >= 500:
            raise GoneError(f"{self.url} refuses for now: {_sentence(answer)}", _wait(answer))
        if answer.is_error:
            raise UsageError(f"{self.url} refuses: {_sentence(answer)}")
        return answer

    def insist(
        self, method: str, path: str, content: bytes | None = None, seconds: float | None = None, **data: Any
    ) -> httpx.Response:
        """`ask`, again and again where the server is gone: it may be restarting.

        Args:
          seconds: how long; without it as long as the client's patience lasts.

        Raises:
          RunError: if it stays gone, or asks for more time than is left.
          UsageError: if the server refuses.
        """
        seconds = self.patience if seconds is None else seconds
        end, pause = time.monotonic() + seconds, 0.2
        while True:
            try:
                return self.ask(method, path, content, **data)
            except GoneError as error:
                wait, problem = max(pause, error.wait), str(error).rstrip(".")
            if time.monotonic() + wait > end:
                raise RunError(f"{problem}; it was given {seconds:.0f} s.")
            if pause == _SLOWEST / 2:
                print(f"{problem}; asking again until it is back", file=sys.stderr, flush=True)
            time.sleep(wait)
            pause = min(2 * pause, _SLOWEST)

    def follow(
        self, submission: str, tell: Callable[[dict[str, Any]], None], seconds: float = 2.0
    ) -> dict[str, Any]:
        """Watch a submission until it is ended; `tell` gets what the server says every few seconds.

        Raises:
          RunError: if the server stays gone.
        """
        while True:
            found = self.insist("GET", f"/submissions/{submission}").json()
            tell(found)
            if found["state"] not in ("queued", "running"):
                return found
            time.sleep(seconds)


def _wait(answer: httpx.Response) -> float:
    """Seconds the server asks to wait; 0 where it says nothing, or a date."""
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() and len(asked) < 9 else 0.0


def _sentence(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}."


__all__ = ["GoneError", "Remote"]
