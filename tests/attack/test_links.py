"""Signed links: only the holder is given one, nothing of it can be changed, and at each use the gate is asked anew."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import Request
from httpx2 import Response
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.auth.links import SIGNATURE, _signature
from app.db import new_id
from app.models import (
    AuditLine,
    BlockMark,
    Client,
    Extract,
    Freeze,
    Incident,
    Part,
    Permit,
    Project,
    SigningKey,
)
from app.routers.extracts import served
from tests.amounts import first
from tests.attack.links import ASKERS, Site, parted, put_together, standing

WAYS: tuple[tuple[str, dict[str, str]], ...] = (
    ("GET", {}),
    ("HEAD", {}),
    ("GET", {"Range": "bytes=0-3"}),
    ("GET", {"Range": "bytes=-8"}),
    ("GET", {"If-None-Match": "*"}),
)
UNTOLD = ("private, no-store", "no-referrer")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("links")) as made:
        yield made


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    yield shared
    shared.put_back()


def refused(site: Site, url: str) -> set[tuple[int, str]]:
    """Status and code of every way to ask; no answer is kept or told on, and none holds the link."""
    told = set()
    for method, headers in WAYS:
        answer = site.http.request(method, url, headers=headers)
        assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == UNTOLD
        assert parted(url)[1].get(SIGNATURE, "-") not in answer.text
        code = answer.json()["code"] if method == "GET" else ""
        assert answer.headers.get("content-type") == "application/problem+json"
        told.add((answer.status_code, code))
    return {(status, code) for status, code in told if code}


def test_only_the_holder_is_given_links_each_their_own(site: Site) -> None:
    for who, (role, _home) in ASKERS.items():
        for extract, holder in ((site.extract, "researcher"), (site.others, "other"), (new_id("ext"), "")):
            answer = site.ask(who, extract)
            if who == holder:
                assert answer.status_code == 200, (who, answer.text)
                assert all(file["url"] for file in answer.json()["files"])
            elif role == "researcher":  # as if it did not exist
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), who
            else:  # without the scope
                assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), who
            assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == UNTOLD or (
                who != holder
            )


def test_parts_are_named_or_all_are_meant(site: Site) -> None:
    name = site.names[0]
    files = site.ask("researcher", site.extract, {"parts": [name]}).json()["files"]
    assert [file["name"] for file in files] == [name]
    with site.world.db.read() as session:
        theirs = session.scalars(select(Part.name).where(Part.extract_id == site.others)).first()
    assert theirs not in site.names
    for other in (theirs, "0" * 64 + ".parquet"):
        answer = site.ask("researcher", site.extract, {"parts": [name, other]})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_link_answers_as_its_holders_token_does(site: Site) -> None:
    token = {"Authorization": f"Bearer {site.token('researcher')}"}
    url = site.links()[0]
    path = parted(url)[0].replace("/links/", "/extracts/").replace(site.extract, f"{site.extract}/files")
    size, tag = int(site.http.head(url).headers["Content-Length"]), site.http.head(url).headers["ETag"]
    asked: list[dict[str, str]] = [
        {}, {"Range": "bytes=0-4"}, {"Range": "bytes=-5"}, {"Range": f"bytes={size}-"}, {"Range": "bytes=9-3"},
        {"Range": "bytes=0-4", "If-Range": tag}, {"Range": "bytes=0-4", "If-Range": '"other"'},
        {"If-None-Match": tag}, {"If-Match": '"other"'},
    ]  # fmt: skip
    seen = set()
    for method in ("GET", "HEAD"):
        for headers in asked:
            by_link = site.http.request(method, url, headers=headers)
            by_token = site.http.request(method, path, headers={**headers, **token})
            seen.add(by_link.status_code)
            assert shown(by_link) == shown(by_token), (method, headers)
            assert by_link.headers["Referrer-Policy"] == "no-referrer"
    assert seen == {200, 206, 304, 412, 416}


def shown(answer: Response) -> tuple[Any, ...]:
    left_out = ("x-request-id", "referrer-policy", "cache-control")
    content = answer.content if answer.status_code < 400 else answer.text and answer.json()["code"]
    headers = {k: v for k, v in answer.headers.items() if k not in (*left_out, "content-length")}
    return answer.status_code, headers, content


def said(query: dict[str, str]) -> dict[str, Any]:
    text = query["link"]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def saying(query: dict[str, str], **other: Any) -> dict[str, str]:
    """The query of a link with something else in it, under the old signature."""
    text = json.dumps({**said(query), **other}, separators=(",", ":"))
    return {**query, "link": urlsafe_b64encode(text.encode()).decode().rstrip("=")}


def test_nothing_of_a_link_can_be_changed(site: Site) -> None:
    mine, theirs = site.links(), site.links("other", site.others)
    path, query = parted(mine[0])
    assert saying(query) == query
    with site.world.db.read() as session:
        kid = session.scalars(select(SigningKey.kid)).one()
    changed: list[tuple[str, dict[str, str]]] = [
        (path.replace(site.extract, site.others), query),
        (parted(theirs[0])[0], query),  # another's part by one's own link
        (parted(mine[1])[0], query),  # one's own other part
        (path, {**query, "link": parted(theirs[0])[1]["link"]}),
        (path, {**query, SIGNATURE: parted(theirs[0])[1][SIGNATURE]}),
        (path, {**query, SIGNATURE: query[SIGNATURE].upper()}),
        (path, {**query, SIGNATURE: query[SIGNATURE][:-1]}),
        (path, {**query, SIGNATURE: ("1" if query[SIGNATURE][0] == "0" else "0") + query[SIGNATURE][1:]}),
        (path, {**query, SIGNATURE: ""}),
        (path, {"link": query["link"]}),
        (path, {SIGNATURE: query[SIGNATURE]}),
        (path, {}),
        (path, {**query, "more": "1"}),
        (path, {**query, "link": query["link"] + "="}),
        (path, {**query, "link": "%00"}),
        (path, {**query, "link": urlsafe_b64encode(b"[" * 1400).decode()}),
        (path, {**query, "link": urlsafe_b64encode(b"{}").decode().rstrip("=")}),
        (path, saying(query, kid="\x00")),
        (path, saying(query, kid=["a"])),
        (path, {**saying(query), SIGNATURE: _signature(kid.encode(), site.extract, path, query["link"])}),
    ]
    others: dict[str, Any] = {
        "id": "0" * 16, "generation": 2, "subject": "client:other", "client": "other", "jti": "x", "family": "x",
        "issued": 0, "until": said(query)["until"] + 1, "kid": "x" * 43, "more": 1,
    }  # fmt: skip
    assert set(others) == {*said(query), "more"}
    changed += [(path, saying(query, **{name: value})) for name, value in others.items()]
    for where, what in changed:
        assert refused(site, put_together(where, what)) == {(403, "link_invalid")}, (where, what)
    twice = f"{mine[0]}&link={query['link']}"
    assert refused(site, twice) == {(403, "link_invalid")}
    assert site.http.get(put_together(path, query)).status_code == 200  # and as it was given it opens
    assert site.http.post(mine[0]).status_code == 405


def test_a_link_opens_its_file_and_nothing_else(site: Site) -> None:
    _path, query = parted(site.links()[0])
    name = site.names[0]
    for path in (f"/v1/extracts/{site.extract}", f"/v1/extracts/{site.extract}/files/{name}", "/v1/permits"):
        assert site.http.get(put_together(path, query)).status_code == 401


def sets(model: Any, **values: Any) -> Callable[[Session], object]:
    return lambda session: session.execute(update(model).values(**values))


def frozen(kind: str, subject: Callable[[Site], str]) -> Callable[[Site], Callable[[Session], object]]:
    def freeze(site: Site) -> Callable[[Session], object]:
        now, incident = site.clock(), new_id("inc")

        def act(session: Session) -> None:
            session.add(
                Incident(
                    id=incident, kind="leak", text="x", state="reported", touches=[], reported_by="client:platform",
                    known_at=now, reported_at=now, notices=[],
                )
            )  # fmt: skip
            session.flush()
            session.add(
                Freeze(
                    id=new_id("frz"), incident_id=incident, kind=kind, subject=subject(site), set_at=now,
                    set_by="client:platform", lifted_at=None, lifted_by=None,
                )
            )  # fmt: skip

        return act

    return freeze


def marked(session: Session) -> None:
    for extract in session.scalars(select(Extract)).all():
        session.add(
            BlockMark(
                extract_id=extract.id, withdrawal_id="wdr_x", reason="withdrawal", at=LONG_AGO, narrowed=False
            )
        )


LONG_AGO = datetime(2020, 1, 2, tzinfo=UTC)
# What happens after the link was given -> what it is answered from then on.
AFTERWARDS: dict[str, tuple[Callable[[Site], Callable[[Session], object]], tuple[int, str]]] = {
    "somebody withdraws": (lambda _: marked, (503, "part_checking")),
    "the part is blocked": (lambda _: sets(Part, state="blocked", reason="x"), (410, "part_withdrawn")),
    "the part is replaced": (lambda _: sets(Part, state="replaced"), (410, "part_withdrawn")),
    "the part is damaged": (lambda _: sets(Part, state="blocked", reason="damaged"), (503, "part_damaged")),
    "the part is made anew": (lambda _: sets(Part, generation=2), (403, "link_expired")),
    "the permit is revoked": (lambda _: sets(Permit, state="revoked"), (403, "permit_not_live")),
    "the permit is suspended": (lambda _: sets(Permit, state="suspended"), (403, "permit_not_live")),
    "the agreement is open": (lambda _: sets(Permit, state="pending_agreement"), (403, "permit_not_live")),
    "the permit has ended": (
        lambda site: sets(Permit, valid_until=site.clock().date() - timedelta(days=1)),
        (403, "permit_not_live"),
    ),
    "the extract has ended": (lambda _: sets(Extract, state="expired"), (410, "extract_expired")),
    "the project is another's": (lambda _: sets(Project, holder="client:other"), (404, "not_found")),
    "the client is switched off": (lambda _: sets(Client, active=False), (403, "link_revoked")),
    "the client has ended": (
        lambda site: sets(Client, valid_until=site.clock().date() - timedelta(days=1)),
        (403, "link_revoked"),
    ),
    "the client lost the scope": (lambda _: sets(Client, scopes=["catalog:read"]), (403, "link_revoked")),
    "the client is of another role": (lambda _: sets(Client, role="steward"), (403, "link_revoked")),
    "its tokens of before count no more": (
        lambda site: sets(Client, tokens_from=site.clock() + timedelta(seconds=1)),
        (403, "link_revoked"),
    ),
    "the client is frozen": (frozen("client", lambda _: "researcher"), (403, "link_revoked")),
    "the platform is frozen": (frozen("platform", lambda _: ""), (403, "frozen")),
    "the cohort is frozen": (frozen("cohort", lambda site: site.world.cohort_id), (403, "frozen")),
    "the signing key is gone": (lambda _: sets(SigningKey, retired_at=LONG_AGO), (403, "link_invalid")),
}


# One of each answer; the others are further ways to it.
TELLING = (
    "somebody withdraws",
    "the part is blocked",
    "the part is damaged",
    "the part is made anew",
    "the permit is revoked",
    "the extract has ended",
    "the project is another's",
    "the client is switched off",
    "the cohort is frozen",
    "the signing key is gone",
)


@pytest.mark.parametrize("event", first(len(TELLING), sorted(AFTERWARDS, key=lambda one: one not in TELLING)))
def test_what_was_given_is_refused_from_the_moment_that_ends_it(site: Site, event: str) -> None:
    act, answer = AFTERWARDS[event]
    urls = site.links()
    assert {site.http.get(url).status_code for url in urls} == {200}
    site.change(act(site))
    for url in urls:
        assert refused(site, url) == {answer}


def test_a_link_dies_with_the_token_that_asked_for_it(site: Site) -> None:
    token, later = site.token("researcher"), site.token("researcher")
    mine, other = (site.asked(one, site.extract).json()["files"][0]["url"] for one in (token, later))
    who = ("researcher", "s" * 43)
    assert site.http.post("/oauth/revoke", data={"token": token}, auth=who).status_code == 200
    assert refused(site, mine) == {(403, "link_revoked")}
    assert site.http.get(other).status_code == 200


def test_a_revoked_permit_refuses_by_its_own_route(site: Site) -> None:
    """Through the verb itself, as a steward does it."""
    url = site.links()[0]
    with site.world.db.read() as session:
        permit = session.get_one(Extract, site.extract).permit_id
    bearer = {"Authorization": f"Bearer {site.token('own steward')}"}
    answer = site.http.post(f"/v1/permits/{permit}/revoke", json={"note": "x"}, headers=bearer)
    assert answer.status_code == 200, answer.text
    assert refused(site, url) == {(403, "permit_not_live")}


def test_a_running_download_ends_where_its_part_is_closed(site: Site) -> None:
    """Given and opened while all was well; not one byte flows after."""
    path, query = parted(site.links()[0])
    name = path.rpartition("/")[2]
    linked = site.house.auth.links.read(site.extract, name, list(query.items()))
    part = site.house.links.open(linked, site.extract, name)
    scope: Any = {"type": "http", "method": "GET", "headers": [], "path": path}
    sent = list[bytes]()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    def answered() -> int:
        answer: Any = served(site.house, linked.actor, site.extract, part, Request(scope))
        asyncio.run(answer.stream_response(send))
        return sum(map(len, sent))

    assert answered() == part.bytes
    sent.clear()
    answer: Any = served(site.house, linked.actor, site.extract, part, Request(scope))
    site.change(marked)
    asyncio.run(answer.stream_response(send))
    assert sum(map(len, sent)) == 0


@pytest.mark.parametrize(
    ("shortest", "seconds"),
    [("setting", 3600 * 2), ("asked", 90), ("token", 3600 * 3), ("permit", None), ("extract", None)],
)
def test_it_ends_with_the_first_of_what_it_hangs_on(site: Site, shortest: str, seconds: int | None) -> None:
    now = site.clock()
    auth = replace(
        site.house.auth, settings=site.house.auth.settings.model_copy(update={
            "link_seconds": 3600 * 2 if shortest == "setting" else 400 * 86_400,
            "access_token_seconds": 3600 * 3 if shortest == "token" else 400 * 86_400,
        }),
    )  # fmt: skip
    app_house = site.app.state.house
    site.app.state.house = replace(app_house, auth=auth, links=replace(app_house.links, mint=auth.links))
    try:
        tonight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        if shortest == "permit":
            site.change(sets(Permit, valid_until=now.date()))
        if shortest == "extract":
            site.change(sets(Extract, expires_at=now))
        body = {"seconds": 90} if shortest == "asked" else None
        told = site.ask("researcher", site.extract, body).json()
        until = datetime.fromisoformat(told["until"])
        assert until == (tonight if seconds is None else now + timedelta(seconds=seconds))
        url = told["files"][0]["url"]
        site.clock.now = until - timedelta(seconds=1)
        assert site.http.get(url).status_code == 200
        site.clock.now = until
        assert refused(site, url) == {(403, "link_expired")}
    finally:
        site.app.state.house = app_house


def test_a_closed_part_is_given_no_link_and_the_others_are(site: Site) -> None:
    closed = site.names[0]
    site.change(
        lambda s: s.execute(
            update(Part).where(Part.name == closed, Part.extract_id == site.extract).values(state="blocked")
        )
    )
    files = {file["name"]: file for file in site.ask("researcher", site.extract).json()["files"]}
    assert {name for name, file in files.items() if file["url"] is None} == {closed}
    assert files[closed]["state"] == "blocked"
    assert len(files) == len(site.names) > 1


@pytest.mark.parametrize("event", ["somebody withdraws", "the permit is revoked", "the extract has ended"])
def test_no_link_is_given_where_no_byte_may_leave(site: Site, event: str) -> None:
    act, answer = AFTERWARDS[event]
    site.change(act(site))
    told = site.ask("researcher", site.extract)
    assert (told.status_code, told.json()["code"]) == answer


def test_a_new_signing_key_signs_and_the_old_links_hold(site: Site) -> None:
    old = site.links()[0]
    site.clock.pass_by(seconds=1)
    with site.world.db.unit_of_work() as session:
        site.house.auth.administration._new_key(session, "client:platform", site.clock())
    new = site.links()[0]
    kids = [said(parted(url)[1])["kid"] for url in (old, new)]
    assert kids[0] != kids[1]
    assert [site.http.get(url).status_code for url in (old, new)] == [200, 200]
    mixed = put_together(parted(old)[0], saying(parted(old)[1], kid=kids[1]))
    assert refused(site, mixed) == {(403, "link_invalid")}


def test_uses_are_told_once_a_link_and_no_signature_is_written_down(site: Site) -> None:
    told = site.ask("researcher", site.extract).json()
    again = site.ask("researcher", site.extract).json()
    signatures = []
    for url in (told["files"][0]["url"], again["files"][0]["url"]):
        signatures.append(parted(url)[1][SIGNATURE])
        for method, headers in WAYS * 2:
            site.http.request(method, url, headers=headers)
    with site.world.db.read() as session:
        lines = list(
            session.scalars(
                select(AuditLine).where(AuditLine.event.in_(("extract.linked", "part.delivered")))
            )
        )
        given = [line.data for line in lines if line.event == "extract.linked"]
        used = [line.data for line in lines if line.event == "part.delivered"]
        assert {line.actor for line in lines} == {"client:researcher"}
    assert [one["link"] for one in given] == [told["id"], again["id"]]
    assert [one["link"] for one in used] == [told["id"], again["id"]]
    assert {one["part"] for one in used} == {told["files"][0]["sha256"]}
    assert {(one["parts"], one["client"]) for one in given} == {(len(site.names), "researcher")}
    everything = "".join(_dump(site))
    assert told["id"] in everything
    assert not [one for one in signatures if one in everything or one[:32] in everything]


def _dump(site: Site) -> Iterator[str]:
    connection = site.world.db.engine.raw_connection()
    try:
        raw: Any = connection.driver_connection
        yield from raw.iterdump()
    finally:
        connection.close()


def test_a_link_holds_ids_and_times_alone(site: Site) -> None:
    token = site.token("researcher")
    url = site.asked(token, site.extract).json()["files"][0]["url"]
    assert re.match(
        rf"{re.escape(site.house.auth.issuer)}/v1/links/{site.extract}/[0-9a-f]{{64}}\.parquet\?", url
    )
    told = said(parted(url)[1])
    assert set(told) == {"id", "generation", "subject", "client", "jti", "family", "issued", "until", "kid"}
    assert token not in url
    for piece in token.split("."):
        assert piece not in url
