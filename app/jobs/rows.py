"""One job: enqueued in the caller's transaction, executed at least once, its progress and end written to its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.clock import Clock
from app.db import Database, new_id
from app.errors import Problem
from app.models import Job

log = structlog.get_logger(__name__)
ENDED = frozenset({"done", "failed", "retried"})
# What must come to an end however often it fails: a withdrawal that stops half way would leave parts closed.
MUST_END = frozenset(
    {
        "correct_permit",
        "destroy_extract",
        "destroy_rows",
        "follow_version",
        "narrow_block",
        "recall_erratum",
        "reissue_extract",
        "return_finding",
        "settle_withdrawal",
        "suspend_permit",
        "take_withdrawals",
    }
)
LONGEST_WAIT = timedelta(hours=1)
failures = Counter("baekman_job_failures", "Jobs that ended badly, each try of its own.", ("kind",))


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a task sees of its job."""

    id: str
    subject: str
    arguments: dict[str, Any]
    db: Database

    def progress(self, **counts: Any) -> None:
        """Write how far the job is; counts and step names only, people read it while they wait."""
        with self.db.unit_of_work() as session:
            if job := session.get(Job, self.id):
                job.progress = {**job.progress, **counts}


Task = Callable[[JobContext], None]


def enqueue(
    session: Session,
    kind: str,
    *,
    subject: str,
    arguments: Mapping[str, Any] | None = None,
    at: datetime,
    not_before: datetime | None = None,
    attempt: int = 1,
) -> str:
    """Add a job row to the caller's transaction; its id. It is not begun before `not_before`."""
    job = Job(
        id=new_id("job"),
        kind=kind,
        subject=subject,
        arguments=dict(arguments or {}),
        state="waiting",
        progress={},
        failure=None,
        created_at=at,
        finished_at=None,
        attempt=attempt,
        not_before=not_before,
    )
    session.add(job)
    session.flush()
    return job.id


def execute(db: Database, clock: Clock, tasks: Mapping[str, Task], job_id: str) -> None:
    """Run one job to its end. A `Problem` is the job's failure; anything else is logged by its type alone."""
    with db.unit_of_work() as session:
        job = session.get(Job, job_id)
        if job is None or job.state in ENDED:
            return
        job.state = "running"
        context = JobContext(job.id, job.subject, dict(job.arguments), db)
        kind = job.kind
    failure: dict[str, Any] | None = None
    try:
        tasks[kind](context)
    except Problem as problem:
        failure = problem.to_dict()
    except Exception as error:
        # The message of a library may hold a value, so only the type and the place are logged.
        log.error("job failed", job=job_id, kind=kind, error=type(error).__name__, at=_place(error))
        failure = Problem("internal", "The job failed on our side; it is recorded under its id.").to_dict()
    now = clock()
    if failure:
        failures.labels(kind).inc()
    with db.unit_of_work() as session:
        if job := session.get(Job, job_id):
            job.state = "failed" if failure else "done"
            job.failure, job.finished_at = failure, now
            if failure and kind in MUST_END:
                _try_again(session, job, now, now + backoff(job.attempt))


def backoff(attempt: int) -> timedelta:
    """How long after a failed try the next one begins: 1, 4, 16, ... seconds, at most an hour."""
    return min(LONGEST_WAIT, timedelta(seconds=4 ** min(attempt - 1, 8)))


def order(session: Session, kind: str, subject: str, at: datetime, *, wanted: bool = True) -> None:
    """One job of a kind and subject is enough, for it sees everything that is committed before it begins: one that
    has not begun is let begin now, and else, where it is `wanted`, there is a new one."""
    query = select(Job).where(Job.subject == subject, Job.kind == kind, Job.state.in_(("waiting", "queued")))
    # Locked, so that it begins after this transaction and sees its changes.
    held = session.scalar(query.order_by(Job.created_at, Job.id).limit(1).with_for_update())
    if held is not None:
        held.not_before = None
    elif wanted:
        enqueue(session, kind, subject=subject, at=at)


def waiting(session: Session, at: datetime, most: int = 100) -> list[str]:
    """Ids of the rows that may be handed over now, oldest first."""
    due = or_(Job.not_before.is_(None), Job.not_before <= at)
    query = select(Job.id).where(Job.state == "waiting", due).order_by(Job.created_at, Job.id).limit(most)
    return list(session.scalars(query))


def requeue_failed(db: Database, clock: Clock, kinds: Sequence[str]) -> int:
    """Try failed jobs of these kinds again, each as a new row with the same arguments; how many.

    `execute` tries what must end again by itself; this finds rows of such kinds that failed before they were known.
    """
    with db.unit_of_work() as session:
        query = select(Job).where(Job.state == "failed", Job.kind.in_(kinds)).order_by(Job.created_at, Job.id)
        failed = list(session.scalars(query.with_for_update()))
        for job in failed:
            _try_again(session, job, clock(), None)
        return len(failed)


def _try_again(session: Session, job: Job, now: datetime, not_before: datetime | None) -> None:
    job.state = "retried"
    enqueue(
        session, job.kind, subject=job.subject, arguments=job.arguments, at=now, not_before=not_before,
        attempt=job.attempt + 1,
    )  # fmt: skip


def view(job: Job) -> dict[str, Any]:
    """A job as people see it."""
    return {
        "id": job.id,
        "kind": job.kind,
        "subject": job.subject,
        "state": job.state,
        "progress": job.progress,
        "failure": job.failure,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
    }


def _place(error: BaseException) -> str:
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
