"""Cohorts and their people: the participant index, the consent register and its epochs."""

from __future__ import annotations

import secrets
from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint, false
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
    # Since when its institution takes part no more, and nobody took it over: nothing of it leaves any more.
    ended_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("institution_id", "name"),)


class Participant(Base):
    """One person in one cohort. `key` is dense, orders the vault and is never reused.

    `identity` is the keyed hash of the source identifier, which itself is never stored; `random_id` is what
    pseudonyms are derived from (45 CFR 164.514(c): not from the person's information). `return_token` is what the
    institution knows the person by in every answer of ours; it is random, so it tells nothing of the key or the id.
    `linkage` is the keyed hash of a token that was issued outside: the same person in another cohort has the same.
    Of a person who was destroyed only the key stays: the rest is replaced by other random bytes or emptied
    (`consents/forgetting.py`), so that nothing leads to it any more.
    """

    __tablename__ = "participants"
    __table_args__ = (
        UniqueConstraint("cohort_id", "identity"),
        Index("uq_participants_return_token", "return_token", unique=True),
        {"sqlite_autoincrement": True},
    )

    key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    identity: Mapped[bytes] = mapped_column(LargeBinary(32))
    random_id: Mapped[bytes] = mapped_column(LargeBinary(16), unique=True)
    created_at: Mapped[datetime]
    # May be null only where code older than the column wrote the row: `return_tokens` then makes one when asked.
    return_token: Mapped[bytes | None] = mapped_column(
        LargeBinary(16), default=lambda: secrets.token_bytes(16)
    )
    linkage: Mapped[bytes | None] = mapped_column(LargeBinary(16), index=True)
    may_link: Mapped[bool] = mapped_column(default=False, server_default=false())  # to their data elsewhere
    deceased: Mapped[bool] = mapped_column(default=False, server_default=false())
    destroyed_at: Mapped[datetime | None]


class Consent(Base):
    """What a participant says today of one domain; `purposes` are DUO codes that narrow the cohort's terms.

    `states.py` of the register says how `state` moves. `adult_due` is the day from which the word that others gave
    for a minor holds no more for anything new.
    """

    __tablename__ = "consents"
    __table_args__ = (Index("ix_consents_cohort_id_domain_state", "cohort_id", "domain", "state"),)

    participant_key: Mapped[int] = mapped_column(ForeignKey("participants.key"), primary_key=True)
    domain: Mapped[str] = mapped_column(String(20), primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    state: Mapped[str] = mapped_column(String(20))  # granted | reconsent_due | ended | withdrawn
    purposes: Mapped[list[Any]]
    form_version: Mapped[str] = mapped_column(String(40), default="")
    language: Mapped[str] = mapped_column(String(10), default="", server_default="")
    given_at: Mapped[date | None]
    valid_until: Mapped[date | None]
    by_proxy: Mapped[bool] = mapped_column(default=False, server_default=false())
    assent: Mapped[str] = mapped_column(String(10), default="", server_default="")  # given, or nothing said
    adult_due: Mapped[date | None]
    kind: Mapped[str] = mapped_column(String(20), default="", server_default="")  # of a withdrawal
    changed_at: Mapped[datetime]


class ConsentChange(Base):
    """The history of the register: one row a change, never altered; the newest at a time is what held then."""

    __tablename__ = "consent_changes"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    participant_key: Mapped[int] = mapped_column(ForeignKey("participants.key"), index=True)
    domain: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    purposes: Mapped[list[Any]]
    form_version: Mapped[str] = mapped_column(String(40), default="", server_default="")
    language: Mapped[str] = mapped_column(String(10), default="", server_default="")
    given_at: Mapped[date | None]
    valid_until: Mapped[date | None]
    by_proxy: Mapped[bool] = mapped_column(default=False, server_default=false())
    assent: Mapped[str] = mapped_column(String(10), default="", server_default="")
    adult_due: Mapped[date | None]
    kind: Mapped[str] = mapped_column(String(20), default="", server_default="")
    epoch: Mapped[int]
    at: Mapped[datetime]


class PersonChange(Base):
    """The history of what is said of a person as a whole, never altered."""

    __tablename__ = "person_changes"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    participant_key: Mapped[int] = mapped_column(ForeignKey("participants.key"), index=True)
    may_link: Mapped[bool]
    deceased: Mapped[bool]
    epoch: Mapped[int]
    at: Mapped[datetime]


class PlatformKey(Base):
    """A random key of the platform as a whole, by what it is for; wrapped by the master key."""

    __tablename__ = "platform_keys"

    purpose: Mapped[str] = mapped_column(String(40), primary_key=True)
    key_wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
