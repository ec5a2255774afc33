"""The web pages as a browser gets them: headers, forms that only the site itself can send, names that stay text."""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from headstart.contest import drawing, practice, views
from headstart.contest.contests import Contest, Level, Reference
from headstart.contest.queue import Outcome
from headstart.contest.server import make_app
from headstart.contest.store import Store
from headstart.contest.web import ServerConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have a client that is not out yet
    from starlette.testclient import TestClient


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("submission.toml", "")
    return buffer.getvalue()


EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a test wants to know of a page."""

    VOID = {"meta", "link", "input", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class Site:
    """A server with a contest, and a browser for each user."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        levels = (Level("practice-1", "practice-1"), Level("secret", "HIDDEN\n#"))
        wild = Reference(EVIL, 3.0, None, EVIL)
        self.cup = Contest(
            "cup", f"Cup {EVIL}", "platformer-v0", 100, (0, 1), 60.0, levels, about=EVIL, references=(wild,)
        )
        self.store.add_contest(self.cup)
        users = self.store.users
        self.users = {
            n: users.add(n, r)
            for n, r in (("Ada", "contestant"), ("Bo", "contestant"), ("Boss", "organiser"))
        }
        self.app = make_app(self.store, ServerConfig(rate=1000.0, burst=1000.0))

    def browser(self, who: str = "") -> TestClient:
        client = TestClient(self.app, base_url="http://testserver", follow_redirects=False)
        if who:
            token = self.store.users.new_token(self.users[who])
            answer = client.post("/sign-in", data={"token": token, "proof": proof(client.get("/sign-in"))})
            assert answer.status_code == 303
        return client

    def failed(self, who: str, message: str) -> str:
        sent = self.store.submit(self.cup, self.users[who], "agent", zipped())
        lease = self.store.queue.lease("w")
        assert lease is not None
        self.store.queue.finish(lease.job, lease.lease, Outcome("crash", None, 1, message, [], "printed"))
        return sent.id

    def scored(self, who: str, score: float, name: str = "agent") -> str:
        sent = self.store.submit(self.cup, self.users[who], name, zipped())
        while lease := self.store.queue.lease("w"):
            said = Outcome(
                "budget", score, 100, "", [(score, 50, True), (2 * score, 50, True)], f"{EVIL} printed"
            )
            self.store.queue.finish(lease.job, lease.lease, said)
        return sent.id


def proof(answer: httpx.Response) -> str:
    found = re.search(r'name="proof" value="([0-9a-f]{64})"', answer.text)
    assert found is not None
    return found[1]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    made.store.close()


def paths(site: Site) -> list[tuple[str, str]]:
    key = site.scored("Ada", 5.0, EVIL)
    common = [
        "/",
        "/c/cup",
        "/c/cup/levels",
        "/c/cup/take-part",
        f"/s/{key}",
        "/sign-in",
        "/nothing",
        "/c/nothing",
    ]
    return (
        [("", p) for p in common]
        + [("Ada", p) for p in ("/me", "/c/cup/take-part", f"/s/{key}")]
        + [("Boss", "/organise")]
    )


def test_every_page_is_whole_accessible_and_lets_nothing_in(site: Site) -> None:
    browsers = {who: site.browser(who) for who in ("", "Ada", "Boss")}
    for who, path in paths(site):
        answer = browsers[who].get(path)
        assert answer.status_code == (404 if "nothing" in path else 200), path
        page = Page(answer.text)
        assert (page.faults, page.open) == ([], []), path
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert EVIL not in answer.text, path
        assert "HIDDEN" not in answer.text, path
        assert not [t for t, a in page.tags if "style" in a or any(n.startswith("on") for n in a)], path
        assert [a.get("src", "") for a in page.all("script")] == [
            "/static/live.js?" + a["src"].partition("?")[2] for a in page.all("script")
        ]
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("h1")) == len(page.all("main")) == 1, path
        assert all(a.get("alt") for a in page.all("img")), path
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids)), path
        named = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
        assert named <= set(ids), path
        assert all(a.get("scope") for a in page.all("th")), path


def test_the_board_shows_ranks_intervals_and_curves(site: Site) -> None:
    site.scored("Bo", 2.0)
    key = site.scored("Ada", 5.0)
    text = site.browser().get("/c/cup").text.partition("<tbody>")[2]
    assert text.index(f"/s/{key}") < text.index("&lt;script&gt;") < text.index(">Bo<")
    assert '<svg class="chart"' in text
    assert text.count("h8") >= 2, "Ada's cells are the darkest"
    etag = site.browser().get("/c/cup").headers["etag"]
    assert site.browser().get("/c/cup", headers={"if-none-match": etag}).status_code == 304


def test_live_pages_say_which_version_they_show_and_where_news_comes_from(site: Site) -> None:
    key = site.store.submit(site.cup, site.users["Ada"], "agent", zipped()).id
    for path, source, version in (
        ("/c/cup", "/events/contest/cup", site.store.contest("cup").version),
        (f"/s/{key}", f"/events/submission/{key}", site.store.submission(key).version),
    ):
        page = Page(site.browser().get(path).text)
        body = page.all("body")[0]
        assert (body["data-live"], body["data-version"]) == (source, str(version))
        assert [tag for tag, attributes in page.tags if "data-fresh" in attributes]
    key = site.scored("Ada", 5.0)
    assert "data-live" not in Page(site.browser().get(f"/s/{key}").text).all("body")[0], "nothing is to come"


def test_a_form_from_elsewhere_is_refused(site: Site) -> None:
    key = site.scored("Ada", 5.0)
    ada = site.browser("Ada")
    good = {"act": "cancel", "proof": proof(ada.get(f"/s/{key}"))}
    path = f"/s/{key}/act"
    stranger = site.browser("Bo")
    for data, headers in (
        ({"act": "cancel"}, {}),
        ({**good, "proof": "0" * 64}, {}),
        ({**good, "proof": proof(stranger.get("/me"))}, {}),
        (good, {"origin": "https://evil.example"}),
        (good, {"sec-fetch-site": "cross-site"}),
    ):
        assert ada.post(path, data=data, headers=headers).status_code == 403
        assert site.store.submission(key).state == "scored"
    assert stranger.post(path, data={"act": "cancel", "proof": proof(stranger.get("/me"))}).status_code == 403
    assert ada.post(path, data={**good, "act": "disqualify"}).status_code == 403
    assert site.store.submission(key).state == "scored"
    assert ada.post(path, data=good, headers={"origin": "http://testserver"}).status_code == 303
    assert site.store.submission(key).state == "cancelled"


def test_cookies_are_out_of_reach_and_end_with_the_session(site: Site) -> None:
    client = site.browser()
    token = site.store.users.new_token(site.users["Ada"])
    answer = client.post("/sign-in", data={"token": token, "proof": proof(client.get("/sign-in"))})
    for cookie in answer.headers.get_list("set-cookie"):
        assert "httponly" in cookie.lower()
        assert "samesite=lax" in cookie.lower()
    assert "Ada" in client.get("/me").text
    session = client.cookies["hs_session"]
    client.post("/sign-out", data={"proof": proof(client.get("/me"))})
    assert client.get("/me").status_code == 303
    client.cookies.set("hs_session", session)
    assert client.get("/me").status_code == 303, "it has ended on the server as well"


def test_a_wrong_token_signs_nobody_in(site: Site) -> None:
    client = site.browser()
    answer = client.post("/sign-in", data={"token": "hs_x", "proof": proof(client.get("/sign-in"))})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "hs_session" not in client.cookies


def test_logs_are_their_authors(site: Site) -> None:
    key = site.scored("Ada", 5.0)
    with site.store.database.read() as c:
        job = c.exec_driver_sql("select id from jobs").scalar()
    log = site.browser("Ada").get(f"/s/{key}/log/{job}")
    assert (log.status_code, log.text) == (200, f"{EVIL} printed")
    assert log.headers["content-type"].startswith("text/plain")
    assert site.browser("Bo").get(f"/s/{key}/log/{job}").status_code == 403
    assert site.browser().get(f"/s/{key}/log/{job}").status_code == 403
    assert "/log/" not in site.browser("Bo").get(f"/s/{key}").text


def test_why_an_agent_failed_is_its_authors_to_read(site: Site) -> None:
    key = site.failed("Ada", "the private words of an agent")
    for who in ("", "Bo"):
        text = site.browser(who).get(f"/s/{key}").text
        assert '<span class="reason">crash</span>' in text
        assert "private words" not in text
    for who in ("Ada", "Boss"):
        assert "crash: the private words of an agent" in site.browser(who).get(f"/s/{key}").text


@pytest.mark.parametrize(
    ("who", "headers", "status"),
    [("", {}, 401), ("Ada", {"sec-fetch-site": "cross-site"}, 403), ("Ada", {"origin": "https://evil"}, 403)],
)
def test_nothing_is_read_of_an_upload_by_a_stranger_or_from_elsewhere(
    site: Site, who: str, headers: dict[str, str], status: int
) -> None:
    read = False

    def archive() -> Iterator[bytes]:
        nonlocal read
        read = True
        yield b"-" * 1000

    told = {"content-type": "multipart/form-data; boundary=x", "content-length": str(60 << 20)}
    answer = site.browser(who).post("/c/cup/submit", content=archive(), headers=told | headers)
    assert (answer.status_code, read) == (status, False)


def test_an_upload_by_the_form(site: Site) -> None:
    ada = site.browser("Ada")
    data = {"name": "by hand", "proof": proof(ada.get("/c/cup/take-part"))}
    sent = ada.post("/c/cup/submit", data=data, files={"archive": ("a.zip", zipped(), "application/zip")})
    assert sent.status_code == 303
    assert "by hand" in ada.get(sent.headers["location"]).text
    bad = ada.post("/c/cup/submit", data=data, files={"archive": ("a.zip", b"no", "application/zip")})
    assert bad.status_code == 422
    assert "no readable ZIP" in bad.text


def test_the_organiser_opens_closes_and_disqualifies(site: Site) -> None:
    key = site.scored("Ada", 5.0)
    boss = site.browser("Boss")
    assert site.browser("Ada").get("/organise").status_code == 403
    said = {"proof": proof(boss.get("/organise"))}
    assert boss.post("/c/cup/act", data={**said, "act": "close"}).status_code == 303
    assert not site.store.contest("cup").is_open(0.0)
    assert boss.post("/c/cup/act", data={**said, "act": "burn"}).status_code == 400
    boss.post(f"/s/{key}/act", data={**said, "act": "disqualify", "reason": "two accounts"})
    assert "two accounts" in site.browser().get(f"/s/{key}").text
    assert f"/s/{key}" not in site.browser().get("/c/cup").text
    assert [line["what"] for line in site.store.audits()] == [
        f"disqualified {key} of Ada: two accounts",
        "close: contest cup",
    ]


def test_buttons_are_shown_to_those_who_may_press_them(site: Site) -> None:
    key = site.scored("Ada", 5.0)
    shown = {who: site.browser(who).get(f"/s/{key}").text for who in ("", "Bo", "Ada", "Boss")}
    assert ["cancel" in text for text in shown.values()] == [False, False, True, False]
    assert ["disqualify" in text for text in shown.values()] == [False, False, False, True]
    assert "/organise" in site.browser("Boss").get("/me").text
    mine = site.browser("Ada").get("/me").text
    assert "/organise" not in mine
    assert '<td class="num">5.000</td>' in mine


def test_names_that_no_form_would_take_stay_text_everywhere(site: Site) -> None:
    """As if somebody had written into the database: what is not checked on its way in is escaped on its way out."""
    key = site.scored("Ada", 5.0)
    film = '"><img src=x onerror=alert(1)>.gif'
    with site.store.database.write() as c:
        c.exec_driver_sql("update users set name = ? where name = 'Ada'", (EVIL,))
        c.exec_driver_sql("update submissions set name = ?, state = 'failed', reason = ?", (film, EVIL))
        c.exec_driver_sql("update jobs set verdict = ?, message = ?, worker = ?", (EVIL, EVIL, EVIL))
        c.exec_driver_sql("update levels set label = ? || id", (EVIL,))
        c.exec_driver_sql(
            "insert into films (id, job, name, kind) select id || 'film', id, ?, 'gif' from jobs", (film,)
        )
    site.store.audit(EVIL, EVIL)
    for who, path in (
        *(("Boss", path) for path in ("/c/cup", f"/s/{key}", "/organise")),
        *(("", path) for path in ("/c/cup", f"/s/{key}")),
    ):
        page = Page(site.browser(who).get(path).text)
        assert (page.faults, page.open) == ([], []), path
        assert len(page.all("script")) == 1, path
        assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)], path
    plain = site.browser().get("/api/v1/contests/cup/boards/public")
    assert plain.headers["content-type"] == "application/json"
    assert plain.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/", "/c/cup", "/static/live.js", "/api/v1/contests", "/nothing", "/healthz", "/c/cup/submit"]
)
def test_every_answer_has_its_headers(site: Site, path: str) -> None:
    headers = site.browser().get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy.pop("default-src") == policy.pop("frame-ancestors") == policy.pop("base-uri") == "'none'"
    assert set(policy.values()) == {"'self'"}
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert ("no-store" in headers["cache-control"]) == (path not in ("/", "/c/cup", "/static/live.js"))


def test_files_beside_the_pages_cannot_be_had(site: Site) -> None:
    client = site.browser()
    for path in (
        "/static/base.html.j2",
        "/static/../pages.py",
        "/static/%2e%2e/auth.py",
        "/levels/amber-grove-1.png",
    ):
        assert client.get(path).status_code == 404, path
    assert client.get("/static/style.css").headers["cache-control"].endswith("immutable")
    picture = client.get("/levels/practice-1.png")
    assert picture.content.startswith(b"\x89PNG")


def test_practice_levels_are_painted_from_their_tiles() -> None:
    picture = practice.paint([".S.G", "#o^#", "####"])
    assert picture.shape == (12, 16, 3)
    assert tuple(picture[4, 0]) == (86, 168, 70), "grass on top"
    assert tuple(picture[11, 0]) == (118, 84, 56), "earth below"
    assert tuple(picture[6, 6]) == (250, 200, 40)
    assert {level.name for level in practice.levels("platformer-v0")} == {
        f"practice-{i}" for i in range(1, 6)
    }
    assert practice.levels("bandit-v0") == []


def test_a_chart_draws_what_it_is_given() -> None:
    lines = [
        drawing.Line("a<b", [0.0, None, 10.0], 0),
        drawing.Line("flat", [5.0, 5.0, 5.0], 1),
        drawing.Line("none", [None] * 3, 2),
    ]
    svg = str(drawing.chart(lines, 300, "title", "k"))
    assert "a&lt;b" in svg
    assert "none" not in svg
    first, second = re.findall(r'<g class="line c\d"><path d="M([^"]+)"', svg)
    points = [tuple(map(float, p.split())) for p in first.split("L")]
    flat = [tuple(map(float, p.split())) for p in second.split("L")]
    assert len(points) == 2
    assert (points[0][1] + points[1][1]) / 2 == pytest.approx(flat[0][1], abs=0.1)
    assert drawing.chart([drawing.Line("n", [None], 0)], 1, "", "") == ""


def test_numbers_read_well() -> None:
    assert [views.number(x) for x in (-1234.5, 12.345, None, 7)] == ["\u22121,234.5", "12.35", "–", "7"]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb or #rgb (WCAG 2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_shade_and_every_muted_word_can_be_read(scheme: str) -> None:
    """Letters differ from what they stand on by 4.5 at least, as WCAG 2 wants it."""
    style = (Path(views.__file__).parent / "templates_html" / "style.css").read_text()
    roots = re.findall(r":root \{(.*?)\}", style, re.S)
    names = dict(re.findall(r"--([\w-]+): (#\w+)", roots[0] + (roots[1] if scheme == "dark" else "")))
    written = dict(re.findall(r"\.(h\d) \{ background: var\(--h\d\);(?: color: (#\w+);)?", style))
    if scheme == "dark":
        rules = re.search(r"@media \(prefers-color-scheme: dark\) \{ (\.h4.*)\}", style)
        assert rules is not None
        for classes, colour in re.findall(r"([.h\d, ]+)\{ color: (#\w+); \}", rules[1]):
            written |= dict.fromkeys(re.findall(r"h\d", classes), colour)
    assert len(written) == drawing.SHADES
    pairs = [(written[shade] or names["ink"], names[shade]) for shade in written]
    washes = ["paper", "wash", "card"]
    pairs += [(names[word], names[wash]) for word in ("ink", "muted", "accent") for wash in washes]
    pairs += [(names[word], names[f"{word}-wash"]) for word in ("good", "bad", "go")]
    for letters, ground in pairs:
        light, dark = sorted((luminance(letters), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (letters, ground)
