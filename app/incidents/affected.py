"""How many people an incident concerns: counted from the ledger, which holds everyone whom an extract ever held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.auth.policy import Target
from app.incidents import targets as sql
from app.models import Cohort, Extract, Participant


def affected(session: Session, touched: Sequence[Target]) -> dict[str, Any]:
    """`{people, projects, extracts, by_cohort}`: participants, each once a cohort, in any generation handed out.

    Where only cohorts or institutions are touched, people of others in the same extracts are left out. Who has been
    destroyed since is counted too: their rows were given out. Memory: one bitmap of keys a cohort.
    """
    ids = sql.extracts(session, touched)
    people = BitMap()
    for extract_id in ids:
        people |= ledger.members(session, extract_id)
    of = _cohorts_of(session, people)
    if (named := sql.cohorts_named(session, touched)) is not None:
        of = {cohort: members for cohort, members in of.items() if cohort in named}
        people = BitMap().union(*of.values())
    projects = select(Extract.project_id).where(Extract.id.in_(ids)).distinct()
    return {
        "people": len(people), "projects": len(list(session.scalars(projects))), "extracts": len(ids),
        "by_cohort": {cohort: len(members) for cohort, members in sorted(of.items()) if members},
    }  # fmt: skip


def _cohorts_of(session: Session, people: BitMap) -> dict[str, BitMap]:
    found: dict[str, BitMap] = {}
    if not people:
        return found
    between = Participant.key.between(people.min(), people.max())
    for cohort_id in session.scalars(select(Cohort.id).order_by(Cohort.id)).all():
        keys = select(Participant.key).where(Participant.cohort_id == cohort_id, between)
        members = BitMap(session.scalars(keys.execution_options(yield_per=50_000)))
        found[cohort_id] = members & people
    return found
