"""The forms of the web pages: signing in and out, uploads, what authors and organisers do.

A form is taken only from this site and only with the visitor's own proof; a file only from who is signed in, and not a byte
of it is read before that is known.
"""

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from headstart.contest import api, auth, board, web
from headstart.contest.pages import Visit, answer, error_page, set_cookie, told, visit
from headstart.contest.users import User
from headstart.contest.web import RefusedError, site_of
from headstart.errors import UsageError

_TOKEN = 200  # characters of a token's field


def _text(form: FormData, name: str, limit: int = 200) -> str:
    value = form.get(name, "")
    return value[:limit] if isinstance(value, str) else ""


def sign_in(request: Request, who: Visit, form: FormData, _: bytes) -> Response:
    """Open a session for a token."""
    token = _text(form, "token", _TOKEN).strip()
    try:
        user = web.token_user(request, token)
    except RefusedError as refusal:
        return answer(request, who, "sign_in.html.j2", refusal.status, problem=refusal.message)
    response = RedirectResponse("/organise" if user.organises else "/me", 303)
    session = site_of(request).store.users.open_session(user, token)
    set_cookie(request, response, "hs_session", session, 14 * 86_400)
    set_cookie(request, response, "hs_visit", auth.name(32), 14 * 86_400)
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

Action = Callable[[Request, Visit, FormData, bytes], Response]


def _sender(request: Request, files: bool) -> Visit:
    """Who sends a form; only from this site, and with a file only who is signed in."""
    if not web.same_origin(request):
        raise _bad_proof()
    who = visit(request)
    if files:
        _user(who)
    return who


def _bad_proof() -> RefusedError:
    return RefusedError(403, "bad-proof", "this form is not from here, or too old; load the page again.")


def _form(action: Action, files: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """A form that was filled in, checked as the module says."""

    def act(request: Request, who: Visit, form: FormData, data: bytes) -> Response:
        if not secrets.compare_digest(_text(form, "proof").encode(), who.proof.encode()):
            raise _bad_proof()
        return action(request, who, form, data)

    async def endpoint(request: Request) -> Response:
        try:
            size, most = request.headers.get("content-length", ""), 1 << 16
            most += site_of(request).config.limits.packed if files else 0
            if not size.isdecimal() or int(size) > most:
                raise RefusedError(413, "too-large", "this is larger than can be sent.")
            who = await run_in_threadpool(_sender, request, files)
            async with request.form(max_files=1, max_fields=8) as form:
                file = form.get("archive")
                data = await file.read() if isinstance(file, UploadFile) else b""
                return await run_in_threadpool(act, request, who, form, data)
        except MultiPartException as error:
            return error_page(400, error.message)
        except (RefusedError, UsageError) as error:
            return error_page(*told(error))

    return endpoint


def routes() -> list[Route]:
    """The forms' routes."""
    act = {"/c/{slug}/act": act_on_contest, "/s/{id}/act": act_on_submission}
    act |= {"/sign-in": sign_in, "/sign-out": sign_out}
    return [
        *(Route(path, _form(action), methods=["POST"]) for path, action in act.items()),
        Route("/c/{slug}/submit", _form(upload, files=True), methods=["POST"]),
    ]


__all__ = ["routes"]
