"""Withdrawals: taken at once, carried to every copy, closed by a receipt that names no one."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Withdrawal(Base):
    """taken -> blocked -> (destroying) -> closed. `participant_key` is cleared when the person's rows are destroyed.

    `kind`: no_further_contact | no_further_use | destroy | narrowed | unlinked | cohort_ended. The last is of everybody
    in the cohort at once, and there is no key.

    `commitment`: HMAC-SHA256 of who it was under a key that is not kept (`app/withdrawals/commitments.py`).
    """

    __tablename__ = "withdrawals"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), index=True)
    participant_key: Mapped[int | None]
    domains: Mapped[list[Any]]
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    receipt: Mapped[dict[str, Any]]
    taken_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    commitment: Mapped[str | None] = mapped_column(String(64))


class Destruction(Base):
    """One rewriting of a cohort's vault without those who asked for it: begun -> rewritten -> destroyed.

    `keys` and `waits_for` (ids of uploads, then of jobs, that read the old objects) are emptied at its end.
    """

    __tablename__ = "destructions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), index=True)
    state: Mapped[str] = mapped_column(String(20))
    withdrawals: Mapped[list[Any]]
    keys: Mapped[list[Any]]
    waits_for: Mapped[list[Any]]
    counts: Mapped[dict[str, Any]]  # people, rows, objects, originals
    begun_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RecallNotice(Base):
    """What a holder must delete: pseudonyms of the holder's own project, sealed to that project."""

    __tablename__ = "recall_notices"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # Why: a person left, or values were found to be wrong; one of the two.
    withdrawal_id: Mapped[str | None] = mapped_column(ForeignKey("withdrawals.id"), index=True)
    erratum_id: Mapped[str | None] = mapped_column(ForeignKey("errata.id"), index=True)
    extract_id: Mapped[str] = mapped_column(ForeignKey("extracts.id"), index=True)
    pseudonym: Mapped[str] = mapped_column(String(16))
    source: Mapped[str | None] = mapped_column(
        String(40)
    )  # of a united version: only the rows of this source
    # What the extract goes on to hold under the pseudonym: other domains of the person, rows that only their other
    # cohorts hold, or nothing: domains | sources | (empty)
    stays: Mapped[str] = mapped_column(String(20), default="")
    state: Mapped[str] = mapped_column(String(20))  # open | destroyed | retained | frozen
    ground: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime]
    attested_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]  # until when its holder has to answer
    frozen_until: Mapped[date | None]
    overdue_at: Mapped[datetime | None]  # when its being overdue was told to the stewards
