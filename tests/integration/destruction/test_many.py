"""However many leave a cohort at once, they are destroyed: no statement names more of them than a database takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select

from app.cohorts.destruction import DestructionService
from app.db import Database
from app.engines.destruction import DestructionEngine
from app.jobs import execute
from app.models import Cohort, Destruction, Institution, Job, Participant, Withdrawal
from app.storage.vault import Vault
from tests.schema import with_tables

JOB, NOW = "job_1", datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TAKEN, PEOPLE = 50, 60  # parameters that a statement of this database may have, and those who leave


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with_tables(db)
    with db.unit_of_work() as session:
        session.add(Institution(id="ins_a", name="A", created_at=NOW))
        session.flush()
        session.add(
            Cohort(
                id="coh_1", institution_id="ins_a", name="c", consent_form={}, duo=[],
                identity_key_wrapped=b"", created_at=NOW,
            )
        )  # fmt: skip
        session.flush()
        people: list[dict[str, Any]] = [
            {"key": n, "cohort_id": "coh_1", "identity": n.to_bytes(32), "random_id": n.to_bytes(16),
             "created_at": NOW}
            for n in range(1, PEOPLE + 1)
        ]  # fmt: skip
        session.execute(insert(Participant), people)
        leaving: list[dict[str, Any]] = [
            {"id": f"wdr_{n}", "cohort_id": "coh_1", "participant_key": n, "domains": [], "kind": "destroy",
             "state": "destroying", "receipt": {}, "taken_at": NOW}
            for n in range(1, PEOPLE + 1)
        ]  # fmt: skip
        session.execute(insert(Withdrawal), leaving)
        order: dict[str, Any] = {"arguments": {}, "progress": {}, "state": "queued", "created_at": NOW}
        session.add(Job(id=JOB, kind="destroy_rows", subject="coh_1", **order))

    def limited(dbapi: sqlite3.Connection, *_: Any) -> None:
        dbapi.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, TAKEN)

    event.listen(db.engine, "checkout", limited)
    yield db
    db.dispose()


def test_more_people_than_a_statement_takes_are_destroyed_in_one_run(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.IDS_A_STATEMENT", 40)
    engine = DestructionEngine(Vault.open((tmp_path / "vault").as_uri()), tmp_path / "work", "512MB", 1)
    service = DestructionService(db, lambda: NOW, engine, lambda *_: 0)
    execute(db, lambda: NOW, {"destroy_rows": service.destroy_rows}, JOB)
    with db.read() as session:
        (run,) = session.scalars(select(Destruction))
        assert (run.state, run.counts["people"]) == ("destroyed", PEOPLE)
        assert session.scalar(select(func.count(Participant.destroyed_at))) == PEOPLE
        receipts = list(session.scalars(select(Withdrawal.receipt)))
    assert all("destroyed_at" in receipt for receipt in receipts)
