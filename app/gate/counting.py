"""The verb `count`: members by the engine, noise by cell key, then threshold and rounding; budget and ledger."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyroaring import BitMap
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import crosswalk
from app.audit import institution_stream, record
from app.auth import freezes
from app.auth.policy import Actor
from app.consents import cohorts, linking
from app.consents.cohorts import Behind
from app.deid import counts, plan
from app.engines import Source
from app.engines.ancestry import settled
from app.errors import Problem, not_found
from app.gate.sources import dictionary_of, united_tables, vault_objects
from app.ledger import counts as ledger_counts
from app.models import DatasetVersion
from app.schemas.counts import CountQuestion, question_hash
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, Privacy

if TYPE_CHECKING:
    from app.gate.door import Gate


def answer(gate: Gate, question: CountQuestion, reader: Actor, spill: Path) -> dict[str, Any]:
    """The masked count, `{value, hidden, min_cell, round_to}`. Refuses when the budget is spent, or when the people
    counted differ from those of an earlier answer by fewer than min_cell."""
    asked = ledger_counts.Asked(
        reader.subject, reader.institution_id, question.version_id, question_hash(question)
    )
    with gate.db.read() as session:
        of, dictionary = _published(session, question.version_id)
        freezes.must_not_stop_data(session, question.version_id)
        if earlier := ledger_counts.answered_before(session, asked):
            return earlier
        _check_budget(gate, session, reader)
    drafted = checked(question, dictionary, gate)
    counted, keys = members(gate, of, dictionary, drafted, spill)
    rule = counts.CountRule(gate.settings.min_cell, gate.settings.round_to)
    shown = counts.masked(len(counted), counts.cell_key(keys), rule)
    given = {
        "value": shown.value,
        "hidden": shown.suppressed,
        "min_cell": rule.min_cell,
        "round_to": rule.round_to,
    }
    return _settle(gate, asked, reader, counted, given)


def _settle(
    gate: Gate,
    asked: ledger_counts.Asked,
    reader: Actor,
    members: BitMap,
    given: dict[str, Any],
) -> dict[str, Any]:
    """Judge against earlier answers and remember this one, in one transaction behind the cohorts' rows."""
    now = gate.clock()
    try:
        with gate.db.unit_of_work() as session:
            of = cohorts.lock(session, asked.version_id)
            close = ledger_counts.too_close(
                session,
                asked,
                members,
                gate.settings.min_cell,
                cohorts.related(session, asked.version_id),
                linking.as_people(session, of),
            )
            if not close:
                ledger_counts.keep(session, asked, members, given, now)
            _note(session, of, reader, asked, "count.refused" if close else "count.answered", now)
    except IntegrityError:  # the same question by the same asker at the same time: one answer
        with gate.db.read() as session:
            if earlier := ledger_counts.answered_before(session, asked):
                return earlier
        raise
    if close:
        raise Problem(
            "count_refused",
            "An earlier answer speaks of almost the same people; ask for a group that differs more.",
        )
    return given


def _published(session: Session, version_id: str) -> tuple[Behind, Dictionary]:
    version = session.get(DatasetVersion, version_id)
    if version is None or version.state != "published":
        raise not_found("dataset version")
    if cohorts.unusable(session, version_id):
        raise Problem("version_not_ready", "A source of the united version has been withdrawn.")
    return cohorts.behind(session, version_id), dictionary_of(session, version_id)


def _check_budget(gate: Gate, session: Session, reader: Actor) -> None:
    start = gate.clock().replace(hour=0, minute=0, second=0, microsecond=0)
    own = ledger_counts.answers_since(session, reader.subject, start)
    # Askers of one institution can pool what they were told, so they share a budget too.
    pooled = 0
    if reader.institution_id:
        pooled = ledger_counts.answers_to_institution_since(session, reader.institution_id, start)
    most = gate.settings.count_budget_per_day, gate.settings.count_budget_institution_per_day
    if own >= most[0] or pooled >= most[1]:
        raise Problem("count_budget_spent", "Ask again tomorrow (UTC).", headers={"Retry-After": "3600"})


def checked(question: CountQuestion, dictionary: Dictionary, gate: Gate) -> Plan:
    """The conditions obey the same rules as a row filter, over a plan of the columns they name."""
    privacy = Privacy(min_cell=gate.settings.min_cell, round_to=gate.settings.round_to)
    columns: dict[str, list[str]] = {dictionary.people.name: []}
    for condition in question.conditions:
        columns.setdefault(condition.table, []).append(condition.column)
    return plan.draft(dictionary, columns, question.conditions, privacy, question.version_id)


def members(gate: Gate, of: Behind, dictionary: Dictionary, drafted: Plan, spill: Path) -> tuple[BitMap, Any]:
    """The people who meet all conditions, and their record keys. Consent: any purpose of research."""
    tables = {c.table for c in drafted.filter} | {dictionary.people.name}
    domains = {dictionary.table(t).domain for t in tables} | {dictionary.people.domain}
    wanted = drafted.model_copy(update={"tables": tuple(t for t in drafted.tables if t.name in tables)})
    with gate.db.read() as session:
        covered = crosswalk.covered_now(session, of, domains, None, gate.clock().date())
        objects = vault_objects(session, wanted, dictionary)
        united = united_tables(session, wanted, dictionary)
        anyone = crosswalk.together(covered.values())
        columns: dict[str, Any] = {f"in_{d}": crosswalk.among(anyone, keys) for d, keys in covered.items()}
        if of.only is None:  # people are counted, never participants: whoever is in two cohorts counts once
            known, person = linking.anyones_representative(session, of)
            columns["person"] = person[np.searchsorted(known, anyone)]
    source = Source(
        dictionary,
        drafted,
        objects,
        pa.table({"key": anyone, **columns}),
        b"",
        spill / "engine",
        united=united,
    )
    found = gate.engine.matching(settled(gate.engine, source), drafted.filter)
    return BitMap(found.astype(np.uint32)), _record_keys(gate, of, found)


def _record_keys(gate: Gate, of: Behind, members: crosswalk.Keys) -> npt.NDArray[np.uint64]:
    """The secret uniform record key of each person, under the key of their own cohort; in no order of the people."""
    found = []
    with gate.db.read() as session:
        for cohort in of.cohorts:
            own = members if of.only else linking.of_cohort(session, cohort.id, members)
            ids = crosswalk.random_ids(session, [cohort.id], own)
            found.append(counts.record_keys(ids, gate.keyring.unwrap(cohort.identity_key_wrapped)))
    return np.concatenate(found)


def _note(
    session: Session, of: Behind, reader: Actor, asked: ledger_counts.Asked, event: str, now: datetime
) -> None:
    for institution in of.institutions:
        record(
            session,
            stream=institution_stream(institution),
            event=event,
            actor=reader.subject,
            object_id=asked.version_id,
            at=now,
            data={"question": asked.question_hash},
        )
