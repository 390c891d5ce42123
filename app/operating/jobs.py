"""What the operator sees of jobs, and does with those that are parked; each with its line in the platform's chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.alarms.parked import let_go
from app.clock import Clock
from app.db import Database
from app.jobs import parking
from app.jobs.kinds import SERVES_WITHDRAWAL
from app.jobs.states import ENDED, TRANSITIONS
from app.models import Job

ALIVE = tuple(state for state in TRANSITIONS if state not in ENDED)
SHOWN = ("parked", *ALIVE)


@dataclass(frozen=True)
class JobDesk:
    """The verbs of `baekman jobs`; `actor` is who does it."""

    db: Database
    clock: Clock
    actor: str = "shell"

    def listed(self, states: Sequence[str] = SHOWN, limit: int = 200) -> list[dict[str, Any]]:
        """Jobs in these states: parked ones first, then the newest."""
        query = select(Job).where(Job.state.in_(states))
        order = (Job.state != "parked", Job.created_at.desc(), Job.id.desc())
        with self.db.read() as session:
            return [_shown(job) for job in session.scalars(query.order_by(*order).limit(limit))]

    def release(self, job_id: str) -> dict[str, Any]:
        """Begin a parked job anew; the row that does it."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            old, again = parking.release(session, job_id, now)
            let_go(session, old, "job.released", self.actor, now)
            return _shown(again)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Give a parked job up for good."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            job = parking.give_up(session, job_id)
            let_go(session, job, "job.cancelled", self.actor, now)
            return _shown(job)


def _shown(job: Job) -> dict[str, Any]:
    """A job as its operator sees it: no value, no words of a library."""
    code, step = parking.reason(job) if job.failure else (None, job.progress.get("step"))
    return {
        "id": job.id, "kind": job.kind, "subject": job.subject, "state": job.state, "code": code, "step": step,
        "tries": job.attempt, "deaths": job.deaths, "serves_withdrawal": job.kind in SERVES_WITHDRAWAL,
        "created_at": job.created_at, "finished_at": job.finished_at, "not_before": job.not_before,
    }  # fmt: skip
