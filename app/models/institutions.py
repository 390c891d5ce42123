"""Institutions: who holds cohorts, and who may ask."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
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
