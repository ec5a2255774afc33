"""The server as programs see it: one small client of the JSON API, for `submit` and for workers."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from headstart.errors import RunError, UsageError


class GoneError(Exception):
    """The server could not be reached, or was not itself for the moment; asking again may help."""


class Remote:
    """A server, asked with a token."""

    def __init__(
        self, url: str, token: str, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Nothing is asked yet.

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
        self.url = url.rstrip("/")
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
        if answer.status_code in (429, 502, 503, 504) or answer.status_code >= 500:
            raise GoneError(f"{self.url} answers {answer.status_code}")
        if answer.is_error:
            raise UsageError(f"{self.url} refuses: {_sentence(answer)}")
        return answer

    def insist(
        self, method: str, path: str, content: bytes | None = None, seconds: float = 600.0, **data: Any
    ) -> httpx.Response:
        """`ask`, again and again for a while where the server is gone: it may be restarting.

        Raises:
          RunError: if it stays gone.
          UsageError: if the server refuses.
        """
        end, pause = time.monotonic() + seconds, 0.2
        while True:
            try:
                return self.ask(method, path, content, **data)
            except GoneError as error:
                if time.monotonic() + pause > end:
                    raise RunError(f"{error}; it was given {seconds:.0f} s.") from None
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def follow(
        self, submission: str, tell: Callable[[dict[str, Any]], None], seconds: float = 2.0
    ) -> dict[str, Any]:
        """Watch a submission until it is ended; `tell` gets what the server says every few seconds.

        Raises:
          RunError: if the server stays gone for ten minutes.
        """
        while True:
            found = self.insist("GET", f"/submissions/{submission}").json()
            tell(found)
            if found["state"] not in ("queued", "running"):
                return found
            time.sleep(seconds)


def _sentence(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}."


__all__ = ["GoneError", "Remote"]
