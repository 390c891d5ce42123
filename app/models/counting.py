"""Questions for a masked count on their way to a worker and back; removed soon after they were answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class CountOrder(Base):
    """waiting -> answered | refused | failed. `question` holds labels that somebody asks for, no row and no person;
    `answer` is the masked count, or the problem document."""

    __tablename__ = "count_orders"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"))
    asker: Mapped[str] = mapped_column(String(120))
    client_id: Mapped[str] = mapped_column(String(120))
    role: Mapped[str] = mapped_column(String(20))
    institution_id: Mapped[str | None] = mapped_column(ForeignKey("institutions.id"))
    question: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20))
    answer: Mapped[dict[str, Any] | None]
    headers: Mapped[dict[str, Any] | None]
    at: Mapped[datetime] = mapped_column(index=True)
