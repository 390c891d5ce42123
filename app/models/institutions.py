"""Institutions: who holds cohorts and who may ask; that they leave or merge, and who held what before."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Institution(Base):
    """A hospital, biobank, public body, university or company."""

    __tablename__ = "institutions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    name_ko: Mapped[str] = mapped_column(String(200), default="")
    for_profit: Mapped[bool] = mapped_column(default=False)
    country: Mapped[str] = mapped_column(String(2), default="KR")
    ror: Mapped[str | None] = mapped_column(String(9))  # its id at ror.org
    created_at: Mapped[datetime]
    # Since when it takes part no more: it left, or went over to a successor.
    closed_at: Mapped[datetime | None]
    successor_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"))


class Departure(Base):
    """declared -> confirmed -> carried_out; called_off. An institution leaves, or merges into its successor.

    `counts`: how many of what ended or went over; `on`: the day from which it counts.
    """

    __tablename__ = "departures"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    institution_id: Mapped[str] = mapped_column(ForeignKey("institutions.id"), index=True)
    kind: Mapped[str] = mapped_column(String(10))  # leave | merge
    successor_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"), index=True)
    reason: Mapped[str]
    on: Mapped[date]
    state: Mapped[str] = mapped_column(String(20), index=True)
    declared_by: Mapped[str] = mapped_column(String(120))
    declared_at: Mapped[datetime]
    confirmed_by: Mapped[str | None] = mapped_column(String(120))
    confirmed_at: Mapped[datetime | None]
    carried_out_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]]


class Custody(Base):
    """That an institution held a cohort until it went over to another: what was recorded of it until then stands in
    that institution's audit stream, and is told under its name."""

    __tablename__ = "custodies"

    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), primary_key=True)
    institution_id: Mapped[str] = mapped_column(ForeignKey("institutions.id"), primary_key=True, index=True)
    until: Mapped[datetime]
    name: Mapped[str] = mapped_column(String(200))  # the cohort's name at that time
