"""The SQL of findings and uses, and how a finding looks to each of the three who see something of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from app.audit import project_stream
from app.auth.policy import Actor, ProjectFacts
from app.consents.cohorts import behind
from app.errors import not_found
from app.findings.states import RETURNED, told
from app.models import (
    AccessRequest,
    AuditLine,
    Cohort,
    ConsentChange,
    Dataset,
    DatasetVersion,
    Extract,
    Finding,
    Institution,
    Permit,
    Project,
    RecallNotice,
    VersionSource,
    Withdrawal,
)
from app.schemas.dictionary import Dictionary

View = dict[str, Any]


def extract(session: Session, extract_id: str) -> tuple[Extract, ProjectFacts]:
    """The extract, who holds its project and which institutions its data; a Problem where there is none."""
    if (row := session.get(Extract, extract_id)) is None:
        raise not_found("extract")
    holder = session.get_one(Project, row.project_id).holder
    first, *others = behind(session, session.get_one(Permit, row.permit_id).version_id).institutions
    return row, ProjectFacts(holder, first, tuple(others))


def finding(session: Session, finding_id: str, *, lock: bool = False) -> tuple[Finding, ProjectFacts]:
    """The finding (locked where asked) and who holds its project and its data; a Problem where there is none."""
    if (row := session.get(Finding, finding_id, with_for_update=lock, populate_existing=True)) is None:
        raise not_found("finding")
    return row, extract(session, row.extract_id)[1]


def receiver(session: Session, row: Finding) -> str:
    """The institution that a finding has come back to; a Problem where it has not, as if it were not there."""
    if row.cohort_id is None or row.state not in RETURNED:
        raise not_found("finding")
    return session.get_one(Cohort, row.cohort_id).institution_id


def listed(session: Session, actor: Actor, state: str | None, after: str | None, limit: int) -> list[View]:
    """The findings that the actor has something to do with, newest first, as they are told to them."""
    query = select(Finding).join(Project, Project.id == Finding.project_id)
    if actor.role == "institution":
        query = query.join(Cohort, Cohort.id == Finding.cohort_id)
        query = query.where(Cohort.institution_id == actor.institution_id, Finding.state.in_(RETURNED))
    elif actor.role == "steward":
        query = query.where(Project.holder != actor.subject)
        if actor.institution_id is not None:
            query = query.where(_held_by(actor.institution_id))
    else:
        query = query.where(Project.holder == actor.subject)
    if state is not None:
        seen = [one for one in _states() if (told(one) if actor.role == "researcher" else one) == state]
        query = query.where(Finding.state.in_(seen))
    if after:
        query = query.where(Finding.id < after)
    rows = session.scalars(query.order_by(Finding.id.desc()).limit(limit))
    return [view(session, actor, row) for row in rows]


def view(session: Session, actor: Actor, row: Finding) -> View:
    """A finding as this role is told of it. Nobody is told the pseudonym, and only the institution the token."""
    if actor.role == "institution":
        return {
            "id": row.id, "cohort_id": row.cohort_id, "project_id": row.project_id, "title": _title(session, row),
            "return_token": row.return_token, "code": row.code, "text": row.text, "state": row.state,
            "forwarded_at": row.forwarded_at, "settled_at": row.settled_at,
        }  # fmt: skip
    if actor.role == "steward":
        return {
            "id": row.id, "project_id": row.project_id, "title": _title(session, row),
            "code": row.code, "text": row.text, "state": row.state, "reason": row.reason,
            "reported_at": row.reported_at, "decided_by": row.decided_by, "decided_at": row.decided_at,
        }  # fmt: skip
    return {
        "id": row.id, "project_id": row.project_id, "extract_id": row.extract_id, "code": row.code,
        "state": told(row.state), "reason": row.reason, "reported_at": row.reported_at,
        "decided_at": row.decided_at,
    }  # fmt: skip


def use(session: Session, extract_id: str, key: int) -> View:
    """What a project did with a participant's data: who, for what, how long, and in which generations they may stand.

    Counted from the first generation on, without those that were published after the participant had taken back all
    that they were in it by and before they consented to any of that again.
    """
    row = session.get_one(Extract, extract_id)
    permit, project = session.get_one(Permit, row.permit_id), session.get_one(Project, row.project_id)
    asked = session.get_one(AccessRequest, project.request_id)
    holder = session.get(Institution, project.institution_id) if project.institution_id else None
    away = _away(session, row, permit, key)
    return {
        "project_id": project.id, "title": asked.title, "purpose": permit.purpose,
        "holder": holder.name if holder else None, "holder_ko": holder.name_ko if holder else None,
        "begins": permit.created_at, "ends": permit.valid_until, "permit_state": permit.state,
        "extract_id": extract_id, "extract_state": row.state, "recalled": any(back is None for _left, back in away),
        "generations": [
            number
            for number, at in _generations(session, row)
            if not any(left <= at and (back is None or at < back) for left, back in away)
        ],
    }  # fmt: skip


def _away(session: Session, row: Extract, permit: Permit, key: int) -> list[tuple[datetime, datetime | None]]:
    """From when until when nothing of the participant could stand in the extract; the last may go on."""
    left = select(Withdrawal.taken_at).join(RecallNotice, RecallNotice.withdrawal_id == Withdrawal.id)
    left = left.where(
        RecallNotice.extract_id == row.id, RecallNotice.stays != "domains", Withdrawal.participant_key == key
    )
    dictionary = Dictionary.model_validate(session.get_one(DatasetVersion, row.version_id).dictionary)
    asked = {dictionary.table(one["name"]).domain for one in permit.plan["tables"]}
    back = select(ConsentChange.at).where(
        ConsentChange.participant_key == key,
        ConsentChange.state == "granted",
        ConsentChange.domain.in_(asked),
    )
    granted = session.scalars(back.order_by(ConsentChange.at)).all()
    return [(at, next((one for one in granted if one > at), None)) for at in session.scalars(left)]


def _generations(session: Session, row: Extract) -> list[tuple[int, datetime]]:
    query = select(AuditLine.data, AuditLine.at).where(
        AuditLine.stream == project_stream(row.project_id), AuditLine.object_id == row.id,
        AuditLine.event.in_(("extract.built", "extract.reissued")),
    )  # fmt: skip
    return sorted((int(data["generation"]), at) for data, at in session.execute(query))


def _held_by(institution_id: str) -> ColumnElement[bool]:
    """The list's twin of `policy.may_read_finding`: the institution holds a cohort behind the extract."""
    sources = select(VersionSource.source_version_id).where(VersionSource.version_id == Extract.version_id)
    return (
        exists()
        .where(
            Extract.id == Finding.extract_id,
            Cohort.institution_id == institution_id,
            Dataset.cohort_id == Cohort.id,
            DatasetVersion.dataset_id == Dataset.id,
            or_(DatasetVersion.id == Extract.version_id, DatasetVersion.id.in_(sources)),
        )
        .correlate(Finding)
    )


def _title(session: Session, row: Finding) -> str:
    project = session.get_one(Project, row.project_id)
    return session.get_one(AccessRequest, project.request_id).title


def _states() -> tuple[str, ...]:
    return ("reported", "accepted", "declined", "ended", *RETURNED)
