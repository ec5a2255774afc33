"""Where a server says that it is, and what it refuses to be told."""

from pathlib import Path

import pytest

from headstart.commands import contest_server
from headstart.contest.server import ServeConfig
from headstart.errors import UsageError


@pytest.mark.parametrize(
    ("host", "url", "local"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000", "http://[::1]:8000"),
        ("::", "http://[::]:8000", "http://[::1]:8000"),
        ("contest.example", "http://contest.example:8000", "http://contest.example:8000"),
    ],
)
def test_an_address_of_ipv6_stands_in_brackets(host: str, url: str, local: str) -> None:
    config = ServeConfig(host)
    assert (config.url, config.local_url) == (url, local)


@pytest.mark.parametrize("rate", ["0", "-1", "nan"])
def test_a_rate_is_above_nothing(tmp_path: Path, rate: str) -> None:
    with pytest.raises(UsageError, match="requests a second above 0"):
        contest_server.serve(["--data", str(tmp_path / "data"), f"--rate={rate}"])
    assert not (tmp_path / "data").exists()
