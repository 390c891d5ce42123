"""What a monitor reads at /metrics is read from the rows at that moment, whichever process works."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.audit import PLATFORM, record
from app.db import Database, new_id
from app.jobs import enqueue
from app.main import build
from app.models import Alarm, Job
from app.settings import Settings
from tests import doors
from tests.schema import with_migrations

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Database, TestClient]]:
    built = build(Settings(_env_file=None, var=tmp_path), lambda: NOW)
    with_migrations(built.db)
    app = doors.before(built.house)
    with TestClient(app) as http:
        yield built.db, http
    doors.back(app)
    built.db.dispose()


def _told(http: TestClient) -> dict[str, float]:
    lines = [
        line.rpartition(" ") for line in http.get("/metrics").text.splitlines() if not line.startswith("#")
    ]
    return {name: float(value) for name, _, value in lines}


def _build(db: Database, seconds: int) -> None:
    with db.unit_of_work() as session:
        session.add(
            Job(
                id=new_id("job"), kind="build_extract", subject="x", arguments={}, state="done", progress={},
                created_at=NOW - timedelta(hours=1), finished_at=NOW - timedelta(hours=1) + timedelta(seconds=seconds),
                failure=None, attempt=1, not_before=None,
            )
        )  # fmt: skip


def test_the_queue_as_it_is(house: tuple[Database, TestClient]) -> None:
    db, http = house
    before = _told(http)
    assert before["baekman_job_oldest_seconds"] == 0
    assert before["baekman_withdrawal_oldest_seconds"] == before["baekman_epoch_lag_seconds"] == 0
    with db.unit_of_work() as session:
        for minutes, later in ((3, None), (9, NOW + timedelta(hours=1))):  # the second one may not begin yet
            enqueue(session, "dry_run", subject="x", at=NOW - timedelta(minutes=minutes), not_before=later)
    for seconds in (10, 20, 30):
        _build(db, seconds)
    told = _told(http)
    assert told['baekman_jobs{kind="dry_run",state="waiting"}'] == 2
    assert told["baekman_job_oldest_seconds"] == 180
    assert told['baekman_job_seconds{kind="build_extract",quantile="0.5"}'] == pytest.approx(20, abs=1)
    assert 25 < told['baekman_job_seconds{kind="build_extract",quantile="0.95"}'] <= 30
    with db.unit_of_work() as session:
        session.query(Job).where(Job.kind == "dry_run").delete()
    told = _told(http)
    assert 'baekman_jobs{kind="dry_run",state="waiting"}' not in told
    assert told["baekman_job_oldest_seconds"] == 0


def test_what_another_process_did_is_told_here(house: tuple[Database, TestClient]) -> None:
    """Plant: rows that no code of this process wrote, as those of a worker are."""
    db, http = house
    assert "baekman_job_failures{" not in "".join(_told(http))
    with db.unit_of_work() as session:
        for state in ("retried", "parked", "cancelled", "done"):
            job = enqueue(session, "dry_run", subject=state, at=NOW)
            session.get_one(Job, job).state = state
        session.add(
            Alarm(id=new_id("alm"), kind="job_parked", subject="x", level="critical", institution_id=None, data={},
                  state="open", raised_at=NOW)
        )  # fmt: skip
        record(session, stream=PLATFORM, event="backup.made", actor="shell", object_id="bak_x",
               at=NOW - timedelta(hours=2), data={})  # fmt: skip
    told = _told(http)
    assert told['baekman_job_failures{kind="dry_run"}'] == 2
    assert told['baekman_alarms{kind="job_parked",level="critical",state="open"}'] == 1
    assert told["baekman_backup_age_seconds"] == 7200
    assert told['baekman_recalls_unanswered{overdue="no"}'] == 0
