"""The verb `look`, for the daily monitor: whom a count, a build and a trace of today would hold though they have left.

It asks the gate's own ways, as they are, and holds their people against the withdrawals that were taken
(`consents.departed`): it rests on nothing that those ways rest on. It hands out numbers and ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from pyroaring import BitMap
from sqlalchemy import select

from app.consents import cohorts, linking
from app.consents.departed import departed
from app.gate import building, counting
from app.gate.sources import dictionary_of
from app.gate.tracing import trace
from app.models import DatasetVersion, Extract, Permit, RecallNotice
from app.schemas.counts import CountQuestion
from app.schemas.plan import Plan

if TYPE_CHECKING:
    from app.gate.door import Gate


@dataclass(frozen=True, slots=True)
class Sighting:
    """People who have left and are still held: by which way, of which version or extract, how many."""

    way: str
    subject: str
    people: int


@dataclass
class Looked:
    """How often each way was asked, and where somebody was seen."""

    asked: dict[str, int] = field(default_factory=dict)
    seen: list[Sighting] = field(default_factory=list)

    def note(self, way: str, subject: str, people: int) -> None:
        """One question and its answer."""
        self.asked[way] = self.asked.get(way, 0) + 1
        if people:
            self.seen.append(Sighting(way, subject, people))


def look(gate: Gate) -> Looked:
    """Ask every published version for its count, every plan of a ready extract for its build, every extract for one
    who was recalled from it. A version from which nobody has left is not asked."""
    told = Looked()
    for version_id in _published(gate):
        if (people := _counted(gate, version_id)) is not None:
            told.note("counts", version_id, people)
    for extract_id, permit in _plans(gate):
        if (people := _built(gate, permit)) is not None:
            told.note("dry_run", extract_id, people)
    for extract_id, pseudonym in _recalled(gate):
        told.note("tracing", extract_id, _traced(gate, extract_id, pseudonym))
    return told


def _published(gate: Gate) -> list[str]:
    query = select(DatasetVersion.id).where(DatasetVersion.state == "published").order_by(DatasetVersion.id)
    with gate.db.read() as session:
        return [one for one in session.scalars(query) if not cohorts.unusable(session, one)]


def _counted(gate: Gate, version_id: str) -> int | None:
    with gate.db.read() as session:
        of, dictionary = cohorts.behind(session, version_id), dictionary_of(session, version_id)
        gone = departed(session, of.ids).get(dictionary.people.domain)
    if not gone:
        return None
    drafted = counting.checked(CountQuestion(version_id=version_id, conditions=()), dictionary, gate)
    with building.spill_folder(gate.settings.var) as spill:
        members, _keys = counting.members(gate, of, dictionary, drafted, spill)
    if of.only is not None:
        return len(members & gone)
    # People are counted here: whoever has left one cohort and not the other is rightly among them.
    with gate.db.read() as session:
        known, _person = linking.anyones_representative(session, of)
        still = linking.as_people(session, of)(BitMap(known.astype(np.uint32)) - gone)
    return len(members - still)


def _plans(gate: Gate) -> Iterator[tuple[str, Permit]]:
    """A ready extract of each plan and purpose, with its permit."""
    seen: set[tuple[str, str]] = set()
    query = select(Extract.id, Permit).join(Permit, Permit.id == Extract.permit_id)
    with gate.db.read() as session:
        rows = session.execute(query.where(Extract.state == "ready").order_by(Extract.id)).all()
        rows = [row for row in rows if not cohorts.unusable(session, row[1].version_id)]
    for extract_id, permit in rows:
        if (what := (permit.plan_hash, str(sorted(permit.purpose.items())))) not in seen:
            seen.add(what)
            yield extract_id, permit


def _built(gate: Gate, permit: Permit) -> int | None:
    """How many of those who left one of its domains a build of the plan would take with rows of that domain."""
    with gate.db.read() as session:
        gone = departed(session, cohorts.behind(session, permit.version_id).ids)
    if not gone:
        return None
    key, plan = gate.keyring.unwrap(gate.keyring.new()), Plan.model_validate(permit.plan)
    with building.spill_folder(gate.settings.var) as spill:
        _source, walk = building.source(gate, plan, permit.purpose, (None, key), spill, None)
    found = BitMap()
    for domain, left in gone.items():
        if (name := f"in_{domain}") in walk.table.column_names:
            held = walk.table["key"].filter(walk.table[name]).to_numpy()
            found |= left & BitMap(held.astype(np.uint32))
    return len(found)


def _recalled(gate: Gate) -> list[tuple[str, str]]:
    """Of each ready extract the one who was recalled from it last: (extract, pseudonym)."""
    query = (
        select(RecallNotice.extract_id, RecallNotice.pseudonym)
        .join(Extract, Extract.id == RecallNotice.extract_id)
        .where(Extract.state == "ready", RecallNotice.pseudonym != "")
        .order_by(RecallNotice.id)
    )
    with gate.db.read() as session:
        return sorted({row[0]: row[1] for row in session.execute(query)}.items())


def _traced(gate: Gate, extract_id: str, pseudonym: str) -> int:
    found = trace(gate, extract_id, pseudonym)
    if found is None:
        return 0
    with gate.db.read() as session:
        permit = session.get_one(Permit, session.get_one(Extract, extract_id).permit_id)
        dictionary = dictionary_of(session, permit.version_id)
        domains = {dictionary.table(t.name).domain for t in Plan.model_validate(permit.plan).tables}
        gone = departed(session, [found.cohort_id])
    return int(all(found.key in gone.get(domain, BitMap()) for domain in domains))
