"""What a monitor asks of the queue: how deep, how old, and how long builds take. Read from rows when it is asked."""

from __future__ import annotations

from datetime import datetime
from statistics import quantiles
from typing import Final

from prometheus_client import Gauge
from sqlalchemy import func, select

from app.clock import Clock
from app.db import Database
from app.models import Job

DEPTH = Gauge("baekman_jobs", "Jobs by kind that are in this state now.", ("kind", "state"))
OLDEST = Gauge("baekman_job_oldest_seconds", "Age of the oldest job that may begin and has not.")
SECONDS = Gauge(
    "baekman_job_seconds", "Seconds from order to end of the last 200 that ended well.", ("kind", "quantile")
)
FAILURES = Gauge("baekman_job_failures", "Jobs that ended badly, each try of its own.", ("kind",))
BUILDS: Final = ("build_extract", "reissue_extract", "dry_run")
_STATES = ("waiting", "queued", "running", "failed", "parked")
_ENDED_BADLY = ("retried", "failed", "parked")
_LAST = 200


def observe(db: Database, clock: Clock) -> None:
    """Set the metrics from the database, so that any process of the service tells the same."""
    now = clock()
    due = Job.state.in_(("waiting", "queued")) & (Job.not_before.is_(None) | (Job.not_before <= now))
    with db.read() as session:
        counts = session.execute(
            select(Job.kind, Job.state, func.count())
            .where(Job.state.in_(_STATES))
            .group_by(Job.kind, Job.state)
        ).all()
        failures = session.execute(
            select(Job.kind, func.count()).where(Job.state.in_(_ENDED_BADLY)).group_by(Job.kind)
        ).all()
        oldest: datetime | None = session.scalar(select(func.min(Job.created_at)).where(due))
        ended = {
            kind: session.execute(
                select(Job.created_at, Job.finished_at)
                .where(Job.kind == kind, Job.state == "done")
                .order_by(Job.created_at.desc())
                .limit(_LAST)
            ).all()
            for kind in BUILDS
        }
    DEPTH.clear()
    for kind, state, number in counts:
        DEPTH.labels(kind, state).set(number)
    FAILURES.clear()
    for kind, number in failures:
        FAILURES.labels(kind).set(number)
    OLDEST.set((now - oldest).total_seconds() if oldest else 0)
    for kind, rows in ended.items():
        seconds = [(finished - created).total_seconds() for created, finished in rows if finished is not None]
        if seconds:
            cuts = quantiles(seconds * 2, n=20, method="inclusive")  # twice, so that one is enough
            SECONDS.labels(kind, "0.5").set(cuts[9])
            SECONDS.labels(kind, "0.95").set(cuts[18])
