"""Publications: what came of a project, said by its holder."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Publication(Base):
    """A publication from the data of a permit, by its DOI; each once a project."""

    __tablename__ = "publications"
    __table_args__ = (UniqueConstraint("project_id", "doi"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    permit_id: Mapped[str] = mapped_column(ForeignKey("permits.id"), index=True)
    doi: Mapped[str] = mapped_column(String(200))
    title: Mapped[str] = mapped_column(String(500))
    year: Mapped[int]
    reported_by: Mapped[str] = mapped_column(String(120))
    reported_at: Mapped[datetime]
