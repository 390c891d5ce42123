"""Jobs as rows that commit with the change that needs them; and answers kept for repeated POSTs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Job(Base):
    """One piece of work; its life is told by `app/jobs/states.py`. `arguments` and `progress` hold ids and counts
    only."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_created_at", "state", "created_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(80), index=True)  # the object it works on
    arguments: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20))
    progress: Mapped[dict[str, Any]]
    failure: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(
        default=1, server_default="1"
    )  # how often its work was begun, with this
    deaths: Mapped[int] = mapped_column(
        default=0, server_default="0"
    )  # how many workers ended while this row ran
    project: Mapped[str | None] = mapped_column(
        String(40)
    )  # whose work it is, or the request that is to be one: few of one project run at a time
    cancel_asked_at: Mapped[datetime | None]  # somebody wants it to end before its end
    not_before: Mapped[datetime | None]  # a waiting row is not handed over before this moment
    worker: Mapped[str | None] = mapped_column(String(80))  # who began it last


class Worker(Base):
    """A process that works off jobs. One that is marked dead ends itself; its row goes when others have its work."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    dead_at: Mapped[datetime | None]


class IdempotentAnswer(Base):
    """The answer to a POST with an Idempotency-Key; the body is a digest, the answer ids and states only."""

    __tablename__ = "idempotent_answers"

    asker: Mapped[str] = mapped_column(String(120), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    route: Mapped[str] = mapped_column(String(200))
    body_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    answer: Mapped[dict[str, Any] | None]
    headers: Mapped[dict[str, Any] | None]
    at: Mapped[datetime]
