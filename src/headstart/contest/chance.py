"""The randomness of an evaluation: a secret's, so that no agent can compute what is going to happen to it.

    noise = the first 64 bits of HMAC-SHA-256(secret, contest, board, level, seed, digest of the archive)

The same submission on the same level with the same seed meets the same noise, so it gets the same score. A changed one
meets another: what an agent has printed about the noise of one try helps none of the next.
"""

import hmac
import json

PRACTICE = b"practice"
"""the secret of `headstart contest score`, which hides nothing: noise there is only like a server's"""


def noise(secret: bytes, *what: str | int) -> int:
    """64 bits that nobody can find without the secret.

    >>> noise(PRACTICE, "cup", "public", "one", 7, "digest") == noise(PRACTICE, "cup", "public", "one", 8, "digest")
    False
    """
    return int.from_bytes(hmac.digest(secret, json.dumps(["noise", *what]).encode(), "sha256")[:8])


__all__ = ["PRACTICE", "noise"]
