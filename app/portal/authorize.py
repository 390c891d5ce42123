"""The page where a person signs in and agrees that an application acts for them; works without JavaScript."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.auth.service import AuthService
from app.auth.signin import SIGN_IN_FAILED, Consent, Password
from app.auth.wire import MAX_FORM_BYTES, Answer, Call, fields_of
from app.errors import Problem
from app.portal.words import WORDS, language

router = APIRouter(tags=["oauth"])

PATH = "/oauth/authorize"
_COOKIE_SECONDS = 3600
_pages = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_HTML: dict[int | str, dict[str, Any]] = {
    200: {"description": "The page", "content": {"text/html": {}}},
    303: {"description": "To the application, with a code or an error, state and iss"},
    400: {
        "description": "The request is wrong, or its address is not the application's",
        "content": {"text/html": {}},
    },
    403: {"description": "Wrong name or password, or an expired page", "content": {"text/html": {}}},
    429: {"description": "Too many tries", "content": {"text/html": {}}},
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One view of the page: what the application asked, what the person filled in, and their browser."""

    call: Call
    form: dict[str, str]
    cookie: str | None
    lang: str
    same_site: bool


async def _visit(request: Request) -> Visit:
    form: dict[str, str] = {}
    asked = request.scope["query_string"]
    if request.method == "POST":
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                break
        form = dict(fields_of(body))
        asked = form.get("request", "").encode()
    call = Call(
        method="GET",  # what the person answers is the request that was shown
        path=PATH,
        parameters=fields_of(asked),
        address=request.client.host if request.client else "",
    )
    wanted = form.get("lang") or call.fields.get("ui_locales")
    return Visit(
        call=call,
        form=form,
        cookie=request.cookies.get(_cookie_name(_auth(request))),
        lang=language(wanted, request.headers.get("accept-language", "")),
        same_site=request.headers.get("sec-fetch-site", "same-origin") == "same-origin",
    )


def _auth(request: Request) -> AuthService:
    return cast("AuthService", request.app.state.house.auth)


Auth = Annotated[AuthService, Depends(_auth)]
Visited = Annotated[Visit, Depends(_visit)]


@router.get(PATH, response_class=HTMLResponse, responses=_HTML)
def show(visit: Visited, auth: Auth) -> Response:
    """The page that asks the person, for a valid authorization request with PKCE S256."""
    asked = auth.sign_in.ask(visit.call)
    return _elsewhere(visit, asked) if isinstance(asked, Answer) else _page(visit, auth, asked)


@router.post(PATH, response_class=HTMLResponse, responses=_HTML)
def decide(visit: Visited, auth: Auth) -> Response:
    """What the person decided on the page."""
    asked = auth.sign_in.ask(visit.call)
    if isinstance(asked, Answer):
        return _elsewhere(visit, asked)
    if not _is_ours(visit):
        return _page(visit, auth, asked, 403, "stale")
    try:
        answer = auth.sign_in.answer(visit.call, _decision(visit.form))
    except Problem as problem:
        return _page(visit, auth, asked, problem.status, "too_many", problem.headers)
    if answer.body and answer.body.get("error") == SIGN_IN_FAILED:
        return _page(visit, auth, asked, answer.status, SIGN_IN_FAILED)
    return _elsewhere(visit, answer)


def _decision(form: dict[str, str]) -> Password | None:
    """The name and password of whoever agreed; None for whoever did not press the button that agrees."""
    if form.get("decision") != "approve":
        return None
    return Password(form.get("username", ""), form.get("password", ""))


def _elsewhere(visit: Visit, answer: Answer) -> Response:
    """To the application; or, where its address is not sure, a page that goes nowhere (RFC 9700 4.11)."""
    if answer.location is not None:
        # 303, so that no browser sends the password on to the application (RFC 9700 4.12).
        return RedirectResponse(
            answer.location, 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        )
    return _html("wrong.html", visit.lang, {"error": (answer.body or {}).get("error", "")}, 400, "'none'")


def _page(
    visit: Visit,
    auth: AuthService,
    asked: Consent,
    status: int = 200,
    message: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    cookie = visit.cookie or secrets.token_urlsafe(32)
    other = "en" if visit.lang == "ko" else "ko"
    switched = [pair for pair in visit.call.parameters if pair[0] != "ui_locales"] + [("ui_locales", other)]
    values = {
        "asked": asked,
        "request": urlencode(visit.call.parameters),
        "csrf": _token(cookie, visit.call),
        "username": visit.form.get("username", ""),
        "message": message,
        "other": other,
        "other_url": f"{PATH}?{urlencode(switched)}",
    }
    form_targets = f"'self' {_origin(asked.redirect_uri)}"
    response = _html("authorize.html", visit.lang, values, status, form_targets, headers)
    response.set_cookie(
        _cookie_name(auth), cookie, max_age=_COOKIE_SECONDS, path="/", httponly=True, samesite="strict",
        secure=_is_https(auth),
    )  # fmt: skip
    return response


def _html(
    template: str,
    lang: str,
    values: dict[str, Any],
    status: int,
    form_targets: str,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    text = _pages.get_template(template).render(values, lang=lang, words=WORDS[lang], nonce=nonce)
    # Browsers apply form-action to the redirect that follows the form too, so the application's origin is named.
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {form_targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    fixed = {
        "Cache-Control": "no-store",
        "Content-Language": lang,
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return HTMLResponse(text, status, {**(headers or {}), **fixed})


def _is_ours(visit: Visit) -> bool:
    """Whether the form is the one that this browser was shown for this very request."""
    if visit.cookie is None or not visit.same_site:
        return False
    expected = _token(visit.cookie, visit.call)
    return hmac.compare_digest(expected.encode(), visit.form.get("csrf", "").encode())


def _token(cookie: str, call: Call) -> str:
    """Bound to the browser by a cookie that no other site can read, and to what the person saw by its parameters."""
    return hmac.new(cookie.encode(), urlencode(call.parameters).encode(), hashlib.sha256).hexdigest()


def _cookie_name(auth: AuthService) -> str:
    return "__Host-baekman-authorize" if _is_https(auth) else "baekman-authorize"


def _is_https(auth: AuthService) -> bool:
    return auth.issuer.startswith("https://")


def _origin(uri: str) -> str:
    """What form-action can name: scheme and host of a web address, the scheme alone of an app's own."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"
