"""The consent register changes whole or not at all, moves the epoch once, and hands back who has withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.consents import register
from app.consents.purposes import holds
from app.db import Database
from app.models import Cohort, Consent, ConsentChange, Job, Participant
from tests.amounts import first
from tests.integration.intake.world import COHORT, IntakeWorld, csv_bytes, problems
from tests.integration.test_bad_inputs import dictionary

HEAD = ["participant_id", "domain", "state", "purposes", "valid_until"]
GOOD: list[list[Any]] = [
    HEAD,
    ["7", "all", "granted", "GRU;HMB", None],
    ["8", "clinical", "granted", "", "2027-01-01"],
]


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[IntakeWorld]:
    db = Database(database_url)
    yield IntakeWorld(tmp_path, db, dictionary())
    db.dispose()


def epoch(world: IntakeWorld) -> int:
    with world.db.read() as session:
        return session.get_one(Cohort, COHORT).epoch


def test_a_register_is_loaded_once(world: IntakeWorld) -> None:
    upload = world.upload("consents", csv_bytes(GOOD))
    assert (upload.state, upload.original) == ("accepted", "removed")
    assert (upload.report or {}) == {
        "outcome": "accepted", "lines": 2, "people": 2, "changed": 6, "epoch": 1, "withdrawn": 0, "held_back": 0,
        "problems": [],
    }  # fmt: skip
    again = world.upload("consents", csv_bytes(GOOD))
    assert (again.report or {})["changed"] == 0
    assert (epoch(world), world.count(ConsentChange), world.participants()) == (1, 6, 2)
    with world.db.read() as session:
        assert session.scalar(select(func.min(Consent.valid_until))) == date(2027, 1, 1)


def test_every_bad_line_is_told_and_nothing_changes(world: IntakeWorld) -> None:
    world.upload("consents", csv_bytes(GOOD))
    before, people = world.consents(), world.participants()
    bad = csv_bytes(
        [HEAD, ["7", "all", "withdrawn", "", ""], ["9", "genomics", "granted", "", ""],
         ["10", "all", "maybe", "HMB;DS", ""],
         ["", "all", "granted", "", ""], ["11", "all", "granted", "", "2027-13-01"],
         ["7", "clinical", "granted", "", ""],
         ["12", "all"], ["800101-1234567", "all", "granted", "", ""]]
    ) + "13,all,granted,가,\n".encode("cp949")  # fmt: skip
    upload = world.upload("consents", bad)
    assert upload.state == "rejected"
    assert upload.original == "removed"  # it held a resident number
    assert [(p["code"], p.get("column"), p["lines"]) for p in problems(upload)] == [
        ("bad_date", "valid_until", [6]), ("bad_domain", "domain", [3]), ("bad_purpose", "purposes", [4]),
        ("bad_state", "state", [4]), ("duplicate_line", None, [7]), ("identifier", "participant_id", [9]),
        ("missing_value", "participant_id", [5]), ("ragged_row", None, [8]), ("wrong_encoding", None, [10]),
    ]  # fmt: skip
    assert (world.consents(), world.participants(), epoch(world)) == (before, people, 1)
    assert "800101-" not in world.said()  # six digits alone are in a digest by chance


@pytest.mark.parametrize(
    ("content", "code"),
    first(2, [(csv_bytes([HEAD]), "empty_file"), (csv_bytes([HEAD[:2], ["7", "all"]]), "missing_column"),
     (b"", "empty_file"), (b"7,all,granted\n", "no_header"),
     (csv_bytes([[*HEAD, "note"], ["7", "all", "granted", "", "", "x"]]), "unexpected_column")]),
)  # fmt: skip
def test_a_register_that_is_none(world: IntakeWorld, content: bytes, code: str) -> None:
    upload = world.upload("consents", content)
    assert (upload.state, [p["code"] for p in problems(upload)]) == ("rejected", [code])


def test_who_withdraws_is_handed_on_once(world: IntakeWorld) -> None:
    world.upload("consents", csv_bytes(GOOD))
    changed = csv_bytes(
        [HEAD[:3], ["7", "genomic", "withdrawn"], ["7", "public", "withdrawn"], ["9", "all", "withdrawn"]]
    )
    upload = world.upload("consents", changed)
    assert (upload.report or {})["changed"] == 7
    with world.db.read() as session:
        seven = register.find(session, world.keyring, session.get_one(Cohort, COHORT), " 7 ")
        nobody = register.find(session, world.keyring, session.get_one(Cohort, COHORT), "70")
    assert nobody is None
    assert world.withdrawn == [
        [seven, ["genomic", "public"]]
    ]  # 9 never consented: nothing of theirs is anywhere
    world.upload("consents", changed)
    assert len(world.withdrawn) == 1
    assert epoch(world) == 2


@pytest.mark.again
def test_who_names_fewer_purposes_is_handed_on_too(world: IntakeWorld) -> None:
    world.upload("consents", csv_bytes(GOOD))
    head = HEAD[:4]
    upload = world.upload(
        "consents",
        csv_bytes(
            [
                head,
                ["7", "clinical", "granted", "POA"],
                ["7", "genomic", "granted", ""],
                ["8", "clinical", "granted", "HMB"],
            ]
        ),
    )
    assert ((upload.report or {})["changed"], (upload.report or {})["withdrawn"]) == (3, 0)
    with world.db.read() as session:
        cohort = session.get_one(Cohort, COHORT)
        seven, eight = (register.find(session, world.keyring, cohort, one) for one in "78")
    # Whoever names nothing in particular agrees to more than before: no copy loses them.
    assert sorted(world.withdrawn) == sorted([[seven, ["clinical"]], [eight, ["clinical"]]])
    with world.db.read() as session:
        jobs = session.scalars(select(Job).where(Job.kind == "take_withdrawals"))
        assert [job.arguments["kind"] for job in jobs] == ["narrowed"]


def test_one_persons_word(world: IntakeWorld) -> None:
    world.upload("consents", csv_bytes(GOOD))
    with world.db.unit_of_work() as session:
        cohort = session.get_one(Cohort, COHORT)
        eight = register.find(session, world.keyring, cohort, "8") or 0
        said = register.Statement("withdrawn")
        gone = register.set_consent(
            session, COHORT, eight, ["clinical", "genomic"], said, at=world.clock(), actor="a"
        )
        assert gone == {"no_further_use": ["clinical"]}
        assert register.withdraw(session, cohort, eight, ["clinical"], at=world.clock()) == 0
    assert (world.consents()[eight, "genomic"], epoch(world)) == ("withdrawn", 2)
    with world.db.read() as session:
        history = session.scalars(
            select(ConsentChange.epoch).where(ConsentChange.participant_key == eight)
        ).all()
    assert sorted(history) == [1, 2, 2]


@pytest.mark.again
def test_people_are_known_before_and_after_the_data(world: IntakeWorld) -> None:
    world.upload("consents", csv_bytes(GOOD))
    rows = [
        ["person_id", "born", "city"],
        ["007", "1950-01-01", "x"],
        ["8.0", "1951-01-01", "y"],
        ["9", "1952-01-01", "z"],
    ]
    assert world.upload("person", csv_bytes(rows)).state == "accepted"
    assert world.participants() == 3  # 7 and 8 are the people of the register, whole numbers read as such
    with world.db.read() as session:
        people = session.scalars(select(Participant)).all()
        assert len({one.random_id for one in people}) == len({one.identity for one in people}) == 3


@pytest.mark.parametrize(
    ("agreed", "term", "does"),
    [([], "GRU", True), (["GRU"], "HMB", True), (["HMB"], "GRU", False), (["HMB"], "DS", True),
     (["DS:MONDO:0005148"], "DS", True), (["DS:MONDO:0000001"], "DS", False), (["DS"], "HMB", False),
     (["DS"], "DS", False), (["HMB", "POA"], "POA", True), (["DUO:0000042"], "HMB", True), (["XX"], "DS", False),
     (["GRU"], "XX", False), (["NRES"], "GRU", True)],
)  # fmt: skip
def test_purposes_hold_within_one_another(agreed: list[str], term: str, does: bool) -> None:
    diseases = ["MONDO:0005148"] if term == "DS" else []
    assert holds(agreed, {"term": term, "diseases": diseases}) is does
    assert holds(agreed, None) is True
