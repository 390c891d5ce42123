"""Integrations: the reviewed mapping of several cohorts onto one dictionary, and whom a project knows as one person."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Integration(Base):
    """draft -> checking -> in_review -> published -> superseded | withdrawn. `institution_id` drafts it.

    Publishing makes a united dataset version (`version_id`), of which no row is stored: it is read through the mapping.
    """

    __tablename__ = "integrations"
    __table_args__ = (UniqueConstraint("dataset_id", "number"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    institution_id: Mapped[str] = mapped_column(ForeignKey("institutions.id"), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(20), index=True)
    mapping: Mapped[dict[str, Any] | None]
    mapping_digest: Mapped[str | None] = mapped_column(String(64))
    report: Mapped[
        dict[str, Any] | None
    ]  # what the check found; values of a source are shown to who holds it
    version_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"), unique=True)
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]


class IntegrationApproval(Base):
    """What the steward of a source's institution says of the mapping with this digest: pending | approved | returned.
    Also who may see the integration: the institutions of its sources."""

    __tablename__ = "integration_approvals"

    integration_id: Mapped[str] = mapped_column(ForeignKey("integrations.id"), primary_key=True)
    institution_id: Mapped[str] = mapped_column(ForeignKey("institutions.id"), primary_key=True, index=True)
    mapping_digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(20))
    by: Mapped[str | None] = mapped_column(String(120))
    note: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime | None]


class LinkedPerson(Base):
    """Release memory of linkage: participants that a project was given as one person have the same `seed`, of which
    their pseudonym and shift are derived. It stays when one of them leaves, so that the other keeps the pseudonym."""

    __tablename__ = "linked_people"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    participant_key: Mapped[int] = mapped_column(ForeignKey("participants.key"), primary_key=True)
    seed: Mapped[bytes] = mapped_column(LargeBinary(16))
