"""A question answers what SQLAlchemy answers to the same statement, refuses as it does, and tells no value."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import and_, bindparam, exists, or_, select, text
from sqlalchemy.exc import DBAPIError

from app.db import Database
from app.models import Job
from app.passing import passing
from app.questions import Question
from tests.schema import with_tables

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECRET = "person-of-whom-nobody-speaks"
ASKED = (
    select(
        Job.id, Job.arguments, Job.failure, Job.created_at, Job.finished_at, Job.attempt, Job.id.label("again"),
        or_(exists().where(Job.state == bindparam("state")), Job.attempt == bindparam("least")),
    )
    .where(Job.created_at > bindparam("since"), and_(Job.kind == "look", Job.attempt >= bindparam("least")))
    .order_by(Job.created_at.desc())
    .limit(2)
)  # fmt: skip


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    with_tables(found)
    with found.unit_of_work() as session:
        for n in range(4):
            session.add(
                Job(
                    id=f"job_{n}", kind="look", subject="x", arguments={"사람": [n, None]}, state="done", progress={},
                    failure={"code": "internal"} if n % 2 else None, created_at=NOON + timedelta(hours=n),
                    finished_at=NOON if n % 2 else None, attempt=n,
                )
            )  # fmt: skip
    yield found
    found.dispose()


@pytest.mark.both
def test_its_rows_are_sqlalchemy_s(db: Database) -> None:
    asked, seoul = Question(ASKED), timezone(timedelta(hours=9))
    for state, since in (
        ("done", NOON),
        ("lost", NOON.astimezone(seoul)),
        ("done", NOON + timedelta(days=1)),
    ):
        values = {"state": state, "since": since, "least": 1}
        with db.glance() as connection:
            rows = asked.all(connection, **values)
            expected = [tuple(row) for row in connection.execute(ASKED, values)]
            assert rows == expected
            assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in expected]
            assert asked.first(connection, **values) == next(iter(expected), None)
    assert rows == []


def test_its_rows_are_of_the_transaction_that_it_is_asked_in(db: Database) -> None:
    newest = Question(select(Job.id).order_by(Job.created_at.desc()).limit(1))
    with db.unit_of_work() as session:
        session.get_one(Job, "job_0").created_at = NOON + timedelta(days=1)
        session.flush()
        row = newest.first(session.connection())
        assert row is not None
        assert row.id == "job_0"
        session.rollback()
    with db.glance() as connection:
        assert newest.all(connection) == [("job_3",)]


def test_it_is_asked_with_all_that_it_asks_for(db: Database) -> None:
    asked = Question(ASKED)
    with db.glance() as connection:
        for values in (
            {"state": "done", "since": NOON},
            {"state": "x", "since": NOON, "least": 0, "more": 1},
        ):
            with pytest.raises(ValueError, match="least, since, state"):
                asked.all(connection, **values)
        with pytest.raises(ValueError, match="no question"):
            Question(select(Job.id).where(Job.id.in_(["job_0", "job_1"]))).all(connection)


def test_what_the_driver_refuses_is_sqlalchemy_s_error_without_a_value(db: Database) -> None:
    with db.unit_of_work() as session:
        session.execute(text("DROP TABLE jobs"))
    with db.glance() as connection, pytest.raises(DBAPIError) as met:
        Question(select(Job.id).where(Job.id == bindparam("id"))).all(connection, id=SECRET)
    assert SECRET not in str(met.value)
    assert passing(met.value) is None
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.both
def test_a_connection_that_is_lost_passes_and_is_given_up(db: Database) -> None:
    asked = Question(select(Job.id).where(Job.id == bindparam("id")))
    with db.glance() as connection:
        assert asked.all(connection, id="job_1") == [("job_1",)]
        if db.is_sqlite:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.close()
        else:
            with db.glance() as other:
                pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        with pytest.raises(DBAPIError) as met:
            asked.all(connection, id="job_1")
        told = passing(met.value)
        assert told is not None
        assert told.code == "database_unavailable"
        assert connection.invalidated
    with db.glance() as connection:
        assert asked.all(connection, id="job_1") == [("job_1",)]
