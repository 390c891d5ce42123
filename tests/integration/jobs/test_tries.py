"""What must end is tried again by itself: at once, then less and less often, for as long as it fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from app.db import Database
from app.jobs import MUST_END, JobContext, enqueue
from app.jobs.engine import InlineEngine
from app.jobs.rows import LONGEST_WAIT, backoff
from app.models import Job
from tests.amounts import first
from tests.schema import with_tables

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with_tables(made)
    yield made
    made.dispose()


@pytest.mark.parametrize("kind", first(4, sorted(MUST_END)))
def test_what_must_end_is_tried_until_it_ends(db: Database, kind: str) -> None:
    at, tries, arguments = [NOW], list[datetime](), {"withdrawal_id": "wdr_1"}

    def task(job: JobContext) -> None:
        assert job.arguments == arguments
        tries.append(at[0])
        if len(tries) < 4:
            raise OSError

    engine = InlineEngine(db, lambda: at[0], {kind: task})
    with db.unit_of_work() as session:
        enqueue(session, kind, subject="x", arguments=arguments, at=NOW)
    with capture_logs():
        for _ in range(60):
            engine.drain()
            at[0] += timedelta(seconds=1)
    assert [round((one - NOW).total_seconds()) for one in tries] == [0, 1, 5, 21]
    with db.read() as session:
        rows = session.execute(select(Job.state, Job.attempt).order_by(Job.attempt)).all()
    assert [tuple(row) for row in rows] == [("retried", 1), ("retried", 2), ("retried", 3), ("done", 4)]


def test_other_jobs_are_not_tried_again(db: Database) -> None:
    def task(_job: JobContext) -> None:
        raise OSError

    with db.unit_of_work() as session:
        enqueue(session, "dry_run", subject="x", at=NOW)
    with capture_logs():
        assert InlineEngine(db, lambda: NOW, {"dry_run": task}).drain() == 1
    with db.read() as session:
        assert list(session.scalars(select(Job.state))) == ["failed"]


def test_a_row_for_later_is_not_handed_over_before(db: Database) -> None:
    at = [NOW]
    engine = InlineEngine(db, lambda: at[0], {"dry_run": lambda _job: None})
    with db.unit_of_work() as session:
        enqueue(session, "dry_run", subject="x", at=NOW, not_before=NOW + timedelta(minutes=1))
    assert engine.drain() == 0
    at[0] += timedelta(minutes=1)
    assert engine.drain() == 1


def test_the_wait_grows_to_an_hour_and_no_further() -> None:
    waits = [backoff(n) for n in range(1, 40)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (timedelta(seconds=1), LONGEST_WAIT)
