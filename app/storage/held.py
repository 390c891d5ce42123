"""Which objects of the vault hold the rows of one generation of a table."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import VaultSegment, VaultTable


def objects_of(session: Session, row: VaultTable) -> tuple[str, ...]:
    """The vault objects of one generation of a table; their rows together are the table's."""
    if row.object_name is not None:
        return (row.object_name,)
    return tuple(one.object_name for one in segments_of(session, row))


def segments_of(session: Session, row: VaultTable) -> Sequence[VaultSegment]:
    """The segments of one generation of a table, in the order in which they came; none where it is one object."""
    query = select(VaultSegment).where(
        VaultSegment.version_id == row.version_id,
        VaultSegment.table_name == row.table_name,
        VaultSegment.generation == row.generation,
    )
    return session.scalars(query.order_by(VaultSegment.position)).all()
