"""Returned data: datasets that a project made of what it was given, with where they come from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class DataReturn(Base):
    """The lineage of a returned dataset: the generation of an extract that it was made of, and under which permit.

    `domains` are those of the extract: whoever withdraws from any of them leaves the returned dataset too.
    """

    __tablename__ = "data_returns"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), unique=True)
    version_id: Mapped[str] = mapped_column(
        ForeignKey("dataset_versions.id")
    )  # the first one, filled by the holder
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), index=True)
    extract_id: Mapped[str] = mapped_column(ForeignKey("extracts.id"), index=True)
    generation: Mapped[int]
    permit_id: Mapped[str] = mapped_column(ForeignKey("permits.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    source_version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"))
    purpose: Mapped[dict[str, Any]]  # of the permit
    domains: Mapped[list[Any]]
    returned_by: Mapped[str] = mapped_column(String(120), index=True)
    returned_at: Mapped[datetime]
