"""A chain of audit lines holds while it grows; without its end, short of it or past it, it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from app.audit import PLATFORM, chain, record, verify
from app.db import Database
from app.models import AuditHead, AuditLine
from app.operating.doctor import _audit
from tests.schema import with_tables
from tests.world import NOW


def grown(db: Database, lines: int = 3) -> Database:
    """A chain of so many lines, in a database with every table."""
    with_tables(db)
    with db.unit_of_work() as session:
        for number in range(lines):
            add(session, number)
    return db


def add(session: Any, number: int) -> None:
    record(session, stream=PLATFORM, event="incident.reported", actor="test", object_id=str(number), at=NOW)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = grown(Database(f"sqlite:///{tmp_path / 'x.db'}"))
    yield made
    made.dispose()


def found(db: Database) -> tuple[str | None, str]:
    """How the chain is broken, and what the doctor says of it."""
    with db.read() as session:
        broken = verify(session, PLATFORM)[1]
    return broken.what if broken else None, next(_audit(db)).state


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_line_that_comes_while_a_chain_is_read_is_no_break(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, digest_of, added = grown(Database(database_url)), chain.line_digest, list[int]()

    def meanwhile(*line: Any) -> bytes:
        if not added:
            added.append(1)
            with db.unit_of_work() as session:
                add(session, 3)
        return digest_of(*line)

    monkeypatch.setattr(chain, "line_digest", meanwhile)
    with db.read() as session:
        assert verify(session, PLATFORM) == (3, None)
        assert verify(session, PLATFORM) == (4, None)
    db.dispose()


def test_a_chain_without_its_end_is_broken_also_where_it_was_cut(db: Database) -> None:
    assert found(db) == (None, "ok")
    with db.unit_of_work() as session:
        session.execute(delete(AuditHead))
        session.execute(delete(AuditLine).where(AuditLine.number == 3))
    assert found(db) == ("head", "failed")


@pytest.mark.parametrize("number", [2, 4])
def test_a_chain_that_ends_before_or_after_its_end_is_broken(db: Database, number: int) -> None:
    with db.unit_of_work() as session:
        head = session.get_one(AuditHead, PLATFORM)
        ended = head.number, head.digest
        if number < head.number:
            session.execute(delete(AuditLine).where(AuditLine.number > number))
        else:
            add(session, number)
            head.number, head.digest = ended
    assert found(db) == ("head", "failed")
