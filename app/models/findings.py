"""Findings on their way back: from a pseudonym of a project to the institution that can reach the person."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Finding(Base):
    """reported -> accepted | declined; accepted -> forwarded | ended; forwarded -> delivered -> informed.

    The row never holds a pseudonym and a return token at once: the worker takes the one away as it writes the other.
    `text` is sensitive: it stands nowhere else, and goes when the finding has come to its end.
    """

    __tablename__ = "findings"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    extract_id: Mapped[str] = mapped_column(ForeignKey("extracts.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    cohort_id: Mapped[str | None] = mapped_column(
        ForeignKey("cohorts.id"), index=True
    )  # known once it is forwarded
    pseudonym: Mapped[str | None] = mapped_column(String(16))
    return_token: Mapped[str | None] = mapped_column(String(40))
    code: Mapped[str] = mapped_column(String(60))
    text: Mapped[str]
    state: Mapped[str] = mapped_column(String(20), index=True)
    reason: Mapped[str] = mapped_column(default="")  # of a refusal, for whoever reported it
    reported_by: Mapped[str] = mapped_column(String(120))
    reported_at: Mapped[datetime]
    decided_by: Mapped[str | None] = mapped_column(String(120))
    decided_at: Mapped[datetime | None]
    forwarded_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
