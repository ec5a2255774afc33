"""Who is asking: tokens, sessions of the pages, proofs for forms, and limits on how often one may ask.

A token is `hs_ID_SECRET` with 256 random bits of secret. The database holds SHA-256 of the secret, which is as good as a
slow hash where there is nothing to guess; the row is found by ID and the digests are compared in constant time. A session
is the same in a cookie. A form carries HMAC-SHA-256(server's key, the visitor's cookies), which no other site can know.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from headstart.errors import RunError

_TOKEN = re.compile(r"hs_([A-Za-z0-9]{12})_([A-Za-z0-9_-]{43})")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Token(NamedTuple):
    """A new token: the text for its owner, who sees it once, and what the database keeps."""

    text: str
    id: str
    digest: str


def digest(secret: str) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def name(length: int = 12) -> str:
    """A random name of letters and digits, for what must not be guessed or counted."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_token() -> Token:
    """A token nobody has had before."""
    key, secret = name(12), secrets.token_urlsafe(32)
    return Token(f"hs_{key}_{secret}", key, digest(secret))


def split_token(text: str) -> tuple[str, str] | None:
    """Id and digest of a token's text; None if it is not one.

    >>> split_token("password") is None
    True
    """
    found = _TOKEN.fullmatch(text)
    return None if found is None else (found[1], digest(found[2]))


def same(one: str, other: str) -> bool:
    """Whether two digests are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def server_key(folder: Path) -> bytes:
    """The server's own secret, made on first use in a file that only its owner can read.

    Raises:
      RunError: if the folder cannot be written.
    """
    path = folder / "server.key"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"server.key.{os.getpid()}")
        if not path.exists():
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
                os.link(part, path)
            part.unlink()
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"the server's key {path} cannot be made ({error.strerror}).") from error


def form_proof(key: bytes, visit: str, session: str) -> str:
    """What a form must carry to be taken as the visitor's own."""
    return hmac.new(key, f"{visit}|{session}".encode(), "sha256").hexdigest()


class Limiter:
    """Token buckets: `rate` requests a second on average for each name, `burst` at once."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic, names: int = 10_000
    ) -> None:
        self.rate, self.burst, self.clock, self.names = rate, burst, clock, names
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def allow(self, name: str, cost: float = 1.0) -> bool:
        """Take `cost` from the bucket of `name`; False if there is less in it: then nothing is taken."""
        with self._lock:
            now = self.clock()
            left, since = self._left.pop(name, (self.burst, now))
            left = min(self.burst, left + (now - since) * self.rate)
            enough = left >= cost
            self._left[name] = (left - cost if enough else left, now)
            if len(self._left) > self.names:  # the one that has been quiet longest is full again, or nearly
                del self._left[next(iter(self._left))]
            return enough


__all__ = [
    "Limiter",
    "Token",
    "digest",
    "form_proof",
    "name",
    "new_token",
    "same",
    "server_key",
    "split_token",
]
