"""Permits that follow: a compatible version gives a new generation by itself, a breaking one asks the steward.

All others stay on the version that was approved. Whoever goes on keeps project, pseudonyms, shifts and recoding.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.auth import policy
from app.auth.policy import Actor
from app.deid.dictionary_changes import BREAKING, Change, changes, concerned
from app.deid.plan import plan_findings
from app.errors import Finding, Problem
from app.jobs import enqueue
from app.models import DatasetVersion, Erratum, Permit, Project
from app.permits.following import carry_recoding, of_permit
from app.requests import queries
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, plan_hash

LIVE = ("pending_agreement", "active", "suspended")
AGAIN = timedelta(seconds=30)  # while the extract is being built
View = dict[str, Any]


def follow(session: Session, permit_id: str, version_id: str, now: datetime) -> None:
    """Let a permit go on to a version, where nothing that its plan uses breaks; else ask its steward. Run again it does
    nothing."""
    row, project, _of = queries.permit(session, permit_id, lock=True)
    target = session.get(DatasetVersion, version_id)
    if target is None or target.state != "published" or not row.follow or row.state not in LIVE:
        return
    if version_id in (row.version_id, row.asked_version):
        return
    broken = [c for c in _changes(session, row, target) if c.kind == BREAKING]
    if broken:
        row.asked_version = version_id
        data = {"version": version_id, "breaking": [one.to_dict() for one in broken]}
        _note(session, row, project, "permit.follow_asked", "platform", now, data)
        return
    if _is_being_built(session, permit_id):
        arguments = {"version_id": version_id}
        enqueue(
            session, "follow_version", subject=permit_id, arguments=arguments, at=now, not_before=now + AGAIN
        )
        return
    _move(session, row, project, target, _plan(row, version_id), now)
    _note(
        session,
        row,
        project,
        "permit.followed",
        "platform",
        now,
        {"version": version_id, "plan": row.plan_hash},
    )


def correct(session: Session, permit_id: str, erratum_id: str, now: datetime) -> None:
    """Let a permit on a version with wrong values go on to the one that corrects it, and its extract be recalled. Where
    something breaks as well, the steward is asked; the holder is told at once. Run again it does nothing new."""
    row, project, _of = queries.permit(session, permit_id, lock=True)
    erratum = session.get_one(Erratum, erratum_id)
    extract = of_permit(session, permit_id)
    target = session.get_one(DatasetVersion, erratum.version_id)
    if row.version_id == erratum.corrects and row.state in LIVE:
        if any(one.kind == BREAKING for one in _changes(session, row, target)):
            row.asked_version = target.id
        else:
            _move(session, row, project, target, _plan(row, target.id), now, order=False)
        data = {"erratum": erratum.id, "version": row.version_id, "plan": row.plan_hash}
        _note(session, row, project, "permit.corrected", "platform", now, data)
    if extract is not None:
        enqueue(session, "recall_erratum", subject=extract.id, arguments={"erratum_id": erratum.id}, at=now)


def amend(session: Session, actor: Actor, permit_id: str, version_id: str, note: str, now: datetime) -> View:
    """A steward lets a permit go on to a published version of its dataset, whether or not it follows: its plan loses
    the columns that are gone. Problems: all that the plan cannot ask of the new dictionary."""
    row, project, of = queries.permit(session, permit_id, lock=True)
    policy.must_manage_permit(actor, queries.permit_facts(project, of))
    target = session.get(DatasetVersion, version_id)
    own = session.get_one(DatasetVersion, row.version_id)
    if target is None or target.dataset_id != own.dataset_id or target.dictionary is None:
        finding = Finding(
            "unknown_version", "the permit's dataset has no such version", pointer="/version_id"
        )
        raise Problem("invalid_request", "A permit goes on to a version of its own dataset.", [finding])
    if target.state != "published" or row.state not in LIVE:
        raise Problem("conflict", f"The permit is {row.state}, the version {target.state}.")
    if _is_being_built(session, permit_id):
        raise Problem(
            "conflict", "The extract is being built; try again soon.", headers={"Retry-After": "30"}
        )
    if version_id == row.version_id:
        return queries.permit_view(row, project)
    plan = _plan(row, version_id)
    dictionary = Dictionary.model_validate(target.dictionary)
    plan = _without_the_gone(plan, dictionary)
    if found := list(plan_findings(plan, dictionary)):
        raise Problem("plan_invalid", "The permit's plan cannot be asked of that version.", found)
    _move(session, row, project, target, plan, now)
    data = {"version": version_id, "plan": row.plan_hash, "note": bool(note)}
    _note(session, row, project, "permit.amended", actor.subject, now, data)
    return queries.permit_view(row, project)


def stay(session: Session, actor: Actor, permit_id: str, note: str, now: datetime) -> View:
    """A steward answers that a permit stays on its version, and follows no further by itself."""
    row, project, of = queries.permit(session, permit_id, lock=True)
    policy.must_manage_permit(actor, queries.permit_facts(project, of))
    asked, row.asked_version, row.follow = row.asked_version, None, False
    data = {"version": row.version_id, "asked": asked, "note": bool(note)}
    _note(session, row, project, "permit.stays", actor.subject, now, data)
    return queries.permit_view(row, project)


def asked(session: Session, actor: Actor, after: str | None, limit: int) -> list[View]:
    """For a steward: the live permits whose next version breaks what their plan uses, with what breaks."""
    query = select(Permit).where(Permit.asked_version.is_not(None), Permit.state.in_(LIVE))
    if after:
        query = query.where(Permit.id < after)
    found: list[View] = []
    for row in session.scalars(query.order_by(Permit.id.desc())):
        _row, project, of = queries.permit(session, row.id)
        if policy.may_manage_permit(actor, queries.permit_facts(project, of)).allowed:
            target = session.get_one(DatasetVersion, row.asked_version)
            broken = [c.to_dict() for c in _changes(session, row, target) if c.kind == BREAKING]
            found.append({"id": row.id, "permit": queries.permit_view(row, project), "breaking": broken})
        if len(found) == limit:
            break
    return found


def _changes(session: Session, row: Permit, target: DatasetVersion) -> list[Change]:
    """The changes of a dictionary that concern a permit's plan."""
    own = session.get_one(DatasetVersion, row.version_id)
    before, after = Dictionary.model_validate(own.dictionary), Dictionary.model_validate(target.dictionary)
    planned = {t.name: [c.name for c in t.columns] for t in Plan.model_validate(row.plan).tables}
    return [one for one in changes(before, after) if concerned(one, planned, before)]


def _plan(row: Permit, version_id: str) -> Plan:
    return Plan.model_validate(row.plan).model_copy(update={"version_id": version_id})


def _without_the_gone(plan: Plan, dictionary: Dictionary) -> Plan:
    """The plan without columns that the dictionary lacks. A table that is gone stays, and is refused: an extract never
    loses a whole table in silence, for its holder's people would be looked for in it."""
    known = {t.name: {c.name for c in t.fields} for t in dictionary.tables}
    tables = tuple(
        t.model_copy(update={"columns": tuple(c for c in t.columns if _is_there(c.name, known.get(t.name)))})
        for t in plan.tables
    )
    return plan.model_copy(update={"tables": tables})


def _is_there(name: str, known: set[str] | None) -> bool:
    return known is None or name in known or name.removesuffix("__missing") in known


def _is_being_built(session: Session, permit_id: str) -> bool:
    extract = of_permit(session, permit_id)
    return extract is not None and extract.state in ("queued", "building")


def _move(
    session: Session,
    row: Permit,
    project: Project,
    target: DatasetVersion,
    plan: Plan,
    now: datetime,
    *,
    order: bool = True,
) -> None:
    """The permit is of the new version from here on; its extract is once the next generation is handed out."""
    carry_recoding(session, project.id, row.version_id, target.id, now)
    row.version_id, row.asked_version = target.id, None
    row.plan = plan.model_dump(mode="json")
    row.plan_hash = plan_hash(plan)
    extract = of_permit(session, row.id)
    if extract is None:
        return
    if extract.generation == 0:
        extract.version_id = target.id
    elif order and extract.state == "ready" and row.state == "active":
        enqueue(session, "reissue_extract", subject=extract.id, at=now, project=extract.project_id)


def _note(
    session: Session, row: Permit, project: Project, event: str, actor: str, now: datetime, data: View
) -> None:
    record(
        session,
        stream=project_stream(project.id),
        event=event,
        actor=actor,
        object_id=row.id,
        at=now,
        data=data,
    )
