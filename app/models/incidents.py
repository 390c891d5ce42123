"""Incidents, the institutions that each touches, and the freezes that stop what could go on leaking."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Incident(Base):
    """reported -> contained -> assessed -> notified -> recovered -> closed; dismissed.

    `touches`: `[{kind, subject}]`, what it is about. `assessment` holds counts and a risk, `notices` who was told when.
    """

    __tablename__ = "incidents"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(
        String(20)
    )  # leak | loss | misuse | reidentification | intrusion | other
    text: Mapped[str]
    state: Mapped[str] = mapped_column(String(20), index=True)
    touches: Mapped[list[Any]]
    reported_by: Mapped[str] = mapped_column(String(120), index=True)
    known_at: Mapped[datetime]  # the legal clocks begin here
    reported_at: Mapped[datetime]
    contained_at: Mapped[datetime | None]
    assessed_at: Mapped[datetime | None]
    notified_at: Mapped[datetime | None]
    recovered_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    assessment: Mapped[dict[str, Any] | None]
    notices: Mapped[list[Any]]  # [{whom, at, by, ground}]
    note: Mapped[str] = mapped_column(default="")


class IncidentParty(Base):
    """An institution whose data an incident touches: it and its stewards see the incident."""

    __tablename__ = "incident_parties"

    incident_id: Mapped[str] = mapped_column(ForeignKey("incidents.id"), primary_key=True)
    institution_id: Mapped[str] = mapped_column(ForeignKey("institutions.id"), primary_key=True, index=True)


class Freeze(Base):
    """What is stopped for an incident until somebody lifts it; what a freeze stops: `app/auth/policy/freezing.py`."""

    __tablename__ = "freezes"
    __table_args__ = (Index("ix_freezes_lifted_at_kind_subject", "lifted_at", "kind", "subject"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    incident_id: Mapped[str] = mapped_column(ForeignKey("incidents.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    subject: Mapped[str] = mapped_column(String(80))  # the id; empty for the platform
    set_at: Mapped[datetime]
    set_by: Mapped[str] = mapped_column(String(120))
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str | None] = mapped_column(String(120))
