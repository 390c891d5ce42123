"""Who waits for work is woken by the commit that makes it, in this process or another, and idle looks seldom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.clock import utc_now
from app.db import Database
from app.jobs import enqueue
from app.jobs.bells import Bell, Listener
from app.jobs.engine import DurableEngine, embedded_system_url
from app.models import Base
from tests.integration.jobs.test_durable import ended
from tests.postgres import fresh_database

HOUR = 3600.0
PATIENCE = 120.0


class Told:
    """Something to ring, and whether it was rung."""

    def __init__(self) -> None:
        self.event, self.rings = threading.Event(), 0

    def ring(self) -> None:
        self.rings += 1
        self.event.set()


class Recorded:
    """A condition in which no time passes; it keeps how long was to be waited."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None: ...

    def notify_all(self) -> None: ...

    def wait_for(self, done: Callable[[], bool], seconds: float) -> bool:
        if seconds and not done():
            self.pauses.append(seconds)
        return done()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    Base.metadata.create_all(made.engine)
    yield made
    made.dispose()


def answered(act: Callable[[], Any]) -> Any:
    """What a call says that must not wait for long."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(act()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert found, "it waits still"
    return found[0]


def test_a_ring_before_the_wait_is_not_lost_and_the_end_is_told_apart() -> None:
    bell = Bell(HOUR, HOUR)
    bell.ring()
    assert answered(bell.wait) is False
    bell.set()
    assert answered(bell.wait) is True


def test_looks_are_further_and_further_apart_until_it_rings() -> None:
    bell, recorded = Bell(1e-6, 8e-6), Recorded()
    bell._heard = recorded  # type: ignore[assignment]
    bell._looked = float("-inf")
    pauses: list[float | str] = []
    for turn in range(7):
        if turn == 5:
            bell.ring()
        recorded.pauses.clear()
        bell.wait()
        pauses += recorded.pauses[:1] if turn != 5 else ["rung"]
        bell._looked = float("-inf")
    assert pauses == [1e-6, 2e-6, 4e-6, 8e-6, 8e-6, "rung", 1e-6]


def test_many_rings_are_one_look() -> None:
    bell, recorded = Bell(HOUR, HOUR), Recorded()
    bell._heard = recorded  # type: ignore[assignment]
    bell.ring()
    bell.wait()
    bell.ring()
    bell.wait()
    assert HOUR - 600 < recorded.pauses[-1] <= HOUR  # the second look is put off


def test_a_look_is_put_off_until_it_may_be_and_no_longer_than_most() -> None:
    answers = iter([False, False, True])
    bell = Bell(1e-6, HOUR, lambda: next(answers))
    bell.ring()
    assert answered(bell.wait) is False
    assert next(answers, None) is None
    asked = 0

    def never() -> bool:
        nonlocal asked
        asked += 1
        return False

    assert answered(Bell(1e-6, 0.01, never).wait) is False
    assert asked > 0
    bell = Bell(1e-6, HOUR, never)
    threading.Timer(0.05, bell.set).start()
    assert answered(bell.wait) is True


def test_a_commit_rings_and_a_reader_does_not(db: Database) -> None:
    told = Told()
    silence = db.on_commit(told.ring)
    with db.read() as session:
        session.connection()
    assert told.rings == 0
    with db.unit_of_work() as session:
        enqueue(session, "quick", subject="x", at=utc_now())
        assert told.rings == 0
    assert told.rings == 1
    silence()
    with db.unit_of_work() as session:
        enqueue(session, "quick", subject="x", at=utc_now())
    assert told.rings == 1


@pytest.mark.again
def test_a_job_begins_because_it_was_committed(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not rung looks in an hour. A ring comes a moment before its commit is seen, so that one look is not
    enough: the looks after it find the job."""
    monkeypatch.setattr("app.jobs.engine.IDLE", HOUR)
    engine = DurableEngine(
        db, utc_now, {"quick": lambda _job: None}, system_url=embedded_system_url(tmp_path), executor_id="bells",
        poll=0.02,
    )  # fmt: skip
    for bell in (engine._due, *engine._handed):
        bell._pause = HOUR
    engine.start()
    try:
        with db.unit_of_work() as session:
            job = enqueue(session, "quick", subject="x", at=utc_now())
        assert ended(db, job).state == "done"
    finally:
        engine.stop()


def test_on_postgresql_another_process_is_told(postgres_url: str) -> None:
    with fresh_database(postgres_url) as url:
        database, told = Database(url), Told()
        Base.metadata.create_all(database.engine)
        listener = Listener(url, told.ring)
        try:
            listener.start()
            assert told.event.wait(PATIENCE)  # it listens
            told.event.clear()
            with database.unit_of_work() as session:
                enqueue(session, "quick", subject="x", at=utc_now())
            assert told.event.wait(PATIENCE)
        finally:
            listener.stop()
            database.dispose()
