"""The JSON API as programs use it: who may do what, limits, the whole way of a submission, and what the document says."""

import csv
import inspect
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headstart.contest import scoring
from headstart.contest.api import OPERATIONS
from headstart.contest.archive import Limits
from headstart.contest.contests import Contest, Level, Reference
from headstart.contest.server import make_app
from headstart.contest.store import Store
from headstart.contest.web import ServerConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have a client that is not out yet
    from starlette.testclient import TestClient

SECRET = "ROW OF A HIDDEN LEVEL\n####"


def zipped() -> bytes:
    """A submission, the same bytes at any time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in ("submission.toml", "agent.py"):
            file.writestr(zipfile.ZipInfo(name), "# nothing")
    return buffer.getvalue()


class Site:
    """A server in this process, and its users' tokens."""

    def __init__(self, folder: Path, config: ServerConfig) -> None:
        self.store = Store(folder)
        levels = (Level("one", "practice-1"), Level("two", SECRET))
        human = Reference("Human", 9.0, 0.5, "a paper")
        cup = Contest(
            "cup",
            "Cup",
            "platformer-v0",
            100,
            (0, 1),
            60.0,
            levels,
            (Level("end", SECRET),),
            references=(human,),
        )
        self.store.add_contest(cup)
        users = self.store.users
        roles = {"Ada": "contestant", "Bo": "contestant", "boss": "organiser", "hand": "worker"}
        self.tokens = {name: users.new_token(users.add(name, role)) for name, role in roles.items()}
        self.client = TestClient(make_app(self.store, config), raise_server_exceptions=True)

    def ask(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return self.client.request(
            method, f"/api/v1{path}", headers=headers | more.pop("headers", {}), **more
        )

    def send(self, who: str, name: str = "agent") -> str:
        answer = self.ask(who, "POST", f"/contests/cup/submissions?name={name}", content=zipped())
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def play(self, score: float) -> int:
        """Play all jobs that wait, as a worker would; how many there were."""
        count = 0
        while (answer := self.ask("hand", "POST", "/worker/lease", json={"worker": "w"})).status_code == 200:
            lease = answer.json()
            held = {"lease": lease["lease"], "spent": 50}
            beat = self.ask("hand", "POST", f"/worker/jobs/{lease['job']}/heartbeat", json=held)
            assert beat.json() == {"held": True}
            said = {
                "verdict": "budget",
                "score": score,
                "spent": 100,
                "message": "",
                "log": f"log of {lease['label']}",
            }
            said |= {"lease": lease["lease"], "episodes": [[score, 60, True], [score, 40, False]]}
            ended = self.ask("hand", "POST", f"/worker/jobs/{lease['job']}/verdict", json=said)
            assert ended.json() == {"counted": True}
            count += 1
        return count


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    config = ServerConfig(Limits(packed=5000), rate=1000.0, burst=1000.0, failures=3.0)
    made = Site(tmp_path / "data", config)
    with made.client:
        yield made
    made.store.close()


def test_the_whole_way_of_a_submission(site: Site) -> None:
    key = site.send("Ada")
    waiting = site.ask("", "GET", f"/submissions/{key}").json()
    assert (waiting["state"], waiting["score"], len(waiting["jobs"])) == ("queued", None, 4)
    assert site.play(7.0) == 4
    found = site.ask("", "GET", f"/submissions/{key}").json()
    assert (found["state"], found["score"], found["error"], found["spent"]) == ("scored", 7.0, 0.0, 400)
    board = site.ask("", "GET", "/contests/cup/boards/public").json()
    assert [(row["rank"], row["name"], row["score"], row["tries"]) for row in board["rows"]] == [
        (None, "Human", 9.0, 0),
        (1, "Ada", 7.0, 1),
    ]
    assert board["rows"][1]["levels"] == {"one": 7.0, "two": 7.0}
    expected = scoring.curve([(7.0, 60), (7.0, 40)], 100)
    assert board["rows"][1]["curve"] == expected
    lines = list(csv.reader(io.StringIO(site.ask("", "GET", "/contests/cup/boards/public.csv").text)))
    assert lines[0][:4] == ["rank", "name", "agent", "score"]
    assert lines[2][:8] == ["1", "Ada", "agent", "7.0", "0.0", "7.0", "7.0", "1"]


def test_the_best_or_the_last_counts_and_ties_go_to_the_earlier(site: Site) -> None:
    for who, score in (("Ada", 5.0), ("Ada", 3.0), ("Bo", 5.0)):
        site.send(who)
        site.play(score)
    rows = site.ask("", "GET", "/contests/cup/boards/public").json()["rows"]
    assert [(r["name"], r["score"], r["tries"]) for r in rows[1:]] == [("Ada", 5.0, 2), ("Bo", 5.0, 1)]
    assert [r["rank"] for r in rows] == [None, 1, 2]


def test_one_user_sees_nothing_of_anothers_code_logs_and_messages(site: Site) -> None:
    key = site.send("Ada")
    site.play(1.0)
    job = site.ask("Ada", "GET", f"/submissions/{key}").json()["jobs"][0]["id"]
    for path in (f"/submissions/{key}/archive", f"/submissions/{key}/jobs/{job}/log"):
        assert site.ask("", "GET", path).status_code == 401
        assert site.ask("Bo", "GET", path).status_code == 403
        assert site.ask("hand", "GET", path).status_code == 403
        assert site.ask("Ada", "GET", path).status_code == 200
        assert site.ask("boss", "GET", path).status_code == 200
    assert site.ask("Ada", "GET", f"/submissions/{key}/archive").content == zipped()
    assert site.ask("Ada", "GET", f"/submissions/{key}/jobs/{job}/log").text == "log of one"
    other = site.send("Bo")
    assert site.ask("Ada", "GET", f"/submissions/{other}/jobs/{job}/log").status_code == 403
    assert site.ask("Bo", "GET", f"/submissions/{other}/jobs/{job}/log").status_code == 403, (
        "not of this submission"
    )
    assert site.ask("Bo", "POST", f"/submissions/{key}/cancel").status_code == 403
    assert site.ask("Bo", "GET", f"/submissions/{key}").json()["jobs"][0]["message"] is None
    assert site.ask("Ada", "POST", f"/submissions/{key}/cancel").json()["state"] == "cancelled"
    assert site.ask("Ada", "POST", f"/submissions/{key}/cancel").status_code == 409


def test_hidden_levels_are_told_to_workers_only(site: Site) -> None:
    key = site.send("Ada")
    asked = [
        site.ask(
            who,
            o.method,
            o.path.removeprefix("/api/v1").format(slug="cup", board="public", id=key, job=1, name="x.gif"),
        )
        for who in ("", "Ada", "Bo")
        for o in OPERATIONS
        if o.method == "GET"
    ]
    site.play(2.0)
    asked.append(site.ask("Ada", "GET", f"/submissions/{key}"))
    assert len(asked) > 20
    assert not [a.url for a in asked if "HIDDEN" in a.text]
    assert site.ask("Ada", "GET", "/contests/cup/boards/final").status_code == 403
    site.store.show_final("cup")
    assert site.ask("", "GET", "/contests/cup/boards/final").json()["rows"] == []


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.role], ids=lambda o: f"{o.method} {o.path}")
def test_what_needs_a_token_is_refused_without_one(site: Site, operation: Any) -> None:
    path = operation.path.removeprefix("/api/v1").format(
        slug="cup", board="public", id="x", job=1, name="a.gif"
    )
    assert site.ask("", operation.method, path).status_code == 401
    forged = {"authorization": "Bearer hs_" + "a" * 12 + "_" + "b" * 43}
    assert site.client.request(operation.method, operation.path, headers=forged).status_code == 401
    if operation.role == "worker":
        assert site.ask("Ada", operation.method, path).status_code == 403


def test_wrong_tokens_are_told_to_wait_and_shut_nobody_else_out(site: Site) -> None:
    wrong = {"authorization": "Bearer nonsense"}
    codes = [site.client.get("/api/v1/contests", headers=wrong).status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    assert site.ask("Ada", "GET", "/contests").status_code == 200, "a class may share one address"


def test_an_address_may_not_ask_too_often(tmp_path: Path) -> None:
    made = Site(tmp_path, ServerConfig(rate=0.001, burst=4.0))
    codes = [made.client.get("/api/v1/contests").status_code for _ in range(6)]
    assert codes == [200, 200, 200, 200, 429, 429]
    assert made.client.get("/c/cup").status_code == 429, "what is left is nothing"
    made.store.close()


def test_a_class_behind_one_address_can_look_on(tmp_path: Path) -> None:
    made = Site(tmp_path, ServerConfig(rate=0.001, burst=4.0))
    assert {made.client.get("/c/cup").status_code for _ in range(40)} == {200}
    assert made.client.get("/static/style.css").status_code == 200
    codes = [made.client.get("/api/v1/contests").status_code for _ in range(3)]
    assert codes == [200, 429, 429], "all of it came from one bucket"
    assert made.client.post("/c/cup").status_code == 429, "a form costs what a form costs"
    made.store.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_is_too_large_is_cut_off(site: Site, chunked: bool) -> None:
    read = 0

    def parts() -> Iterator[bytes]:
        nonlocal read
        for _ in range(2000):
            read += 1000
            yield b"x" * 1000

    content = parts() if chunked else b"x" * 6000
    answer = site.ask("Ada", "POST", "/contests/cup/submissions", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")
    assert list((site.store.database.folder / "submissions").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/contests/cup/submissions", {"content": b"no zip"}, 422),
        ("/contests/cap/submissions", {"content": zipped()}, 404),
        ("/submissions/nothing/cancel", {}, 404),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(site: Site, path: str, more: Any, status: int) -> None:
    answer = site.ask("Ada", "POST", path, **more)
    assert answer.status_code == status
    assert re.fullmatch(r"[^\n]{10,300}\.", answer.json()["error"]["message"])


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        "nonsense",
        "[" * 5000,
        '{"lease": 3}',
        '{"episodes": 1}',
        '{"episodes": [[1]]}',
        '{"episodes": [[NaN, 1, true]]}',
        '{"score": "high"}',
        '{"score": 1e999}',
        '{"spent": -1}',
        '{"spent": true}',
    ],
)
def test_a_workers_nonsense_is_refused(site: Site, said: str) -> None:
    site.send("Ada")
    lease = site.ask("hand", "POST", "/worker/lease", json={}).json()
    answer = site.ask("hand", "POST", f"/worker/jobs/{lease['job']}/verdict", content=said)
    assert answer.status_code == 400
    assert site.store.queue.waiting()["ended"] == 0


def test_films_are_checked_and_of_hidden_levels_for_organisers_only(site: Site) -> None:
    site.send("Ada")
    keys: dict[str, str] = {}
    for label in ("one", "two"):
        lease = site.ask("hand", "POST", "/worker/lease", json={}).json()
        assert lease["label"] == label
        path = f"/worker/jobs/{lease['job']}/films"
        good = {"params": {"lease": lease["lease"]}, "content": b"GIF89a film"}
        assert site.ask("hand", "PUT", f"{path}/best.gif", **good).json() == {"held": True}
        assert site.ask("hand", "PUT", f"{path}/best.gif", **good | {"params": {"lease": "x"}}).json() == {
            "held": False
        }
        assert site.ask("hand", "PUT", f"{path}/best.svg", **good).status_code == 400
        assert site.ask("hand", "PUT", f"{path}/best.gif", **good | {"content": b"<svg>"}).status_code == 400
        with site.store.database.read() as c:
            keys[label] = c.exec_driver_sql("select id from films order by job desc").scalar()
    shown = site.client.get(f"/films/{keys['one']}.gif")
    assert (shown.content, shown.headers["content-type"]) == (b"GIF89a film", "image/gif")
    assert site.client.get(f"/films/{keys['two']}.gif").status_code == 403
    assert site.client.get(f"/films/{keys['one']}.mp4").status_code == 404


def test_the_document_describes_the_routes_and_nothing_else(site: Site) -> None:
    document = site.ask("", "GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {(m.upper(), path) for path, found in document["paths"].items() for m in found}
    assert described == {(o.method, o.path) for o in OPERATIONS}
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert used == set(document["components"]["schemas"])


def test_the_document_names_what_goes_in_the_query(site: Site) -> None:
    paths = site.ask("", "GET", "/openapi.json").json()["paths"]
    for o in OPERATIONS:
        asked = set(re.findall(r'query_params\.get\("(\w+)"', inspect.getsource(o.handler)))
        asked |= {"lease"} if "_lease(" in inspect.getsource(o.handler) else set()
        told = {p["name"]: p for p in paths[o.path][o.method.lower()]["parameters"] if p["in"] == "query"}
        assert set(told) == asked, o.path
        assert all(p["required"] == (name == "lease") for name, p in told.items())
    assert {
        name for path in paths.values() for op in path.values() for name in map(_named, op["parameters"])
    } > {
        "name",
        "key",
        "lease",
    }


def _named(parameter: dict[str, Any]) -> str:
    return parameter["name"]


def test_a_submission_sent_again_is_answered_with_the_first(site: Site) -> None:
    path = "/contests/cup/submissions?name=agent&key=one"
    first, again = (site.ask("Ada", "POST", path, content=zipped()) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    for key in ("x" * 65, "a%00", "a%20b"):
        answer = site.ask("Ada", "POST", f"/contests/cup/submissions?key={key}", content=zipped())
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-field")


def test_how_large_an_archive_may_be_is_told(site: Site) -> None:
    assert site.ask("", "GET", "/contests/cup").json()["upload"] == 5000
    site.send("Ada")
    assert site.ask("hand", "POST", "/worker/lease", json={}).json()["upload"] == 5000


def fits(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether a value is what a schema says: as much of JSON Schema as the document uses."""
    if "$ref" in schema:
        return fits(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    kinds["null"] = type(None)
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(
        isinstance(value, kinds[n]) and (n == "boolean" or not isinstance(value, bool)) for n in names
    ):
        return False
    if isinstance(value, dict) and "properties" in schema:
        fields = schema["properties"]
        return set(schema["required"]) <= set(value) and all(
            fits(value[n], s, schemas) for n, s in fields.items()
        )
    if isinstance(value, list) and "items" in schema:
        return all(fits(item, schema["items"], schemas) for item in value)
    return True


def test_answers_are_what_the_document_says(site: Site) -> None:
    document = site.ask("", "GET", "/openapi.json").json()
    schemas = document["components"]["schemas"]
    key = site.send("Ada")
    lease = site.ask("hand", "POST", "/worker/lease", json={}).json()
    answers = {
        "Lease": lease,
        "Contests": site.ask("", "GET", "/contests").json(),
        "Contest": site.ask("", "GET", "/contests/cup").json(),
        "Submission": site.ask("Ada", "GET", f"/submissions/{key}").json(),
        "Board": site.ask("", "GET", "/contests/cup/boards/public").json(),
        "Error": site.ask("", "GET", "/contests/none").json(),
    }
    for name, answer in answers.items():
        assert fits(answer, schemas[name], schemas), name
        del answer[next(iter(schemas[name]["required"]))]
        assert not fits(answer, schemas[name], schemas), name
