"""What ends without a call: consent by its date, an extract by its time; a failing chore stops no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app import ledger
from app.clock import Clock
from app.db import Database
from app.errors import Problem
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.extracts.tasks import tasks as extract_tasks
from app.gate import Gate
from app.gate.recording import record_generation
from app.jobs.chores import Chores
from app.jobs.engine import InlineEngine
from app.ledger.parts import listed
from app.models import AuditLine, Consent, Extract, Job, Participant, Permit, Withdrawal
from app.storage.spill import held_folder, wipe
from app.withdrawals.service import WithdrawalService
from app.withdrawals.settling import tasks as withdrawal_tasks
from tests import world as worlds
from tests.amounts import first
from tests.world import World


class Moving:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = worlds.NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock() -> Moving:
    return Moving()


@pytest.fixture
def world(tmp_path: Path, clock: Clock) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield worlds.make(db, tmp_path, clock=clock)
    db.dispose()


def engine_of(world: World) -> tuple[InlineEngine, WithdrawalService, ExtractService]:
    extracts = ExtractService(world.db, world.clock, world.gate.outbox)
    withdrawals = WithdrawalService(world.db, world.clock, world.keyring)
    tasks = {**extract_tasks(ExtractTasks(extracts, world.gate)), **withdrawal_tasks(withdrawals)}
    return InlineEngine(world.db, world.clock, tasks), withdrawals, extracts


def test_consent_that_ends_by_its_date_leaves_every_copy(world: World, clock: Moving) -> None:
    engine, withdrawals, _extracts = engine_of(world)
    leaving = world.keys[2]
    with world.db.unit_of_work() as session:
        session.get_one(Consent, (leaving, "clinical")).valid_until = date(2026, 11, 10)
    extract = world.permit()
    world.release(extract)
    name = world.pseudonyms(extract)[leaving]
    assert world.rows(extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{name}'") == [(1,)]
    assert withdrawals.end_by_date() == 0  # it is in force to the end of its last day
    clock.now += timedelta(days=9)
    assert withdrawals.end_by_date() == 1
    assert withdrawals.end_by_date() == 0
    engine.drain()
    assert world.rows(extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{name}'") == [(0,)]
    with world.db.read() as session:
        assert leaving in ledger.members(session, extract)  # an earlier generation was handed out
        assert session.get_one(Extract, extract).generation == 2


def test_who_comes_of_age_stays_where_they_are_and_is_in_nothing_new(world: World, clock: Moving) -> None:
    engine, withdrawals, _extracts = engine_of(world)
    grown, (first, later) = world.keys[3], (world.permit(), world.permit())
    with world.db.unit_of_work() as session:
        row = session.get_one(Consent, (grown, "clinical"))
        row.by_proxy, row.adult_due = True, date(2026, 11, 5)
    world.release(first)
    clock.now += timedelta(days=3)
    epoch = withdrawals.end_by_date()
    engine.drain()
    assert epoch == 0  # nobody has left
    with world.db.read() as session:
        assert session.get_one(Consent, (grown, "clinical")).state == "reconsent_due"
        assert session.get_one(Extract, first).generation == 1
        assert session.scalars(select(AuditLine).where(AuditLine.event == "consent.came_of_age")).one()
    world.release(later)
    count = "SELECT count(*) FROM parts WHERE pid = '{}'"
    held = [world.rows(one, "person", count.format(world.pseudonyms(one)[grown])) for one in (first, later)]
    assert held == [[(1,)], [(0,)]]


@pytest.mark.again
def test_the_deceased_are_in_nothing_new_where_the_policy_says_so(world: World) -> None:
    gone = world.keys[4]
    with world.db.unit_of_work() as session:
        session.get_one(Participant, gone).deceased = True
    count = "SELECT count(*) FROM parts WHERE pid = '{}'"
    held = []
    for policy in ("withheld", "without_family", "as_consented"):
        settings = world.gate.settings.model_copy(update={"deceased": policy})
        gate = replace(world.gate, settings=settings)
        extract = world.permit()
        gate.release(extract, lambda **_: None)
        held.append(world.rows(extract, "person", count.format(world.pseudonyms(extract)[gone])))
    # The plan of this world tells nothing of relatives.
    assert held == [[(0,)], [(1,)], [(1,)]]


def test_an_extract_expires_and_its_bytes_go(world: World, clock: Moving) -> None:
    engine, _withdrawals, extracts = engine_of(world)
    extract = world.permit()
    released = world.release(extract)
    clock.now += timedelta(days=91)
    assert extracts.expire_due() == 1
    engine.drain()
    with world.db.read() as session:
        assert session.get_one(Extract, extract).state == "destroyed"
        assert listed(session, extract)
        line = session.scalars(select(AuditLine).where(AuditLine.event == "extract.destroyed")).one()
        held = {part["sha256"] for part in listed(session, extract)}
    assert {part["sha256"] for part in line.data["parts"]} == held
    assert not any(world.gate.outbox.exists(f"{extract}/{name}") for name in released.parts)
    with pytest.raises(Problem) as refused:  # under a permit that lives longer than its extract
        extracts.check_part(extract, released.parts[0])
    assert (refused.value.code, refused.value.extra) == (
        "extract_expired",
        {"receipt": f"{line.stream}#{line.number}"},
    )


@pytest.mark.again
def test_who_left_an_extract_whose_permit_has_ended_waits_for_nothing(world: World) -> None:
    engine, withdrawals, extracts = engine_of(world)
    extract, leaving = world.permit(), world.keys[2]
    world.release(extract)
    with world.db.unit_of_work() as session:
        permit = session.get_one(Permit, session.get_one(Extract, extract).permit_id)
        permit.state = "suspended"
        session.get_one(Consent, (leaving, "clinical")).valid_until = date(2026, 10, 30)
    assert withdrawals.end_by_date() == 1
    engine.drain()

    def state() -> str:
        with world.db.read() as session:
            return session.scalars(select(Withdrawal.state)).one()

    assert (extracts.expire_due(), state()) == (0, "blocked")  # it may be resumed
    with world.db.unit_of_work() as session:
        session.get_one(Permit, permit.id).state = "revoked"
    assert extracts.expire_due() == 1
    engine.drain()
    assert state() == "closed"


@pytest.mark.again
@pytest.mark.parametrize("when", first(1, ["before it is published", "before it is recorded"]))
def test_an_extract_whose_time_is_over_while_it_is_built_does_not_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    engine, withdrawals, extracts = engine_of(world)
    extract, leaving = world.permit(), world.keys[2]
    world.release(extract)
    with world.db.unit_of_work() as session:
        session.get_one(Consent, (leaving, "clinical")).valid_until = date(2026, 10, 30)

    def over() -> None:
        with world.db.unit_of_work() as session:
            session.get_one(Permit, session.get_one(Extract, extract).permit_id).state = "revoked"
        assert extracts.expire_due() == 1
        with world.db.unit_of_work() as session:  # what the gate asks of the permit it has asked already
            session.get_one(Permit, session.get_one(Extract, extract).permit_id).state = "active"

    def record(*asked: Any) -> int:
        if when == "before it is recorded":
            over()
        generation = record_generation(*asked)
        if when == "before it is published":
            over()
        return generation

    monkeypatch.setattr("app.gate.recording.record_generation", record)
    assert withdrawals.end_by_date() == 1
    engine.drain()
    with world.db.read() as session:
        assert session.get_one(Extract, extract).state == "destroyed"
        assert session.scalars(select(Withdrawal.state)).one() == "closed"
        assert {job.state for job in session.scalars(select(Job))} == {"done"}


def test_a_chore_that_fails_keeps_no_other_from_its_work() -> None:
    done: list[str] = []

    def fails() -> None:
        raise RuntimeError

    chores = Chores({"fails": fails, "works": lambda: done.append("works")}, 3600)
    assert chores.round() == ["fails"]
    assert done == ["works"]


@pytest.mark.again
def test_a_withdrawal_that_failed_half_way_is_tried_again(
    world: World, clock: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker cannot say where the person is: the extract stays closed until a later try finds out."""
    engine, withdrawals, extracts = engine_of(world)
    extract = world.permit()
    released = world.release(extract)
    leaving = world.keys[2]
    with world.db.unit_of_work() as session:
        session.get_one(Consent, (leaving, "clinical")).valid_until = date(2026, 10, 1)
    recall = Gate.recall
    monkeypatch.setattr(Gate, "recall", lambda *_: (_ for _ in ()).throw(OSError()))
    withdrawals.end_by_date()
    engine.drain()
    with pytest.raises(Problem, match="part_checking"):
        extracts.check_part(extract, released.parts[0])
    monkeypatch.setattr(Gate, "recall", recall)
    assert engine.drain() == 0  # the next try begins a moment later, by itself
    clock.now += timedelta(seconds=1)
    engine.drain()
    name = world.pseudonyms(extract)[leaving]
    assert world.rows(extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{name}'") == [(0,)]
    with world.db.read() as session:
        ready = listed(session, extract)
        tries = session.scalars(select(Job).where(Job.kind == "narrow_block").order_by(Job.attempt)).all()
    assert [(job.state, job.attempt) for job in tries] == [("retried", 1), ("done", 2)]
    extracts.check_part(extract, ready[0]["name"])


def test_what_a_killed_job_left_in_the_spill_is_wiped_and_uploads_stay(tmp_path: Path) -> None:
    for name in ("job-abc", "job_01m-xyz", "inbox"):
        (tmp_path / "spill" / name).mkdir(parents=True)
        (tmp_path / "spill" / name / "rows").write_bytes(b"x")
    with held_folder(tmp_path / "spill") as held:  # by a job that is at work
        assert wipe(tmp_path / "spill") == 2
        assert {p.name for p in (tmp_path / "spill").iterdir()} == {"inbox", held.name}
    assert [p.name for p in (tmp_path / "spill").iterdir()] == ["inbox"]
