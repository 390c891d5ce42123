"""The row of a new job, in the transaction of whoever wants it done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.db import new_id
from app.jobs.bells import tell_others
from app.models import Job


def enqueue(
    session: Session,
    kind: str,
    *,
    subject: str,
    arguments: Mapping[str, Any] | None = None,
    at: datetime,
    not_before: datetime | None = None,
    attempt: int = 1,
    project: str | None = None,
) -> str:
    """Add a job row to the caller's transaction; its id. It is not begun before `not_before`, and counts against what
    may run of its `project` at a time."""
    job = Job(
        id=new_id("job"),
        kind=kind,
        subject=subject,
        arguments=dict(arguments or {}),
        state="waiting",
        progress={},
        failure=None,
        created_at=at,
        finished_at=None,
        attempt=attempt,
        deaths=0,
        project=project,
        cancel_asked_at=None,
        not_before=not_before,
    )
    session.add(job)
    session.flush()
    tell_others(session)
    return job.id
