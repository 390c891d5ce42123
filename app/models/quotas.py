"""Quotas that differ from the settings: for one institution, or for one holder."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Quota(Base):
    """How much of something there may be; 0: without limit. `subject`: an institution's id, or a holder's subject."""

    __tablename__ = "quotas"

    subject: Mapped[str] = mapped_column(String(120), primary_key=True)
    name: Mapped[str] = mapped_column(
        String(20), primary_key=True
    )  # inbox_bytes | vault_bytes | live_extracts
    most: Mapped[int] = mapped_column(BigInteger)
    set_by: Mapped[str] = mapped_column(String(120))
    set_at: Mapped[datetime]
