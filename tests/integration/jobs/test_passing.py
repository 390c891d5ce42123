"""A job that met what passes is no failure: it is tried again, or goes on when the database answers; none is lost."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dbos import DBOS
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from app.clock import utc_now
from app.db import Database
from app.errors import Problem
from app.jobs import JobContext, Rules, Task, enqueue, execute
from app.jobs.engine import DurableEngine, embedded_system_url
from app.models import Job
from tests.schema import with_tables

NOW = datetime(2026, 11, 2, tzinfo=UTC)
RULES = Rules(most_tries=3)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    with_tables(made)
    yield made
    made.dispose()


def insert(db: Database, kind: str) -> str:
    with db.unit_of_work() as session:
        return enqueue(session, kind, subject="x", at=utc_now())


def jobs(db: Database) -> list[Job]:
    with db.read() as session:
        return list(session.scalars(select(Job).order_by(Job.attempt, Job.id)))


def away() -> Exception:
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return OperationalError("SELECT", None, cause)


class Tells:
    """A task that tells somebody of its failure, as builds and checks do; it fails as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.told, self.ran = list(errors), list[str](), 0

    def __call__(self, job: JobContext) -> None:
        self.ran += 1
        try:
            if self.errors:
                raise self.errors.pop(0)
        except Exception as error:
            self.told.append(job.refusal(error, "It failed.").code)
            raise


def full() -> Problem:
    return Problem("storage_full", "No room.")


@pytest.mark.parametrize("kind", ["build_extract", "check_upload", "dry_run", "submit_version"])
def test_without_room_it_is_tried_again_later_and_nobody_is_told(db: Database, kind: str) -> None:
    first, task = insert(db, kind), Tells(full())
    execute(db, lambda: NOW, {kind: task}, first, RULES)
    _failed, again = jobs(db)
    assert (_failed.state, again.state, again.attempt) == ("retried", "waiting", 2)
    assert again.not_before is not None
    assert again.not_before > NOW
    execute(db, lambda: NOW, {kind: task}, again.id, RULES)
    assert ([job.state for job in jobs(db)], task.told) == (["retried", "done"], [])


def test_at_its_last_try_it_fails_with_the_code(db: Database) -> None:
    insert(db, "build_extract")
    task = Tells(full(), full(), full())
    for _ in range(3):
        execute(db, lambda: NOW, {"build_extract": task}, jobs(db)[-1].id, RULES)
    last = jobs(db)[-1]
    assert ([job.state for job in jobs(db)], task.told) == (
        ["retried", "retried", "failed"],
        ["storage_full"],
    )
    assert (last.failure or {})["code"] == "storage_full"


def test_whoever_waits_for_an_answer_is_told_at_once(db: Database) -> None:
    task = Tells(full())
    execute(db, lambda: NOW, {"count": task}, insert(db, "count"), RULES)
    assert ([job.state for job in jobs(db)], task.told) == (["failed"], ["storage_full"])


def test_the_database_going_away_is_nobodys_failure(db: Database) -> None:
    task, job = Tells(away()), insert(db, "build_extract")
    with pytest.raises(Problem) as met:
        execute(db, lambda: NOW, {"build_extract": task}, job, RULES)
    assert (met.value.code, task.told, jobs(db)[0].state) == ("database_unavailable", [], "running")


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.again
def test_the_engine_goes_on_with_it_and_picks_up_what_was_lost(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away while a job runs and when its end is written; and DBOS takes a third for ended."""
    lose, ends, gone = Tells(away(), away()), threading.Event(), ""

    def lost(_job: JobContext) -> None:
        if not ends.is_set():
            raise RuntimeError

    tasks: dict[str, Task] = {"build_extract": lose, "quick": lambda _job: None, "lost": lost}
    engine = DurableEngine(
        db, utc_now, tasks, system_url=embedded_system_url(tmp_path), executor_id="x", poll=0.02, rules=RULES
    )
    engine.away = 0.05
    monkeypatch.setattr(
        "app.jobs.engine.PICKED_UP_EVERY", float("inf")
    )  # after once; the test does it itself
    done = engine._done
    monkeypatch.setattr(engine, "_done", lambda job: True if job == gone and not ends.is_set() else done(job))
    with capture_logs():
        engine.start()
        try:
            first = insert(db, "build_extract")
            until(lambda: jobs(db)[0].state == "done")
            assert (lose.ran, lose.told, jobs(db)[0].deaths, jobs(db)[0].attempt) == (3, [], 0, 1)
            with db.unit_of_work() as session:
                gone = enqueue(session, "lost", subject="x", at=utc_now())
            until(lambda: DBOS.get_workflow_status(gone) is not None)
            until(lambda: DBOS.get_workflow_status(gone).status == "SUCCESS")  # type: ignore[union-attr]
            # The relay writes down that it handed the row over after it did, so perhaps after the end.
            until(lambda: {job.id: job.state for job in jobs(db)} == {first: "done", gone: "queued"})
            ends.set()
            assert engine.pick_up() == 1
            until(lambda: {job.state for job in jobs(db)} == {"done"})
            assert engine.pick_up() == 0
        finally:
            engine.stop()


@pytest.mark.again
def test_what_cannot_be_written_down_for_another_reason_holds_no_place(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only place of the worker is free for the next, and the job is handed over anew."""
    monkeypatch.setattr(
        "app.jobs.engine.PICKED_UP_EVERY", float("inf")
    )  # once, before anything is handed over
    mended, fails = threading.Event(), Tells(*(ValueError() for _ in range(9)))

    def tell(_session: object, _job: Job, _now: datetime) -> None:
        if not mended.is_set():
            raise KeyError("nobody to tell")

    tasks: dict[str, Task] = {"destroy_extract": fails, "quick": lambda _job: None}
    engine = DurableEngine(
        db, utc_now, tasks, system_url=embedded_system_url(tmp_path), executor_id="x", poll=0.02,
        rules=Rules(most_tries=1, parked=tell), at_once=1,
    )  # fmt: skip
    engine.away = 0.05
    with capture_logs() as said:
        engine.start()
        try:
            first = insert(db, "destroy_extract")
            until(lambda: fails.ran > 0)
            second = insert(db, "quick")
            until(lambda: state(db, second) == "done")
            assert (state(db, first), fails.ran) == ("running", 1)
            until(lambda: DBOS.get_workflow_status(first).status == "ERROR")  # type: ignore[union-attr]
            mended.set()
            assert engine.pick_up() == 1
            until(lambda: state(db, first) == "parked")
        finally:
            engine.stop()
    assert {
        "job": first,
        "error": "KeyError",
        "event": "job could not be ended",
        "log_level": "error",
    } in said


def state(db: Database, job_id: str) -> str:
    with db.read() as session:
        return session.get_one(Job, job_id).state
