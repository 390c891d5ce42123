"""The operator's page: what waits, runs, was given up and rings; a job is released or cancelled and an alarm is
acknowledged there, by the API's rules.

There is no session: each reading and each act asks for the password, and the page is the answer to it.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from app.auth.policy import Actor
from app.errors import Problem
from app.portal.mine import Refused, Typed, asker, typed
from app.portal.rendering import Accepted, Language, html
from app.portal.words import WORDS as ASKING
from app.portal.words import language
from app.portal.words_of_operating import WORDS, age_of

router = APIRouter(include_in_schema=False)
# A store that was away leaves many jobs given up at once, and of a name few passwords are taken in a minute.
ALL = "release all"
MOST = 100  # alarms that are named one by one
LONGEST = 4000  # characters of what is known of an alarm, as the API takes them
LONG = 900  # seconds that a job may wait before the page asks whether anybody works


@router.get("/operations", response_class=HTMLResponse)
def ask(lang: Language = None, accept_language: Accepted = "") -> HTMLResponse:
    """The form."""
    return _page(language(lang, accept_language))


@router.post("/operations", response_class=HTMLResponse)
def show(
    request: Request, form: Annotated[Typed, Depends(typed)], accept_language: Accepted = ""
) -> HTMLResponse:
    """The work as it is, after what was asked to be done to a job."""
    chosen, house = language(form.lang, accept_language), request.app.state.house
    actor = asker(house, form)
    if isinstance(actor, Refused):
        return _page(chosen, asking=actor.word, status=actor.status)
    try:
        done, status = _done(house, actor, form, chosen) if form.act else (None, 200)
        found = house.operating.overview(actor)
        found["ringing"] = house.alarms.listed(actor, {"state": "open"}, None, MOST)
    except Problem as problem:  # it is of another role: told before anything is read
        return _page(chosen, asking="not_yours", status=problem.status)
    return _page(chosen, found, username=form.password.username, done=done, status=status)


def _done(house: Any, actor: Actor, form: Typed, lang: str) -> tuple[str, int]:
    """What came of an act such as `release job_1`, `release all` or `acknowledge alm_1`, in words, and its status."""
    verb, _, job_id = form.act.partition(" ")
    operating = house.operating
    try:
        if verb == "acknowledge":
            return _acknowledged(house, actor, job_id, form.note, lang)
        if form.act == ALL:
            given_up = [one["id"] for one in operating.overview(actor)["parked"]]
            for one in given_up:
                operating.release(actor, one)
            return WORDS[lang]["released_all"].format(n=len(given_up)), 200
        if verb == "release":
            return WORDS[lang]["released"].format(id=operating.release(actor, job_id)["id"]), 200
        return WORDS[lang]["cancelled"].format(id=operating.cancel(actor, job_id)["id"]), 200
    except Problem as problem:
        if problem.code == "forbidden":
            raise
        title = problem.to_dict()["title_ko" if lang == "ko" else "title"]
        return WORDS[lang]["refused"].format(title=title), problem.status


def _acknowledged(house: Any, actor: Actor, alarm_id: str, note: str, lang: str) -> tuple[str, int]:
    if not 1 <= len(note) <= LONGEST or "\0" in note:
        return WORDS[lang]["note_missing"], 422
    house.operating.must_see(actor)
    return WORDS[lang]["acknowledged"].format(id=house.alarms.acknowledge(actor, alarm_id, note)["id"]), 200


def _page(
    lang: str,
    found: dict[str, Any] | None = None,
    *,
    asking: str | None = None,
    username: str = "",
    done: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    words = WORDS[lang]
    values = {
        "found": found, "work": words, "asking": ASKING[lang], "age": partial(age_of, lang=lang),
        "long": LONG, "all": ALL, "longest": LONGEST,
        "message": None if asking is None else words.get(asking) or ASKING[lang][asking],
        "username": username, "done": done, "status": status,
    }  # fmt: skip
    return html("operations.html", lang, values, asks=True, status=status)
