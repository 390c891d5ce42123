"""Feeds that institutions have promised, and the alarms of what stays silent or must not be."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Feed(Base):
    """How often the holder of a cohort promises news of one kind, and when it last came."""

    __tablename__ = "feeds"

    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)  # consents | withdrawals
    every_days: Mapped[int]
    min_share: Mapped[
        float
    ]  # a register that names fewer than this share of the last one has shrunk; 0: not judged
    last_at: Mapped[datetime]
    size: Mapped[int | None]  # people whom the last register named that was not found too small
    seen: Mapped[int]  # number of the last line of the institution's audit stream that was looked at
    declared_at: Mapped[datetime]


class Alarm(Base):
    """open -> acknowledged -> closed. `data` holds counts and times only."""

    __tablename__ = "alarms"
    __table_args__ = (Index("ix_alarms_subject_kind_state", "subject", "kind", "state"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(30))
    level: Mapped[str] = mapped_column(String(10))  # warning | critical
    subject: Mapped[str] = mapped_column(String(80))  # what it is about, such as `coh_...:withdrawals`
    institution_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"), index=True)
    cohort_id: Mapped[str | None] = mapped_column(ForeignKey("cohorts.id"))
    state: Mapped[str] = mapped_column(String(20))
    data: Mapped[dict[str, Any]]
    raised_at: Mapped[datetime]
    acknowledged_by: Mapped[str | None] = mapped_column(String(120))
    acknowledged_at: Mapped[datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(120))
    closed_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(default="")
