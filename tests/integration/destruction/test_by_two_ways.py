"""Who leaves by a register and asks for destruction as well: neither word is taken for the other, or lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from app.alarms.desk import JobDesk
from app.consents import epochs, register
from app.errors import Problem
from app.jobs import execute
from app.ledger.parts import listed
from app.models import Job, RecallNotice, Withdrawal
from tests.integration.destruction.house import House, make

DOMAINS = ["clinical", "lifelog"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = make(tmp_path_factory.mktemp("ways"))
    yield made
    made.world.db.dispose()


def by_register(house: House, one: str, domains: list[str], kind: str = "no_further_use") -> None:
    """What the check of a register does in its transaction."""
    key, now = house.leaving[one], house.built.clock()
    with house.world.db.unit_of_work() as session:
        cohort = epochs.lock(session, house.world.cohort_id)
        register.withdraw(session, cohort, key, domains, at=now, kind=kind)
        house.built.house.withdrawals.leave(session, house.world.cohort_id, kind, [(key, domains)], now)


def run(house: House, kind: str, subject: str | None = None) -> None:
    query = select(Job.id).where(Job.kind == kind, Job.state == "waiting")
    if subject is not None:
        query = query.where(Job.subject == subject)
    with house.world.db.read() as session:
        waits = list(session.scalars(query))
    for one in waits:
        execute(house.built.db, house.built.clock, house.built.tasks, one)


def readable(house: House, one: str) -> bool:
    """Whether any part with rows of theirs is handed out; parts of now and of before."""
    name = house.names[house.leaving[one]]
    with house.world.db.read() as session:
        parts = [part["name"] for part in listed(session, house.extract, ("ready", "blocked", "replaced"))]
    for part in parts:
        try:
            house.built.house.extracts.check_part(house.extract, part)
        except Problem:
            continue
        path = house.world.var / "outbox" / house.extract / part
        if name in pq.read_table(path, columns=["pid"])["pid"].cast("string").to_pylist():
            return True
    return False


def recalled(house: House, one: str) -> int:
    name = house.names[house.leaving[one]]
    with house.world.db.read() as session:
        return list(session.scalars(select(RecallNotice.pseudonym))).count(name)


def waits_after(house: House, order: str, waited: timedelta) -> float:
    """How many seconds later it is looked again, where it has been waited for so long: each look is a job."""
    query, now = select(Job).where(Job.kind == "destroy_rows", Job.state == "waiting"), house.built.clock()
    with house.world.db.unit_of_work() as session:
        session.get_one(Withdrawal, order).taken_at = now - waited
    run(house, "destroy_rows")
    with house.world.db.unit_of_work() as session:
        again = session.scalars(query).one()
        assert again.not_before is not None
        session.get_one(Withdrawal, order).taken_at = now
        told, again.not_before = (again.not_before - now).total_seconds(), None
    return told


@pytest.mark.parametrize("state", ["parked", pytest.param("running", marks=pytest.mark.again)])
def test_nobody_is_destroyed_while_the_job_that_carries_their_register_has_not_ended(
    house: House, state: str
) -> None:
    one = house.someone()
    key = house.leaving[one]
    assert readable(house, one)
    by_register(house, one, DOMAINS)
    with house.world.db.unit_of_work() as session:
        held = session.scalars(
            select(Job).where(Job.kind == "take_withdrawals", Job.state == "waiting")
        ).one()
        held.state = state
    taken = house.withdraw(one)
    for kind in ("narrow_block", "settle_withdrawal", "destroy_rows", "reissue_extract", "settle_withdrawal"):
        run(house, kind)
    assert any(house.rows(key).values())
    assert not readable(house, one)
    if state == "parked":
        told = house.receipt(taken)["held_up"]
        assert told["job"] == held.id
        assert waits_after(house, taken["id"], timedelta(hours=1)) == pytest.approx(180, abs=20)
        assert waits_after(house, taken["id"], timedelta(days=3)) == pytest.approx(300, abs=20)
        JobDesk(house.world.db, house.built.clock).release(held.id)
    house.work()
    assert set(house.rows(key).values()) == {0}
    assert house.receipt(taken)["state"] == "closed"
    assert recalled(house, one) == 1
    assert not readable(house, one)


@pytest.mark.again
def test_both_of_two_orders_are_closed_where_the_second_is_settled_after_the_rows_went(house: House) -> None:
    one = house.someone()
    orders = [house.withdraw(one), house.withdraw(one)]
    run(house, "narrow_block")
    run(house, "settle_withdrawal", orders[0]["id"])
    run(house, "destroy_rows")
    assert set(house.rows(house.leaving[one]).values()) == {0}
    house.work()
    receipts = [house.receipt(order) for order in orders]
    assert [receipt["state"] for receipt in receipts] == ["closed", "closed"]
    assert receipts[0]["receipt"]["destroyed"] == receipts[1]["receipt"]["destroyed"]


def test_who_is_destroyed_leaves_every_domain_whatever_the_word_named(house: House) -> None:
    """A line of a register once named one domain, and the rows of all went: what held only others stayed open."""
    one = house.someone()
    by_register(house, one, ["lifelog"], "destroy")
    run(house, "take_withdrawals")
    run(house, "narrow_block")
    assert not readable(house, one)
    house.work()
    assert set(house.rows(house.leaving[one]).values()) == {0}
    assert not readable(house, one)
    assert recalled(house, one) == 1


@pytest.mark.again
def test_whose_destruction_is_on_its_way_is_granted_nothing_again(house: House) -> None:
    """The search would find somebody who consents and close nothing; what is destroyed then stays in the extract."""
    one = house.someone()
    key, now = house.leaving[one], house.built.clock()
    house.withdraw(one)
    said = register.Statement("granted", given_at=now.date())
    with house.world.db.unit_of_work() as session, pytest.raises(Problem) as refused:
        register.set_consent(
            session, house.world.cohort_id, key, DOMAINS, said, at=now, actor="client:hospital"
        )
    assert [one.code for one in refused.value.findings] == ["destruction_asked"]
    house.work()
    assert not readable(house, one)
    assert recalled(house, one) == 1
