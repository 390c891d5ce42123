"""Access requests, their reviews, and what an approval makes: a project, a permit, an agreement."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class AccessRequest(Base):
    """A DAR: who asks, for what purpose, which columns and rows, until when."""

    __tablename__ = "access_requests"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), index=True)
    cohort_id: Mapped[str | None] = mapped_column(
        ForeignKey("cohorts.id"), index=True
    )  # None: a united version, see `consents.cohorts.behind`
    applicant: Mapped[str] = mapped_column(String(120), index=True)
    institution_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"))
    title: Mapped[str] = mapped_column(String(300))
    summary: Mapped[str] = mapped_column(default="")
    purpose: Mapped[dict[str, Any]]  # DUO purpose
    plan: Mapped[dict[str, Any]]
    plan_hash: Mapped[str] = mapped_column(String(64))
    irb_reference: Mapped[str] = mapped_column(String(200), default="")
    end_date: Mapped[date]
    state: Mapped[str] = mapped_column(String(30), index=True)
    duo_match: Mapped[dict[str, Any] | None]
    claimed_by: Mapped[str | None] = mapped_column(String(120))
    notes: Mapped[list[Any]]  # [{at, by, on, text}]: what stewards wrote to the applicant
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]


class Review(Base):
    """A sub-review: DRB or IRB, pending | approved | exempt | returned | rejected.

    `institution_id` is empty where one cohort is asked for; of a united version each institution's boards answer.
    """

    __tablename__ = "reviews"
    __table_args__ = (UniqueConstraint("request_id", "board", "institution_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("access_requests.id"))
    board: Mapped[str] = mapped_column(String(10))  # DRB | IRB
    institution_id: Mapped[str] = mapped_column(String(40), default="", server_default="")
    state: Mapped[str] = mapped_column(String(20))
    reviewer: Mapped[str] = mapped_column(String(120))
    note: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime]


class DryRun(Base):
    """The gate's answer to: what would this plan release for this purpose? Counts only. `basis`: over whom
    (`requests/batches.py`), by keys that lead to nobody once they are destroyed."""

    __tablename__ = "dry_runs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("access_requests.id"), index=True)
    plan_hash: Mapped[str] = mapped_column(String(64))
    purpose_digest: Mapped[str | None] = mapped_column(String(64))  # `consents.purposes`; none: before 0029
    state: Mapped[str] = mapped_column(String(20))  # queued | ready | failed
    result: Mapped[dict[str, Any] | None]
    basis: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Project(Base):
    """One approved request with its renewals and amendments; owns the key of its pseudonyms."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("access_requests.id"), unique=True)
    holder: Mapped[str] = mapped_column(String(120), index=True)
    institution_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"))
    key_wrapped: Mapped[bytes | None] = mapped_column(
        LargeBinary
    )  # none until a worker builds its first extract
    created_at: Mapped[datetime]


class Permit(Base):
    """pending_agreement -> active -> suspended -> expired | revoked."""

    __tablename__ = "permits"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"))
    cohort_id: Mapped[str | None] = mapped_column(ForeignKey("cohorts.id"), index=True)
    state: Mapped[str] = mapped_column(String(20))
    plan: Mapped[dict[str, Any]]
    plan_hash: Mapped[str] = mapped_column(String(64))
    dry_run_id: Mapped[str] = mapped_column(ForeignKey("dry_runs.id"))
    purpose: Mapped[dict[str, Any]]
    conditions: Mapped[list[Any]]
    delivery: Mapped[str] = mapped_column(String(20), default="download")
    # Whether it goes on to the dataset's next version by itself, where that is compatible; else it stays on its own.
    follow: Mapped[bool] = mapped_column(default=False, server_default=false())
    asked_version: Mapped[str | None] = mapped_column(
        String(40)
    )  # that a steward is to decide on, for it breaks
    valid_until: Mapped[date]
    agreement_text: Mapped[str]
    agreement_digest: Mapped[str] = mapped_column(String(64))
    agreed_by: Mapped[str | None] = mapped_column(String(120))
    agreed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
