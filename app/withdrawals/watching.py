"""Withdrawals that are not closed yet: how far each is, how often something failed, and since when; for stewards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from app.auth import policy
from app.auth.policy import Actor
from app.clock import Clock
from app.db import Database
from app.jobs import parking
from app.models import BlockMark, Cohort, Job, Withdrawal
from app.schemas.register import DESTROYING

OPEN = Gauge("baekman_withdrawals_open", "Withdrawals that are not closed.", ("state",))
OLDEST = Gauge("baekman_withdrawal_oldest_seconds", "Age of the oldest withdrawal that is not closed.")
LAG = Gauge(
    "baekman_epoch_lag_seconds",
    "Age of the oldest withdrawal whose parts are not singled out yet in some extract.",
)
STATES = ("taken", "blocked", "destroying")


@dataclass(frozen=True)
class WatchService:
    """Looks at what is on its way."""

    db: Database
    clock: Clock

    def unsettled(self, actor: Actor, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Withdrawals of the cohorts that the actor serves or holds which are not closed, newest first. `tries` is how
        often the job that failed most was begun, `failure` the code of its last refusal."""
        query = (
            select(Withdrawal, Cohort.institution_id)
            .join(Cohort, Cohort.id == Withdrawal.cohort_id)
            .where(Withdrawal.state != "closed")
            .order_by(Withdrawal.id.desc())
        )
        if after:
            query = query.where(Withdrawal.id < after)
        found: list[dict[str, Any]] = []
        with self.db.read() as session:
            for row, institution_id in session.execute(query):
                if not policy.may_read_receipt(actor, policy.CohortFacts(institution_id)).allowed:
                    continue
                tries, failure = _tries(session, row)
                found.append(
                    {
                        "id": row.id, "cohort_id": row.cohort_id, "kind": row.kind, "state": row.state,
                        "taken_at": row.taken_at, "tries": tries, "failure": failure, "held_up": held_up(session, row),
                    }
                )  # fmt: skip
                if len(found) == limit:
                    break
        return found

    def observe(self) -> int:
        """Set the metrics; how many withdrawals are not closed."""
        query = select(Withdrawal.state, Withdrawal.taken_at).where(Withdrawal.state != "closed")
        with self.db.read() as session:
            rows = session.execute(query).all()
            behind = session.scalar(select(func.min(BlockMark.at)).where(BlockMark.narrowed.is_(False)))
        LAG.set((self.clock() - behind).total_seconds() if behind else 0)
        counts = Counter(row[0] for row in rows)
        for state in STATES:
            OPEN.labels(state).set(counts[state])
        ages = [(self.clock() - row[1]).total_seconds() for row in rows]
        OLDEST.set(max(ages, default=0.0))
        return len(rows)


def held_up(session: Session, row: Withdrawal) -> dict[str, Any] | None:
    """Where a job that carries the withdrawal was given up until the operator has looked: the words that say so."""
    if row.state == "closed":
        return None
    query = (
        select(Job)
        .where(_carries(row), Job.state == "parked")
        .order_by(Job.finished_at.desc(), Job.id.desc())
    )
    job = session.scalar(query.limit(1))
    return None if job is None else parking.told(job)


def _carries(row: Withdrawal) -> ColumnElement[bool]:
    extracts = select(BlockMark.extract_id).where(BlockMark.withdrawal_id == row.id)
    # Nobody is destroyed before the registers of their cohort are carried out.
    of_cohort = ("destroy_rows", "take_withdrawals") if row.kind in DESTROYING else ("destroy_rows",)
    return or_(
        Job.subject == row.id,
        (Job.kind.in_(("narrow_block", "recall_cohort", "reissue_extract"))) & Job.subject.in_(extracts),
        Job.kind.in_(of_cohort) & (Job.subject == row.cohort_id),
    )


def _tries(session: Session, row: Withdrawal) -> tuple[int, str | None]:
    """Over the jobs that carry this withdrawal: the highest number of a try, and why the one before failed."""
    since = (_carries(row), Job.created_at >= row.taken_at)
    tries = session.scalar(
        select(func.max(Job.attempt)).where(*since, Job.state.in_(("waiting", "queued", "running", "parked")))
    )
    failed = select(Job.failure).where(*since, Job.state.in_(("retried", "failed", "parked")))
    failure = session.scalar(failed.order_by(Job.finished_at.desc()).limit(1)) if (tries or 1) > 1 else None
    return tries or 1, failure.get("code") if failure else None
