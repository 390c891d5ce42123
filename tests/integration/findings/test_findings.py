"""The way back: a finding reaches the institution by the return token alone, and tells the researcher nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from app.audit import institution_stream, project_stream
from app.auth.policy import Actor
from app.consents.one_person import Statement, Writer
from app.consents.return_tokens import token_of
from app.db import Database
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.findings.service import FindingService
from app.findings.tasks import FindingTasks, tasks
from app.jobs import enqueue
from app.jobs.engine import InlineEngine
from app.models import AuditLine, Cohort, Consent, Extract, Finding, IdempotentAnswer, Job
from app.routers import findings, problems
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import tasks as withdrawal_tasks
from tests import world as worlds
from tests.integration.control_plane.world import KnownTokens, person
from tests.world import World

TEXT = "A pathogenic variant; the participant's physician should know."


@dataclass
class Way:
    """A released extract, its people, and everybody who has a part in a finding."""

    world: World
    extract: str
    names: dict[int, str]
    tokens: dict[int, str]
    http: TestClient
    jobs: InlineEngine
    people: dict[str, Actor]

    def call(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.http.request(
            method, f"/v1{path}", json=body, headers={"Authorization": f"Bearer {who}", **headers}
        )

    def ok(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.call(who, method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def refused(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
        answer = self.call(who, method, path, body)
        return answer.status_code, answer.json()["code"]

    def report(self, pseudonym: str, **other: Any) -> Any:
        body = {"extract_id": self.extract, "pseudonym": pseudonym, "code": "BRCA1", "text": TEXT, **other}
        return self.ok("researcher", "POST", "/findings", body)

    def carried(self, pseudonym: str) -> str:
        """A finding that a steward accepted and the worker dealt with; its id."""
        made = self.report(pseudonym)["id"]
        self.ok("steward", "POST", f"/findings/{made}/accept")
        self.jobs.drain()
        return str(made)

    def returned(self) -> dict[str, Any]:
        return {one["id"]: one for one in self.ok("hospital", "GET", "/findings")["items"]}

    def recontact(self, key: int, state: str = "granted") -> None:
        with self.world.db.unit_of_work() as session:
            session.merge(
                Consent(participant_key=key, domain="recontact", cohort_id=self.world.cohort_id, state=state,
                        purposes=[], given_at=None, valid_until=None, changed_at=worlds.NOW)
            )  # fmt: skip

    def lines(self, stream: str, finding: str) -> list[tuple[str, Any]]:
        with self.world.db.read() as session:
            query = select(AuditLine).where(AuditLine.stream == stream, AuditLine.object_id == finding)
            return [(line.event, line.data) for line in session.scalars(query.order_by(AuditLine.number))]

    def streams(self) -> tuple[str, str]:
        with self.world.db.read() as session:
            project = session.get_one(Extract, self.extract).project_id
        return project_stream(project), institution_stream(self.people["hospital"].institution_id or "")


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder: Path = tmp_path_factory.mktemp("findings")
    db = Database(f"sqlite:///{folder / 'x.db'}")
    seconds = count()
    world = worlds.make(db, folder, people=240, clock=lambda: worlds.NOW + timedelta(seconds=next(seconds)))
    extract = world.permit()
    world.release(extract)
    with db.unit_of_work() as session:
        holder = session.get_one(Cohort, world.cohort_id).institution_id
        tokens = {key: token_of(session, key) for key in world.keys}
    service = FindingService(db, world.clock)
    extracts = ExtractService(db, world.clock, world.gate.outbox)
    withdrawals = WithdrawalService(db, world.clock, world.keyring)
    jobs = {
        **tasks(FindingTasks(service, world.gate)),
        **extract_tasks(ExtractTasks(extracts, world.gate)),
        **withdrawal_tasks(withdrawals),
    }
    people = {
        "researcher": person("researcher", "researcher"),
        "other": person("other", "researcher"),
        "steward": person("steward", "steward"),
        "near steward": person("near", "steward", holder),
        "far steward": person("far", "steward", "ins_other"),
        "hospital": person("hospital", "institution", holder),
        "neighbour": person("neighbour", "institution", "ins_other"),
    }
    app = FastAPI(docs_url=None, redoc_url=None)
    app.state.house = SimpleNamespace(auth=KnownTokens(people), findings=service, withdrawals=withdrawals)
    app.include_router(findings.router)
    problems.install(app)
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Way(world, extract, world.pseudonyms(extract), tokens, http,
                  InlineEngine(db, world.clock, jobs), people)  # fmt: skip
    db.dispose()


@pytest.fixture
def one(way: Way) -> int:
    """Somebody in the extract who agreed to be contacted again, and whom no other test has taken."""
    key = next(
        iter(way.world.extras.setdefault("free", iter([k for i, k in enumerate(way.world.keys) if i % 20])))
    )
    way.recontact(key)
    return int(key)


def test_a_finding_comes_back_by_the_return_token_alone(way: Way, one: int) -> None:
    made = way.carried(way.names[one])
    found = way.returned()[made]
    assert (found["return_token"], found["text"], found["state"]) == (way.tokens[one], TEXT, "forwarded")
    assert way.names[one] not in json.dumps(found)
    with way.world.db.read() as session:
        assert session.get_one(Finding, made).pseudonym is None


def test_the_researcher_cannot_tell_whether_it_went_on(way: Way, one: int) -> None:
    """Not whether the person may be contacted, has withdrawn, or exists: the same answers, the same lines."""
    silent, gone = one + 20, one + 40
    for domain in worlds.DOMAINS:
        way.world.set_consent(gone, domain, "withdrawn")
    way.recontact(gone)
    asked = {
        "willing": way.names[one], "unwilling": way.names[silent], "withdrawn": way.names[gone],
        "nobody": "0123456789abcdef", "never released": way.names[way.world.keys[0]],
    }  # fmt: skip
    made = {why: way.carried(pseudonym) for why, pseudonym in asked.items()}
    assert {why for why, finding in made.items() if finding in way.returned()} == {"willing"}
    told, lines = {}, {}
    for why, finding in made.items():
        seen = way.ok("researcher", "GET", f"/findings/{finding}")
        assert seen == next(
            one for one in way.ok("researcher", "GET", "/findings")["items"] if one["id"] == finding
        )
        told[why] = json.dumps({**seen, "id": "", "reported_at": "", "decided_at": ""})
        lines[why] = json.dumps(way.lines(way.streams()[0], finding))
    assert len(set(told.values())) == len(set(lines.values())) == 1
    ended = way.lines(way.streams()[1], made["unwilling"])
    assert [event for event, _ in ended] == ["finding.reported", "finding.accepted", "finding.ended"]


def test_consent_to_contact_is_read_when_it_is_used(way: Way, one: int) -> None:
    """Taken back after the steward's word and before the worker's turn: nothing comes back."""
    made = way.report(way.names[one])["id"]
    way.ok("steward", "POST", f"/findings/{made}/accept")
    way.recontact(one, "withdrawn")
    way.jobs.drain()
    assert made not in way.returned()


def test_words_that_name_the_person_are_refused(way: Way, one: int) -> None:
    name = way.names[one]
    body = {"extract_id": way.extract, "pseudonym": name, "code": "", "text": TEXT}
    for other in (
        {"text": f"see {name.upper()}."},
        {"code": name},
        {"text": "resident number 900101-1234567"},
    ):
        answer = way.call("researcher", "POST", "/findings", {**body, **other})
        assert (answer.status_code, answer.json()["problems"][0]["code"]) == (422, "identifier")
        assert name not in answer.text


def test_the_text_stands_in_one_place_and_goes_at_the_end(way: Way, one: int) -> None:
    body = {"extract_id": way.extract, "pseudonym": way.names[one], "text": TEXT}
    made = way.ok("researcher", "POST", "/findings", body, **{"Idempotency-Key": "finding-1"})
    assert way.ok("researcher", "POST", "/findings", body, **{"Idempotency-Key": "finding-1"}) == made
    way.ok("steward", "POST", f"/findings/{made['id']}/accept")
    way.jobs.drain()
    for verb, state in (("delivered", "delivered"), ("informed", "informed")):
        assert way.ok("hospital", "POST", f"/findings/{made['id']}/{verb}")["state"] == state
    assert way.refused("hospital", "POST", f"/findings/{made['id']}/informed") == (409, "conflict")
    with way.world.db.read() as session:
        elsewhere = [
            [[line.event, line.object_id, line.data] for line in session.scalars(select(AuditLine))],
            [[job.subject, job.arguments, job.progress, job.failure] for job in session.scalars(select(Job))],
            [answer.answer for answer in session.scalars(select(IdempotentAnswer))],
        ]
        assert session.get_one(Finding, made["id"]).text == ""
    told = json.dumps(elsewhere, default=str)
    assert [secret for secret in (TEXT, way.names[one], way.tokens[one]) if secret in told] == []


def test_a_steward_judges_without_knowing_whom(way: Way, one: int) -> None:
    made = way.report(way.names[one])["id"]
    seen = way.ok("steward", "GET", f"/findings/{made}")
    assert seen["text"] == TEXT
    assert not {way.names[one], way.tokens[one]} & set(json.dumps(seen).split('"'))
    assert way.ok("steward", "POST", f"/findings/{made}/decline", {"reason": "not actionable"})
    assert way.ok("researcher", "GET", f"/findings/{made}")["reason"] == "not actionable"
    assert way.refused("steward", "POST", f"/findings/{made}/accept") == (409, "conflict")
    assert made not in way.returned()


def test_others_see_nothing(way: Way, one: int) -> None:
    made = way.carried(way.names[one])
    body = {"extract_id": way.extract, "pseudonym": way.names[one], "code": "", "text": TEXT}
    assert way.refused("other", "POST", "/findings", body) == (404, "not_found")
    assert made in {found["id"] for found in way.ok("near steward", "GET", "/findings")["items"]}
    for who in ("other", "neighbour", "far steward"):
        assert way.refused(who, "GET", f"/findings/{made}") == (404, "not_found")
        assert way.ok(who, "GET", "/findings")["items"] == []
    assert way.refused("neighbour", "POST", f"/findings/{made}/delivered") == (404, "not_found")
    waiting = way.report(way.names[one])["id"]
    assert way.refused("hospital", "GET", f"/findings/{waiting}") == (404, "not_found")
    assert way.refused("hospital", "POST", f"/findings/{waiting}/delivered") == (404, "not_found")


def test_nothing_is_found_in_what_was_not_handed_out(way: Way, one: int) -> None:
    body = {"extract_id": way.world.permit(), "pseudonym": way.names[one], "code": "", "text": TEXT}
    assert way.refused("researcher", "POST", "/findings", body) == (409, "conflict")


def test_the_uses_of_a_participants_data_and_where_they_end(way: Way, one: int) -> None:
    path, body = f"/cohorts/{way.world.cohort_id}/uses", {"return_token": way.tokens[one]}
    [use] = way.ok("hospital", "POST", path, body)["uses"]
    assert (use["extract_id"], use["generations"], use["recalled"]) == (way.extract, [1], False)
    assert (use["title"], use["purpose"], use["ends"]) == ("t", worlds.PURPOSE, "2027-06-30")
    with way.world.db.read() as session:
        events = [row.data for row in session.scalars(
            select(AuditLine).where(AuditLine.event == "participant.uses_listed")
        )]  # fmt: skip
    assert events == [{"uses": 1}]
    assert way.refused("neighbour", "POST", path, body) == (404, "not_found")
    for token in ("rt_00000000000000000000000000", "nonsense"):
        assert way.refused("hospital", "POST", path, {"return_token": token}) == (404, "not_found")
    nobody = {"return_token": way.tokens[way.world.keys[0]]}
    assert way.ok("hospital", "POST", path, nobody)["uses"] == []


@pytest.mark.again
def test_whoever_left_is_told_of_the_generations_until_then(way: Way, one: int) -> None:
    world = way.world
    service = WithdrawalService(world.db, world.clock, world.keyring)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.consents.register.find", lambda *_: one)
        service.take(way.people["hospital"], world.cohort_id, "who", [], "no_further_use")
    way.jobs.drain()
    path, body = f"/cohorts/{world.cohort_id}/uses", {"return_token": way.tokens[one]}
    [use] = way.ok("hospital", "POST", path, body)["uses"]
    with world.db.read() as session:
        assert session.get_one(Extract, way.extract).generation == 2
    assert (use["generations"], use["recalled"]) == ([1], True)


@pytest.mark.again
def test_who_took_back_a_part_is_in_it_still_and_who_came_back_is_in_it_again(way: Way) -> None:
    world, one = way.world, way.world.keys[222]
    service = WithdrawalService(world.db, world.clock, world.keyring)

    def withdraw(*domains: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.consents.register.find", lambda *_: one)
            service.take(way.people["hospital"], world.cohort_id, "who", list(domains), "no_further_use")

    def consent(domain: str) -> None:
        with world.db.unit_of_work() as session:
            cohort = session.get_one(Cohort, world.cohort_id, with_for_update=True)
            said = Statement("granted", ("HMB",), given_at=world.clock().date())
            Writer(session, cohort, world.clock()).apply({(one, domain): said})
            enqueue(session, "reissue_extract", subject=way.extract, at=world.clock())

    found = []
    for act, domains in (
        (withdraw, ["lifelog"]),
        (withdraw, []),
        (consent, ["recontact"]),
        (consent, ["clinical"]),
    ):
        act(*domains)
        way.jobs.drain()
        body = {"return_token": way.tokens[one]}
        [use] = way.ok("hospital", "POST", f"/cohorts/{world.cohort_id}/uses", body)["uses"]
        found.append((use["generations"], use["recalled"]))
    last = found[0][0][-1]
    until = list(range(1, last + 1))
    assert found == [(until, False), (until, True), (until, True), ([*until, last + 3], False)]
