"""What the operator of the platform sees of the work and does with it: counts, codes, steps, ages; of nobody's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.alarms.desk import SHOWN, JobDesk, shown
from app.alarms.states import LIVE
from app.audit.measures import newest_backup
from app.auth import policy
from app.auth.policy import Actor
from app.clock import Clock
from app.db import Database
from app.jobs.kinds import SERVES_WITHDRAWAL, rank
from app.jobs.workers import DEAD_AFTER
from app.models import Alarm, BlockMark, Job, Withdrawal, Worker

View = dict[str, Any]
LATELY: Final = timedelta(days=1)
MOST: Final = 100  # of the jobs that the overview names one by one; the list has all of them


@dataclass(frozen=True)
class OperatingService:
    """For the platform alone: the policy decides, here and for every verb."""

    db: Database
    clock: Clock

    def must_see(self, actor: Actor) -> None:
        """A `Problem` unless the actor may see and do what is here."""
        policy.must_administer(actor)

    def jobs(
        self, actor: Actor, states: Sequence[str] = SHOWN, after: str | None = None, limit: int = MOST
    ) -> list[View]:
        """Jobs in these states, newest first."""
        policy.must_administer(actor)
        query = select(Job).where(Job.state.in_(states)).order_by(Job.id.desc())
        if after:
            query = query.where(Job.id < after)
        with self.db.read() as session:
            return [shown(job) for job in session.scalars(query.limit(limit))]

    def release(self, actor: Actor, job_id: str) -> View:
        """Begin a parked job anew, with all its tries before it; the row that does it."""
        policy.must_administer(actor)
        return JobDesk(self.db, self.clock, actor.subject).release(job_id)

    def cancel(self, actor: Actor, job_id: str) -> View:
        """End a job at its next step, a parked one too; never one that serves a withdrawal."""
        policy.must_administer(actor)
        return JobDesk(self.db, self.clock, actor.subject).cancel(job_id)

    def overview(self, actor: Actor) -> View:
        """Everything that waits, runs, was given up, failed or rings now, who works, and what is behind. Ages in
        seconds."""
        policy.must_administer(actor)
        now = self.clock()
        with self.db.read() as session:
            workers = list(session.scalars(select(Worker).order_by(Worker.started_at, Worker.id)))
            seen = {one.id: one.seen_at for one in workers}
            backup = newest_backup(session)
            behind = session.scalar(select(func.min(BlockMark.at)).where(BlockMark.narrowed.is_(False)))
            return {
                "at": now,
                "waiting": _waiting(session, now),
                "running": [_running(job, seen, now) for job in _named(session, "running")],
                "parked": [shown(job) for job in _named(session, "parked")],
                "failed": _failed(session, now - LATELY),
                "alarms": _alarms(session, now),
                "workers": [_worker(one, now) for one in workers],
                "backup_age": None if backup is None else _age(backup.at, now),
                "withdrawals": _withdrawals(session, now),
                "epoch_lag": 0 if behind is None else _age(behind, now),
            }


def _named(session: Session, state: str) -> Sequence[Job]:
    query = select(Job).where(Job.state == state).order_by(Job.created_at, Job.id).limit(MOST)
    return session.scalars(query).all()


def _waiting(session: Session, now: datetime) -> list[View]:
    """By rank, as they go; `later`: how many of them wait for another try."""
    later = func.count().filter(Job.not_before > now)
    query = (
        select(Job.kind, func.count(), later, func.min(Job.created_at))
        .where(Job.state.in_(("waiting", "queued")))
        .group_by(Job.kind)
    )
    found = [
        {
            "rank": rank(kind), "kind": kind, "count": count, "later": later_, "oldest_age": _age(oldest, now),
            "serves_withdrawal": kind in SERVES_WITHDRAWAL,
        }
        for kind, count, later_, oldest in session.execute(query)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one["rank"], one["kind"]))


def _running(job: Job, seen: dict[str, datetime], now: datetime) -> View:
    beat = seen.get(job.worker or "")
    counts = {name: n for name, n in job.progress.items() if isinstance(n, int) and not isinstance(n, bool)}
    return {
        **shown(job), "age": _age(job.created_at, now), "progress": counts,
        "heartbeat_age": None if beat is None else _age(beat, now),
    }  # fmt: skip


def _failed(session: Session, since: datetime) -> list[View]:
    """What ended badly and is not tried again, by kind and code, the last first."""
    counted: dict[tuple[str, str], View] = {}
    query = select(Job.kind, Job.failure, Job.finished_at).where(
        Job.state == "failed", Job.finished_at >= since
    )
    for kind, failure, at in session.execute(query.order_by(Job.finished_at.desc()).limit(10 * MOST)):
        code = str((failure or {}).get("code", "internal"))
        one = counted.setdefault((kind, code), {"kind": kind, "code": code, "count": 0, "last_at": at})
        one["count"] += 1
    return list(counted.values())


def _alarms(session: Session, now: datetime) -> list[View]:
    query = (
        select(Alarm.level, Alarm.kind, Alarm.state, func.count(), func.min(Alarm.raised_at))
        .where(Alarm.state.in_(LIVE))
        .group_by(Alarm.level, Alarm.kind, Alarm.state)
        .order_by(Alarm.level, Alarm.kind, Alarm.state)
    )
    return [
        {"level": level, "kind": kind, "state": state, "count": count, "oldest_age": _age(oldest, now)}
        for level, kind, state, count, oldest in session.execute(query)
    ]


def _withdrawals(session: Session, now: datetime) -> list[View]:
    query = (
        select(Withdrawal.state, func.count(), func.min(Withdrawal.taken_at))
        .where(Withdrawal.state != "closed")
        .group_by(Withdrawal.state)
        .order_by(Withdrawal.state)
    )
    return [
        {"state": state, "count": count, "oldest_age": _age(oldest, now)}
        for state, count, oldest in session.execute(query)
    ]


def _worker(row: Worker, now: datetime) -> View:
    age = _age(row.seen_at, now)
    state = "dead" if row.dead_at is not None else "silent" if age >= DEAD_AFTER else "alive"
    return {"id": row.id, "state": state, "heartbeat_age": age, "started_at": row.started_at}


def _age(at: datetime, now: datetime) -> int:
    return max(0, int((now - at).total_seconds()))
