"""`headstart contest submit` and its server in one process: what is lost on the way is sent again and counts once."""

import functools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from tests.test_contest_worker import Wire

from headstart.commands import contest_server
from headstart.commands.contest import contest as run
from headstart.contest import remote
from headstart.contest.archive import Limits
from headstart.contest.contests import Contest, Level
from headstart.contest.server import make_app
from headstart.contest.store import Store
from headstart.contest.web import ServerConfig
from headstart.errors import RunError, UsageError


class Forgetful(Wire):
    """Carries requests; the answers to the first `lost` that send something in are lost on the way back."""

    lost = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.url.path.endswith("/submissions") and self.lost > 0:
            self.lost -= 1
            raise httpx.ReadError("killed between commit and answer")
        return answer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "data")
    made.add_contest(Contest("cup", "Cup", "bandit-v0", 100, (7,), 60.0, (Level("one", "one"),)))
    yield made
    made.close()


@pytest.fixture
def wire(store: Store, monkeypatch: pytest.MonkeyPatch) -> Forgetful:
    """The way from `submit` to the server; Ada's token is in the environment."""
    made = Forgetful(store)
    monkeypatch.setenv("HEADSTART_TOKEN", store.users.new_token(store.users.add("Ada")))
    monkeypatch.setattr(remote, "Remote", functools.partial(remote.Remote, transport=made))
    clock = SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic)
    monkeypatch.setattr("headstart.contest.remote.time", clock)
    return made


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "submission.toml").write_text("mine")
    return folder


def send(agent: Path) -> None:
    contest_server.submit([str(agent), "--server", "http://here", "--no-follow"])


def test_an_answer_that_was_lost_costs_no_try(store: Store, wire: Forgetful, agent: Path) -> None:
    wire.lost = 3
    send(agent)
    assert [one.number for one in store.submissions("cup")] == [1]
    send(agent)
    assert [one.number for one in store.submissions("cup")] == [2, 1], "sent by hand again is another try"


def test_what_the_server_takes_is_what_is_packed(store: Store, wire: Forgetful, agent: Path) -> None:
    wire.app = make_app(store, ServerConfig(Limits.of(2000)))
    (agent / "weights").write_bytes(bytes(range(256)) * 10)
    send(agent)
    (agent / "noise").write_bytes(random.Random(0).randbytes(4000))
    with pytest.raises(UsageError, match=r"packs to \d+ bytes, at most 2000 bytes can be sent"):
        send(agent)


def test_a_refusal_for_now_is_told_in_the_servers_words(store: Store, wire: Forgetful, agent: Path) -> None:
    site = wire.app.state.site
    while site.sent.allow("1"):
        pass
    with pytest.raises(RunError, match="uploads come too fast; wait a minute"):
        send(agent)


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["submit", "FOLDER", "--server", "http://here"], "httpx"),
        (["worker", "--server", "http://here"], "httpx"),
        (["serve", "--data", "FOLDER"], "starlette.requests"),
        (["admin", "status", "--data", "FOLDER"], "sqlalchemy"),
    ],
)
def test_a_missing_extra_is_named(
    words: list[str], module: str, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("headstart.contest.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {module.partition('.')[0]}.*\[contest\]"):
        run([str(agent) if word == "FOLDER" else word for word in words])
