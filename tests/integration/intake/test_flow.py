"""Uploads wait for what they need, replace each other whole, and a version is ready only when everything holds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.audit import institution_stream, verify
from app.cohorts import intake_queries
from app.consents import identities
from app.db import Database
from app.engines.intake import TableReport
from app.engines.intake.session import Intake
from app.jobs import enqueue, execute
from app.models import DatasetVersion, Upload, VaultTable
from tests.databases import POSTGRESQL_FIRST, SQLITE_FIRST
from tests.integration.intake.world import VERSION, IntakeWorld, csv_bytes, problems
from tests.integration.test_bad_inputs import PEOPLE, VISITS, bills, dictionary
from tests.locks import recorded


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[IntakeWorld]:
    db = Database(database_url)
    yield IntakeWorld(tmp_path, db, dictionary())
    db.dispose()


def furnish(world: IntakeWorld) -> None:
    for table, content in {
        "person": csv_bytes(PEOPLE),
        "visit": csv_bytes(VISITS),
        "bill": bills([1, 2]),
    }.items():
        assert world.upload(table, content).state == "accepted"


def codes(report: dict[str, Any] | None) -> list[tuple[str, str]]:
    return [(one["code"], one["table"]) for one in (report or {})["problems"]]


@SQLITE_FIRST
def test_children_wait_until_their_parents_are_accepted(world: IntakeWorld) -> None:
    bill = world.upload("bill", bills([1, 2]))
    visit = world.upload("visit", csv_bytes(VISITS))
    assert (bill.state, visit.state) == ("complete", "complete")
    world.upload("person", csv_bytes(PEOPLE))
    assert [world.row(upload.id).state for upload in (bill, visit)] == ["accepted", "accepted"]
    with world.db.read() as session:
        assert verify(session, institution_stream("ins_a"))[1] is None


@SQLITE_FIRST
def test_what_waits_for_a_parent_that_never_comes_leaves_with_time(world: IntakeWorld) -> None:
    waits = world.upload("visit", csv_bytes(VISITS))
    at_hand = [
        world.send("bill", bills([1, 2])),
        world.send("consents", csv_bytes([["participant_id", "domain", "state"]])),
    ]
    world.now += timedelta(days=15)
    assert world.uploads.expire_due() == 1
    ended = world.row(waits.id)
    assert (ended.state, ended.original, ended.report) == ("expired", "removed", {"reason": "expired"})
    assert not world.inbox.exists(waits.id)
    # What no job has come to yet is checked, whenever that is: it may bring whoever withdrew.
    assert [world.row(one).state for one in at_hand] == ["complete", "complete"]
    world.jobs.drain()
    assert world.uploads.expire_due() == 2  # the bills wait as well, and the register's original may go
    assert [world.row(one).state for one in at_hand] == ["expired", "rejected"]
    assert world.inbox.names() == []


@SQLITE_FIRST
def test_a_person_whose_id_is_written_in_two_ways_is_one_person_twice(world: IntakeWorld) -> None:
    said = dictionary()
    del said["tables"][1:]
    said["tables"][0]["fields"][0]["type"] = "string"
    world.set_dictionary(said)
    # White space of all scripts counts for nothing where people are known by their ids.
    ids = ["P1", "P1\u3000", "P2", "\u00a0P1", "P3"]
    upload = world.upload("person", csv_bytes([PEOPLE[0], *([one, "1950-01-15", "서울"] for one in ids)]))
    assert upload.state == "quarantined"
    (found,) = problems(upload)
    assert found.pop("detail")
    assert found == {
        "code": "duplicate_key", "table": "person", "column": "person_id", "lines": [3], "count": 2
    }  # fmt: skip
    assert world.held() == {}


@SQLITE_FIRST
def test_whoever_makes_people_known_holds_the_cohort(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[list[str]] = []
    enrolled = identities.enrol

    def enrol(session: Session, *more: Any) -> None:
        held.append(list(session.info["locked"]))
        enrolled(session, *more)

    monkeypatch.setattr(identities, "enrol", enrol)
    with recorded():
        world.upload("person", csv_bytes(PEOPLE))
    assert len(held) == 1  # a load of the register counts on being alone
    assert "cohorts" in held[0]


@pytest.mark.again
@SQLITE_FIRST
def test_a_version_with_gaps_is_quarantined_and_says_which(world: IntakeWorld) -> None:
    world.upload("bill", bills([1, 2]))
    world.upload("person", csv_bytes(PEOPLE))
    version = world.submit()
    assert version.state == "quarantined"
    assert codes(version.report) == [("table_missing", "visit"), ("upload_undecided", "bill")]


@POSTGRESQL_FIRST
def test_what_is_accepted_while_a_version_is_handed_in_is_not_ready_unchecked(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(world)
    upload_id = world.send("visit", csv_bytes(VISITS[:40]))
    newest = intake_queries.newest_tables

    def read_before(session: Session, version_id: str) -> dict[str, VaultTable]:
        held = newest(session, version_id)
        monkeypatch.undo()
        world.jobs.drain()  # accepted between this statement and the next
        return held

    monkeypatch.setattr(intake_queries, "newest_tables", read_before)
    world.set_state("validating")
    with world.db.unit_of_work() as session:
        job = enqueue(session, "submit_version", subject=VERSION, at=world.clock())
    execute(world.db, world.clock, world.jobs.tasks, job)
    assert (world.row(upload_id).state, world.held()["visit"].rows) == ("accepted", 39)
    with world.db.read() as session:
        version = session.get_one(DatasetVersion, VERSION)
        assert version.state == "quarantined"
        assert codes(version.report) == [("upload_undecided", "visit")]


@pytest.mark.again
@SQLITE_FIRST
def test_names_in_upper_case_are_matched_and_said(world: IntakeWorld) -> None:
    upload = world.upload("person", csv_bytes([[str(name).upper() for name in PEOPLE[0]], *PEOPLE[1:]]))
    assert (upload.state, (upload.report or {})["names_matched_ignoring_case"]) == ("accepted", 3)


@pytest.mark.again
@SQLITE_FIRST
def test_a_stated_share_of_unknown_people_is_left_out_and_counted(world: IntakeWorld) -> None:
    document = copy.deepcopy(dictionary())
    document["tables"][1]["max_unmatched"] = 0.6
    world.set_dictionary(document)
    world.upload("person", csv_bytes(PEOPLE[:101]))
    visit = world.upload("visit", csv_bytes(VISITS))
    assert (visit.state, (visit.report or {})["left_out"], world.held()["visit"].rows) == (
        "accepted",
        200,
        200,
    )
    # Bills of visits that were left out are left out too; a visit that never was is an orphan.
    assert problems(world.upload("bill", bills([1, 2, 150])))[0]["code"] == "unknown_people"
    assert codes(world.upload("bill", bills([1, 2, 4711])).report) == [("no_parent", "bill")]


@pytest.mark.again
def test_replaced_parents_are_noticed_when_the_version_is_handed_in(world: IntakeWorld) -> None:
    furnish(world)
    assert world.submit().state == "ready"
    world.set_state("draft")
    world.upload("person", csv_bytes(PEOPLE[:-1]))
    assert codes(world.submit().report) == [("unknown_people", "visit")]
    world.set_state("draft")
    world.upload("person", csv_bytes(PEOPLE))
    world.upload("visit", csv_bytes([*VISITS[:1], *VISITS[3:]]))
    assert codes(world.submit().report) == [("no_parent", "bill")]
    world.set_state("draft")
    world.upload("visit", csv_bytes([VISITS[0], [1, 77, 1, "another person's"], *VISITS[2:]]))
    assert codes(world.submit().report) == [("no_parent", "bill")]


@pytest.mark.again
@SQLITE_FIRST
def test_a_changed_dictionary_asks_for_the_table_again(world: IntakeWorld) -> None:
    furnish(world)
    document = copy.deepcopy(dictionary())
    document["tables"][0]["title"] = {"ko": "사람", "en": "People"}
    world.set_dictionary(document)
    assert world.submit().state == "ready"
    world.set_state("draft")
    document["tables"][1]["fields"][3]["role"] = {"kind": "free_text"}
    world.set_dictionary(document)
    assert codes(world.submit().report) == [("dictionary_changed", "visit")]


@pytest.mark.again
def test_an_upload_superseded_while_it_is_checked_changes_nothing(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upload("person", csv_bytes(PEOPLE))
    before = world.held()["person"]
    check, later = Intake.check, csv_bytes([*PEOPLE[:-1], [999, "1999-01-01", "x"]])
    sent: list[str] = []

    def overtaken(self: Intake, *args: Any, **more: Any) -> TableReport:
        report = check(self, *args, **more)
        if not sent:
            sent.append(world.send("person", later))  # a newer one arrives while this one is being read
        return report

    monkeypatch.setattr(Intake, "check", overtaken)
    first = world.upload("person", csv_bytes(PEOPLE[:50]))
    assert (first.state, first.original) == ("expired", "removed")
    assert world.row(sent[0]).state == "accepted"
    held = world.held()["person"]
    assert (held.upload_id, held.generation) == (sent[0], before.generation + 1)
    assert len(world.vault.list()) == 2  # what the overtaken one brought is gone


def test_a_check_that_breaks_on_our_side_loses_nothing(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(world)
    before = world.held()["visit"].sha256

    def breaks(self: Intake, *args: Any, **more: Any) -> TableReport:
        raise RuntimeError("SECRET-VALUE")

    monkeypatch.setattr(Intake, "check", breaks)
    upload = world.upload("visit", csv_bytes(VISITS))
    assert (upload.state, [one["code"] for one in problems(upload)]) == ("quarantined", ["check_failed"])
    assert world.held()["visit"].sha256 == before
    assert len(world.failed_jobs()) == 1
    assert "SECRET-VALUE" not in world.said()


@pytest.mark.again
def test_the_same_job_twice_decides_once(world: IntakeWorld) -> None:
    upload = world.upload("person", csv_bytes(PEOPLE))
    world.enqueue("check_upload", upload.id)
    world.jobs.drain()
    assert (world.held()["person"].generation, world.row(upload.id).state) == (1, "accepted")
    assert world.count(Upload) == 1
