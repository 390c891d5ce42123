"""Bodies and answers about incidents and what is frozen for them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from app.schemas.api_parts import Body, Free, Moment, Note, View

IncidentKind = Literal["leak", "loss", "misuse", "reidentification", "intrusion", "other"]
IncidentState = Literal["reported", "contained", "assessed", "notified", "recovered", "closed", "dismissed"]
TargetKind = Literal["account", "client", "cohort", "institution", "permit", "platform", "project"]
Remark = Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")]


class TargetBody(Body):
    """A thing that an incident touches, or that is frozen; the platform has no id."""

    kind: TargetKind
    subject: str = Field("", max_length=80, pattern=r"^[A-Za-z0-9._~-]*$", description="Its id.")


class IncidentReport(Body):
    """What went wrong. It stops nothing by itself."""

    kind: IncidentKind
    text: Note
    known_at: Moment | None = Field(None, description="When it became known; now, where left out.")
    touches: list[TargetBody] = Field(default_factory=list, max_length=100)


class Containment(Body):
    """What to freeze."""

    targets: list[TargetBody] = Field(
        default_factory=list, max_length=100, description="Empty: all that the incident touches."
    )
    holders: bool = Field(False, description="And the clients and people who hold the projects among them.")


class Thaw(Body):
    """What had no part in it."""

    targets: list[TargetBody] = Field(min_length=1, max_length=100)


class Assessment(Body):
    """How grave it is. Whom it concerns is counted."""

    risk: Literal["none", "some", "high"]
    text: Remark = ""


class Notice(Body):
    """Who was told, or on which ground not."""

    whom: Literal["people", "authority", "institutions"]
    at: Moment | None = Field(None, description="When; now, where left out.")
    ground: Remark = Field("", description="Why they are not told; empty: they were.")


class Remarks(Body):
    """What is to be said of it."""

    text: Remark = ""


class ClockView(View):
    """A legal clock."""

    clock: Literal["contain", "assess", "people", "authority"]
    due_at: datetime
    answered_at: datetime | None
    late: bool


class FreezeView(View):
    """What is, or was, frozen."""

    id: str
    kind: TargetKind
    subject: str
    set_at: datetime
    set_by: str
    lifted_at: datetime | None
    lifted_by: str | None


class IncidentView(View):
    """An incident. Whoever only reported it sees the first six properties, and nothing else of it."""

    id: str
    kind: IncidentKind
    state: IncidentState
    known_at: datetime
    reported_at: datetime
    closed_at: datetime | None
    text: str | None = None
    note: str | None = None
    touches: list[Free] | None = None
    institutions: list[str] | None = None
    reported_by: str | None = None
    contained_at: datetime | None = None
    assessed_at: datetime | None = None
    notified_at: datetime | None = None
    recovered_at: datetime | None = None
    assessment: Free | None = None
    notices: list[Free] | None = None
    clocks: list[ClockView] | None = None
    freezes: list[FreezeView] | None = None
