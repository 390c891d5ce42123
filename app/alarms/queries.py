"""The SQL of alarms and feeds: what has arrived is read off the institution's audit chain, which no one can forget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.alarms.states import LIVE
from app.audit import PLATFORM, institution_stream
from app.auth.policy import Actor
from app.consents.custody import streams
from app.consents.feeds import due_at, overdue_days
from app.models import Alarm, AuditHead, AuditLine, Cohort, Feed, Upload, Withdrawal

NOTHING = "feed.nothing_to_report"
LOOKED = "monitor.looked"
_LOADED = "consent.register_loaded"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One piece of news: `people` is how many a register named, None where it was no register."""

    number: int
    at: datetime
    people: int | None


def feeds_of(session: Session, cohort_id: str) -> list[Feed]:
    """The feeds that the holder of a cohort promised."""
    return list(session.scalars(select(Feed).where(Feed.cohort_id == cohort_id).order_by(Feed.kind)))


def every_feed(session: Session) -> list[tuple[str, str]]:
    """(cohort, kind) of every feed."""
    query = select(Feed.cohort_id, Feed.kind).order_by(Feed.cohort_id, Feed.kind)
    return [(row[0], row[1]) for row in session.execute(query)]


def head_of(session: Session, institution_id: str) -> int:
    """The number of the last line in an institution's stream."""
    head = session.get(AuditHead, institution_stream(institution_id))
    return head.number if head else 0


def last_size(session: Session, cohort: Cohort) -> int | None:
    """How many people the last register of the cohort named."""
    query = select(AuditLine).where(
        AuditLine.stream.in_(streams(session, cohort.id)),
        AuditLine.event == _LOADED,
        AuditLine.object_id == cohort.id,
    )
    newest = query.order_by(AuditLine.at.desc(), AuditLine.number.desc())
    line = session.scalars(newest.limit(1)).first()
    return int(line.data["people"]) if line else None


def arrivals(session: Session, cohort: Cohort, kind: str, after: int) -> Iterator[Arrival]:
    """What came of a feed after a line of the stream, in its order. What the platform did by itself is no news."""
    query = select(AuditLine).where(
        AuditLine.stream == institution_stream(cohort.institution_id),
        AuditLine.number > after,
        AuditLine.event.in_((_LOADED, NOTHING, "consent.changed", "withdrawal.taken")),
    )
    for line in session.scalars(query.order_by(AuditLine.number)).all():
        if _is_news(session, line, cohort.id, kind):
            loaded = line.event == _LOADED
            yield Arrival(line.number, line.at, int(line.data["people"]) if loaded else None)


def last_look(session: Session) -> datetime | None:
    """When the monitor last did its work."""
    query = select(AuditLine.at).where(AuditLine.stream == PLATFORM, AuditLine.event == LOOKED)
    return session.scalars(query.order_by(AuditLine.number.desc()).limit(1)).first()


def empty_register_since(session: Session, cohort_id: str, since: datetime) -> bool:
    """Whether a register without a line was sent since then. It was refused, so nothing of it is in the chain."""
    query = select(Upload.report).where(
        Upload.cohort_id == cohort_id, Upload.purpose == "consents", Upload.created_at > since,
        Upload.state.in_(("quarantined", "rejected")),
    )  # fmt: skip
    for report in session.scalars(query.order_by(Upload.id.desc()).limit(20)):
        if any(problem.get("code") == "empty_file" for problem in (report or {}).get("problems", ())):
            return True
    return False


def alarms(
    session: Session, actor: Actor, wanted: dict[str, str | None], after: str | None, limit: int
) -> list[Alarm]:
    """The alarms that the actor may see, newest first; `wanted`: column -> value, None: any."""
    query = select(Alarm)
    if actor.role == "platform":
        query = query.where(Alarm.institution_id.is_(None))
    elif actor.role != "steward" or actor.institution_id is not None:
        # An institution or its steward; an actor of neither has no institution, and no alarm is named so.
        query = query.where(Alarm.institution_id == (actor.institution_id or ""))
    for name, value in wanted.items():
        if value is not None:
            query = query.where(getattr(Alarm, name) == value)
    if after:
        query = query.where(Alarm.id < after)
    return list(session.scalars(query.order_by(Alarm.id.desc()).limit(limit)))


def living(session: Session, kind: str) -> list[Alarm]:
    """The alarms of a kind that are not closed."""
    query = select(Alarm).where(Alarm.kind == kind, Alarm.state.in_(LIVE))
    return list(session.scalars(query.order_by(Alarm.id)))


def alarm_view(row: Alarm) -> dict[str, Any]:
    """An alarm as those who may see it see it."""
    return {
        "id": row.id, "kind": row.kind, "level": row.level, "subject": row.subject,
        "institution_id": row.institution_id, "cohort_id": row.cohort_id, "state": row.state, "data": row.data,
        "raised_at": row.raised_at, "acknowledged_by": row.acknowledged_by, "acknowledged_at": row.acknowledged_at,
        "closed_by": row.closed_by, "closed_at": row.closed_at, "note": row.note,
    }  # fmt: skip


def feed_view(feed: Feed, now: datetime) -> dict[str, Any]:
    """A feed, and whether it is in time."""
    return {
        "cohort_id": feed.cohort_id, "kind": feed.kind, "every_days": feed.every_days, "min_share": feed.min_share,
        "last_at": feed.last_at, "due_at": due_at(feed), "overdue": overdue_days(feed, now) > 0,
    }  # fmt: skip


def _is_news(session: Session, line: AuditLine, cohort_id: str, kind: str) -> bool:
    if line.event == "withdrawal.taken":
        if kind != "withdrawals" or line.actor == "platform":
            return False
        of = session.scalar(select(func.count()).where(
            Withdrawal.id == line.object_id, Withdrawal.cohort_id == cohort_id
        ))  # fmt: skip
        return bool(of)
    if line.object_id != cohort_id:
        return False
    if line.event == NOTHING:
        return bool(line.data.get("kind") == kind)
    if kind == "consents":
        return True
    return line.event == _LOADED and bool(line.data.get("withdrawn"))
