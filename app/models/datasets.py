"""Datasets, their versions, uploads that arrive and tables that were checked into the vault."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Dataset(Base):
    """Tables registered from a cohort; a united dataset has no cohort of its own, its versions have sources."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("cohort_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    cohort_id: Mapped[str | None] = mapped_column(ForeignKey("cohorts.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    name_ko: Mapped[str] = mapped_column(String(200), default="")
    description: Mapped[str] = mapped_column(default="")
    keywords: Mapped[list[Any]]
    # Who made it, as it is cited: [{name, given_name, family_name, orcid, affiliation_id}]; empty: who holds it.
    creators: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    created_at: Mapped[datetime]


class DatasetVersion(Base):
    """draft -> validating -> (quarantined | ready) -> in_review -> published -> superseded | withdrawn."""

    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("dataset_id", "number"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(20))
    dictionary: Mapped[dict[str, Any] | None]
    dictionary_digest: Mapped[str | None] = mapped_column(String(64))
    report: Mapped[dict[str, Any] | None]
    people: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=1)  # the ETag; moves with every edit
    doi: Mapped[str | None] = mapped_column(String(200), unique=True)  # minted elsewhere, set by who holds it
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    made_from: Mapped[str | None] = mapped_column(
        ForeignKey("dataset_versions.id"), index=True
    )  # the version whose dictionary and tables a draft began with; none where it began empty
    stated: Mapped[
        list[Any] | None
    ]  # breaking changes that its institution knows of: [{table, column, change, reason}]


class VersionSource(Base):
    """One source of a united version: a version of one cohort, under the name that its rows carry. No row is copied."""

    __tablename__ = "version_sources"
    __table_args__ = (UniqueConstraint("version_id", "name"),)

    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), primary_key=True)
    source_version_id: Mapped[str] = mapped_column(
        ForeignKey("dataset_versions.id"), primary_key=True, index=True
    )
    name: Mapped[str] = mapped_column(String(40))


class Upload(Base):
    """open -> receiving -> complete -> checking -> accepted | quarantined | rejected | expired."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"), index=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), index=True)
    purpose: Mapped[str] = mapped_column(String(20))  # table | consents
    table_name: Mapped[str | None] = mapped_column(String(64))
    mode: Mapped[str] = mapped_column(
        String(10), default="replace", server_default="replace"
    )  # append | patch
    partition: Mapped[dict[str, Any] | None]  # of an append: {column, from, before}, what its rows lie in
    length: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str | None] = mapped_column(String(64))
    report: Mapped[dict[str, Any] | None]
    original: Mapped[str] = mapped_column(String(20), default="kept")  # kept | removed
    created_by: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class VaultTable(Base):
    """One checked table of a version: an object of the vault, named by its content; or, where `object_name` is empty,
    its segments: several, or one whose nulls no upload tells. Objects are never changed, so that versions share those
    that are the same in both.

    A version is frozen except for destruction, which adds a generation and removes the objects of all before it: of
    a removed one the row stays, with its digest and counts.
    """

    __tablename__ = "vault_tables"

    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(64), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    object_name: Mapped[str | None] = mapped_column(String(200))
    upload_id: Mapped[str | None] = mapped_column(ForeignKey("uploads.id"))
    rows: Mapped[int] = mapped_column(BigInteger)
    people: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    left_out: Mapped[int] = mapped_column(
        BigInteger, default=0
    )  # rows whose person is not in the participant table
    left_out_name: Mapped[str | None] = mapped_column(String(200))  # object with their hashed record ids
    definition: Mapped[str] = mapped_column(
        String(64), default=""
    )  # digest of what the dictionary said of the table
    created_at: Mapped[datetime]
    # What others are shown where it differs: it moves only by as many people as may be told of.
    people_shown: Mapped[int | None]
    removed_by: Mapped[str | None] = mapped_column(ForeignKey("destructions.id"), index=True)


class VaultSegment(Base):
    """One of the objects of a checked table that names none itself; their rows together are the table's."""

    __tablename__ = "vault_segments"
    __table_args__ = (
        ForeignKeyConstraint(
            ("version_id", "table_name", "generation"),
            ("vault_tables.version_id", "vault_tables.table_name", "vault_tables.generation"),
            name="fk_vault_segments_table",
        ),
    )

    version_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(64), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # 0-based, in the order in which they came
    object_name: Mapped[str] = mapped_column(String(200), index=True)
    left_out_name: Mapped[str | None] = mapped_column(String(200))
    rows: Mapped[int] = mapped_column(BigInteger)
    people: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    left_out: Mapped[int] = mapped_column(BigInteger, default=0)
    columns: Mapped[list[Any]]  # what is null in it, by column: {name, nulls, missing}
    upload_id: Mapped[str | None] = mapped_column(ForeignKey("uploads.id"))


class Erratum(Base):
    """Wrong values of a version that its successor corrects: where they were, and why; never what they were."""

    __tablename__ = "errata"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), index=True)
    corrects: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), index=True)
    tables: Mapped[list[Any]]  # [{table, columns}]; no columns: the table as a whole
    reason: Mapped[str]
    by: Mapped[str] = mapped_column(String(120))
    at: Mapped[datetime]
