"""A job that was given up rings until the operator has let it go: at the highest level where somebody who left waits
for it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.alarms.raising import Cause, raise_alarm, resolve, show
from app.audit import PLATFORM, record
from app.clock import Clock
from app.db import Database
from app.jobs.kinds import SERVES_WITHDRAWAL
from app.jobs.parking import reason
from app.models import Job, Upload

PARKED: Final = "job_parked"


def parked(session: Session, job: Job, now: datetime) -> None:
    """In the transaction that parks it: the line in the platform's chain, and the alarm."""
    code, step = reason(job)
    data = {
        "kind": job.kind,
        "subject": job.subject,
        "code": code,
        "step": step,
        "tries": job.attempt,
        "deaths": job.deaths,
    }
    record(
        session, stream=PLATFORM, event="job.parked", actor="platform", object_id=job.id, at=now, data=data
    )
    _ring(session, job, now)
    show(session)


def overtaken(session: Session, job: Job, now: datetime) -> None:
    """Another job has done its work."""
    let_go(session, job, "job.overtaken", "platform", now)


def let_go(session: Session, job: Job, event: str, actor: str, now: datetime) -> None:
    """The job is parked no longer: who let it go, in the chain, and no alarm any more."""
    data = {"kind": job.kind, "subject": job.subject}
    record(session, stream=PLATFORM, event=event, actor=actor, object_id=job.id, at=now, data=data)
    resolve(session, PARKED, job.id, now)
    show(session)


def ring_again(db: Database, clock: Clock) -> int:
    """An alarm for every parked job whose alarm was closed though nothing was done about the job; how many."""
    now = clock()
    with db.unit_of_work() as session:
        jobs = session.scalars(
            select(Job).where(Job.state == "parked").order_by(Job.id).with_for_update()
        ).all()
        rung = sum(_ring(session, job, now) for job in jobs)
        if rung:
            show(session)
        return rung


def _ring(session: Session, job: Job, now: datetime) -> bool:
    code, step = reason(job)
    cause = Cause(PARKED, job.id, "critical" if _somebody_waits(session, job) else "warning")
    return raise_alarm(session, cause, {"kind": job.kind, "code": code, "step": step}, now)


def _somebody_waits(session: Session, job: Job) -> bool:
    """Whether somebody who left waits for it; a register may hold withdrawals that nobody has read yet."""
    if job.kind in SERVES_WITHDRAWAL:
        return True
    upload = session.get(Upload, job.subject) if job.kind == "check_upload" else None
    return upload is not None and upload.purpose == "consents"
