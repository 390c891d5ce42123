"""What a monitor asks of the platform's chain: how old the newest backup is."""

from __future__ import annotations

from prometheus_client import Gauge
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.chain import PLATFORM
from app.clock import Clock
from app.models import AuditLine

BACKUP = Gauge("baekman_backup_age_seconds", "Age of the newest backup; NaN: there is none.")


def newest_backup(session: Session) -> AuditLine | None:
    """The line of the newest backup that was made whole."""
    query = select(AuditLine).where(AuditLine.stream == PLATFORM, AuditLine.event == "backup.made")
    return session.scalar(query.order_by(AuditLine.number.desc()).limit(1))


def observe(session: Session, clock: Clock) -> None:
    """Set the metric from the rows."""
    made = newest_backup(session)
    BACKUP.set((clock() - made.at).total_seconds() if made is not None else float("nan"))
