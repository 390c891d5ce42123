"""The control plane behind its real routes, over a real database; who asks is told by the token, the gate is a fake."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from app.alarms.departing import Moving as MovingAlarms
from app.alarms.departing import end as end_alarms
from app.alarms.feeds import FeedService
from app.alarms.operating import OperatingService
from app.alarms.service import AlarmService
from app.auth.policy import ROLE_SCOPES, Actor, Role
from app.catalog.indexing import VariableIndexing
from app.catalog.indexing import tasks as catalog_tasks
from app.catalog.service import CatalogService
from app.citations.service import CitationService
from app.clock import Clock
from app.cohorts.departing import Ending as EndingCohorts
from app.cohorts.departing import move as move_cohorts
from app.cohorts.returns import ReturnService
from app.cohorts.service import CohortService
from app.cohorts.states import step
from app.db import Database
from app.deid.risk import PROFILE
from app.errors import Problem
from app.extracts.recalls import RecallService
from app.findings.service import FindingService
from app.incidents.departing import move as move_incidents
from app.incidents.service import IncidentService
from app.institutions.departures import DepartureService
from app.institutions.inspection import InspectionService
from app.institutions.quotas import QuotaService
from app.institutions.staff import StaffService
from app.integrations.departing import end as end_integrations
from app.integrations.departing import move as move_integrations
from app.integrations.service import IntegrationService
from app.jobs import JobContext, Task
from app.jobs.engine import InlineEngine
from app.keyring import Keyring
from app.models import AuditLine, Cohort, Consent, Dataset, DatasetVersion, Participant
from app.requests.departing import end as end_requests
from app.requests.departing import move as move_requests
from app.requests.handing_over import hand_over
from app.requests.holding import PermitService
from app.requests.oversight import OversightService
from app.requests.service import RequestService
from app.requests.tasks import tasks as request_tasks
from app.routers import (
    alarms,
    audit,
    catalog,
    citations,
    cohorts,
    consents,
    datasets,
    departures,
    findings,
    incidents,
    inspections,
    institutions,
    permits,
    problems,
    progress,
    quotas,
    requests,
    staff,
    why,
)
from app.routers.house import House
from app.schemas.counts import CountQuestion
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan
from app.settings import Settings
from app.withdrawals.ending import end as end_people
from app.withdrawals.service import WithdrawalService
from tests.schema import with_tables

# Tests of what the databases do differently (locks, unique keys, what text they store) run on both; the rest on one.
ON_BOTH = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ROUTERS = (
    institutions,
    cohorts,
    consents,
    datasets,
    catalog,
    citations,
    progress,
    requests,
    permits,
    why,
    findings,
    alarms,
    incidents,
    inspections,
    quotas,
    staff,
    departures,
    audit,
)
FORM = {"version": "1", "language": "ko", "sha256": "a" * 64, "domains": ["clinical", "recontact"]}
PURPOSE = {"term": "GRU"}


class FakeGate:
    """Answers with numbers of its own and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked, self.reader = 0, ""
        self.refuses: Problem | None = None
        self.tells: dict[str, Any] = {}  # beside the numbers of a dry run

    def count(self, question: CountQuestion, reader: Actor) -> dict[str, Any]:
        self.asked += 1
        self.reader = reader.subject
        return {"value": 40, "hidden": False, "min_cell": 11, "round_to": 5}

    def dry_run(
        self, plan: Plan, purpose: Mapping[str, Any], progress: Callable[..., None]
    ) -> dict[str, Any]:
        self.asked += 1
        progress(step="run", done=1, total=1)
        if self.refuses:
            raise self.refuses
        found = {"profile": PROFILE, **self.tells.get("risk", {})}
        return {"people": 90, "smallest_k": 13, "tables": len(plan.tables), **self.tells, "risk": found}


@dataclass(frozen=True)
class KnownTokens:
    """Stands for the issuer: a token is the name of a person."""

    people: dict[str, Actor]

    def authenticate(self, bearer: str) -> Actor:
        if bearer not in self.people:
            raise Problem("invalid_token", "No such token.", headers={"WWW-Authenticate": "Bearer"})
        return self.people[bearer]


def person(name: str, role: Role, institution_id: str | None = None) -> Actor:
    return Actor(f"client:{name}", name, role, institution_id, frozenset(map(str, ROLE_SCOPES[role])))


@dataclass
class Now:
    """A clock that moves when told."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def pass_days(self, days: float) -> None:
        self.at += timedelta(days=days)


@cache
def doors(*more: Any) -> FastAPI:
    """The routes of the control plane and `more` modules, for one world after the other: to put them together takes
    longer than a test."""
    app = FastAPI(docs_url=None, redoc_url=None)
    for module in (*ROUTERS, *more):
        app.include_router(module.router)
    problems.install(app)
    return app


@dataclass
class World:
    """What a test acts on: `call` speaks as somebody; `drain` runs the jobs."""

    db: Database
    now: Now = field(default_factory=Now)
    gate: FakeGate = field(default_factory=FakeGate)
    people: dict[str, Actor] = field(default_factory=dict)
    # What stands for the vault says of a (table, column): people of the table, and those with a value.
    counted: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with_tables(self.db)
        keyring, settings = Keyring(b"k" * 32), Settings(_env_file=None)
        clock: Clock = self.now
        self.house = House(
            auth=cast("Any", KnownTokens(self.people)),
            uploads=cast("Any", None),
            cohorts=CohortService(
                self.db, clock, settings, keyring, WithdrawalService(self.db, clock, keyring).leave
            ),
            catalog=CatalogService(self.db, clock, settings, self.gate),
            integrations=IntegrationService(self.db, clock, settings),
            returns=ReturnService(self.db, clock),
            citations=CitationService(self.db, clock, "https://baekman.example"),
            requests=RequestService(self.db, clock, settings, self.gate),
            permits=PermitService(self.db, clock),
            oversight=OversightService(self.db, clock),
            extracts=cast("Any", None),
            links=cast("Any", None),
            recalls=RecallService(self.db, clock, settings.recall_days, settings.recall_grace_days),
            withdrawals=cast("Any", None),
            receipts=cast("Any", None),
            watch=cast("Any", None),
            findings=FindingService(self.db, clock),
            feeds=FeedService(self.db, clock, settings),
            alarms=AlarmService(self.db, clock),
            operating=OperatingService(self.db, clock),
            incidents=IncidentService(self.db, clock, settings),
            measure=lambda: None,
            inspections=InspectionService(self.db, clock),
            quotas=QuotaService(self.db, clock, settings),
            staff=StaffService(self.db, clock, (hand_over,)),
            departures=DepartureService(
                self.db,
                clock,
                settings,
                ends=(
                    EndingCohorts(cast("Any", None)),
                    end_requests,
                    end_people,
                    end_integrations,
                    end_alarms,
                ),
                moves=(
                    MovingAlarms(FeedService(self.db, clock, settings)),
                    move_cohorts,
                    move_requests,
                    move_integrations,
                    move_incidents,
                ),
            ),
            db=self.db,
        )
        self.app = doors()
        self.app.state.house = self.house
        self.client = TestClient(self.app, raise_server_exceptions=False)
        self.people["platform"] = person("platform", "platform")
        self.people["steward"] = person("steward", "steward")
        self.people["researcher"] = person("researcher", "researcher")
        self.people["other"] = person("other", "researcher")
        self.indexing = VariableIndexing(self.db, clock, self)
        tasks: dict[str, Task] = {
            **request_tasks(self.house.requests, self.house.permits),
            **catalog_tasks(self.indexing),
            "submit_version": self._accept,
        }
        self.jobs = InlineEngine(self.db, clock, tasks)

    def also(self, *modules: Any) -> None:
        """From now on with the routes of these modules too."""
        self.app = doors(*modules)
        self.app.state.house = self.house
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def call(self, who: str | None, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who is not None:
            sent["Authorization"] = f"Bearer {who}"
        return self.client.request(method, path, json=body, headers=sent)

    def ok(self, who: str | None, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.call(who, method, path, body, **headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def problem(
        self, status: int, code: str, who: str | None, method: str, path: str, body: Any = None, **h: str
    ) -> Any:
        answer = self.call(who, method, path, body, **h)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.json()

    def drain(self) -> None:
        self.jobs.drain()

    def holder(self, name: str = "holder") -> str:
        """An institution, and a token `name` for it."""
        made = self.ok("platform", "POST", "/v1/institutions", {"name": f"Hospital {name}"})
        self.people[name] = person(name, "institution", made["id"])
        return str(made["id"])

    def cohort(
        self, who: str = "holder", terms: list[dict[str, Any]] | None = None, name: str = "Cohort"
    ) -> str:
        body = {
            "name": name,
            "name_ko": "코호트",
            "consent_form": FORM,
            "duo": terms or [{"term": "GRU"}],
        }
        return str(self.ok(who, "POST", "/v1/cohorts", body)["id"])

    def draft(self, cohort_id: str, who: str = "holder", name: str = "Visits") -> tuple[str, str]:
        """A dataset and its first draft with a dictionary."""
        body = {"name": name, "name_ko": "방문", "keywords": ["omop"]}
        dataset = self.ok(who, "POST", f"/v1/cohorts/{cohort_id}/datasets", body)["id"]
        return dataset, self.next_draft(dataset, who)

    def next_draft(self, dataset_id: str, who: str = "holder", document: dict[str, Any] | None = None) -> str:
        version = self.ok(who, "POST", f"/v1/datasets/{dataset_id}/versions")["id"]
        said = document or dictionary()
        self.ok(who, "PUT", f"/v1/versions/{version}/dictionary", said, If_Match='"1"')
        return str(version)

    def publish(self, version_id: str, who: str = "holder") -> None:
        """Submit, let the checks pass, submit for review, publish."""
        self.ok(who, "POST", f"/v1/versions/{version_id}/submit")
        self.drain()
        self.ok(who, "POST", f"/v1/versions/{version_id}/submit")
        self.ok("steward", "POST", f"/v1/versions/{version_id}/publish")

    def published(self, terms: list[dict[str, Any]] | None = None, who: str = "holder") -> tuple[str, str]:
        """A published version of a new institution: dataset and version."""
        self.holder(who)
        dataset, version = self.draft(self.cohort(who, terms), who)
        self.publish(version, who)
        return dataset, version

    def filled(
        self, job_id: str, dictionary: Dictionary, tables: Mapping[str, tuple[str, ...]]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """Stands for the engine that counts in the vault."""
        return self.counted

    def consenting(
        self, cohort_id: str, people: int, domain: str = "clinical", state: str = "granted"
    ) -> None:
        """New people of a cohort who say this of a domain; the cohort's epoch moves."""
        with self.db.unit_of_work() as session:
            for _ in range(people):
                number = self.now.at.microsecond
                self.now.at += timedelta(microseconds=1)
                tag = f"{cohort_id[-12:]}{number}".encode()
                row = Participant(cohort_id=cohort_id, identity=tag, random_id=tag[-16:], created_at=START)
                session.add(row)
                session.flush()
                session.add(
                    Consent(
                        participant_key=row.key, domain=domain, cohort_id=cohort_id, state=state, purposes=[],
                        given_at=None, valid_until=None, changed_at=START,
                    )
                )  # fmt: skip
            session.get_one(Cohort, cohort_id).epoch += 1

    def withdraw(self, cohort_id: str, people: int) -> None:
        """So many of the consenting withdraw."""
        with self.db.unit_of_work() as session:
            query = select(Consent).where(Consent.cohort_id == cohort_id, Consent.state == "granted")
            for row in session.scalars(query.limit(people)).all():
                row.state = "withdrawn"
            session.get_one(Cohort, cohort_id).epoch += 1

    def set_version(self, version_id: str, **values: Any) -> None:
        with self.db.unit_of_work() as session:
            row = session.get_one(DatasetVersion, version_id)
            for name, value in values.items():
                setattr(row, name, value)

    def cohort_of(self, dataset_id: str) -> str:
        with self.db.read() as session:
            return str(session.get_one(Dataset, dataset_id).cohort_id)

    def events(self, stream: str) -> list[str]:
        with self.db.read() as session:
            lines = session.scalars(
                select(AuditLine).where(AuditLine.stream == stream).order_by(AuditLine.number)
            )
            return [line.event for line in lines]

    def _accept(self, job: JobContext) -> None:
        """Stands for the checks of a version, which are tested in their own room: everything passes."""
        with self.db.unit_of_work() as session:
            row = session.get_one(DatasetVersion, job.arguments["version_id"])
            row.state, row.report, row.people = step(row.state, "accept"), {"outcome": "ready"}, 100


def together(calls: Sequence[Callable[[], None]]) -> None:
    """Run all calls at once and wait for the last."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def dictionary() -> dict[str, Any]:
    """Two tables with everything that must not be shown in a catalogue."""
    return {
        "title": {"ko": "방문 자료", "en": "Visits"},
        "hierarchies": {"year": {"kind": "interval", "bounds": [1900, 2020], "widths": [5, 10, 20]}},
        "tables": [
            {
                "name": "person",
                "kind": "participant",
                "title": {"ko": "참여자", "en": "people"},
                "fields": [
                    {"name": "PERSON_ID", "type": "integer", "role": {"kind": "participant_id"}},
                    {
                        "name": "YEAR_OF_BIRTH",
                        "type": "integer",
                        "role": {"kind": "quasi_identifier", "hierarchy": "year"},
                    },
                    {
                        "name": "NAME",
                        "role": {"kind": "direct_identifier"},
                        "labels": {"Kim Secret": {"en": "Secret"}},
                    },
                    {
                        "name": "SMOKES",
                        "role": {"kind": "attribute"},
                        "labels": {"1": {"ko": "흡연", "en": "smoker"}},
                        "missing": {"987654": "refused"},
                    },
                ],
            },
            {
                "name": "measurement",
                "kind": "event",
                "fields": [
                    {"name": "PERSON_ID", "type": "integer", "role": {"kind": "participant_id"}},
                    {
                        "name": "HEIGHT",
                        "type": "number",
                        "unit": "cm",
                        "role": {"kind": "number", "bottom": 131.5, "top": 202.5},
                    },
                ],
            },
        ],
    }


def told_without_chance(told: Any) -> str:
    """An answer as text without ids and digests: any few letters are in these by chance, of one run in a thousand."""
    return re.sub(r"[a-z]+_[0-9a-z]{26}|[0-9a-f]{64}", "", json.dumps(told, ensure_ascii=False))


def asking(version_id: str, **other: Any) -> dict[str, Any]:
    """The body of an access request."""
    body = {
        "version_id": version_id,
        "title": "Smoking and height",
        "summary": "",
        "purpose": PURPOSE,
        "tables": {"person": ["YEAR_OF_BIRTH", "SMOKES"], "measurement": ["HEIGHT"]},
        "irb_reference": "IRB-1",
        "end_date": "2027-01-31",
    }
    return {**body, **other}


def submitted(world: World, **other: Any) -> tuple[str, str]:
    """A submitted request and its plan hash."""
    _dataset, version = world.published()
    made = world.ok("researcher", "POST", "/v1/requests", asking(version, **other))
    world.ok("researcher", "POST", f"/v1/requests/{made['id']}/submit")
    return made["id"], made["plan_hash"]


def settle(world: World, request: str) -> None:
    """Claim it, settle both boards, run it dry."""
    world.ok("steward", "POST", f"/v1/requests/{request}/claim")
    world.ok("steward", "POST", f"/v1/requests/{request}/reviews", {"board": "DRB", "state": "approved"})
    body = {"board": "IRB", "state": "exempt", "note": "existing data"}
    world.ok("steward", "POST", f"/v1/requests/{request}/reviews", body)
    world.ok("steward", "POST", f"/v1/requests/{request}/dry-run")
    world.drain()


def approval(plan_hash: str, **other: Any) -> dict[str, Any]:
    return {"decision": "approve", "plan_hash": plan_hash, **other}
