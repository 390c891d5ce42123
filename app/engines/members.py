"""Which objects of the vault hold the tables of a version, and what each source of a mapping adds to a united table."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.engines.protocol import Member
from app.errors import Finding, Problem
from app.models import DatasetVersion, VaultTable
from app.schemas.dictionary import Dictionary
from app.schemas.mapping import Mapping
from app.storage.held import objects_of


def dictionary_of(session: Session, version_id: str) -> Dictionary:
    """The dictionary of a version."""
    return Dictionary.model_validate(session.get_one(DatasetVersion, version_id).dictionary)


def members_of(session: Session, mapping: Mapping, tables: Iterable[str]) -> dict[str, tuple[Member, ...]]:
    """United table -> what each source of a mapping adds to it, from the newest generation of its own table."""
    wanted, found = sorted(tables), dict[str, list[Member]]()
    for source in mapping.sources:
        named = {name: source.tables[name] for name in wanted if source.tables[name].source}
        own = dictionary_of(session, source.version_id)
        held = newest(session, source.version_id, {str(one.source) for one in named.values()})
        for name, one in named.items():
            member = Member(source.name, own.table(str(one.source)), held[str(one.source)], one)
            found.setdefault(name, []).append(member)
    return {name: tuple(found.get(name, ())) for name in wanted}


def newest(session: Session, version_id: str, wanted: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Table -> vault objects of the newest generation of each wanted table of a version."""
    query = select(VaultTable).where(VaultTable.version_id == version_id).order_by(VaultTable.generation)
    held = {row.table_name: row for row in session.scalars(query)}
    if missing := sorted(set(wanted) - held.keys()):
        found = [
            Finding("table_not_in_vault", "the version holds no checked rows of it", table=t) for t in missing
        ]
        raise Problem("version_not_ready", "Tables of the plan are not in the vault.", found)
    return {name: objects_of(session, held[name]) for name in sorted(wanted)}
