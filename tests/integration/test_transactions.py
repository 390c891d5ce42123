"""Who wait for each other in a circle are let go by the database and done anew; the order of locks keeps it rare."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.clock import utc_now
from app.db import LOCKS, Database, retried
from app.models import Cohort, Dataset, Institution, Job, Worker
from tests import locks
from tests.postgres import fresh_database
from tests.schema import with_tables


class _GivenUp(Exception):
    """As a driver says it."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("with a value in its words")
        self.sqlstate = sqlstate


@dataclass
class Service:
    """A verb that the database gives up some times."""

    db: Database
    sqlstate: str | None
    times: int
    tried: list[int] = field(default_factory=list)

    @retried
    def act(self, number: int) -> int:
        """Answers the number in the end."""
        self.tried.append(number)
        if len(self.tried) <= self.times:
            raise DBAPIError("UPDATE", {}, _GivenUp(self.sqlstate))
        return number


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with_tables(made)
    yield made
    made.dispose()


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_what_the_database_gave_up_is_done_anew(db: Database, sqlstate: str) -> None:
    service = Service(db, sqlstate, 3)
    assert service.act(7) == 7
    assert service.tried == [7] * 4


@pytest.mark.parametrize(("sqlstate", "times", "tried"), [("40001", 9, 5), ("23505", 1, 1), (None, 1, 1)])
def test_anything_else_and_what_never_ends_is_raised(
    db: Database, sqlstate: str | None, times: int, tried: int
) -> None:
    service = Service(db, sqlstate, times)
    with pytest.raises(DBAPIError):
        service.act(7)
    assert len(service.tried) == tried


def test_an_order_against_the_agreed_one_is_found(db: Database) -> None:
    def lock(*tables: Any) -> list[str]:
        with locks.recorded() as order, db.unit_of_work() as session:
            for table in tables:
                session.scalars(select(table).with_for_update()).all()
        return [found.partition(" at ")[0] for found in order.against(LOCKS)]

    assert lock(Institution, Cohort, Job) == []
    assert lock(Cohort) + lock(Institution) == []  # each in a transaction of its own
    assert lock(Job, Cohort, Job) == ["jobs then cohorts"]
    assert lock(Cohort, Worker) == ["cohorts then workers"]  # nobody said where it belongs


def test_two_that_wait_for_each_other_both_end(postgres_url: str) -> None:
    with fresh_database(postgres_url) as url:
        db = Database(url)
        with_tables(db)
        with db.unit_of_work() as session:
            session.add_all(
                Worker(id=one, started_at=utc_now(), seen_at=utc_now(), dead_at=None) for one in "ab"
            )
        tries, both = list[str](), threading.Barrier(2)

        def lock(first: str, second: str) -> None:
            anew = first in tries
            tries.append(first)
            with db.unit_of_work() as session:
                session.get_one(Worker, first, with_for_update=True)
                if not anew:
                    both.wait(30)  # each holds one and wants the other
                session.get_one(Worker, second, with_for_update=True)

        failed: list[str | None] = []

        def run(act: Callable[[], None]) -> None:
            try:
                act()
            except DBAPIError as error:
                failed.append(getattr(error.orig, "sqlstate", None))

        def at_once(*acts: Callable[[], None]) -> None:
            tries.clear()
            threads = [threading.Thread(target=run, args=(act,)) for act in acts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)

        at_once(lambda: lock("a", "b"), lambda: lock("b", "a"))
        assert failed == ["40P01"]  # so it is without
        failed.clear()
        at_once(lambda: db.again(lambda: lock("a", "b")), lambda: db.again(lambda: lock("b", "a")))
        assert (failed, len(tries)) == ([], 3)
        db.dispose()


def test_who_writes_a_row_that_points_at_a_locked_one_does_not_wait(postgres_url: str) -> None:
    with fresh_database(postgres_url) as url:
        db = Database(url)
        with_tables(db)
        with db.unit_of_work() as session:
            session.add(Institution(id="ins_1", name="h", created_at=utc_now()))
            session.flush()
            session.add(
                Cohort(
                    id="coh_1", institution_id="ins_1", name="c", consent_form={}, duo=[],
                    identity_key_wrapped=b"k", created_at=utc_now(),
                )
            )  # fmt: skip
        with db.unit_of_work() as holder:
            holder.get_one(Cohort, "coh_1", with_for_update=True)
            with db.unit_of_work() as session:
                session.execute(text("SET LOCAL lock_timeout = '2s'"))
                session.add(
                    Dataset(id="ds_1", cohort_id="coh_1", name="d", keywords=[], created_at=utc_now())
                )
                session.flush()  # its foreign key is looked up, and that is all
            with db.unit_of_work() as session:
                session.execute(text("SET LOCAL lock_timeout = '200ms'"))
                with pytest.raises(DBAPIError) as refused:
                    session.get_one(Cohort, "coh_1", with_for_update=True)
                session.rollback()
            assert getattr(refused.value.orig, "sqlstate", None) == "55P03"  # another command does
        db.dispose()
