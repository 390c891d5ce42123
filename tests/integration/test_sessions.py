"""A session that has ended gives no answer any more: it would hold a connection that nobody gives back."""

from __future__ import annotations

from contextlib import AbstractContextManager
from operator import methodcaller
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Job
from tests.schema import with_tables


@pytest.mark.parametrize("way", ["read", "unit_of_work"])
def test_a_session_that_has_ended_refuses(way: str, tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    with_tables(db)
    opened: AbstractContextManager[Session] = methodcaller(way)(db)
    with opened as session:
        assert list(session.scalars(select(Job))) == []
    with pytest.raises(InvalidRequestError):
        session.scalars(select(Job))
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    db.dispose()
