"""What goes first, and that no project holds every worker."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from dbos import DBOS
from sqlalchemy import select

from app.clock import utc_now
from app.db import Database
from app.jobs import JobContext, Rules, Task, enqueue
from app.jobs.engine import DurableEngine, InlineEngine, embedded_system_url
from app.jobs.kinds import HEAD_START, MUST_END, RANKS, SERVES_WITHDRAWAL, TELLS, rank, turn
from app.jobs.rows import LONGEST_WAIT, backoff, waiting
from app.main import build
from app.models import Job
from app.settings import Settings
from tests.schema import with_tables

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    with_tables(made)
    yield made
    made.dispose()


def _insert(db: Database, kind: str, project: str | None = None, at: datetime = NOW) -> str:
    with db.unit_of_work() as session:
        return enqueue(session, kind, subject="x", at=at, project=project)


def _may_go(db: Database, per_project: int | None = None, most: int = 100) -> list[str]:
    with db.read() as session:
        return waiting(session, NOW, most, per_project)


def test_every_kind_has_one_rank(tmp_path: Path) -> None:
    built = build(Settings(_env_file=None, var=tmp_path))
    built.db.dispose()
    ranked = Counter(kind for kinds in RANKS for kind in kinds)
    assert set(ranked.values()) == {1}
    assert built.tasks.keys() - ranked.keys() == set()
    assert ranked.keys() >= MUST_END | TELLS | SERVES_WITHDRAWAL
    assert rank("unheard_of") == len(RANKS)


def test_a_rank_is_a_head_start_and_nobody_waits_for_ever() -> None:
    build = turn("build_extract", NOW)
    assert turn("check_upload", NOW + HEAD_START / 2) < build < turn("check_upload", NOW + HEAD_START * 2)
    assert (
        turn("check_upload", NOW)
        < build
        < turn("index_variables", NOW)
        < turn("build_extract", NOW + 2 * HEAD_START)
    )
    late = NOW + timedelta(days=3650)
    assert (
        turn("reissue_extract", late)
        < turn("destroy_extract", late)
        < turn("check_upload", NOW - timedelta(days=3650))
    )
    assert 0 < turn("index_variables", late) < 2**31


def test_what_goes_first(db: Database) -> None:
    later = NOW + timedelta(seconds=1)
    kinds = ("index_variables", "build_extract", "check_upload", "suspend_permit", "take_withdrawals")
    ids = [_insert(db, kind, at=NOW) for kind in kinds]
    second = _insert(db, "narrow_block", at=later)
    assert _may_go(db) == [ids[4], second, *ids[3::-1]]


def test_no_more_of_a_project_than_may_run(db: Database) -> None:
    first, second, other = (_insert(db, "build_extract", p) for p in ("prj_a", "prj_a", "prj_b"))
    reissue = _insert(db, "reissue_extract", "prj_a")
    assert _may_go(db, 1) == [reissue, other]  # what carries a withdrawal counts, and waits for nothing
    assert _may_go(db, 2) == [reissue, first, other]
    with db.unit_of_work() as session:
        session.get_one(Job, first).state = "running"
        session.get_one(Job, reissue).state = "done"
    assert _may_go(db, 1) == [other]
    assert _may_go(db, 2) == [second, other]
    assert InlineEngine(db, lambda: NOW, {"build_extract": lambda _job: None}).drain() == 2


def test_a_crowd_of_one_project_hides_nobody(db: Database) -> None:
    for _ in range(6):
        _insert(db, "build_extract", "prj_a")
    other = _insert(db, "build_extract", "prj_b")
    (first,) = _may_go(db, 1, most=5)
    with db.unit_of_work() as session:
        session.get_one(Job, first).state = "queued"
    assert _may_go(db, 1, most=5) == [other]


def test_what_failed_together_is_not_tried_together() -> None:
    waits = [backoff(3, jitter / 4) for jitter in range(5)]
    assert (waits[0], waits[-1]) == (timedelta(seconds=16), timedelta(seconds=20))
    assert len(set(waits)) == 5
    assert backoff(40, 1.0) == LONGEST_WAIT * 1.25


@pytest.mark.again
def test_the_durable_engine_keeps_ranks_and_projects(db: Database, tmp_path: Path) -> None:
    """One worker with one place: what runs waits until the relay has handed over all that it may."""
    chore = _insert(db, "index_variables")
    old = _insert(db, "build_extract", "prj_d", NOW - 2 * HEAD_START)
    builds = [_insert(db, "build_extract", "prj_a") for _ in range(2)]
    other = _insert(db, "dry_run", "prj_b")
    check = _insert(db, "check_upload")
    reissue = _insert(db, "reissue_extract", "prj_c")
    ran: list[str] = []

    def states() -> dict[str, str]:
        with db.read() as session:
            return {job.id: job.state for job in session.scalars(select(Job))}

    def task(job: JobContext) -> None:
        ran.append(job.id)
        awaited = {reissue: [chore, old, builds[0], other, check], other: [builds[1]]}.get(job.id, [])
        if job.id == reissue:
            until(lambda: states()[builds[1]] == "waiting")
        until(lambda: all(states()[one] == "queued" for one in awaited))

    tasks: dict[str, Task] = dict.fromkeys(
        ("index_variables", "build_extract", "dry_run", "check_upload", "reissue_extract"), task
    )
    system = embedded_system_url(tmp_path)
    engine = DurableEngine(
        db, utc_now, tasks, system_url=system, executor_id="ranks", poll=0.02, rules=Rules(), at_once=1, per_project=1
    )  # fmt: skip
    engine.start()
    try:
        until(lambda: set(states().values()) == {"done"})
    finally:
        engine.stop()
    assert ran == [reissue, old, check, builds[0], other, builds[1], chore]


@pytest.mark.again
def test_no_more_is_taken_than_there_are_places_where_threads_are_slow_to_begin(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DBOS counts what has begun, so that it must not look again before what it took begins."""
    jobs = [_insert(db, "check_upload") for _ in range(4)]
    together: list[int] = []
    running = 0
    counting = threading.Lock()

    def task(_job: JobContext) -> None:
        nonlocal running
        with counting:
            running += 1
            together.append(running)
        time.sleep(0.3)
        with counting:
            running -= 1

    submit = ThreadPoolExecutor.submit

    def slow(
        self: ThreadPoolExecutor, begin: Callable[..., object], *given: object, **named: object
    ) -> object:
        def later() -> object:
            time.sleep(0.3)
            return begin(*given, **named)

        return submit(self, later)

    engine = DurableEngine(
        db, utc_now, {"check_upload": task}, system_url=embedded_system_url(tmp_path), executor_id="slow", poll=0.02,
        rules=Rules(), at_once=1,
    )  # fmt: skip
    engine.start()
    monkeypatch.setattr(ThreadPoolExecutor, "submit", slow)
    try:
        until(lambda: all(_state(db, job) == "done" for job in jobs))
    finally:
        monkeypatch.undo()
        engine.stop()
    assert together == [1, 1, 1, 1]


def test_a_queue_outlives_an_error_of_the_look_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_asked: object) -> None:
        raise RuntimeError("not of the database")

    monkeypatch.setattr(DBOS, "list_workflows", broken)
    assert DurableEngine._has_begun(cast("DurableEngine", SimpleNamespace(_executor_id="x")), "any")


def _state(db: Database, job_id: str) -> str:
    with db.read() as session:
        return session.get_one(Job, job_id).state


def until(done: object, seconds: float = 120) -> None:
    assert callable(done)
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
