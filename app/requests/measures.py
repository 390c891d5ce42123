"""What a monitor asks of requests: how many wait for a decision, for how long, and how many days decisions take."""

from __future__ import annotations

from statistics import median

from prometheus_client import Gauge
from sqlalchemy import select

from app.clock import Clock
from app.db import Database
from app.models import AccessRequest

WAITING = Gauge("baekman_requests_undecided", "Requests that were submitted and are not decided.")
OLDEST = Gauge("baekman_request_oldest_days", "Days since the oldest of them was submitted.")
DAYS = Gauge("baekman_days_to_decision", "Median days from submission to decision of the last 200.")
_LAST = 200
_DAY = 86_400
_OPEN = ("submitted", "in_review", "conditionally_approved")


def observe(db: Database, clock: Clock) -> None:
    """Set the metrics from the database."""
    waits = select(AccessRequest.submitted_at).where(AccessRequest.state.in_(_OPEN))
    last = (
        select(AccessRequest.submitted_at, AccessRequest.decided_at)
        .where(AccessRequest.submitted_at.is_not(None), AccessRequest.decided_at.is_not(None))
        .order_by(AccessRequest.decided_at.desc())
        .limit(_LAST)
    )
    with db.read() as session:
        submitted = [at for at in session.scalars(waits) if at is not None]
        decided = session.execute(last).all()
    now = clock()
    WAITING.set(len(submitted))
    OLDEST.set(max(((now - at).total_seconds() / _DAY for at in submitted), default=0.0))
    days = [
        (end - begin).total_seconds() / _DAY
        for begin, end in decided
        if begin is not None and end is not None
    ]
    DAYS.set(median(days) if days else float("nan"))
