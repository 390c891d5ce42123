"""What the operator sees of jobs, and does with them; each with its line in the platform's chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.alarms.parked import let_go
from app.audit import PLATFORM, record
from app.clock import Clock
from app.db import Database
from app.errors import Problem
from app.jobs import cancelling, parking
from app.jobs.kinds import SERVES_WITHDRAWAL, rank
from app.models import Job

SHOWN = ("parked", *cancelling.ALIVE)


@dataclass(frozen=True)
class JobDesk:
    """What is done with jobs, by the shell and by `OperatingService`; `actor` is who does it."""

    db: Database
    clock: Clock
    actor: str = "shell"

    def listed(self, states: Sequence[str] = SHOWN, limit: int = 200) -> list[dict[str, Any]]:
        """Jobs in these states: parked ones first, then the newest."""
        query = select(Job).where(Job.state.in_(states))
        order = (Job.state != "parked", Job.created_at.desc(), Job.id.desc())
        with self.db.read() as session:
            return [shown(job) for job in session.scalars(query.order_by(*order).limit(limit))]

    def release(self, job_id: str) -> dict[str, Any]:
        """Begin a parked job anew; the row that does it."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            old = parking.locked(session, job_id)
            again = parking.release(session, old, now)
            let_go(session, old, "job.released", self.actor, now)
            return shown(again)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """End a job before its end, at its next step; the row that ends. One that serves a withdrawal never ends so.

        A parked one is begun for that alone: it tells whoever waits for it."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            job = parking.locked(session, job_id)
            cancelling.must_not_serve_withdrawal(job)
            data = {"kind": job.kind, "subject": job.subject}
            if job.state == "parked":
                again = parking.release(session, job, now)
                let_go(session, job, "job.cancelled", self.actor, now)
                job = again
            elif job.state in cancelling.ALIVE:
                record(
                    session, stream=PLATFORM, event="job.cancelled", actor=self.actor, object_id=job.id, at=now,
                    data=data,
                )  # fmt: skip
            else:
                raise Problem("conflict", f"The job is {job.state}.", extra={"state": job.state})
            cancelling.ask(job, now)
            return shown(job)


def shown(job: Job) -> dict[str, Any]:
    """A job as its operator sees it: no value, no words of a library."""
    code, step = parking.reason(job) if job.failure else (None, job.progress.get("step"))
    return {
        "id": job.id, "kind": job.kind, "rank": rank(job.kind), "subject": job.subject, "state": job.state,
        "code": code, "step": step,
        "tries": job.attempt, "deaths": job.deaths, "serves_withdrawal": job.kind in SERVES_WITHDRAWAL,
        "cancel_asked_at": job.cancel_asked_at, "created_at": job.created_at, "finished_at": job.finished_at,
        "not_before": job.not_before, "worker": job.worker if job.state == "running" else None,
    }  # fmt: skip
