"""The SQL of checking: which checked tables a version holds, which uploads wait, what was found of the tables."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.cohorts.upload_states import UNDECIDED
from app.engines.intake import Parent
from app.models import Upload, VaultTable


def newest_tables(session: Session, version_id: str) -> dict[str, VaultTable]:
    """The newest generation of every table that the version holds in the vault."""
    query = select(VaultTable).where(VaultTable.version_id == version_id).order_by(VaultTable.generation)
    return {row.table_name: row for row in session.scalars(query)}


def as_parents(tables: dict[str, VaultTable]) -> dict[str, Parent]:
    """The tables as the engine takes them."""
    return {name: Parent(row.object_name, row.left_out_name) for name, row in tables.items()}


def next_generation(session: Session, version_id: str, table_name: str) -> int:
    """The number of the next generation of a table, from 1."""
    query = select(func.max(VaultTable.generation)).where(
        VaultTable.version_id == version_id, VaultTable.table_name == table_name
    )
    return (session.scalar(query) or 0) + 1


def waiting(session: Session, version_id: str) -> list[str]:
    """Ids of complete uploads of the version that no job has begun to check, oldest first."""
    query = select(Upload.id).where(
        Upload.version_id == version_id, Upload.purpose == "table", Upload.state == "complete"
    )
    return list(session.scalars(query.order_by(Upload.created_at, Upload.id)))


def undecided(session: Session, version_id: str) -> dict[str, str]:
    """Table -> state of uploads of the version that have no outcome yet."""
    query = select(Upload).where(Upload.version_id == version_id, Upload.state.in_(UNDECIDED))
    return {row.table_name or "": row.state for row in session.scalars(query)}


def is_named(session: Session, object_name: str) -> bool:
    """Whether any generation of any version names this object, other than those removed by a destruction."""
    query = select(func.count()).where(
        (VaultTable.object_name == object_name) | (VaultTable.left_out_name == object_name),
        VaultTable.removed_by.is_(None),
    )
    return bool(session.scalar(query))
