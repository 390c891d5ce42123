"""Bodies and answers about feeds and alarms."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from app.schemas.api_parts import Body, Free, Note, View

FeedKind = Literal["consents", "withdrawals"]
AlarmState = Literal["open", "acknowledged", "closed"]
AlarmLevel = Literal["warning", "critical"]
# A number in JSON may be written without its fraction.
Share = Annotated[float, Field(strict=False, ge=0, le=1)]


class FeedRhythm(Body):
    """How often news of this kind come, and how small a register may be beside the last one."""

    every_days: int = Field(ge=1, le=366)
    min_share: Share = Field(
        0.0, description="Least share of the people of the last register; 0: not judged."
    )


class FeedView(View):
    """A promised feed."""

    cohort_id: str
    kind: FeedKind
    every_days: int
    min_share: float
    last_at: datetime
    due_at: datetime
    overdue: bool


class AlarmView(View):
    """An alarm; `data` holds counts and times."""

    id: str
    kind: str
    level: AlarmLevel
    subject: str
    institution_id: str | None
    cohort_id: str | None
    state: AlarmState
    data: Free
    raised_at: datetime
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    closed_by: str | None
    closed_at: datetime | None
    note: str


class AlarmNote(Body):
    """What is known of it."""

    note: Note
