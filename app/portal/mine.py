"""What concerns the person who reads it, as one page: quotas, quotes, returned data, departures, an inspector's view.

There is no session here either: each reading asks for the password, and the page is the answer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from app.auth.policy import Actor
from app.auth.signin import Password
from app.auth.wire import MAX_FORM_BYTES, fields_of
from app.errors import Problem
from app.portal.rendering import Accepted, Language, html
from app.portal.words import WORDS as ASKING
from app.portal.words import language

router = APIRouter(include_in_schema=False)
MOST = 50  # of a list; the API has all of it
_LIVE = ("pending_agreement", "active")
View = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the page: `name` leads to its words, `columns` are names of values and of words."""

    name: str
    columns: Sequence[str]
    rows: Sequence[View]


@dataclass(frozen=True, slots=True)
class Typed:
    """What a person sent, and from where."""

    password: Password
    address: str
    lang: str | None
    ours: bool
    act: str = ""
    note: str = ""


async def typed(request: Request) -> Typed:
    """The form of this page; anything else is an empty one."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            break
    form = dict(fields_of(body)) if len(body) <= MAX_FORM_BYTES else {}
    address = request.client.host if request.client else ""
    ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
    return Typed(
        Password(form.get("username", ""), form.get("password", "")),
        address,
        form.get("lang"),
        ours,
        form.get("act", ""),
        form.get("note", "").strip(),
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """What the page says instead: a word of its asking, and the status."""

    word: str
    status: int


def asker(house: Any, form: Typed) -> Actor | Refused:
    """Whoever typed this on a page of ours, or why they are not let in."""
    if not form.ours:
        return Refused("stale", 403)
    try:
        actor: Actor | None = house.auth.sign_in.actor(form.password, form.address)
    except Problem as problem:
        return Refused("too_many", problem.status)
    return actor or Refused("sign_in_failed", 403)


@router.get("/mine", response_class=HTMLResponse)
def ask(lang: Language = None, accept_language: Accepted = "") -> HTMLResponse:
    """The form."""
    return _page(language(lang, accept_language), None)


@router.post("/mine", response_class=HTMLResponse)
def show(
    request: Request, form: Annotated[Typed, Depends(typed)], accept_language: Accepted = ""
) -> HTMLResponse:
    """What concerns whoever typed their name and password; nothing is left in the browser."""
    chosen, house = language(form.lang, accept_language), request.app.state.house
    actor = asker(house, form)
    if isinstance(actor, Refused):
        return _page(chosen, actor.word, actor.status)
    values = {"sections": list(sections(house, actor)), "role": actor.role}
    return html("mine.html", chosen, {**values, "message": None, "asking": ASKING[chosen]}, asks=True)


def sections(house: Any, actor: Actor) -> Iterator[Section]:
    """What each role reads, by the services and rules that the API asks."""
    if actor.role == "inspector":
        rows = house.inspections.releases(actor, None, None, None, MOST)
        yield Section(
            "releases",
            ("held_by", "taken_over", "holder", "dataset", "rows", "purpose", "valid_until", "permit_state",
             "recalls_open", "destroyed_at"),
            rows,
        )  # fmt: skip
        return
    if actor.role == "institution":
        yield Section(
            "quotas", ("name", "used", "most"), house.quotas.of_institution(actor, actor.institution_id)
        )
    if actor.role == "researcher":
        yield Section("quotas", ("name", "used", "most"), house.quotas.own(actor))
        yield Section("quotes", ("permit_id", "rows", "bytes", "minutes"), list(_quotes(house, actor)))
    if actor.role in ("institution", "steward", "platform"):
        yield Section(
            "departures", ("kind", "institution_id", "successor_id", "on", "state", "reason"),
            house.departures.listed(actor, None, MOST),
        )  # fmt: skip
    if actor.role in ("institution", "steward", "researcher"):
        rows = house.returns.listed(actor, None, MOST)
        yield Section("returned", ("name", "state", "cohort_id", "returned_at"), rows)


def _quotes(house: Any, actor: Actor) -> Iterator[View]:
    """Of each permit under which something may still be ordered, as low, expected and high."""
    for permit in house.permits.held(actor, None, MOST):
        if permit["state"] in _LIVE:
            found = house.permits.quote(actor, permit["id"])
            ranges = {
                name: " – ".join(str(found[name][one]) for one in ("low", "expected", "high"))
                for name in ("rows", "bytes", "minutes")
            }
            yield {"permit_id": permit["id"], **ranges}


def _page(lang: str, message: str | None, status: int = 200) -> HTMLResponse:
    values = {"sections": None, "role": None, "message": message, "asking": ASKING[lang]}
    return html("mine.html", lang, values, asks=True, status=status)
