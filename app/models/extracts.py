"""Extracts and their parts, release memory, and the ledger of who is in which extract."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Extract(Base):
    """requested -> queued -> building -> ready -> expired -> destroyed; failed(code)."""

    __tablename__ = "extracts"
    __table_args__ = (UniqueConstraint("permit_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    permit_id: Mapped[str] = mapped_column(ForeignKey("permits.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"))
    state: Mapped[str] = mapped_column(String(20))
    failure: Mapped[dict[str, Any] | None]
    generation: Mapped[int] = mapped_column(default=0)  # the newest published one; 0: none yet
    manifest: Mapped[dict[str, Any] | None]
    certificate: Mapped[dict[str, Any] | None]
    outcome_hash: Mapped[str | None] = mapped_column(String(64))
    epoch: Mapped[int] = mapped_column(default=0)
    earliest_consent_end: Mapped[date | None]  # nobody asks for it any more: neither written nor read
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]


class Part(Base):
    """One Parquet file, named by its content: ready -> blocked -> replaced."""

    __tablename__ = "parts"
    __table_args__ = (
        UniqueConstraint("extract_id", "name"),
        Index("ix_parts_extract_id_table_name_position", "extract_id", "table_name", "position"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    extract_id: Mapped[str] = mapped_column(ForeignKey("extracts.id"))
    table_name: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]  # 0-based slice of the pseudonym space, pinned per project
    generation: Mapped[int]  # the first generation that holds it
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(String(40))
    successor: Mapped[str | None] = mapped_column(String(200))
    withdrawal_id: Mapped[str | None] = mapped_column(
        String(40)
    )  # who closed it first: its receipt stands for it


class LedgerChunk(Base):
    """Who is in which extract: a bitmap of `participant key & 0xFFFF` for each `key >> 16`."""

    __tablename__ = "ledger_chunks"

    chunk: Mapped[int] = mapped_column(primary_key=True)
    extract_id: Mapped[str] = mapped_column(ForeignKey("extracts.id"), primary_key=True)
    members: Mapped[bytes] = mapped_column(LargeBinary)


class BlockMark(Base):
    """A person of this extract has left: every part is closed until the worker has narrowed the mark to parts.

    `domains`: what the person took back (None: no withdrawal, or its own job says); `told_at`: since when the extract
    is handed out without them, or not at all."""

    __tablename__ = "block_marks"

    extract_id: Mapped[str] = mapped_column(ForeignKey("extracts.id"), primary_key=True)
    withdrawal_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    reason: Mapped[str] = mapped_column(String(40))
    narrowed: Mapped[bool] = mapped_column(default=False)
    at: Mapped[datetime]
    domains: Mapped[list[Any] | None]
    told_at: Mapped[datetime | None]


class Recoding(Base):
    """Release memory: the recoding pinned per project and version; it may later only be coarsened."""

    __tablename__ = "recodings"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]
    parts: Mapped[dict[str, Any]]  # table -> number of parts, pinned
    at: Mapped[datetime]


class CountAnswer(Base):
    """A masked count that was given: its question, its members and its answer; refusals depend on these only."""

    __tablename__ = "count_answers"
    __table_args__ = (UniqueConstraint("asker", "question_hash"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    asker: Mapped[str] = mapped_column(String(120), index=True)
    institution_id: Mapped[str | None] = mapped_column(String(40), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"))
    question_hash: Mapped[str] = mapped_column(String(64))
    members: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[dict[str, Any]]
    at: Mapped[datetime]
