"""A permit goes to somebody else: what waits for their agreement is built when they give it, what is over stays so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.auth.policy import Actor
from app.clock import Clock
from app.db import LOCKS, Database
from app.ledger.parts import listed
from app.models import AuditLine, Consent, Extract, Job, Permit, Withdrawal
from app.requests.handing_over import hand_over
from app.requests.holding import PermitService
from tests import locks
from tests import world as worlds
from tests.amounts import first
from tests.integration.gate.test_ends import Moving, engine_of
from tests.world import World

OPERATOR = Actor("account:operator", "portal", "platform", None, frozenset())
STEWARD = Actor("account:steward", "portal", "steward", None, frozenset())
OLD, NEW = "client:researcher", "client:successor"
SUCCESSOR = Actor(NEW, "successor", "researcher", None, frozenset())


@pytest.fixture
def clock() -> Moving:
    return Moving()


@pytest.fixture
def world(tmp_path: Path, clock: Clock) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield worlds.make(db, tmp_path, people=120, clock=clock)
    db.dispose()


def permit_of(world: World, extract: str) -> Permit:
    with world.db.read() as session:
        return session.get_one(Permit, session.get_one(Extract, extract).permit_id)


def handed_over(world: World, old: str = OLD, new: str = NEW) -> None:
    with world.db.unit_of_work() as session:
        hand_over(session, old, new, OPERATOR, world.clock())


def agree(world: World, permit_id: str) -> None:
    service = PermitService(world.db, world.clock)
    with locks.recorded() as order:
        service.accept(SUCCESSOR, permit_id, service.agreement(SUCCESSOR, permit_id)["digest"])
    assert order.against(LOCKS) == []


def waiting(world: World) -> list[str]:
    with world.db.read() as session:
        query = select(Job.subject).where(Job.kind == "reissue_extract", Job.state == "waiting")
        return list(session.scalars(query))


@pytest.mark.parametrize("suspended", first(1, [True, False]))
def test_parts_that_close_before_the_new_holder_agrees_are_built_when_they_do(
    world: World, suspended: bool
) -> None:
    engine, withdrawals, _extracts = engine_of(world)
    extract, leaving = world.permit(), world.keys[2]
    world.release(extract)
    permit, permits = permit_of(world, extract).id, PermitService(world.db, world.clock)
    if suspended:
        permits.manage(STEWARD, permit, "suspend", "")
    handed_over(world)
    with world.db.unit_of_work() as session:
        session.get_one(Consent, (leaving, "clinical")).valid_until = date(2026, 10, 30)
    assert withdrawals.end_by_date() == 1
    engine.drain()
    if suspended:
        permits.manage(STEWARD, permit, "resume", "")
        assert not waiting(world)  # it would meet a permit that nobody has agreed to

    def closed() -> tuple[bool, str]:
        with world.db.read() as session:
            return bool(listed(session, extract, ("blocked",))), session.scalars(
                select(Withdrawal.state)
            ).one()

    engine.drain()
    assert closed() == (True, "blocked")
    agree(world, permit)
    engine.drain()
    assert closed() == (False, "closed")
    name = world.pseudonyms(extract)[leaving]
    assert world.rows(extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{name}'") == [(0,)]


@pytest.mark.parametrize("state", first(1, ["active", "suspended", "pending_agreement"]))
def test_a_permit_whose_last_day_is_over_has_expired_and_stays_as_it_was_agreed(
    world: World, clock: Moving, state: str
) -> None:
    extract, service = world.permit(), PermitService(world.db, world.clock)
    agreed = permit_of(world, extract)
    with world.db.unit_of_work() as session:
        session.get_one(Permit, agreed.id).state = state
    clock.now = datetime.combine(agreed.valid_until, time(23, 59), UTC)
    assert service.expire_due() == 0
    clock.now += timedelta(minutes=1)
    handed_over(world)  # before the chore
    assert (service.expire_due(), service.expire_due()) == (1, 0)
    handed_over(world, NEW, OLD)  # and after it
    now = permit_of(world, extract)
    assert (now.state, now.agreed_by, now.agreed_at) == ("expired", OLD, agreed.agreed_at)
    assert (now.agreement_text, now.agreement_digest) == (agreed.agreement_text, agreed.agreement_digest)
    with world.db.read() as session:
        told = session.scalars(select(AuditLine.event).where(AuditLine.object_id == agreed.id))
        assert list(told) == ["permit.expired"]
