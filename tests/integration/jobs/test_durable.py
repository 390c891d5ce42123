"""Jobs are rows: what is committed is run, also after kill -9, once each, and a failure tells no library's words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from app.clock import utc_now
from app.db import Database
from app.errors import Finding, Problem
from app.jobs import JobContext, Task, enqueue
from app.jobs.engine import DurableEngine
from app.models import Job, Worker
from tests.databases import SQLITE_FIRST
from tests.integration.jobs.worker import engine
from tests.postgres import fresh_database
from tests.schema import with_tables

SECRET = "880101-1234567"


def insert(db: Database, kind: str) -> str:
    with db.unit_of_work() as session:
        return enqueue(session, kind, subject="x", arguments={"n": 1}, at=utc_now())


def row(db: Database, job_id: str) -> Job:
    with db.read() as session:
        return session.get_one(Job, job_id)


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def ended(db: Database, job_id: str) -> Job:
    until(lambda: row(db, job_id).state in ("done", "failed"))
    return row(db, job_id)


def runs(folder: Path, job_id: str) -> int:
    path = folder / f"{job_id}.runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _break(_job: JobContext) -> None:
    raise ValueError(f"no such person: {SECRET}")


def _refuse(_job: JobContext) -> None:
    raise Problem("conflict", "It cannot be now.", [Finding("why", "for a reason", table="people")])


BREAKING: dict[str, Task] = {"break": _break, "refuse": _refuse}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def db(place: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{place / 'baekman.db'}")
    with_tables(made)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def running(place: Path, db: Database) -> Iterator[DurableEngine]:
    made = engine(place, db, BREAKING)
    with pytest.MonkeyPatch.context() as patched:
        # Once, before anything is handed over: what a test lets be handed over twice is lost for it.
        patched.setattr("app.jobs.engine.PICKED_UP_EVERY", float("inf"))
        made.start()
        yield made
        made.stop()


@pytest.mark.usefixtures("running")
def test_rows_committed_while_the_engine_runs_are_run(place: Path, db: Database) -> None:
    jobs = [insert(db, "quick") for _ in range(5)]
    for job in jobs:
        found = ended(db, job)
        assert (found.state, found.failure, runs(place, job)) == ("done", None, 1)
        assert found.finished_at is not None


@pytest.mark.usefixtures("running")
def test_a_row_that_was_rolled_back_is_never_run(place: Path, db: Database) -> None:
    lost = []
    with contextlib.suppress(KeyboardInterrupt), db.unit_of_work() as session:
        lost.append(enqueue(session, "quick", subject="x", at=utc_now()))
        raise KeyboardInterrupt
    assert ended(db, insert(db, "quick")).state == "done"
    assert runs(place, lost[0]) == 0


@pytest.mark.usefixtures("running")
def test_a_row_that_is_handed_over_twice_is_run_once(place: Path, db: Database) -> None:
    """The relay may die between handing a row over and writing so down: the row then still says `waiting`."""
    job = insert(db, "quick")
    ended(db, job)
    with db.unit_of_work() as session:
        session.get_one(Job, job).state = "waiting"
    until(lambda: row(db, job).state == "queued")
    assert ended(db, insert(db, "quick")).state == "done"  # the queue has moved on
    assert runs(place, job) == 1


@pytest.mark.usefixtures("running")
def test_a_failure_is_recorded_without_a_librarys_words(db: Database) -> None:
    with capture_logs() as said:
        found = ended(db, insert(db, "break"))
    assert found.state == "failed"
    assert found.failure is not None
    assert found.failure["code"] == "internal"
    assert [(line["event"], line["error"]) for line in said] == [("job failed", "ValueError")]
    assert SECRET not in json.dumps([found.failure, found.progress, said], default=str)


@pytest.mark.usefixtures("running")
def test_a_refusal_is_recorded_whole_and_others_go_on(place: Path, db: Database) -> None:
    refused, after = insert(db, "refuse"), insert(db, "quick")
    found = ended(db, refused)
    assert (found.state, (found.failure or {})["problems"]) == (
        "failed",
        [{"code": "why", "detail": "for a reason", "table": "people"}],
    )
    assert (ended(db, after).state, runs(place, after)) == ("done", 1)


@pytest.mark.usefixtures("running")
def test_a_kind_that_nobody_knows_fails_and_does_not_stop_the_relay(db: Database) -> None:
    with capture_logs():
        assert ended(db, insert(db, "unheard_of")).state == "failed"
    assert ended(db, insert(db, "quick")).state == "done"


@pytest.mark.again
@SQLITE_FIRST
@pytest.mark.faults
def test_killed_in_the_middle_of_a_job_it_ends_after_a_restart(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    with_tables(database)
    job, next_job = insert(database, "slow"), insert(database, "slow")
    try:
        with _process(tmp_path, database_url) as worker:
            until(lambda: runs(tmp_path, job) == runs(tmp_path, next_job) == 1)
            until(lambda: row(database, job).progress == {"step": "begun"})
            worker.send_signal(signal.SIGKILL)
            worker.wait(60)
        assert row(database, job).state == "running"
        late = insert(database, "quick")  # committed while nobody runs anything
        with _process(tmp_path, database_url) as worker:
            states = [ended(database, one).state for one in (job, next_job, late)]
            worker.send_signal(signal.SIGKILL)
            worker.wait(60)
        assert states == ["done", "done", "done"]
        assert [runs(tmp_path, one) for one in (job, next_job, late)] == [2, 2, 1]
    finally:
        database.dispose()


@pytest.mark.again
def test_a_dead_workers_jobs_are_taken_over(postgres_url: str, tmp_path: Path) -> None:
    with fresh_database(postgres_url) as url:
        database = Database(url)
        with_tables(database)
        job = insert(database, "slow")
        try:
            with _process(tmp_path, url, "first") as first:
                until(lambda: row(database, job).progress == {"step": "begun"})
                with _process(tmp_path, url, "second") as second:
                    quick = insert(database, "quick")
                    assert ended(database, quick).state == "done"
                    until(lambda: _workers(database) == {"first", "second"})
                    first.send_signal(signal.SIGKILL)
                    first.wait(60)
                    assert ended(database, job).state == "done"
                    until(lambda: _workers(database) == {"second"})
                    second.send_signal(signal.SIGKILL)
                    second.wait(60)
            assert [runs(tmp_path, one) for one in (job, quick)] == [2, 1]
        finally:
            database.dispose()


def test_a_worker_that_stood_still_and_was_taken_for_dead_ends_itself(
    postgres_url: str, tmp_path: Path
) -> None:
    with fresh_database(postgres_url) as url:
        database = Database(url)
        with_tables(database)
        job = insert(database, "slow")
        try:
            with _process(tmp_path, url, "first") as first, _process(tmp_path, url, "second") as second:
                until(
                    lambda: row(database, job).progress == {"step": "begun"} and len(_workers(database)) == 2
                )
                began = next(one for one in (first, second) if _runs_it(database, one, first))
                began.send_signal(signal.SIGSTOP)
                assert ended(database, job).state == "done"
                began.send_signal(signal.SIGCONT)
                assert began.wait(60) == 70
                other = second if began is first else first
                assert other.poll() is None
                other.send_signal(signal.SIGKILL)
                other.wait(60)
            assert runs(tmp_path, job) == 2
        finally:
            database.dispose()


def _runs_it(database: Database, process: subprocess.Popen[bytes], first: subprocess.Popen[bytes]) -> bool:
    """Whether the process has the only job, as DBOS's own table tells."""
    with database.read() as session:
        holder = session.scalar(text("SELECT executor_id FROM dbos.workflow_status"))
    return bool((holder == "first") == (process is first))


def _workers(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Worker.id)))


def _process(folder: Path, url: str, *name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.jobs.worker", str(folder), url, *name]
    log = (folder / "worker.log").open("ab")
    with log:
        return subprocess.Popen(
            command,
            cwd=Path(__file__).parents[3],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": "."},
        )
