"""Bodies and answers about the institution's year: staff who leave, and what inspectors read."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from app.schemas.api_parts import Body, Day, View


class Leaving(Body):
    """Who takes over from somebody who leaves."""

    successor_id: str = Field(
        pattern=r"^[a-z0-9_]{1,40}$", description="An active account of the same role and institution."
    )


class RenewedClient(View):
    """A client under its new owner; `client_secret` is in this answer and nowhere else."""

    id: str
    name: str
    active: bool
    client_secret: str | None = None


class Left(View):
    """What was moved: clients, requests, reviews, projects, alarms."""

    account_id: str
    successor_id: str
    moved: dict[str, int]
    clients: list[RenewedClient]


class ReleaseView(View):
    """Who got what, on which ground, until when, destroyed when."""

    extract_id: str
    project_id: str
    permit_id: str
    holder: str
    holder_institution: str | None
    held_by: list[str]
    taken_over: list[str]
    cohorts: list[str]
    dataset: str
    version: int
    title: str
    tables: list[str]
    rows: int
    bytes: int
    people_ever: int
    generation: int
    purpose: str
    irb_reference: str
    reviews: list[str]
    decided_at: datetime | None
    plan_hash: str
    agreement_digest: str
    agreed_at: datetime | None
    permit_state: str
    valid_until: date
    extract_state: str
    ready_at: datetime | None
    expires_at: datetime | None
    first_delivered_at: datetime | None
    last_delivered_at: datetime | None
    deliveries: int
    recalls_open: int
    recalls_destroyed: int
    recalls_retained: int
    recalls_frozen: int
    destroyed_at: datetime | None


QuotaName = Literal["inbox_bytes", "vault_bytes", "live_extracts"]


class QuotaOrder(Body):
    """How much there may be."""

    subject: str = Field(
        pattern=r"^[A-Za-z0-9_:.~-]{1,120}$",
        description="An institution's id; for extracts, `client:` or `account:` and an id.",
    )
    most: int = Field(ge=0, le=2**62, description="0: without limit.")


class QuotaView(View):
    """How much there is and may be; `most` 0: without limit."""

    name: QuotaName
    used: int
    most: int


class DepartureOrder(Body):
    """That an institution leaves, or goes over into a successor."""

    reason: str = Field(min_length=1, max_length=500, description="Why; no name of a person.")
    on: Day = Field(description="The day (UTC) from which it counts.")
    successor_id: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_]{1,40}$",
        description="The institution into which it goes over; left out: it leaves, and nobody takes its place.",
    )


class DepartureView(View):
    """declared -> confirmed -> carried_out; called_off. `counts`: how many of what ended or went over."""

    id: str
    institution_id: str
    kind: Literal["leave", "merge"]
    successor_id: str | None
    reason: str
    on: date
    state: Literal["declared", "confirmed", "carried_out", "called_off"]
    declared_by: str
    declared_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None
    carried_out_at: datetime | None
    counts: dict[str, int]
