"""The web pages: boards, submissions, levels, how to take part, the organiser's page.

They are rendered here and usable without scripts; a script only brings news.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
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
_TOKEN = 200  # characters of a token's field


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
    made.filters |= {"number": views.number, "moment": views.moment, "day": views.day, "size": views.size}
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


def _set_cookie(request: Request, response: Response, name: str, value: str, age: int) -> None:
    secure = site_of(request).config.secure
    response.set_cookie(name, value, max_age=age, httponly=True, samesite="lax", secure=secure, path="/")


def _answer(request: Request, who: Visit, name: str, status: int = 200, **values: Any) -> Response:
    """A page for one visitor, who may fill in its forms."""
    response = HTMLResponse(render(name, visit=who, **values), status)
    if request.cookies.get("hs_visit") != who.cookie:
        _set_cookie(request, response, "hs_visit", who.cookie, 86_400)
    return response


def _error(status: int, message: str) -> Response:
    return HTMLResponse(render("error.html.j2", status=status, message=message), status)


# for everybody


def _home(request: Request) -> str:
    store = site_of(request).store
    now = store.database.clock()
    found = [(contest, contest.is_open(now)) for contest in map(store.contest, store.contests())]
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
    return _answer(request, visit(request), "take_part.html.j2", contest=contest, open=open_now, base=base)


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
    return _answer(request, who, "submission.html.j2", mine=mine, organises=organises, **values)


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
    return _answer(request, visit(request), "sign_in.html.j2", problem="")


def mine_page(request: Request) -> Response:
    """A user's own submissions."""
    who = visit(request)
    if who.user is None:
        return RedirectResponse("/sign-in", 303)
    store = site_of(request).store
    found = [(store.contest(slug), store.submissions(slug, who.user)) for slug in store.contests()]
    return _answer(request, who, "mine.html.j2", contests=found)


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
    return _answer(request, who, "organise.html.j2", **values)


# forms


def _text(form: FormData, name: str, limit: int = 200) -> str:
    value = form.get(name, "")
    return value[:limit] if isinstance(value, str) else ""


def sign_in(request: Request, who: Visit, form: FormData, _: bytes) -> Response:
    """Open a session for a token."""
    try:
        user = web.token_user(request, _text(form, "token", _TOKEN).strip())
    except RefusedError as refusal:
        return _answer(request, who, "sign_in.html.j2", refusal.status, problem=refusal.message)
    response = RedirectResponse("/organise" if user.organises else "/me", 303)
    _set_cookie(request, response, "hs_session", site_of(request).store.users.open_session(user), 14 * 86_400)
    _set_cookie(request, response, "hs_visit", auth.name(32), 14 * 86_400)
    return response


def sign_out(request: Request, who: Visit, _: FormData, __: bytes) -> Response:
    """End the session."""
    site_of(request).store.users.close_session(who.session)
    response = RedirectResponse("/", 303)
    response.delete_cookie("hs_session", path="/")
    return response


def _user(who: Visit) -> User:
    if who.user is None:
        raise RefusedError(401, "no-session", "sign in first.")
    return who.user


def upload(request: Request, who: Visit, form: FormData, data: bytes) -> Response:
    """Send an archive in by the form."""
    one = api.take_in(request, _user(who), request.path_params["slug"], _text(form, "name", 60), data)
    return RedirectResponse(f"/s/{one.id}", 303)


def act_on_submission(request: Request, who: Visit, form: FormData, _: bytes) -> Response:
    """Cancel (its author), disqualify or run again (an organiser)."""
    store, user = site_of(request).store, _user(who)
    one, act = store.submission(request.path_params["id"]), _text(form, "act")
    if act == "cancel" and one.user == user.id and one.state not in ("cancelled", "disqualified"):
        store.withdraw(one.id, "cancelled", "taken back by its author")
    elif act == "disqualify" and user.organises:
        store.withdraw(one.id, "disqualified", _text(form, "reason") or "by the organiser")
        store.audit(user.name, f"disqualified {one.id} of {one.author}: {_text(form, 'reason')}")
    elif act == "rerun" and user.organises:
        store.rerun(one.id)
        store.audit(user.name, f"queued {one.id} of {one.author} again")
    else:
        raise RefusedError(403, "not-yours", "this is not yours to do.")
    return RedirectResponse(f"/s/{one.id}", 303)


def act_on_contest(request: Request, who: Visit, form: FormData, _: bytes) -> Response:
    """Open, close, start and show the final."""
    store, user = site_of(request).store, _user(who)
    if not user.organises:
        raise RefusedError(403, "not-yours", "this is the organiser's to do.")
    slug, act = request.path_params["slug"], _text(form, "act")
    acts: dict[str, Callable[[], object]] = {
        "open": partial(store.set_state, slug, "open"),
        "close": partial(store.set_state, slug, "closed"),
        "scheduled": partial(store.set_state, slug, "scheduled"),
        "final": lambda: store.start_final(slug, board.counted(store, slug)),
        "show": partial(store.show_final, slug, True),
        "hide": partial(store.show_final, slug, False),
    }
    if act not in acts:
        raise RefusedError(400, "bad-field", "there is no such thing to do.")
    acts[act]()
    store.audit(user.name, f"{act}: contest {slug}")
    return RedirectResponse("/organise", 303)


# routes

Page = Callable[[Request], Response]
Action = Callable[[Request, Visit, FormData, bytes], Response]


def _told(error: Exception) -> tuple[int, str]:
    if isinstance(error, RefusedError):
        return error.status, error.message
    return (404 if str(error).startswith("there is no") else 422), str(error)


def _shown(page: Page) -> Callable[[Request], Awaitable[Response]]:
    """A page that may be looked at."""

    async def endpoint(request: Request) -> Response:
        try:
            return await run_in_threadpool(page, request)
        except (RefusedError, UsageError) as error:
            return _error(*_told(error))

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
            return _error(*_told(error))
        return web.cached(request, found, "text/html; charset=utf-8")

    return endpoint


def _form(action: Action, files: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """A form that was filled in: only from this site, only with the visitor's own proof."""

    def act(request: Request, form: FormData, data: bytes) -> Response:
        who = visit(request)
        if not web.same_origin(request) or not secrets.compare_digest(
            _text(form, "proof").encode(), who.proof.encode()
        ):
            raise RefusedError(
                403, "bad-proof", "this form is not from here, or too old; load the page again."
            )
        return action(request, who, form, data)

    async def endpoint(request: Request) -> Response:
        try:
            size, most = request.headers.get("content-length", ""), 1 << 16
            most += site_of(request).config.limits.packed if files else 0
            if not size.isdecimal() or int(size) > most:
                raise RefusedError(413, "too-large", "this is larger than can be sent.")
            async with request.form(max_files=1, max_fields=8) as form:
                file = form.get("archive")
                data = await file.read() if isinstance(file, UploadFile) else b""
                return await run_in_threadpool(act, request, form, data)
        except MultiPartException as error:
            return _error(400, error.message)
        except (RefusedError, UsageError) as error:
            return _error(*_told(error))

    return endpoint


async def static(request: Request) -> Response:
    """The style sheet, the script and the icon."""
    name = request.path_params["name"]
    if name not in _STATIC:
        return _error(404, "there is no such file.")
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return FileResponse(_HERE / name, media_type=_STATIC[name], headers=headers)


def not_found(_: Request, __: Exception) -> Response:
    """What is not there."""
    return _error(404, "there is nothing at this address.")


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
    act = {"/c/{slug}/act": act_on_contest, "/s/{id}/act": act_on_submission}
    act |= {"/sign-in": sign_in, "/sign-out": sign_out}
    return [
        Route("/", _same_for_all("home", _home)),
        Route("/c/{slug}", _same_for_all("board", _board)),
        *(Route(path, _shown(page)) for path, page in look.items()),
        *(Route(path, _form(action), methods=["POST"]) for path, action in act.items()),
        Route("/c/{slug}/submit", _form(upload, files=True), methods=["POST"]),
        Route("/static/{name}", static),
    ]


__all__ = ["not_found", "render", "routes"]
