"""Raise an alarm once while its cause lasts, and resolve it when the cause is gone; each with its audit line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client import Gauge
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.alarms.states import LIVE, step
from app.audit import PLATFORM, institution_stream, record
from app.auth.policy import Actor
from app.db import new_id
from app.models import Alarm

ALARMS = Gauge("baekman_alarms", "Alarms that are not closed.", ("kind", "level", "state"))


@dataclass(frozen=True, slots=True)
class Cause:
    """What an alarm is about. `subject` and `kind` together name it: there is one living alarm of each."""

    kind: str
    subject: str
    level: str = "warning"
    institution_id: str | None = None
    cohort_id: str | None = None


def living(session: Session, kind: str, subject: str) -> Alarm | None:
    """The alarm of this cause that is not closed, locked until the transaction ends."""
    query = select(Alarm).where(Alarm.kind == kind, Alarm.subject == subject, Alarm.state.in_(LIVE))
    return session.scalars(query.order_by(Alarm.id).limit(1).with_for_update()).first()


def raise_alarm(session: Session, cause: Cause, data: Mapping[str, Any], now: datetime) -> bool:
    """Raise the alarm, unless it is raised already; whether it is new. The caller holds the lock of its subject."""
    if living(session, cause.kind, cause.subject) is not None:
        return False
    row = Alarm(
        id=new_id("alm"), kind=cause.kind, level=cause.level, subject=cause.subject,
        institution_id=cause.institution_id, cohort_id=cause.cohort_id, state="open", data=dict(data), raised_at=now,
        acknowledged_by=None, acknowledged_at=None, closed_by=None, closed_at=None, note="",
    )  # fmt: skip
    session.add(row)
    session.flush()
    note(session, row, "alarm.raised", "platform", now, dict(data))
    return True


def resolve(session: Session, kind: str, subject: str, now: datetime) -> bool:
    """Close the alarm of this cause, which is gone; whether there was one."""
    if (row := living(session, kind, subject)) is None:
        return False
    row.state, row.closed_by, row.closed_at = step(row.state, "resolve"), "platform", now
    session.flush()
    note(session, row, "alarm.resolved", "platform", now, {})
    return True


def note(session: Session, row: Alarm, event: str, actor: str, now: datetime, data: dict[str, Any]) -> None:
    """The audit line of an alarm: in its institution's stream, or in the platform's."""
    stream = institution_stream(row.institution_id) if row.institution_id else PLATFORM
    body = {"kind": row.kind, "level": row.level, "subject": row.subject, **data}
    record(session, stream=stream, event=event, actor=actor, object_id=row.id, at=now, data=body)


def show(session: Session) -> None:
    """Write the metric anew from the rows."""
    query = select(Alarm.kind, Alarm.level, Alarm.state, func.count()).where(Alarm.state.in_(LIVE))
    ALARMS.clear()
    for kind, level, state, count in session.execute(query.group_by(Alarm.kind, Alarm.level, Alarm.state)):
        ALARMS.labels(kind, level, state).set(count)


def hand_over(session: Session, old: str, new: str, _actor: Actor, _now: datetime) -> dict[str, int]:
    """The alarms that somebody who leaves was looking into are their successor's."""
    query = select(Alarm).where(Alarm.acknowledged_by == old, Alarm.state == "acknowledged").with_for_update()
    rows = session.scalars(query.order_by(Alarm.id)).all()
    for row in rows:
        row.acknowledged_by = new
    session.flush()
    return {"alarms": len(rows)}
