"""Consent ends by its date as the register stands under its lock, not as it stood before another word was committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest
from sqlalchemy import select, text

from app.consents import register
from app.db import Database
from app.models import Job
from app.withdrawals.service import WithdrawalService
from tests.integration.consents.world import FIRST, SECOND, RegisterWorld, line
from tests.postgres import fresh_database

CHILD = {"by_proxy": "yes", "given_at": "2024-05-10", "birth_month": "2007-02", "assent": "given"}
TODAY = date(2026, 3, 2)


@pytest.fixture
def world(postgres_url: str) -> Iterator[RegisterWorld]:
    with fresh_database(postgres_url) as url:
        db = Database(url)
        yield RegisterWorld(db)
        db.dispose()


@pytest.mark.parametrize(
    ("before", "word", "after"),
    [
        (
            {"valid_until": "2026-03-01"},
            register.Statement("granted", valid_until=date(2027, 1, 1)),
            "granted",
        ),
        pytest.param(
            {"valid_until": "2026-03-01"},
            register.Statement("withdrawn"),
            "withdrawn",
            marks=pytest.mark.again,
        ),
        pytest.param(
            CHILD, register.Statement("granted", given_at=TODAY), "granted", marks=pytest.mark.again
        ),
    ],
)
def test_a_word_that_is_being_taken_meanwhile_is_not_ended(
    world: RegisterWorld, before: dict[str, str], word: register.Statement, after: str
) -> None:
    world.load([line("P1", **before)])
    chore = WithdrawalService(world.db, world.clock, world.keyring)
    with ThreadPoolExecutor(1) as beside:
        with world.db.unit_of_work() as session:
            register.set_consent(
                session, FIRST, world.key("P1"), ["clinical"], word, at=world.clock(), actor="test"
            )
            ended = beside.submit(chore.end_by_date)
            until_somebody_waits(world.db)
        assert ended.result(30) == 0
    assert world.held("P1").state == after
    with world.db.read() as session:
        assert session.scalars(select(Job)).all() == []


@pytest.mark.parametrize(("failing", "other"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_each_cohort_is_ended_for_itself(
    world: RegisterWorld, monkeypatch: pytest.MonkeyPatch, failing: str, other: str
) -> None:
    for cohort in (FIRST, SECOND):
        world.load([line("P1", valid_until="2026-03-01"), line("P2")], cohort)
    chore, leave = WithdrawalService(world.db, world.clock, world.keyring), WithdrawalService.leave

    def fails(
        self: WithdrawalService, session: object, cohort_id: str, *more: object, **named: object
    ) -> None:
        if cohort_id == failing:
            raise OSError
        leave(self, session, cohort_id, *more, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(WithdrawalService, "leave", fails)
        with pytest.raises(OSError):  # noqa: PT011
            chore.end_by_date()
    assert [world.held("P1", cohort_id=one).state for one in (other, failing)] == ["ended", "granted"]
    world.now += timedelta(hours=1)
    assert chore.end_by_date() == 1
    assert [world.held(one, cohort_id=failing).state for one in ("P1", "P2")] == ["ended", "granted"]


def until_somebody_waits(db: Database) -> None:
    """Until another connection waits for a lock."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with db.glance() as connection:
            if connection.scalar(waits):
                return
        time.sleep(0.01)
    raise TimeoutError
