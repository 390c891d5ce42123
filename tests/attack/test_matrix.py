"""Each route by everybody on A's objects and on what is not there: the answer is what the policy says, another's object
looks as one that does not exist, and no route is without its place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from httpx2 import Response
from sqlalchemy import true

from app.auth import policy
from app.auth.policy.deciding import UNSEEN, refusing, seen
from app.models import DataReturn
from tests.acceptance.test_bad_requests import routes
from tests.attack import matrix
from tests.attack.matrix import ELSEWHERE, LISTS, NOT_YET
from tests.attack.site import Site, standing
from tests.schema import copy_into, copy_of

READS = ("GET ", "HEAD ", "OPTIONS ")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.fixture(scope="module")
def first(site: Site) -> sqlite3.Connection:
    """What the database holds before anybody who may has changed something."""
    return copy_of(site.house.world.db)


def test_every_guarded_route_has_its_place() -> None:
    from tests.ways_out import served

    asked = {f"{method} {path}": None for method, path, _scopes, _every in routes(served())}
    assert len(asked) > 120
    assert matrix.unplaced(asked) == ([], [])
    assert matrix.unplaced({**asked, "GET /v1/people": None}) == (["GET /v1/people"], [])


def test_the_answer_is_what_the_policy_says(site: Site, first: sqlite3.Connection) -> None:
    wrong, asked = judged(site, first)
    assert wrong == []
    assert asked > 700


HOLES = {
    "a guard dropped": ("must_read_extract", lambda *_: None, "GET /v1/extracts/{extract_id}/manifest"),
    "a guard of a change dropped": ("must_manage_permit", lambda *_: None, "POST /v1/permits/{permit_id}/revoke"),
    "forbidden where it must be unseen": (
        "must_read_cohort",
        refusing("cohort", lambda *_: seen("institution_only")),
        "GET /v1/cohorts/{cohort_id}",
    ),
    "other words than for what is not there": (
        "must_upload", refusing("upload of another", policy.may_upload), "GET /v1/uploads/{upload_id}",
    ),
    "a rule that refuses everybody": (
        "must_review_request", refusing("access request", lambda *_: UNSEEN), "POST /v1/requests/{request_id}/claim",
    ),
}  # fmt: skip


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_is_found(
    site: Site, first: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, hole: str
) -> None:
    name, rule, route = HOLES[hole]
    assert judged(site, first, only={route})[0] == []
    monkeypatch.setattr(policy, name, rule)
    assert judged(site, first, only={route})[0] != []


def test_a_list_that_shows_too_much_is_found(
    site: Site, first: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(site, first, only={"GET /v1/requests"})[0] == []
    monkeypatch.setattr("app.requests.queries._served", lambda _actor: true())
    assert judged(site, first, only={"GET /v1/requests"})[0] != []


def test_a_token_of_the_right_person_with_another_scope_opens_nothing(site: Site) -> None:
    wrong = list[tuple[str, str | None, int]]()
    for method, path, scopes, _every in routes(site.app):
        route = f"{method} {path}"
        for who, actor in site.actors.items():
            if not (scopes & actor.scopes):
                continue
            other = next(one for one in ("openid", "catalog:read") if one not in scopes)
            answer = site.call(f"{who}|{other}", route, ids_of(site, route))
            challenged = "insufficient_scope" in answer.headers.get("WWW-Authenticate", "")
            if (answer.status_code, challenged) != (403, True):
                wrong.append((route, who, answer.status_code))
            break
        nobody = site.call(None, route, ids_of(site, route))
        if (nobody.status_code, "WWW-Authenticate" in nobody.headers) != (401, True):
            wrong.append((route, None, nobody.status_code))
    assert wrong == []


def test_a_version_of_returned_data_looks_to_others_as_if_it_were_not_there(site: Site) -> None:
    """It is sent to by whoever returns the data, by the route of all uploads, under a rule of its own."""
    with site.house.world.db.read() as session:
        version = session.get_one(DataReturn, site.ids["return_id"]).version_id
    told = [
        site.call("neighbour", "POST /v1/uploads", {**site.ids, "version_id": one}).json()
        for one in (version, site.absent()["version_id"])
    ]
    assert told[0] == told[1]
    assert told[0]["code"] == "not_found"


def judged(site: Site, first: sqlite3.Connection, only: set[str] | None = None) -> tuple[list[str], int]:
    """What is not as the policy has it, and how often was asked. What somebody changed is changed back."""
    scopes = {f"{method} {path}": (names, every) for method, path, names, every in routes(site.app)}
    absent, wrong, asked = site.absent(), [], 0
    rules = {**matrix.placed(), **{route: rule for route, (rule, _id) in LISTS.items()}}
    for route in sorted(rules, key=lambda one: (not one.startswith(READS), one)):
        if only is not None and route not in only:
            continue
        for who, actor in site.actors.items():
            names, every = scopes[route]
            if not (names <= actor.scopes if every else names & actor.scopes):
                continue
            decision = rules[route](actor, site.facts)
            answer = site.call(who, route, ids_of(site, route))
            asked += 1
            if route in LISTS:
                told = _listed(site, route, answer, decision)
            elif decision.allowed:
                told = _allowed(route, answer)
            elif decision.visible:
                told = (
                    "" if (answer.status_code, _code(answer)) == (403, "forbidden") else "must be forbidden"
                )
            else:
                missing = site.call(who, route, {**absent, "name": ids_of(site, route)["name"]})
                asked += 1
                told = _unseen(route, answer, missing)
            if answer.status_code >= 500:
                told = told or "failed"
            if told:
                wrong.append(f"{route} by {who}: {told}; {answer.status_code} {answer.text[:300]}")
            if decision.allowed and not route.startswith(READS):
                copy_into(first, site.house.world.db)
    return wrong, asked


def ids_of(site: Site, route: str) -> dict[str, str]:
    return {**site.ids, "name": site.ids["part"]} if "/files/" in route else site.ids


def _allowed(route: str, answer: Response) -> str:
    if answer.status_code == 404 and NOT_YET.get(route, "nothing") in answer.text:
        return ""
    refused = answer.status_code in (401, 404) or _code(answer) in ("forbidden", "insufficient_scope")
    return "is refused who may" if refused or _invalid(answer) else ""


def _invalid(answer: Response) -> bool:
    """A body that is refused for its shape says nothing of who may."""
    return _code(answer) == "invalid_request" and "extra_forbidden" in answer.text


def _unseen(route: str, answer: Response, missing: Response) -> str:
    if (answer.status_code, missing.status_code) != (404, 404):
        return f"must be unseen (and what is not there {missing.status_code} {missing.text[:200]})"
    if route.startswith("HEAD"):
        return "" if _kinds(answer) == _kinds(missing) else "other headers than for what is not there"
    alike = ("code", "detail", "title", "title_ko", "status", "problems")
    if [answer.json().get(one) for one in alike] != [missing.json().get(one) for one in alike]:
        return f"other words than for what is not there: {missing.text[:200]}"
    return "" if _kinds(answer) == _kinds(missing) else "other headers than for what is not there"


def _kinds(answer: Response) -> set[str]:
    return set(answer.headers)


def _listed(site: Site, route: str, answer: Response, decision: policy.Decision) -> str:
    if answer.status_code != 200:
        return "a list must be given"
    shown = site.ids[LISTS[route][1]] in answer.text
    if shown and not decision.allowed:
        return "is shown what they may not see"
    return "misses what they may see" if decision.allowed and not shown and route not in ELSEWHERE else ""


def _code(answer: Response) -> str:
    is_problem = answer.headers.get("content-type") == "application/problem+json" and answer.content
    return str(answer.json().get("code", "")) if is_problem else ""
