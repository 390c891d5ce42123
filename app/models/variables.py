"""The catalogue's index of variables: what dictionaries say of each column, and how many people have a value."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Variable(Base):
    """One column of one dataset as its versions describe it: said otherwise, it is another row.

    `key` brings together what is the same in several cohorts: the first concept, else the folded name. The four texts
    are what it is searched by, folded (`app/catalog/folded.py`), each with a space before every word.
    """

    __tablename__ = "variables"
    __table_args__ = (
        UniqueConstraint("dataset_id", "table_name", "name", "digest"),
        Index("ix_variables_key_id", "key", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    table_name: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    digest: Mapped[str] = mapped_column(String(64))  # of `about`
    key: Mapped[str] = mapped_column(String(400))
    by_name: Mapped[str]
    by_label: Mapped[str]
    by_code: Mapped[str]
    by_concept: Mapped[str]
    about: Mapped[dict[str, Any]]  # what the catalogue shows of it


class VariableVersion(Base):
    """That a version has the variable. `people` of its table and those of them with a value, as they were counted once
    from the vault; none where nothing was counted (a table without people, a united version)."""

    __tablename__ = "variable_versions"

    variable_id: Mapped[str] = mapped_column(ForeignKey("variables.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), primary_key=True, index=True)
    people: Mapped[int | None]
    filled: Mapped[int | None]


class VariableIndex(Base):
    """That a version was taken into the index, and when."""

    __tablename__ = "variable_indexes"

    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), primary_key=True)
    at: Mapped[datetime]
