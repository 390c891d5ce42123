"""The verb `trace`: from a pseudonym back to the person, for those alone who are in the extract and still consent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app import ledger
from app.consents import cohorts
from app.crosswalk import among, covered_now, named, project_ids, together
from app.deid import pseudonyms
from app.gate.keys import project_key
from app.gate.sources import dictionary_of
from app.models import Extract, Participant, Permit
from app.schemas.plan import Plan

if TYPE_CHECKING:
    from app.gate.door import Gate


@dataclass(frozen=True, slots=True)
class Traced:
    """A person: the key in their cohort. It never leaves the worker."""

    cohort_id: str
    key: int


def people_of(gate: Gate, extract_id: str, domains: Sequence[str], names: Iterable[pa.Array]) -> pa.Table:
    """(source, key) of those of the names that are pseudonyms of people in this extract whose consent covers all of
    these domains for its permit's purpose now; all others are not in it, whatever they are.

    Memory: 16 bytes and a name for each person of the extract."""
    with gate.db.read() as session:
        extract = session.get_one(Extract, extract_id)
        permit = session.get_one(Permit, extract.permit_id)
        key = project_key(gate, session, extract.project_id)
        of = cohorts.behind(session, permit.version_id)
        covered = covered_now(session, of, domains, permit.purpose, gate.clock().date())
        people = np.array(ledger.members(session, extract_id).to_array(), dtype=np.int32)
        for keys in covered.values():
            people = people[among(people, keys)]
        ids = project_ids(session, of, extract.project_id, people)
    known = pa.array(pseudonyms.pseudonyms(key, ids), pa.binary()).cast(pa.string())
    empty = pa.table({"source": pa.array([], pa.string()), "key": pa.array([], pa.int32())})
    found = [empty]
    for batch in names:
        sources = batch.cast(pa.string())
        keys = pc.take(pa.array(people, pa.int32()), pc.index_in(sources, value_set=known))
        found.append(pa.table({"source": sources, "key": keys}).filter(pc.is_valid(keys)))
    return pa.concat_tables(found)


def trace(gate: Gate, extract_id: str, pseudonym: str) -> Traced | None:
    """Who in this extract its holder knows by this pseudonym. None where nobody is, and just so where the person's
    consent covers nothing of the extract any more. Memory: 16 bytes and a name for each person of the extract."""
    with gate.db.read() as session:
        extract = session.get_one(Extract, extract_id)
        permit = session.get_one(Permit, extract.permit_id)
        key = project_key(gate, session, extract.project_id)
        plan, dictionary = Plan.model_validate(permit.plan), dictionary_of(session, permit.version_id)
        domains = {str(dictionary.table(t.name).domain) for t in plan.tables}
        of = cohorts.behind(session, permit.version_id)
        covered = covered_now(session, of, domains, permit.purpose, gate.clock().date())
        still = together(covered.values())
        held = np.array(ledger.members(session, extract_id).to_array(), dtype=np.int32)
        people = held[among(held, still)]
        found = named(session, of, extract.project_id, people, key, pseudonym)
        return None if found is None else Traced(session.get_one(Participant, found).cohort_id, found)
