"""What a build reads from the database: the dictionary, the newest checked tables, the pinned recoding."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.deid.hierarchies import references
from app.errors import Finding, Problem
from app.ledger.parts import Pinned
from app.models import DatasetVersion, VaultTable
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

__all__ = ["Pinned", "dictionary_of", "forebears", "vault_objects"]


def dictionary_of(session: Session, version_id: str) -> Dictionary:
    """The dictionary of a version."""
    return Dictionary.model_validate(session.get_one(DatasetVersion, version_id).dictionary)


def vault_objects(session: Session, plan: Plan, dictionary: Dictionary) -> dict[str, str]:
    """Table -> vault object of its newest generation: the planned tables, the participant table, and the reference
    tables that hierarchies are read from."""
    query = select(VaultTable).where(VaultTable.version_id == plan.version_id).order_by(VaultTable.generation)
    held = {row.table_name: row.object_name for row in session.scalars(query)}
    wanted = {t.name for t in plan.tables} | {dictionary.people.name}
    wanted |= references(dictionary.hierarchies).keys()
    if missing := sorted(wanted - held.keys()):
        found = [
            Finding("table_not_in_vault", "the version holds no checked rows of it", table=t) for t in missing
        ]
        raise Problem("version_not_ready", "Tables of the plan are not in the vault.", found)
    return {name: held[name] for name in sorted(wanted)}


def forebears(session: Session, version_id: str) -> dict[str, frozenset[str]]:
    """Table -> the objects of all its generations. A version that may be released is frozen except for destruction:
    what a release once read is what is there now, and the people destroyed since."""
    query = select(VaultTable.table_name, VaultTable.object_name).where(VaultTable.version_id == version_id)
    found: dict[str, set[str]] = {}
    for table, name in session.execute(query):
        found.setdefault(table, set()).add(name)
    return {table: frozenset(names) for table, names in found.items()}
