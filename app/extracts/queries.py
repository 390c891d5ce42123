"""The SQL of extracts, and how they look from outside."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from app.auth.policy import ProjectFacts
from app.consents.cohorts import behind
from app.errors import not_found
from app.jobs import held_up
from app.jobs.cancelling import ALIVE
from app.models import Extract, Job, Part, Permit, Project
from app.permits import ENDED


def extract(session: Session, extract_id: str, *, lock: bool = False) -> Extract:
    """The extract, locked until the transaction ends where asked; a Problem where there is none."""
    found = session.get(Extract, extract_id, with_for_update=lock, populate_existing=True)
    if found is None:
        raise not_found("extract")
    return found


def of_permit(session: Session, permit_id: str) -> Extract | None:
    """The extract of a permit, where it was ordered."""
    return session.scalar(select(Extract).where(Extract.permit_id == permit_id))


def version_of(session: Session, row: Extract) -> str:
    """The version that the next generation of an extract is built of."""
    return session.get_one(Permit, row.permit_id).version_id


def facts(session: Session, project_id: str) -> ProjectFacts:
    """Who holds the project, and which institutions hold its data."""
    query = (
        select(Project.holder, Permit.version_id)
        .join(Permit, Permit.project_id == Project.id)
        .where(Project.id == project_id)
    )
    if (row := session.execute(query).first()) is None:
        raise not_found("project")
    first, *others = behind(session, row[1]).institutions
    return ProjectFacts(holder=row[0], institution_id=first, also=tuple(others))


def permit(session: Session, permit_id: str, *, lock: bool = False) -> Permit:
    """The permit, locked where asked; a Problem where there is none."""
    found = session.get(Permit, permit_id, with_for_update=lock, populate_existing=True)
    if found is None:
        raise not_found("permit")
    return found


def held_by(session: Session, holder: str, after: str | None, limit: int) -> list[Extract]:
    """The extracts of a holder, newest first, from the one after `after`."""
    query = select(Extract).join(Project, Project.id == Extract.project_id).where(Project.holder == holder)
    if after:
        query = query.where(Extract.id < after)
    return list(session.scalars(query.order_by(Extract.id.desc()).limit(limit)))


def half_published(session: Session) -> list[str]:
    """Extracts with staged parts and no job that would publish them."""
    builds = exists().where(
        Job.subject == Part.extract_id,
        Job.kind.in_(("build_extract", "reissue_extract")),
        Job.state.in_(ALIVE),
    )
    query = select(Part.extract_id).where(Part.state == "staged", ~builds).distinct()
    return list(session.scalars(query.order_by(Part.extract_id)))


def ready_and_past(session: Session, now: Any) -> list[str]:
    """Extracts whose time is over, or whose permit has ended: who left them waits for nothing that will be built."""
    over = or_(Extract.expires_at < now, Permit.state.in_(ENDED))
    query = (
        select(Extract.id)
        .join(Permit, Permit.id == Extract.permit_id)
        .where(Extract.state == "ready", over)
        .order_by(Extract.id)
    )
    return list(session.scalars(query))


def progress(session: Session, extract_id: str) -> dict[str, Any]:
    """How far the newest job of the extract is."""
    query = (
        select(Job).where(Job.subject == extract_id).order_by(Job.created_at.desc(), Job.id.desc()).limit(1)
    )
    job = session.scalar(query)
    return {"job": job.kind, "state": job.state, **job.progress} if job else {}


def view(session: Session, row: Extract) -> dict[str, Any]:
    """An extract as its holder sees it."""
    return {
        "id": row.id,
        "permit_id": row.permit_id,
        "project_id": row.project_id,
        "version_id": row.version_id,
        "state": row.state,
        "failure": row.failure,
        "generation": row.generation,
        "progress": progress(session, row.id),
        "held_up": held_up(session, row.id),
        "created_at": row.created_at,
        "ready_at": row.ready_at,
        "expires_at": row.expires_at,
    }
