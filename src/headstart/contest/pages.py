"""The web pages: boards, submissions, levels, how to take part, the organiser's page; what is sent to them: `forms`.

They are rendered here and usable without scripts; a script only brings news.
"""

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from headstart.contest import api, auth, board, practice, views, web
from headstart.contest.contests import Contest
from headstart.contest.users import User
from headstart.contest.web import RefusedError, site_of
from headstart.errors import HeadstartError, UsageError

_HERE = Path(__file__).parent / "templates_html"
_STATIC = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


class Visit(NamedTuple):
    """Who looks at a page: the cookie every visitor gets once there is a form, and the user if signed in."""

    cookie: str
    session: str
    user: User | None
    proof: str
    """what forms must carry"""


@cache
def _environment() -> jinja2.Environment:
    """Templates: everything escaped, nothing undefined."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": views.number, "moment": views.moment, "size": views.size}
    names: dict[str, Any] = made.globals
    names["static"] = {name: f"/static/{name}?{_digest(name)}" for name in _STATIC}
    return made


def _digest(name: str) -> str:
    return hashlib.sha256((_HERE / name).read_bytes()).hexdigest()[:12]


def render(name: str, **values: Any) -> str:
    """A template as text."""
    return _environment().get_template(name).render(**values)


def visit(request: Request) -> Visit:
    """Who is looking."""
    store = site_of(request).store
    cookie, session = (request.cookies.get(name, "")[:100] for name in ("hs_visit", "hs_session"))
    cookie = cookie or auth.name(32)
    user = store.users.by_session(session) if session else None
    return Visit(cookie, session, user, auth.form_proof(store.database.key, cookie, session))


def set_cookie(request: Request, response: Response, name: str, value: str, age: int) -> None:
    """Give the visitor a cookie that scripts cannot read, for `age` seconds."""
    secure = site_of(request).config.secure
    response.set_cookie(name, value, max_age=age, httponly=True, samesite="lax", secure=secure, path="/")


def answer(request: Request, who: Visit, name: str, status: int = 200, **values: Any) -> Response:
    """A page for one visitor, who may fill in its forms."""
    response = HTMLResponse(render(name, visit=who, **values), status)
    if request.cookies.get("hs_visit") != who.cookie:
        set_cookie(request, response, "hs_visit", who.cookie, 86_400)
    return response


def error_page(status: int, message: str) -> Response:
    """A page that says what did not work."""
    return HTMLResponse(render("error.html.j2", status=status, message=message), status)


# for everybody


def _home(request: Request) -> str:
    store = site_of(request).store
    now = store.database.clock()
    every = map(store.contest, store.contests())
    found = [(contest, contest.is_open(now), views.when(contest, now)) for contest in every]
    return render("home.html.j2", contests=found)


def _board(request: Request, slug: str) -> str:
    standing = board.standing(site_of(request).store, slug, "public")
    return render("board.html.j2", **views.board(standing, site_of(request).store.database.clock()))


def _contest(request: Request) -> Contest:
    return site_of(request).store.contest(request.path_params["slug"])


def final_page(request: Request) -> Response:
    """The final board, for everybody once it is shown, before that for organisers."""
    who = visit(request)
    standing = api.standing_for(request, who.user, "final")
    values = views.board(standing, site_of(request).store.database.clock())
    return HTMLResponse(render("board.html.j2", **values))


def take_part_page(request: Request) -> Response:
    """How to take part, with the form for who is signed in."""
    contest = _contest(request)
    open_now = contest.is_open(site_of(request).store.database.clock())
    base = str(request.base_url).rstrip("/")
    return answer(request, visit(request), "take_part.html.j2", contest=contest, open=open_now, base=base)


def levels_page(request: Request) -> Response:
    """The practice levels, which everybody may look at."""
    contest = _contest(request)
    return HTMLResponse(render("levels.html.j2", contest=contest, levels=practice.levels(contest.suite)))


def level_picture(request: Request) -> Response:
    """A practice level as a strip, painted once."""
    name, store = request.path_params["name"], site_of(request).store
    path = practice.picture(name, store.database.folder / "pictures")
    return FileResponse(path, headers={"cache-control": "public, max-age=3600"})


def submission_page(request: Request) -> Response:
    """One submission: its evaluations, and more for its author."""
    store, who = site_of(request).store, visit(request)
    one = store.submission(request.path_params["id"])
    contest, mine = store.contest(one.contest), api.may_see(who.user, one)
    organises = who.user is not None and who.user.organises
    jobs = [j for j in board.jobs(store, one.id) if j.board == "public" or contest.final_shown or organises]
    score = store.score(one.id, "public")
    values = views.submission(one, contest, jobs, score, mine, organises)
    values |= {
        "mine": mine,
        "organises": organises,
        "author": who.user is not None and who.user.id == one.user,
    }
    return answer(request, who, "submission.html.j2", **values)


def log_page(request: Request) -> Response:
    """What an agent has printed."""
    text = api.log_of(request, visit(request).user)
    return PlainTextResponse(text or "(the agent printed nothing)\n")


def film(request: Request) -> Response:
    """A film: of levels that ship for everybody, of hidden ones for organisers only."""
    store = site_of(request).store
    key, kind = request.path_params["key"], request.path_params["kind"]
    found = store.film_of(key)
    if found is None or found.kind != kind or kind not in api.FILM_KINDS:
        raise RefusedError(404, "no-film", "there is no such film.")
    user = visit(request).user
    if found.hidden and not (user and user.organises):
        raise RefusedError(403, "hidden", "this film shows a hidden level.")
    return FileResponse(store.queue.film(key, kind), headers={"cache-control": "private, max-age=86400"})


def sign_in_page(request: Request) -> Response:
    """The form for a token."""
    return answer(request, visit(request), "sign_in.html.j2", problem="")


def mine_page(request: Request) -> Response:
    """A user's own submissions."""
    who = visit(request)
    if who.user is None:
        return RedirectResponse("/sign-in", 303)
    store = site_of(request).store
    found = [
        (
            store.contest(slug),
            [(s, store.score(s.id, "public")[0]) for s in store.submissions(slug, who.user)],
        )
        for slug in store.contests()
    ]
    return answer(request, who, "mine.html.j2", contests=found)


def organise_page(request: Request) -> Response:
    """Everything an organiser may do, and what has been done."""
    who = visit(request)
    if who.user is None:
        return RedirectResponse("/sign-in", 303)
    if not who.user.organises:
        raise RefusedError(403, "not-yours", "this page is the organiser's.")
    store = site_of(request).store
    now = store.database.clock()
    found = [
        (c, c.is_open(now), store.submissions(c.slug)[:100]) for c in map(store.contest, store.contests())
    ]
    values: dict[str, Any] = {
        "contests": found,
        "users": store.users.every(),
        "audits": store.audits(),
        "queue": store.queue.waiting(),
    }
    return answer(request, who, "organise.html.j2", **values)


# routes

Page = Callable[[Request], Response]


def told(error: Exception) -> tuple[int, str]:
    """Status and sentence of a refusal."""
    if isinstance(error, RefusedError):
        return error.status, error.message
    return (404 if str(error).startswith("there is no") else 422), str(error)


def _shown(page: Page) -> Callable[[Request], Awaitable[Response]]:
    """A page that may be looked at."""

    async def endpoint(request: Request) -> Response:
        try:
            return await run_in_threadpool(page, request)
        except (RefusedError, UsageError) as error:
            return error_page(*told(error))

    return endpoint


def _same_for_all(name: str, make: Callable[..., str]) -> Callable[[Request], Awaitable[Response]]:
    """A page that is made once a second at most."""

    async def endpoint(request: Request) -> Response:
        parameters = list(request.path_params.values())
        try:
            found = await site_of(request).cache.get(
                "/".join([name, *parameters]), lambda: make(request, *parameters).encode()
            )
        except (RefusedError, HeadstartError) as error:
            return error_page(*told(error))
        return web.cached(request, found, "text/html; charset=utf-8")

    return endpoint


async def static(request: Request) -> Response:
    """The style sheet, the script and the icon."""
    name = request.path_params["name"]
    if name not in _STATIC:
        return error_page(404, "there is no such file.")
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return FileResponse(_HERE / name, media_type=_STATIC[name], headers=headers)


def not_found(_: Request, __: Exception) -> Response:
    """What is not there."""
    return error_page(404, "there is nothing at this address.")


def routes() -> list[Route]:
    """The pages' routes."""
    look = {
        "/c/{slug}/final": final_page,
        "/c/{slug}/levels": levels_page,
        "/c/{slug}/take-part": take_part_page,
        "/films/{key}.{kind}": film,
        "/levels/{name}.png": level_picture,
        "/me": mine_page,
        "/organise": organise_page,
        "/s/{id}": submission_page,
        "/s/{id}/log/{job}": log_page,
        "/sign-in": sign_in_page,
    }
    return [
        Route("/", _same_for_all("home", _home)),
        Route("/c/{slug}", _same_for_all("board", _board)),
        *(Route(path, _shown(page)) for path, page in look.items()),
        Route("/static/{name}", static),
    ]


__all__ = ["Visit", "answer", "error_page", "not_found", "render", "routes", "set_cookie", "told", "visit"]
