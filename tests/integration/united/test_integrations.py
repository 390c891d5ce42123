"""An integration is drafted by one institution, checked against the rows, approved by every holder, then published."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.auth.policy import ROLE_SCOPES, Actor, Role
from app.catalog.service import CatalogService
from app.cohorts import destruction_queries
from app.db import Database
from app.engines import Source, Unmapped
from app.engines.duckdb import DuckDbEngine
from app.errors import Problem
from app.integrations.checking import CheckService, tasks
from app.integrations.reports import shown
from app.integrations.service import IntegrationService
from app.jobs import execute
from app.jobs.cancelling import cancel
from app.jobs.engine import InlineEngine
from app.models import AuditLine, Cohort, DatasetVersion, Institution, Job
from app.requests.decisions import Decided
from app.requests.holding import PermitService
from app.requests.oversight import OversightService
from app.requests.service import RequestService
from app.requests.tasks import tasks as request_tasks
from app.settings import Settings
from app.storage.spill import wipe
from tests import united
from tests.united import Two, mapping
from tests.world import NOW


def actor(name: str, role: Role, institution_id: str | None = None) -> Actor:
    return Actor(f"client:{name}", name, role, institution_id, frozenset(map(str, ROLE_SCOPES[role])))


class Rooms:
    """The rooms over the two institutions, and who acts in them."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.two: Two = united.make(db, folder)
        settings = Settings(_env_file=None, var=folder)
        gate = self.two.gate
        self.integrations = IntegrationService(db, lambda: NOW, settings)
        self.requests = RequestService(db, lambda: NOW, settings, gate)
        self.permits, self.oversight = PermitService(db, lambda: NOW), OversightService(db, lambda: NOW)
        self.catalog = CatalogService(db, lambda: NOW, settings, gate)
        checks = CheckService(db, lambda: NOW, settings, gate.engine)
        self.jobs = InlineEngine(
            db, lambda: NOW, {**tasks(checks), **request_tasks(self.requests, self.permits)}
        )
        hanbit, saebom = self.two.hanbit.institution_id, self.two.saebom.institution_id
        self.hanbit, self.saebom = actor("h", "institution", hanbit), actor("s", "institution", saebom)
        self.for_hanbit, self.for_saebom = actor("hs", "steward", hanbit), actor("ss", "steward", saebom)
        self.public, self.researcher = actor("drb", "steward"), actor("r", "researcher")
        with db.unit_of_work() as session:
            session.add(Institution(id="ins_x", name="A third one", created_at=NOW))
        self.stranger = actor("x", "institution", "ins_x")

    def whole(self) -> dict[str, Any]:
        return copy.deepcopy(mapping(self.two.hanbit.version_id, self.two.saebom.version_id))

    def checked(self, document: dict[str, Any]) -> dict[str, Any]:
        """Drafted by the one hospital, handed in and checked."""
        made = self.integrations.create(self.hanbit, {"name": "Two hospitals", "name_ko": "두 병원"})
        self.integrations.set_mapping(self.hanbit, made["id"], document, [1])
        self.integrations.submit(self.hanbit, made["id"])
        self.jobs.drain()
        return self.integrations.get(self.hanbit, made["id"])

    def published(self) -> dict[str, Any]:
        found = self.checked(self.whole())
        for steward in (self.for_hanbit, self.for_saebom):
            self.integrations.review(steward, found["id"], "approved", found["mapping_digest"], "")
        return self.integrations.publish(self.for_saebom, found["id"])


@pytest.fixture
def rooms(database_url: str, tmp_path: Path) -> Iterator[Rooms]:
    db = Database(database_url)
    yield Rooms(db, tmp_path)
    db.dispose()


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def refused(call: Any, *arguments: Any) -> Problem:
    with pytest.raises(Problem) as found:
        call(*arguments)
    return found.value


@pytest.mark.again
@on_sqlite
def test_everything_unmapped_is_listed_at_once_and_nothing_of_it_published(rooms: Rooms) -> None:
    document = rooms.whole()
    hanbit, saebom = (source["tables"] for source in document["sources"])
    del hanbit["people"]["left_out"]["ward"]
    del hanbit["people"]["columns"]["weight"]
    hanbit["visits"]["columns"]["code"] = {"from": "dx"}
    saebom["people"]["columns"]["weight"] = {"from": "wt"}
    saebom["people"]["columns"]["sexx"] = {"from": "sex"}
    found = rooms.checked(document)
    assert found["state"] == "draft"
    listed = {(p["code"], p["table"], p.get("column")) for p in found["report"]["problems"]}
    assert listed == {
        ("column_unmapped", "patients", "ward"),
        ("column_unmapped", "patients", "weight"),
        ("column_unmapped", "people", "weight"),
        ("vocabulary_unmapped", "visits", "code"),
        ("unit_unmapped", "people", "weight"),
        ("unknown_column", "people", "sexx"),
    }
    problem = refused(rooms.integrations.publish, rooms.for_hanbit, found["id"])
    assert (problem.code, len(problem.findings)) == ("mapping_unfinished", len(found["report"]["problems"]))


@on_sqlite
def test_values_units_and_codes_of_the_rows_are_listed_to_those_who_hold_them(rooms: Rooms) -> None:
    document = rooms.whole()
    hanbit, saebom = (source["tables"] for source in document["sources"])
    hanbit["visits"]["columns"]["code"]["params"] = {"codes": {"U07.1": "U07.3", "I10": "I10"}}
    saebom["people"]["columns"]["sex"]["params"]["values"] = {"1": "M"}
    saebom["people"]["columns"]["weight"]["params"]["units"] = {"g": {}}
    found = rooms.checked(document)
    own = {(u["source"], u["column"], u["what"]): u for u in found["report"]["unmapped"]}
    assert own.keys() == {
        ("hanbit", "code", "code"), ("saebom", "sex", "value"), ("saebom", "weight", "unit"),
    }  # fmt: skip
    assert own["hanbit", "code", "code"]["values"] == [{"value": "E11.9", "rows": 80, "people": 80}]
    # The other hospital's numbers are rounded for this one, and exact for itself.
    assert own["saebom", "sex", "value"]["values"] == [{"value": "2", "rows": None, "people": 60}]
    theirs = rooms.integrations.get(rooms.saebom, found["id"])["report"]["unmapped"]
    exact = {u["column"]: u["values"] for u in theirs}
    assert exact["weight"] == [{"value": "kg", "rows": 24, "people": 24}]
    assert own["saebom", "weight", "unit"]["values"] == [{"value": "kg", "rows": None, "people": 25}]
    problem = refused(rooms.integrations.publish, rooms.public, found["id"])
    assert sorted((f.code, f.count) for f in problem.findings) == [
        ("code_unmapped", 1), ("unit_unmapped", 1), ("value_unmapped", 1),
    ]  # fmt: skip
    assert "E11.9" not in str(problem.to_dict())


@on_sqlite
def test_what_few_people_have_is_not_told_to_the_other_institution(rooms: Rooms) -> None:
    report = {
        "outcome": "unmapped",
        "unmapped": [{
            "institution_id": rooms.saebom.institution_id, "distinct": 2,
            "values": [{"value": "common", "rows": 50, "people": 40}, {"value": "rare", "rows": 2, "people": 2}],
        }],
    }  # fmt: skip
    for reader, values in ((rooms.saebom, 2), (rooms.for_saebom, 2), (rooms.public, 2), (rooms.hanbit, 1)):
        seen = shown(report, reader, 11, 5)
        assert seen is not None
        assert len(seen["unmapped"][0]["values"]) == values
    other = shown(report, rooms.for_hanbit, 11, 5)
    assert other is not None
    assert (other["unmapped"][0]["distinct"], "rare" in str(other)) == (None, False)


def test_a_united_version_needs_the_approval_of_every_holder(rooms: Rooms) -> None:
    found = rooms.checked(rooms.whole())
    assert (found["state"], found["report"]["outcome"], found["report"]["participants"]) == (
        "in_review",
        "complete",
        200,
    )
    number, digest = found["id"], found["mapping_digest"]
    assert refused(rooms.integrations.get, rooms.stranger, number).code == "not_found"
    assert (
        refused(rooms.integrations.review, rooms.saebom, number, "approved", digest, "").code == "forbidden"
    )
    stale = refused(rooms.integrations.review, rooms.for_hanbit, number, "approved", "0" * 64, "")
    assert stale.code == "precondition_failed"
    rooms.integrations.review(rooms.for_hanbit, number, "approved", digest, "")
    lacking = refused(rooms.integrations.publish, rooms.for_hanbit, number)
    assert (lacking.code, len(lacking.findings)) == ("reviews_required", 1)
    rooms.integrations.review(rooms.for_saebom, number, "approved", digest, "")
    published = rooms.integrations.publish(rooms.for_hanbit, number)
    with rooms.two.db.read() as session:
        version = session.get_one(DatasetVersion, published["version_id"])
        assert (version.state, version.people) == ("published", 200)
        for side in (rooms.two.hanbit, rooms.two.saebom):
            stream = f"institution:{side.institution_id}"
            events = session.scalars(select(AuditLine.event).where(AuditLine.stream == stream))
            assert "integration.published" in set(events)
    entry = next(e for e in rooms.catalog.search("두 병원", None, 10) if e["version_id"] == version.id)
    assert (entry["cohort"], len(entry["held_by"]), entry["people"]) == (None, 2, 200)
    again = rooms.integrations.create(rooms.hanbit, {"next_of": number})
    assert again["number"] == 2


@pytest.mark.again
@on_sqlite
def test_returned_it_is_a_draft_and_a_changed_mapping_is_approved_anew(rooms: Rooms) -> None:
    found = rooms.checked(rooms.whole())
    rooms.integrations.review(rooms.for_hanbit, found["id"], "approved", found["mapping_digest"], "")
    back = rooms.integrations.review(
        rooms.for_saebom, found["id"], "returned", found["mapping_digest"], "weights?"
    )
    assert back["state"] == "draft"
    document = rooms.whole()
    document["sources"][0]["tables"]["people"]["left_out"]["ward"] = "another reason than before"
    changed = rooms.integrations.set_mapping(rooms.hanbit, found["id"], document, None)
    assert {a["state"] for a in changed["approvals"]} == {"pending"}
    assert changed["mapping_digest"] != found["mapping_digest"]


@on_sqlite
def test_who_holds_no_source_drafts_nothing_and_a_cohort_is_a_source_once(rooms: Rooms) -> None:
    made = rooms.integrations.create(rooms.stranger, {"name": "Not mine"})
    foreign = refused(rooms.integrations.set_mapping, rooms.stranger, made["id"], rooms.whole(), None)
    assert {f.code for f in foreign.findings} == {"none_of_yours"}
    document = rooms.whole()
    document["sources"][1]["version_id"] = rooms.two.hanbit.version_id
    own = rooms.integrations.create(rooms.hanbit, {"name": "Mine"})
    twice = refused(rooms.integrations.set_mapping, rooms.hanbit, own["id"], document, None)
    assert {f.code for f in twice.findings} == {"cohort_twice"}


@on_sqlite
def test_two_sources_of_one_name_are_refused_before_anything_of_them_is_read(rooms: Rooms) -> None:
    document = rooms.whole()
    # The drafter's comes last: by name, the approval and the values of both were theirs alone.
    document["sources"].reverse()
    document["sources"][0]["name"] = "hanbit"
    made = rooms.integrations.create(rooms.hanbit, {"name": "Two of one name"})
    found = refused(rooms.integrations.set_mapping, rooms.hanbit, made["id"], document, None)
    assert (found.code, {(f.code, f.pointer) for f in found.findings}) == (
        "mapping_invalid", {("source_twice", "/sources")},
    )  # fmt: skip


@on_sqlite
def test_a_check_that_breaks_off_or_is_ended_leaves_a_draft_that_is_handed_in_again(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise MemoryError("value")

    with monkeypatch.context() as patched:
        patched.setattr(DuckDbEngine, "unmapped", breaks)
        found = rooms.checked(rooms.whole())
    problems = [one["code"] for one in found["report"]["problems"]]
    assert (found["state"], problems, found["progress"]["state"]) == ("draft", ["check_failed"], "failed")
    assert refused(rooms.integrations.publish, rooms.for_hanbit, found["id"]).code == "mapping_unfinished"
    rooms.integrations.submit(rooms.hanbit, found["id"])
    with rooms.two.db.unit_of_work() as session:
        assert cancel(session, "check_integration", found["id"], NOW) == 1
    rooms.jobs.drain()
    found = rooms.integrations.get(rooms.hanbit, found["id"])
    problems = [one["code"] for one in found["report"]["problems"]]
    assert (found["state"], problems, found["progress"]["state"]) == (
        "draft",
        ["check_cancelled"],
        "cancelled",
    )
    rooms.integrations.submit(rooms.hanbit, found["id"])
    assert refused(rooms.integrations.reopen, rooms.hanbit, found["id"]).code == "conflict"
    with rooms.two.db.unit_of_work() as session:
        job = session.scalars(select(Job).where(Job.state == "waiting")).one()
        job.state, job.deaths = "running", rooms.jobs.rules.most_deaths - 1
    execute(rooms.two.db, lambda: NOW, rooms.jobs.tasks, job.id, rooms.jobs.rules)  # one more worker is lost
    assert rooms.integrations.reopen(rooms.hanbit, found["id"])["state"] == "draft"
    rooms.integrations.submit(rooms.hanbit, found["id"])
    rooms.jobs.drain()
    assert rooms.integrations.get(rooms.hanbit, found["id"])["state"] == "in_review"


@on_sqlite
def test_while_the_rows_are_checked_their_folder_and_the_objects_that_it_reads_stay(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, readers = DuckDbEngine.unmapped, list[str]()

    def swept(self: DuckDbEngine, source: Source) -> list[Unmapped]:
        assert wipe(rooms.two.var / "spill") == 0
        with rooms.two.db.read() as session:
            readers.extend(destruction_queries.readers(session))  # whom a destruction waits for
        return asked(self, source)

    monkeypatch.setattr(DuckDbEngine, "unmapped", swept)
    found = rooms.checked(rooms.whole())
    assert (found["state"], found["progress"]["job"], len(readers)) == ("in_review", "check_integration", 1)
    assert list((rooms.two.var / "spill").iterdir()) == []


@pytest.mark.again
@on_sqlite
def test_any_holder_takes_the_united_version_out_of_use(rooms: Rooms) -> None:
    found = rooms.published()
    assert refused(rooms.integrations.withdraw, rooms.for_saebom, found["id"]).code == "forbidden"
    assert rooms.integrations.withdraw(rooms.saebom, found["id"])["state"] == "withdrawn"
    with rooms.two.db.read() as session:
        assert session.get_one(DatasetVersion, found["version_id"]).state == "withdrawn"


def asking(version_id: str, **other: Any) -> dict[str, Any]:
    body = {
        "version_id": version_id, "title": "Both", "summary": "", "purpose": {"term": "HMB"},
        "tables": {"people": ["sex", "born"], "visits": ["day", "code"]}, "filter": [], "privacy": {},
        "irb_reference": "IRB-1", "end_date": NOW.date().replace(year=2027),
    }  # fmt: skip
    return {**body, **other}


@on_sqlite
def test_one_request_is_seen_and_reviewed_by_every_institution_behind_it(rooms: Rooms) -> None:
    version = rooms.published()["version_id"]
    made = rooms.requests.create(rooms.researcher, asking(version, linkage=True))
    request = made["id"]
    view = rooms.requests.submit(rooms.researcher, request)
    assert view["cohort_id"] is None
    assert view["plan"]["linkage"] is True
    # The source comes along, though it was not asked for.
    assert all("source" in [c["name"] for c in table["columns"]] for table in view["plan"]["tables"])
    assert {reason["cohort"] for reason in view["duo_match"]["reasons"]} == {
        rooms.two.hanbit.cohort_id, rooms.two.saebom.cohort_id,
    }  # fmt: skip
    for steward in (rooms.for_hanbit, rooms.for_saebom, rooms.public):
        assert request in [r["id"] for r in rooms.requests.requests(steward, mine=True, after=None, limit=10)]
    rooms.requests.claim(rooms.for_hanbit, request)
    for board in ("DRB", "IRB"):
        rooms.requests.review(rooms.for_hanbit, request, board, "approved", "")
    rooms.requests.order_dry_run(rooms.for_hanbit, request)
    rooms.jobs.drain()
    decided = Decided("approve", view["plan_hash"])
    lacking = refused(rooms.requests.decide, rooms.for_hanbit, request, decided)
    assert (lacking.code, len(lacking.findings)) == ("reviews_required", 2)
    for board in ("DRB", "IRB"):
        rooms.requests.review(rooms.for_saebom, request, board, "exempt", "")
    issued = rooms.requests.decide(rooms.for_hanbit, request, decided)
    agreement = rooms.permits.agreement(rooms.researcher, issued["permit_id"])["text"]
    assert "Cohort: Hanbit (Hanbit)" in agreement
    assert "Cohort: Saebom (Saebom)" in agreement
    lines = rooms.oversight.audit(rooms.for_saebom, f"project:{issued['project_id']}", 0, 10)
    assert "permit.issued" in [line["event"] for line in lines]


@on_sqlite
def test_one_cohort_that_denies_the_purpose_denies_the_request(rooms: Rooms) -> None:
    version = rooms.published()["version_id"]
    with rooms.two.db.unit_of_work() as session:
        session.get_one(Cohort, rooms.two.saebom.cohort_id).duo = [{"term": "POA"}]
    made = rooms.requests.create(rooms.researcher, asking(version))
    assert refused(rooms.requests.submit, rooms.researcher, made["id"]).code == "duo_denied"


@on_sqlite
def test_linkage_is_refused_where_there_is_one_cohort(rooms: Rooms) -> None:
    body = asking(rooms.two.hanbit.version_id, tables={"patients": ["gender"]}, linkage=True)
    found = refused(rooms.requests.create, rooms.researcher, body)
    assert {f.code for f in found.findings} == {"nothing_to_link"}
