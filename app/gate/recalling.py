"""The verb `recall`: where in an extract people who leave are, and by which pseudonyms its holder knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.consents import linking
from app.consents.cohorts import Behind, behind
from app.consents.queries import covered_of
from app.crosswalk import project_ids, slices
from app.deid import pseudonyms
from app.engines import Source
from app.gate.building import nobody, spill_folder
from app.gate.keys import project_key
from app.gate.sources import dictionary_of, united_tables, vault_objects
from app.ledger.parts import pinned_recoding
from app.models import Extract, Participant, Permit
from app.permits.following import versions_of
from app.schemas.plan import Plan

if TYPE_CHECKING:
    from app.gate.door import Gate

Place = tuple[str, int]  # table, position
Leaving = Mapping[str, tuple[int, Sequence[str]]]
"""By withdrawal: who leaves (participant key), and the domains that they took back."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A person in an extract: the holder's pseudonym for them, the domains of the extract that consent covers no
    more, and the places of rows that may not leave any more. `source` names the rows meant, where a united version
    holds rows of the person from others too. `stays`: what the next generation holds of the person all the same: other
    `domains` of theirs, rows of other `sources` under the same pseudonym, or nothing (empty)."""

    pseudonym: str
    lost: tuple[str, ...]
    places: tuple[Place, ...]
    source: str | None = None
    stays: str = ""


def recall(gate: Gate, extract_id: str, leaving: Leaving) -> dict[str, Whereabouts]:
    """For each withdrawal, where rows of its domains are, as far as consent does not cover them any more; asked whether
    or not the permit is live. Register and vault are read once, however many people leave."""
    keys = np.array(sorted({key for key, _ in leaving.values()}), dtype=np.int32)
    if not len(keys):
        return {}
    with gate.db.read() as session:
        extract = session.get_one(Extract, extract_id)
        permit = session.get_one(Permit, extract.permit_id)
        plan, dictionary = Plan.model_validate(permit.plan), dictionary_of(session, extract.version_id)
        secret = project_key(gate, session, extract.project_id)
        domain_of = {t.name: str(dictionary.table(t.name).domain) for t in plan.tables}
        of_people = {domain_of[t.name] for t in plan.tables if dictionary.table(t.name).kind != "reference"}
        present, of = set(domain_of.values()), behind(session, permit.version_id)
        as_one = linking.given_as_one(session, extract.project_id, keys.tolist())
        # Who may be linked no more: all rows of the pseudonym that told they are one, also those that stay.
        parted = linking.parted(session, of, as_one)
        people = sorted({*keys.tolist(), *(one for found in as_one.values() for one in found)})
        consents = _Consents(session, of, permit.purpose, people, present, gate.clock().date())
        parted = {
            key: still
            for key, found in parted.items()
            if (still := [o for o in found if consents.any(o, present)])
        }
        looked_at = [_readings(session, extract, plan, version) for version in versions_of(extract, permit)]
        ids = project_ids(session, of, extract.project_id, keys)
        source_of = _sources(session, permit.version_id, keys.tolist())
    names = pseudonyms.pseudonyms(secret, ids)
    cut = dict(zip(keys.tolist(), slices(names).tolist(), strict=True))
    by_name = {key: name.decode() for key, name in zip(keys.tolist(), names.tolist(), strict=True)}
    # The rows of others are looked for under the pseudonym that they were given as one person with.
    sought = cut | {one: cut[key] for key, found in parted.items() for one in found}
    places: dict[int, set[Place]] = {key: set() for key in sought}
    for source, counts in looked_at:
        with spill_folder(gate.settings.var) as spill:
            here = replace(source, crosswalk=nobody(present), spill=spill / "engine")
            for key, held in gate.engine.places(here, sought, counts).items():
                places[key].update(held)
    found: dict[str, Whereabouts] = {}
    for withdrawal_id, (key, domains) in leaving.items():
        asked = {d for d in present if set(of.needs(d)) & set(domains)}
        lost = {d for d in asked if key in parted or not consents.covers(key, d)}
        closing = {p for p in places[key] if domain_of[p[0]] in lost}
        closing |= {p for one in parted.get(key, ()) for p in places[one]}
        told = None if key in parted else source_of.get(key)
        elsewhere = any(consents.stays(one, of_people) for one in as_one.get(key, ()))
        stays = "domains" if consents.stays(key, of_people) else "sources" if elsewhere else ""
        found[withdrawal_id] = Whereabouts(
            by_name[key], tuple(sorted(lost)), tuple(sorted(closing)), told, stays
        )
    return found


class _Consents:
    """What consent of a few people covers at this moment, read once a domain, and at once: it is asked for after the
    session has ended."""

    def __init__(
        self,
        session: Session,
        of: Behind,
        purpose: Mapping[str, Any] | None,
        keys: list[int],
        domains: set[str],
        on: date,
    ) -> None:
        self._of = of
        needed = sorted(domains.union(*(of.needs(domain) for domain in domains)))
        self._held = {one: covered_of(session, of.ids, keys, one, purpose, on) for one in needed}

    def covers(self, key: int, domain: str) -> bool:
        """Whether rows of the domain may leave: for returned data, of every domain that they were made of."""
        return all(key in self._held[need] for need in self._of.needs(domain))

    def stays(self, key: int, domains: set[str]) -> bool:
        """Whether rows of any of the domains may leave."""
        return any(self.covers(key, domain) for domain in domains)

    def any(self, key: int, domains: set[str]) -> bool:
        """Whether the person consents to any of the domains."""
        return any(key in self._held[domain] for domain in domains)


def _sources(session: Session, version_id: str, keys: list[int]) -> dict[int, str]:
    """Participant key -> the source of a united version that holds their rows; empty for any other version."""
    names = linking.names_of_sources(session, version_id)
    if not names:
        return {}
    query = select(Participant.key, Participant.cohort_id).where(Participant.key.in_(keys))
    return {key: names[cohort_id] for key, cohort_id in session.execute(query) if cohort_id in names}


def _readings(
    session: Session, extract: Extract, plan: Plan, version_id: str
) -> tuple[Source, Mapping[str, int]]:
    """What an extract's parts are made of under one version, and how many they are by table."""
    plan, dictionary = plan.model_copy(update={"version_id": version_id}), dictionary_of(session, version_id)
    tables, united = vault_objects(session, plan, dictionary), united_tables(session, plan, dictionary)
    pinned = pinned_recoding(session, extract.project_id, version_id)
    source = Source(dictionary, plan, tables, nobody(set()), b"", Path(), united=united)
    return source, pinned.parts if pinned else {}
