"""Who withdraws is on no way out from the next request on: every route is walked, each way is asked its question."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fastapi import Request
from httpx2 import Response
from pyroaring import BitMap
from sqlalchemy import select
from starlette.testclient import TestClient

from app.auth.policy import ROLE_SCOPES, Actor, Credential, Role
from app.catalog.counted import consenting
from app.jobs import execute
from app.ledger import parts as ledger_parts
from app.models import Client, Cohort, CountAnswer, Dataset, Extract, Job, Participant, Permit, ShownFigures
from app.routers.files import deliver
from tests import doors, ways_out
from tests import world as worlds
from tests.integration.destruction.house import House, make

KEY = "read {}"  # an asker of their own for every question, who was told nothing before


@dataclass
class Site:
    """A house behind its real routes, with an extract in somebody's hands and a request under review."""

    house: House
    http: TestClient
    actors: dict[str, Actor]
    ids: dict[str, str]
    seen: list[set[int]] = field(default_factory=list)  # the people of every dry run
    askers: int = 0

    def call(self, who: str, route: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
        method, _, path = route.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda found: self.ids.get(found[1], "none"), path)
        return self.http.request(
            method, path, json=body, headers={"Authorization": f"Bearer {who}", **(headers or {})}
        )

    def stranger(self) -> str:
        """A researcher who was never told a number."""
        self.askers += 1
        name = KEY.format(self.askers)
        self.actors[name] = _actor(name, "researcher")
        return name

    def run(self, kind: str) -> None:
        with self.house.world.db.read() as session:
            ids = list(session.scalars(select(Job.id).where(Job.kind == kind, Job.state == "waiting")))
        for one in ids:
            execute(self.house.built.db, self.house.built.clock, self.house.built.tasks, one)

    def parts(self) -> dict[str, bytes]:
        """Everything that the newest manifest names, as the holder is given it."""
        manifest = self.call("researcher", "GET /v1/extracts/{extract_id}/manifest").json()
        found = {}
        for part in (p for table in manifest["tables"] for p in table["parts"]):
            self.ids["name"] = part["name"]
            answer = self.call("researcher", FILE)
            if answer.status_code == 200:
                found[part["name"]] = answer.content
        return found


@dataclass
class Leaving:
    """Somebody who withdraws, and what was handed out while they were in it."""

    source: str
    key: int
    pseudonym: str
    names: list[str]  # of every part of then
    holding: set[str]  # of those with rows of theirs
    consenting: int
    progress: Any
    told: Any  # what a dry run told
    links: dict[str, str]  # of every part of then


class _Known:
    """The issuer, but that a token is the name of a person."""

    def __init__(self, issuer: Any, people: dict[str, Actor]) -> None:
        self._issuer, self._people = issuer, people

    def authenticate(self, bearer: str) -> Actor:
        return self._people[bearer]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._issuer, name)


FILE = "GET /v1/extracts/{extract_id}/files/{name}"
LINK = "GET /v1/links/{extract_id}/{name}"
Question = Callable[[Site, Leaving, str], None]
STAGES = ("taken", "narrowed", "settled")


def _actor(name: str, role: Role, institution_id: str | None = None) -> Actor:
    scopes = frozenset(map(str, ROLE_SCOPES[role]))
    return Actor(f"client:{name}", name, role, institution_id, scopes, Credential("x", None, 0, 1 << 33))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    house = make(tmp_path_factory.mktemp("ways"), people=160)
    built, world = house.built, house.world
    built.house.auth.bootstrap()
    home = house.actor.institution_id
    actors = {
        "hospital": _actor("hospital", "institution", home), "steward": _actor("steward", "steward"),
        "researcher": _actor("researcher", "researcher"), "other": _actor("other", "researcher"),
        "platform": _actor("platform", "platform"),
    }  # fmt: skip
    with world.db.unit_of_work() as session:
        request = worlds._request(world, world.plan, "client:other")
        request.state, request.claimed_by = "in_review", "client:steward"
        session.add(request)
        session.flush()
        permit = session.get_one(Permit, session.get_one(Extract, house.extract).permit_id)
        ids = {
            "extract_id": house.extract, "permit_id": permit.id, "request_id": request.id,
            "cohort_id": world.cohort_id, "version_id": world.version_id, "institution_id": str(home),
            "dataset_id": session.scalars(select(Dataset.id)).one(),
        }  # fmt: skip
        session.get_one(Cohort, world.cohort_id).consent_form = {"domains": list(worlds.DOMAINS)}
        session.add(  # a link is of a client that there is
            Client(id="researcher", name="researcher", grant_types=[], redirect_uris=[], scopes=["extracts:read"],
                   role="researcher", created_at=built.clock())
        )  # fmt: skip
        for one in session.scalars(select(Participant)):
            one.return_token = np.random.default_rng(one.key).bytes(16)
    app = doors.before(replace(built.house, auth=_Known(built.house.auth, actors)))  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Site(house, http, actors, ids)
    doors.back(app)
    world.db.dispose()


@pytest.fixture(autouse=True)
def _watched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    see_dry_runs(site, monkeypatch)


def see_dry_runs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dry run tells is masked or moves in batches; who was in it is seen here."""

    def seeing(_gate: Any, staged: Any, *_: Any) -> Any:
        site.seen.append(set(map(int, staged.members)))
        return {"page": "<p>how much it would tell</p>"}  # the report of it is judged elsewhere

    monkeypatch.setattr("app.gate.door.measured", seeing)


def leave(site: Site) -> Leaving:
    """Somebody is in all of it, which is seen, and withdraws."""
    source = site.house.someone()
    key = site.house.leaving[source]
    pseudonym = site.house.names[key]
    before = site.parts()
    holding = {name for name, content in before.items() if holds(content, pseudonym)}
    assert holding
    assert counted(site, key)
    assert key in dry_run(site)
    told, linked = figures(site), links(site)
    assert {name: site.http.get(linked[name]).status_code for name in before} == dict.fromkeys(before, 200)
    assert traced(site, pseudonym) is not None
    leaving = Leaving(
        source, key, pseudonym, list(before), holding, people(site), site.call("other", "GET /v1/progress").json(),
        told, linked,
    )  # fmt: skip
    stream = opened(site, min(holding))
    answer = site.call("hospital", "POST /v1/cohorts/{cohort_id}/withdrawals", {"participant": source})
    assert answer.status_code == 202, answer.text
    site.ids["withdrawal_id"] = answer.json()["id"]
    assert sum(map(len, stream)) == 0  # a download that had begun ends here
    return leaving


def holds(part: bytes, pseudonym: str) -> bool:
    """Whether a part has a row of theirs."""
    column = pq.read_table(io.BytesIO(part), columns=["pid"])["pid"]
    return bool(pc.any(pc.equal(column.cast(pa.string()), pseudonym)).as_py())


def opened(site: Site, name: str) -> Iterator[bytes]:
    """A download that is answered with 200 and of which no byte was read yet."""
    extracts = site.house.built.house.extracts
    part = extracts.open_part(site.actors["researcher"], site.ids["extract_id"], name)
    request = Request({"type": "http", "method": "GET", "headers": []})
    answer: Any = deliver(
        extracts.outbox, f"{site.ids['extract_id']}/{name}", part.bytes, part.sha256, part.sha256, request,
        filename=name, check=lambda: extracts.check_part(site.ids["extract_id"], name),
    )  # fmt: skip
    assert answer.status_code == 200

    def read() -> Iterator[bytes]:
        sent: list[bytes] = []

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        asyncio.run(answer.stream_response(send))
        yield from sent

    return read()


def people(site: Site) -> int:
    with site.house.world.db.read() as session:
        return sum(consenting(session, site.house.built.clock().date()).by_institution.values())


def counted(site: Site, key: int) -> bool:
    """Whether somebody who asks now for all people of the version is told a number with this person in it."""
    who = site.stranger()
    answer = site.call(
        who, "POST /v1/catalog/counts", {"version_id": site.ids["version_id"], "conditions": []}
    )
    assert answer.status_code == 200, answer.text
    with site.house.world.db.read() as session:
        query = select(CountAnswer.members).where(CountAnswer.asker == site.actors[who].subject)
        return key in BitMap.deserialize(session.scalars(query).one())


def dry_run(site: Site) -> set[int]:
    """Who is in a dry run that is ordered now."""
    site.seen.clear()
    assert site.call("steward", "POST /v1/requests/{request_id}/dry-run").status_code == 202
    site.run("dry_run")
    [found] = site.seen
    return found


def figures(site: Site) -> Any:
    """What a steward reads of the newest dry run."""
    answer = site.call("steward", "GET /v1/requests/{request_id}/dry-run").json()
    assert answer["state"] == "ready"
    return answer["result"]


def traced(site: Site, pseudonym: str) -> Any:
    gate: Any = site.house.world.gate
    return gate.trace(site.ids["extract_id"], pseudonym)


# -- the questions


def bytes_(site: Site, who: Leaving, stage: str) -> None:
    """No byte of a part that holds them, whole or by range; while it is not known which those are, of none."""
    for name in who.names:
        site.ids["name"], theirs = name, name in who.holding
        etag = {"ETag": f'"{name.partition(".")[0]}"'}
        for headers in ({}, {"Range": "bytes=0-3"}, {"Range": "bytes=-8", "If-Range": etag["ETag"]}):
            answer = site.call("researcher", FILE, headers=headers)
            if stage == "taken":
                assert answer.status_code == 503, (name, answer.status_code)
            elif theirs:
                assert answer.status_code == 410, (name, answer.status_code)
        known = site.call("researcher", FILE, headers={"If-None-Match": etag["ETag"]})
        assert known.status_code != 304 or not (theirs or stage == "taken")
        head = site.call("researcher", f"HEAD {FILE.partition(' ')[2]}")
        assert head.status_code != 200 or not (theirs or stage == "taken")
    if stage == "settled":
        after = site.parts()
        assert after
        assert not any(holds(content, who.pseudonym) for content in after.values())


def links(site: Site) -> dict[str, str]:
    """The parts that the holder is given a link to now."""
    answer = site.call("researcher", "POST /v1/extracts/{extract_id}/links")
    assert answer.status_code == 200, answer.text
    return {file["name"]: file["url"] for file in answer.json()["files"] if file["url"]}


def linked(site: Site, who: Leaving, stage: str) -> None:
    """A link that was given before opens nothing with them, and none is given to it."""
    for name, url in who.links.items():
        for method, headers in (("GET", {}), ("GET", {"Range": "bytes=0-3"}), ("HEAD", {})):
            answer = site.http.request(method, url, headers=headers)
            if stage == "taken":
                assert answer.status_code == 503, (name, answer.status_code)
            elif name in who.holding:
                assert answer.status_code == 410, (name, answer.status_code)
    if stage == "taken":
        assert site.call("researcher", "POST /v1/extracts/{extract_id}/links").status_code == 503
    else:
        assert who.holding.isdisjoint(links(site))


def papers(site: Site, who: Leaving, stage: str) -> None:
    """What is said of an extract names nobody, and no part with them as one that can be read."""
    manifest = site.call("researcher", "GET /v1/extracts/{extract_id}/manifest").json()
    assert who.pseudonym not in str(manifest)
    if stage != "taken":
        assert {manifest["parts_state"][name]["state"] for name in who.holding} <= {"blocked", "replaced"}
    if stage == "settled":
        assert who.holding.isdisjoint(p["name"] for table in manifest["tables"] for p in table["parts"])
    for route in ("GET /v1/extracts", "GET /v1/permits", "GET /v1/permits/{permit_id}"):
        answer = site.call("researcher", route)
        assert answer.status_code == 200
        assert who.pseudonym not in answer.text


def counts(site: Site, who: Leaving, stage: str) -> None:
    """A number that is asked for now has them in it no more."""
    assert not counted(site, who.key)


def dry_runs(site: Site, who: Leaving, stage: str) -> None:
    """A dry run that is ordered now is laid over everybody but them, and does not tell that one has left."""
    found = dry_run(site)
    assert found
    assert who.key not in found
    assert figures(site) == who.told
    for route in ("GET /v1/requests/{request_id}/dry-run", "GET /v1/requests/{request_id}/dry-run/page"):
        assert site.call("steward", route).status_code == 200
        assert site.call("other", route).status_code == 403


def catalogue(site: Site, who: Leaving, stage: str) -> None:
    """Rounded numbers of tables; one person who leaves moves none of them."""
    shown = site.call("other", "GET /v1/catalog/{dataset_id}").json()
    unit = site.house.built.settings.round_to
    assert all(table["people"] is None or table["people"] % unit == 0 for table in shown["tables"])
    found = site.call("other", "GET /v1/catalog/variables").json()["items"]
    assert all(v["people"] is None or v["people"] % unit == 0 for one in found for v in one["versions"])


def progress(site: Site, who: Leaving, stage: str) -> None:
    """They are counted no more, and what everybody sees does not tell when."""
    assert people(site) == who.consenting - 1
    assert site.call("other", "GET /v1/progress").json()["people"] == who.progress["people"]


def register(site: Site, who: Leaving, stage: str) -> None:
    """The institution reads its own register, masked."""
    told = site.call("hospital", "GET /v1/cohorts/{cohort_id}/consents/summary")
    assert told.status_code == 200
    assert site.call("other", "GET /v1/cohorts/{cohort_id}/consents/summary").status_code == 403


def tracing(site: Site, who: Leaving, stage: str) -> None:
    """From their pseudonym no way leads back to them any more."""
    assert traced(site, who.pseudonym) is None


def uses(site: Site, who: Leaving, stage: str) -> None:
    """Who asks for a participant learns where their data were used, by project; that is theirs to know."""
    with site.house.world.db.read() as session:
        token = session.get_one(Participant, who.key).return_token
    assert token is not None
    answer = site.call("hospital", "POST /v1/cohorts/{cohort_id}/uses", {"return_token": "none"})
    assert answer.status_code in (404, 422)
    assert who.pseudonym not in answer.text


def recalls(site: Site, who: Leaving, stage: str) -> None:
    """The holder, and no one else, is told whom to delete."""
    for route in ("GET /v1/extracts/{extract_id}/recalls", "GET /v1/extracts/{extract_id}/recalls.csv"):
        assert (who.pseudonym in site.call("researcher", route).text) == (stage != "taken")
        assert site.call("other", route).status_code in (403, 404)


QUESTIONS: dict[str, Question] = {
    "bytes": bytes_, "linked": linked, "papers": papers, "counts": counts, "dry_run": dry_runs, "catalogue": catalogue,
    "progress": progress, "register": register, "tracing": tracing, "uses": uses, "recalls": recalls,
}  # fmt: skip


def test_every_way_out_has_its_question() -> None:
    assert set(ways_out.WAYS.values()) == set(QUESTIONS)


def walk(site: Site, who: Leaving, routes: Iterable[str]) -> set[str]:
    """Read the routes as everybody: nothing of what left may stand in any answer. The routes that answered."""
    answered: set[str] = set()
    told = {"GET /v1/extracts/{extract_id}", *(r for r, q in ways_out.WAYS.items() if q == "recalls")}
    for route in sorted(routes):
        if not route.startswith("GET "):
            continue
        for actor in ("hospital", "steward", "researcher", "other", "platform"):
            answer = site.call(actor, route)
            assert answer.status_code != 500, (route, actor)
            if answer.status_code == 200:
                answered.add(route)
            assert who.source not in answer.text, (route, actor)
            if route not in told or actor != "researcher":
                assert who.pseudonym.encode() not in answer.content, (route, actor)
    return answered


def test_from_the_next_request_on_nobody_reads_them_by_any_way(site: Site) -> None:
    who = leave(site)
    for stage in STAGES:
        if stage == "narrowed":
            site.run("narrow_block")
        if stage == "settled":
            site.house.work()
        for name, question in QUESTIONS.items():
            try:
                question(site, who, stage)
            except AssertionError as wrong:
                raise AssertionError(f"{name}, {stage}: {wrong}") from wrong
        site.ids["name"] = min(who.holding)
        answered = walk(
            site, who, ways_out.routes(ways_out.served()) if stage == "narrowed" else ways_out.WAYS
        )
        ways = {r for r in ways_out.WAYS if r.startswith("GET ")} - {FILE, LINK}
        assert ways - answered == set()  # a way that answered nobody was not walked


@pytest.mark.again
def test_a_fault_on_a_way_out_is_seen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question can fail: what it holds against is planted, one after the other."""
    who, everyone = leave(site), np.array(sorted(site.house.world.keys), dtype=np.int32)
    flow = ledger_parts.state_of

    def unmarked(*place: Any) -> Any:
        state = flow(*place)
        return state and replace(state, marked=False)

    def nobody_left(_session: Any, _of: Any, domains: Any, *_: Any) -> Any:
        return dict.fromkeys(domains, everyone)

    faults: list[tuple[Question, str, Any]] = [
        (bytes_, "app.extracts.service.state_of", unmarked),
        (linked, "app.extracts.service.state_of", unmarked),
        (counts, "app.crosswalk.covered_now", nobody_left),
        (dry_runs, "app.crosswalk.covered_now", nobody_left),
        (tracing, "app.gate.tracing.covered_now", nobody_left),
    ]
    for question, place, fault in faults:
        monkeypatch.setattr(place, fault)
        with pytest.raises(AssertionError):
            question(site, who, "taken")
        monkeypatch.undo()
        see_dry_runs(site, monkeypatch)
        if question is dry_runs:  # what the faulty one told is what the next is held against
            assert who.key not in dry_run(site)
        else:
            question(site, who, "taken")
    site.house.work()


@pytest.mark.again
def test_what_everybody_sees_moves_once_many_have_left(site: Site) -> None:
    before = site.call("other", "GET /v1/progress").json()["people"]
    dry_run(site)
    told = figures(site)
    for _ in range(site.house.built.settings.min_cell):
        source = site.house.someone()
        site.call("hospital", "POST /v1/cohorts/{cohort_id}/withdrawals", {"participant": source})
    with site.house.world.db.unit_of_work() as session:
        for row in session.scalars(select(ShownFigures)):
            row.basis = "yesterday"
    assert site.call("other", "GET /v1/progress").json()["people"] < before
    dry_run(site)
    assert figures(site)["people"] != told["people"]
