"""A job that keeps failing, or keeps ending its worker, is given up until the operator has looked: parked.

What is told of why is a code and a step: never a value, never a library's words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.errors import Problem, not_found
from app.jobs.enqueuing import enqueue
from app.jobs.states import step
from app.models import Job

LOST = "worker_lost"
Told = Callable[[Session, Job, datetime], None]


def _nobody(_session: Session, _job: Job, _now: datetime) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a job is given up, and who is told in the same transaction: that it was parked, and that another job has
    done its work meanwhile."""

    most_tries: int = 10  # failures of one that is tried again by itself
    most_deaths: int = 5  # workers that ended while it ran
    parked: Told = _nobody
    overtaken: Told = _nobody
    jitter: Callable[[], float] = (
        float  # 0 to 1: by how much of a quarter a wait before another try is longer
    )


def park(session: Session, job: Job, reason: Problem, rules: Rules, now: datetime) -> None:
    """Give the job up with its reason, in the caller's transaction."""
    at = str(job.progress.get("step", "begin"))
    job.state, job.finished_at = step(job.state, "park"), now
    job.failure = {**reason.to_dict(), "step": at}
    session.flush()
    rules.parked(session, job, now)


def lost(deaths: int) -> Problem:
    """Why a job is parked that no worker survived."""
    return Problem(LOST, f"{deaths} workers ended while the job ran.")


def overtake(session: Session, done: Job, rules: Rules, now: datetime) -> None:
    """A job that ended well did the work of every parked one that is the same."""
    for job in _parked(session, done.kind, done.subject):
        if job.arguments == done.arguments:
            job.state = step(job.state, "overtake")
            session.flush()
            rules.overtaken(session, job, now)


def is_dangerous(session: Session, kind: str, subject: str) -> bool:
    """Whether such a job is parked because no worker survives it: nobody but the operator begins it again."""
    return any(reason(job)[0] == LOST for job in _parked(session, kind, subject))


def is_given_up(session: Session, kind: str, subject: str) -> bool:
    """Whether the newest such job is parked. It is locked until the transaction ends, so that nobody lets it go."""
    query = select(Job.id).where(Job.kind == kind, Job.subject == subject)
    newest = session.scalar(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(1))
    return newest is not None and locked(session, newest).state == "parked"


def held_up(session: Session, *subjects: str) -> dict[str, Any] | None:
    """What those who wait for something are told while a job for it is parked, as a problem document; None where none
    is."""
    query = select(Job).where(Job.subject.in_(subjects), Job.state == "parked")
    job = session.scalar(query.order_by(Job.finished_at.desc(), Job.id.desc()).limit(1))
    return None if job is None else told(job)


def told(job: Job | Row[Any]) -> dict[str, Any]:
    """The words for whoever waits for a parked job."""
    code, at = reason(job)
    detail = f"The work stopped at the step `{at}`; the platform's operator has been told and decides how it goes on."
    since = None if job.finished_at is None else job.finished_at.isoformat()
    return Problem(
        "job_parked", detail, extra={"reason": code, "step": at, "job": job.id, "since": since}
    ).to_dict()


def why(job: Job | Row[Any]) -> dict[str, Any] | None:
    """What a job's own view tells of its failure."""
    return told(job) if job.state == "parked" else job.failure


def reason(job: Job | Row[Any]) -> tuple[str, str]:
    """(code, step) of why a job was parked."""
    why = job.failure or {}
    return str(why.get("code", "internal")), str(why.get("step", "begin"))


def release(session: Session, job: Job, now: datetime) -> Job:
    """The row that begins a parked job, which is locked, anew with all its tries before it. The caller records who did
    it."""
    job.state = step(job.state, "release")
    again = enqueue(
        session, job.kind, subject=job.subject, arguments=job.arguments, at=now, project=job.project
    )
    return session.get_one(Job, again)


def locked(session: Session, job_id: str) -> Job:
    """The job, locked until the transaction ends; a Problem where there is none."""
    if (job := session.get(Job, job_id, with_for_update=True, populate_existing=True)) is None:
        raise not_found("job")
    return job


def _parked(session: Session, kind: str, subject: str) -> list[Job]:
    query = select(Job).where(Job.kind == kind, Job.subject == subject, Job.state == "parked")
    return list(session.scalars(query.order_by(Job.id).with_for_update()))
