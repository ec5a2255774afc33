"""A client of the server's API: what it makes of refusals for now, and how long it asks."""

import math
from types import SimpleNamespace

import httpx
import pytest

from headstart.contest.remote import GoneError, Remote
from headstart.errors import RunError


def remote(*answers: httpx.Response, patience: float = 600.0) -> Remote:
    """A server that gives these answers in turn, the last for ever."""
    left = list(answers)
    transport = httpx.MockTransport(lambda _: left.pop(0) if len(left) > 1 else left[0])
    return Remote("http://here", "t", transport=transport, patience=patience)


def busy(wait: str = "7", status: int = 429) -> httpx.Response:
    said = {"error": {"code": "too-many", "message": "too many requests came from here; wait a little."}}
    return httpx.Response(status, json=said, headers={"retry-after": wait})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept, on a clock of their own."""
    found: list[float] = []
    # The client's own name for the module: other threads of this process keep the real clock.
    clock = SimpleNamespace(sleep=found.append, monotonic=lambda: sum(found))
    monkeypatch.setattr("headstart.contest.remote.time", clock)
    return found


def test_the_servers_sentence_and_pause_are_kept() -> None:
    with pytest.raises(GoneError, match="too many requests came from here; wait a little") as caught:
        remote(busy()).ask("GET", "/contests")
    assert caught.value.wait == 7.0


@pytest.mark.parametrize("wait", ["soon", "-3", "Wed, 21 Oct 2026 07:28:00 GMT", "", "nan", "9" * 400])
def test_a_pause_that_is_no_number_of_seconds_is_none(wait: str) -> None:
    with pytest.raises(GoneError) as caught:
        remote(busy(wait, 503)).ask("GET", "/contests")
    assert caught.value.wait == 0.0


def test_it_waits_as_long_as_it_is_told_to(slept: list[float]) -> None:
    good = httpx.Response(200, json={})
    assert remote(busy(), httpx.Response(502), busy("9"), good).insist("GET", "/contests").status_code == 200
    assert slept == [7.0, 0.4, 9.0]


def test_it_does_not_wait_longer_than_it_may(slept: list[float]) -> None:
    with pytest.raises(RunError, match=r"wait a little; it was given 30 s\.$"):
        remote(busy("60")).insist("GET", "/contests", seconds=30.0)
    assert slept == []


def test_a_worker_asks_until_the_server_is_back(
    slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [httpx.Response(502)] * 1000
    asking = remote(*gone, httpx.Response(204), patience=math.inf)
    assert asking.insist("POST", "/worker/lease").status_code == 204
    assert sum(slept) > 4000
    assert (
        capsys.readouterr().err == "http://here refuses for now: status 502; asking again until it is back\n"
    )
    with pytest.raises(RunError, match="it was given 600 s"):
        remote(*gone).insist("POST", "/worker/lease")
