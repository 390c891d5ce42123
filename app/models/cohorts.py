"""Cohorts and their people: the participant index, the consent register and its epochs."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Cohort(Base):
    """People recruited under one consent form, with the data use terms (DUO) that hold for all of them."""

    __tablename__ = "cohorts"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    institution_id: Mapped[str] = mapped_column(ForeignKey("institutions.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    name_ko: Mapped[str] = mapped_column(String(200), default="")
    description: Mapped[str] = mapped_column(default="")
    consent_form: Mapped[dict[str, Any]]  # {version, language, sha256, domains}
    duo: Mapped[list[Any]]  # [{term, ...modifier parameters}]
    identity_key_wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    epoch: Mapped[int] = mapped_column(
        default=0
    )  # moves with every consent change; locked by the gate's step 5
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("institution_id", "name"),)


class Participant(Base):
    """One person in one cohort. `key` is dense, orders the vault and is never reused.

    `identity` is the keyed hash of the source identifier, which itself is never stored; `random_id` is what
    pseudonyms are derived from (45 CFR 164.514(c): not from the person's information).
    """

    __tablename__ = "participants"
    __table_args__ = (UniqueConstraint("cohort_id", "identity"), {"sqlite_autoincrement": True})

    key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    identity: Mapped[bytes] = mapped_column(LargeBinary(32))
    random_id: Mapped[bytes] = mapped_column(LargeBinary(16), unique=True)
    created_at: Mapped[datetime]


class Consent(Base):
    """What a participant says today of one domain; `purposes` are DUO codes that narrow the cohort's terms."""

    __tablename__ = "consents"
    __table_args__ = (Index("ix_consents_cohort_id_domain_state", "cohort_id", "domain", "state"),)

    participant_key: Mapped[int] = mapped_column(ForeignKey("participants.key"), primary_key=True)
    domain: Mapped[str] = mapped_column(String(20), primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    state: Mapped[str] = mapped_column(String(20))  # granted | withdrawn
    purposes: Mapped[list[Any]]
    form_version: Mapped[str] = mapped_column(String(40), default="")
    given_at: Mapped[date | None]
    valid_until: Mapped[date | None]
    changed_at: Mapped[datetime]


class ConsentChange(Base):
    """The history of the register: one row a change, never altered."""

    __tablename__ = "consent_changes"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    participant_key: Mapped[int] = mapped_column(ForeignKey("participants.key"), index=True)
    domain: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    purposes: Mapped[list[Any]]
    valid_until: Mapped[date | None]
    epoch: Mapped[int]
    at: Mapped[datetime]
