"""Steps 5 and 6 in the database: lock, read consent and permit again, ledger and audit; then hand out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.audit import project_stream, record
from app.consents import cohorts, linking
from app.consents.cohorts import Behind
from app.crosswalk import covered_now
from app.deid import released, window
from app.errors import Problem
from app.gate.building import Staged, facts_of
from app.ledger import counts
from app.ledger import parts as ledger_parts
from app.models import DryRun, Extract, Project
from app.permits import LivePermit, must_be_live
from app.schemas.plan import digest

if TYPE_CHECKING:
    from app.gate.door import Gate


class SomeoneLeft(Exception):
    """A person of the staged release has withdrawn while it was being built."""


def record_generation(gate: Gate, extract_id: str, permit: LivePermit, staged: Staged) -> int:
    """Step 5. The rows of the cohorts are locked until the commit, so a withdrawal comes either before (and is seen
    here) or after (and finds the ledger). Answers the new generation; raises SomeoneLeft."""
    now = gate.clock()
    with gate.db.unit_of_work() as session:
        of = cohorts.lock(session, permit.version_id)
        again = must_be_live(session, permit.id, now.date(), lock=True)
        if again.plan_hash != permit.plan_hash:
            raise Problem("precondition_failed", "The permit was changed while the extract was built.")
        _must_all_consent(session, permit, staged, of, now)
        extract = session.get_one(Extract, extract_id, with_for_update=True, populate_existing=True)
        if extract.state not in ("building", "ready"):
            raise Problem("conflict", f"The extract is {extract.state}.")
        generation = extract.generation + 1
        if generation == 1:
            _must_not_differ_by_few(session, extract, permit, staged)
        elif extract.version_id != permit.version_id:
            _must_not_join_by_few(session, extract, permit, staged)
        ledger_parts.stage(session, extract_id, generation, _new_parts(staged))
        people = ledger.enter(session, extract_id, staged.members)
        linking.remember(session, permit.project_id, staged.crosswalk.seeds)
        if staged.plan.linkage:
            own = set(staged.crosswalk.table["key"].to_pylist()) - staged.crosswalk.seeds.keys()
            linking.forget_parted(session, permit.project_id, own)
        ledger_parts.pin(
            session,
            permit.project_id,
            permit.version_id,
            staged.fit.recoding,
            staged.part_counts,
            window.to_json(staged.windows),
            now,
        )
        extract.epoch = of.epoch
        data = {"people_ever": people, "parts_written": len(staged.parts), "parts_kept": len(staged.held)}
        _note(session, permit, extract_id, "extract.recorded", now, generation, data)
    return generation


def publish_generation(
    gate: Gate, extract_id: str, permit: LivePermit, staged: Staged, generation: int, names: set[str]
) -> None:
    """Step 6. The staged parts become ready, the papers are written; a part that was closed meanwhile stays closed."""
    now, facts = gate.clock(), facts_of(staged)
    with gate.db.unit_of_work() as session:
        extract = session.get_one(Extract, extract_id, with_for_update=True, populate_existing=True)
        if extract.state not in ("building", "ready"):  # its time was over meanwhile: it does not come back
            raise Problem("conflict", f"The extract is {extract.state}.")
        if extract.generation >= generation:
            raise Problem("conflict", "Another build of this extract was published first.")
        ledger_parts.publish(session, extract_id, names)
        outcome = digest(facts.outcome)
        extract.generation, extract.state, extract.outcome_hash = generation, "ready", outcome
        extract.version_id = permit.version_id
        extract.manifest = released.manifest(
            facts, extract_id, generation, permit.plan_hash, permit.project_id
        )
        reviewed = session.get_one(DryRun, permit.dry_run_id).result or {}
        statement = reviewed.get("statement")
        extract.certificate = released.certificate(facts, permit.plan_hash, outcome, statement)
        extract.ready_at = extract.ready_at or now
        extract.expires_at = min(
            extract.ready_at + timedelta(days=gate.settings.extract_days), _end_of(permit.valid_until)
        )
        event = "extract.built" if generation == 1 else "extract.reissued"
        data = {"outcome": outcome, "parts": sorted(names)}
        _note(session, permit, extract_id, event, now, generation, data)


def _must_all_consent(
    session: Session, permit: LivePermit, staged: Staged, of: Behind, now: datetime
) -> None:
    # Consent that ends by date changes at midnight without moving the epoch.
    if of.epoch == staged.crosswalk.epoch and now.date() == staged.crosswalk.on:
        return
    covered = covered_now(session, of, staged.crosswalk.covered, permit.purpose, now.date())
    for domain, before in staged.crosswalk.covered.items():
        staged_people = np.intersect1d(before, staged.members)
        if not np.isin(staged_people, covered[domain]).all():
            raise SomeoneLeft
    _must_still_be_linked(session, staged, of)


def _must_still_be_linked(session: Session, staged: Staged, of: Behind) -> None:
    """Whoever is one person in the staged parts still is one by the word of all of their participants."""
    keys = np.asarray(staged.crosswalk.table["key"].to_numpy(), dtype=np.int32)
    staged_as = staged.crosswalk.persons
    if (staged_as != keys).any():
        now = linking.representatives(session, of, keys)
        _together, first = np.unique(staged_as, return_index=True)
        if (now != now[first][np.searchsorted(_together, staged_as)]).any():
            raise SomeoneLeft


def _must_not_differ_by_few(session: Session, extract: Extract, permit: LivePermit, staged: Staged) -> None:
    """Against every earlier extract of the project and every count its holder had, the set difference of the people who
    pass the filter is empty or at least min_cell: otherwise two answers, subtracted, speak of a few people.

    People who have left meanwhile are no difference: they are compared as they can be reached now. Later generations
    are the same extract without those who left, which their holder is told of anyway.
    """
    of = cohorts.behind(session, permit.version_id)
    here = BitMap(staged.audience["key"].to_numpy().astype(np.uint32))
    reachable = BitMap(staged.crosswalk.table["key"].to_numpy().astype(np.uint32))
    project = session.get_one(Project, permit.project_id)
    related = cohorts.related(session, permit.version_id)
    earlier = list(counts.people_counted(session, project.holder, project.institution_id, related))
    others = select(Extract.id).where(Extract.project_id == project.id, Extract.id != extract.id)
    earlier += [ledger.members(session, other) for other in session.scalars(others)]
    one = linking.as_people(session, of)
    close = sum(0 < len(one((held & reachable) ^ here)) < staged.plan.privacy.min_cell for held in earlier)
    if close:
        detail = (
            f"{close} earlier answers or extracts speak of almost the same people; filter for another group."
        )
        raise Problem("extract_too_close", detail)


def _must_not_join_by_few(session: Session, extract: Extract, permit: LivePermit, staged: Staged) -> None:
    """Where a permit went on to another version, whoever comes with it is nobody or at least min_cell people: the
    holder has the generation before, and would be told of each of a few."""
    of = cohorts.behind(session, permit.version_id)
    joined = BitMap(staged.members.astype(np.uint32)) - ledger.members(session, extract.id)
    few = len(linking.as_people(session, of)(joined))
    if 0 < few < staged.plan.privacy.min_cell:
        detail = (
            "The next version brings people, but so few that the generation before would tell who they are."
        )
        raise Problem("extract_too_close", detail)


def _new_parts(staged: Staged) -> list[ledger_parts.NewPart]:
    return [
        ledger_parts.NewPart(p.table, p.position, p.name, p.sha256, p.rows, p.bytes)
        for p in facts_of(staged).parts
    ]


def _end_of(day: Any) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _note(
    session: Session,
    permit: LivePermit,
    extract_id: str,
    event: str,
    now: datetime,
    generation: int,
    data: dict[str, Any],
) -> None:
    record(
        session,
        stream=project_stream(permit.project_id),
        event=event,
        actor="platform",
        object_id=extract_id,
        at=now,
        data={"generation": generation, "plan": permit.plan_hash, **data},
    )
