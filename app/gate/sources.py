"""What a build reads from the database: the dictionary, the newest checked tables, the pinned recoding."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.consents import linking
from app.consents.cohorts import sources_of
from app.consents.linking import Linkage
from app.deid.hierarchies import references
from app.engines import Member
from app.engines.members import dictionary_of, members_of, newest
from app.ledger.parts import Pinned
from app.models import Integration, VaultTable
from app.schemas.dictionary import Dictionary
from app.schemas.mapping import Mapping
from app.schemas.plan import Plan
from app.storage.held import objects_of

__all__ = ["Pinned", "dictionary_of", "forebears", "linkage_of", "united_tables", "vault_objects"]


def vault_objects(session: Session, plan: Plan, dictionary: Dictionary) -> dict[str, tuple[str, ...]]:
    """Table -> vault objects of its newest generation: the planned tables, the participant table, and the reference
    tables that hierarchies are read from. None of a united version, whose tables are `united_tables`."""
    if sources_of(session, plan.version_id):
        return {}
    return newest(session, plan.version_id, _wanted(plan, dictionary))


def united_tables(session: Session, plan: Plan, dictionary: Dictionary) -> dict[str, tuple[Member, ...]]:
    """Of a united version, the same tables with what each source adds, read through the mapping that was published."""
    if not sources_of(session, plan.version_id):
        return {}
    document = session.scalars(
        select(Integration.mapping).where(Integration.version_id == plan.version_id)
    ).one()
    return members_of(session, Mapping.model_validate(document), _wanted(plan, dictionary))


def linkage_of(session: Session, plan: Plan, project_id: str | None) -> Linkage | None:
    """Who may be one person under this plan: None where it does not link, or has one source."""
    if not plan.linkage or not sources_of(session, plan.version_id):
        return None
    names = linking.names_of_sources(session, plan.version_id)
    return Linkage(names, project_id, plan.privacy.k + plan.privacy.reserve)


def _wanted(plan: Plan, dictionary: Dictionary) -> set[str]:
    wanted = {t.name for t in plan.tables} | {dictionary.people.name}
    return wanted | references(dictionary.hierarchies).keys()


def forebears(session: Session, version_id: str) -> dict[str, frozenset[str]]:
    """Table -> the objects of all its generations. A version that may be released is frozen except for destruction:
    what a release once read is what is there now, and the people destroyed since."""
    found: dict[str, set[str]] = {}
    for row in session.scalars(select(VaultTable).where(VaultTable.version_id == version_id)):
        found.setdefault(row.table_name, set()).update(objects_of(session, row))
    return {table: frozenset(names) for table, names in found.items()}
