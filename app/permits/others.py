"""Releases of a version that are in someone's hands: a new one is laid on them, for k does not compose."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import DatasetVersion, Extract, Permit
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan


@dataclass(frozen=True, slots=True)
class Held:
    """A release with labels, and where these stand: in which columns of the participant table, beside its pseudonym."""

    project_id: str
    extract_id: str
    table: str
    pseudonym: str
    labels: tuple[str, ...]


def in_hands(session: Session, version_id: str) -> list[Held]:
    """Of each project the newest release of the version that is handed out, the newest first. One without labels is
    none, and neither is one whose time is over: whoever takes the first few loses no place to it."""
    query = (
        select(Extract.project_id, Extract.id, Permit.plan)
        .join(Permit, Permit.id == Extract.permit_id)
        .where(Extract.version_id == version_id, Extract.state == "ready")
        .order_by(Extract.id.desc())
    )
    rows = session.execute(query).all()
    if not rows:
        return []
    people = Dictionary.model_validate(session.get_one(DatasetVersion, version_id).dictionary).people.name
    found = dict[str, Held]()
    for project_id, extract_id, plan in rows:
        if columns := _label_columns(Plan.model_validate(plan), people):
            found.setdefault(project_id, Held(project_id, extract_id, people, *columns))
    return list(found.values())


def _label_columns(plan: Plan, people: str) -> tuple[str, tuple[str, ...]] | None:
    """The pseudonym column and the label columns of the participant table in a plan; None where either is missing."""
    columns = next((t.columns for t in plan.tables if t.name == people), ())
    names = [c.name for c in columns if c.transform == "pseudonymise"]
    labels = tuple(c.name for c in columns if c.transform == "generalise")
    return (names[0], labels) if names and labels else None
