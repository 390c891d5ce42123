"""A job is ended before its end where somebody asks: before it begins, at a step, inside a query; never for one who
left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import select

from app.alarms.desk import JobDesk
from app.db import Database
from app.engines.duckdb.sql import connect
from app.engines.protocol import Limits
from app.errors import Problem
from app.jobs import MUST_END, JobContext, enqueue, execute
from app.jobs.cancelling import break_off, cancel, comes_to_rest
from app.jobs.engine import InlineEngine
from app.jobs.kinds import SERVES_WITHDRAWAL, TELLS
from app.models import AuditLine, Job
from tests.schema import with_tables

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    with_tables(made)
    yield made
    made.dispose()


def _insert(db: Database, kind: str, **more: Any) -> str:
    with db.unit_of_work() as session:
        return enqueue(session, kind, subject="x", at=NOW, **more)


def _row(db: Database, job_id: str) -> Job:
    with db.read() as session:
        return session.get_one(Job, job_id)


def _ask(db: Database, kind: str) -> int:
    with db.unit_of_work() as session:
        return cancel(session, kind, "x", NOW)


@pytest.mark.parametrize("kind", sorted(TELLS))
def test_what_somebody_watches_is_begun_so_that_it_says_so_there(db: Database, kind: str) -> None:
    job_id, told = _insert(db, kind, not_before=NOW + timedelta(days=1)), list[str]()
    assert _ask(db, kind) == 1

    def task(job: JobContext) -> None:
        try:
            job.progress(step="reading")
        except Exception as error:
            told.append(job.refusal(error, "").code)
            raise

    assert InlineEngine(db, lambda: NOW, {kind: task}).drain() == 1
    row = _row(db, job_id)
    assert (told, row.state, (row.failure or {})["code"]) == (["cancelled"], "cancelled", "cancelled")


@pytest.mark.parametrize("kind", sorted(MUST_END - SERVES_WITHDRAWAL))
def test_what_nobody_watches_is_not_begun_and_not_tried_again(db: Database, kind: str) -> None:
    job_id, begun = _insert(db, kind), list[str]()
    assert _ask(db, kind) == 1
    engine = InlineEngine(db, lambda: NOW, {kind: lambda job: begun.append(job.id)})
    assert (engine.drain(), engine.drain(), begun, _row(db, job_id).state) == (1, 0, [], "cancelled")


@pytest.mark.parametrize("kind", sorted(SERVES_WITHDRAWAL))
def test_what_serves_a_withdrawal_is_never_cancelled(db: Database, kind: str) -> None:
    job_id = _insert(db, kind)
    for ask in (lambda: _ask(db, kind), lambda: JobDesk(db, lambda: NOW).cancel(job_id)):
        with pytest.raises(Problem):
            ask()
    begun: list[str] = []
    InlineEngine(db, lambda: NOW, {kind: lambda job: begun.append(job.id)}).drain()
    assert (begun, _row(db, job_id).state) == ([job_id], "done")


def test_what_runs_ends_at_its_next_step_unless_that_is_the_last(db: Database) -> None:
    def task(job: JobContext) -> None:
        job.progress(step="write")
        _ask(db, "build_extract")
        job.progress(step=str(job.arguments["next"]))

    states = []
    for after in ("verify", "publish"):
        job_id = _insert(db, "build_extract", arguments={"next": after})
        execute(db, lambda: NOW, {"build_extract": task}, job_id)
        states.append(_row(db, job_id).state)
    assert states == ["cancelled", "done"]  # what is recorded is handed out


def test_a_long_query_is_broken_off(db: Database, tmp_path: Path) -> None:
    job_id, met = _insert(db, "dry_run"), list[type]()

    def endless(job: JobContext) -> None:
        con = connect(Limits("512MB", 1, 1000), tmp_path, [])
        job.progress(step="write")
        try:
            con.execute("SELECT count(*) FROM range(10000000000000) a(n) WHERE n % 7 = 3").fetchall()
        except duckdb.Error as error:
            met.append(type(error))
            raise

    runs = threading.Thread(target=execute, args=(db, lambda: NOW, {"dry_run": endless}, job_id))
    runs.start()
    end = time.monotonic() + 60
    while runs.is_alive():
        assert time.monotonic() < end
        if _row(db, job_id).progress == {"step": "write"}:
            _ask(db, "dry_run")
            break_off(job_id)  # again and again: the query may not have begun yet
        runs.join(0.05)
    assert met == [duckdb.InterruptException]
    row = _row(db, job_id)
    assert (row.state, (row.failure or {})["code"]) == ("cancelled", "cancelled")


def test_the_operator_ends_whatever_has_not_ended(db: Database) -> None:
    desk, job_id = JobDesk(db, lambda: NOW), _insert(db, "dry_run")
    assert desk.cancel(job_id)["cancel_asked_at"] == NOW
    with db.read() as session:
        assert comes_to_rest(session, "dry_run", "x")
        lines = [(line.event, line.actor, line.object_id) for line in session.scalars(select(AuditLine))]
    assert lines == [("job.cancelled", "shell", job_id)]

    def task(job: JobContext) -> None:
        job.progress(step="fit")

    InlineEngine(db, lambda: NOW, {"dry_run": task}).drain()
    with pytest.raises(Problem):
        desk.cancel(job_id)
    with db.read() as session:
        assert not comes_to_rest(session, "dry_run", "x")
