"""The verb `trace`: from a pseudonym back to the person, for those alone who are in the extract and still consent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app import ledger
from app.consents import cohorts
from app.crosswalk import covered_now, named
from app.gate.sources import dictionary_of
from app.models import Extract, Participant, Permit, Project
from app.schemas.plan import Plan

if TYPE_CHECKING:
    from app.gate.door import Gate


@dataclass(frozen=True, slots=True)
class Traced:
    """A person: the key in their cohort. It never leaves the worker."""

    cohort_id: str
    key: int


def trace(gate: Gate, extract_id: str, pseudonym: str) -> Traced | None:
    """Who in this extract its holder knows by this pseudonym. None where nobody is, and just so where the person's
    consent covers nothing of the extract any more. Memory: 16 bytes and a name for each person of the extract."""
    with gate.db.read() as session:
        extract = session.get_one(Extract, extract_id)
        permit = session.get_one(Permit, extract.permit_id)
        key = gate.keyring.unwrap(session.get_one(Project, extract.project_id).key_wrapped)
        plan, dictionary = Plan.model_validate(permit.plan), dictionary_of(session, permit.version_id)
        domains = {str(dictionary.table(t.name).domain) for t in plan.tables}
        of = cohorts.behind(session, permit.version_id)
        covered = covered_now(session, of, domains, permit.purpose, gate.clock().date())
        still = np.unique(np.concatenate([np.empty(0, dtype=np.int32), *covered.values()]))
        held = np.array(ledger.members(session, extract_id).to_array(), dtype=np.int32)
        people = np.intersect1d(held, still).astype(np.int32)
        found = named(session, of, extract.project_id, people, key, pseudonym)
        return None if found is None else Traced(session.get_one(Participant, found).cohort_id, found)
