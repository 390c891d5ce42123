"""The SQL of checking: which checked tables a version holds, which uploads wait, what was found of the tables."""

from __future__ import annotations

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from app.cohorts.destruction_queries import named
from app.cohorts.upload_states import UNDECIDED
from app.engines.intake import Parent
from app.models import DatasetVersion, Upload, VaultTable
from app.schemas.dictionary import Dictionary, Table
from app.storage.held import segments_of


def newest_tables(session: Session, version_id: str) -> dict[str, VaultTable]:
    """The newest generation of every table that the version holds in the vault."""
    query = select(VaultTable).where(VaultTable.version_id == version_id).order_by(VaultTable.generation)
    return {row.table_name: row for row in session.scalars(query)}


def as_parents(session: Session, tables: dict[str, VaultTable]) -> dict[str, Parent]:
    """The tables as the engine takes them."""
    return {name: _parent(session, row) for name, row in tables.items()}


def _parent(session: Session, row: VaultTable) -> Parent:
    if row.object_name is not None:
        return Parent((row.object_name,), (row.left_out_name,) if row.left_out_name else ())
    held = segments_of(session, row)
    return Parent(
        tuple(one.object_name for one in held), tuple(one.left_out_name for one in held if one.left_out_name)
    )


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


def older_to_come(session: Session, upload: Upload) -> bool:
    """Whether uploads to the same table that came before are complete and have no outcome yet: what is laid onto its
    rows waits for them."""
    query = select(func.count()).where(
        Upload.version_id == upload.version_id,
        Upload.table_name == upload.table_name,
        Upload.purpose == "table",
        Upload.state.in_(("complete", "checking")),
        tuple_(Upload.created_at, Upload.id) < (upload.created_at, upload.id),
    )
    return bool(session.scalar(query))


def table_before(session: Session, version: DatasetVersion, name: str) -> Table | None:
    """What the dictionary of the version that this one was made from says of a table."""
    before = session.get(DatasetVersion, version.made_from) if version.made_from else None
    if before is None or before.dictionary is None:
        return None
    tables = Dictionary.model_validate(before.dictionary).tables
    return next((table for table in tables if table.name == name), None)


def undecided(session: Session, version_id: str) -> dict[str, str]:
    """Table -> state of uploads of the version that have no outcome yet."""
    query = select(Upload).where(Upload.version_id == version_id, Upload.state.in_(UNDECIDED))
    return {row.table_name or "": row.state for row in session.scalars(query)}


def is_named(session: Session, object_name: str) -> bool:
    """Whether any generation of any version names this object, other than those removed by a destruction."""
    return object_name in named(session, {object_name})
