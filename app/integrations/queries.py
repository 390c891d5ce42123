"""The SQL of integrations, and how one looks to those who may see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.auth.policy import Actor, IntegrationFacts
from app.errors import not_found
from app.integrations.reports import shown
from app.jobs import parking
from app.models import (
    Cohort,
    Dataset,
    DatasetVersion,
    Integration,
    IntegrationApproval,
    Job,
)


def integration(session: Session, integration_id: str, *, lock: bool = False) -> Integration:
    """The integration (locked until the transaction ends, where asked); a Problem where there is none."""
    found = session.get(Integration, integration_id, with_for_update=lock, populate_existing=True)
    if found is None:
        raise not_found("integration")
    return found


def approvals(session: Session, integration_id: str) -> list[IntegrationApproval]:
    """What the institutions of the sources say, by institution."""
    query = select(IntegrationApproval).where(IntegrationApproval.integration_id == integration_id)
    return list(session.scalars(query.order_by(IntegrationApproval.institution_id)))


def facts(session: Session, row: Integration) -> IntegrationFacts:
    """What the policy needs to know: who drafts it, and whose data it unites."""
    held = tuple(one.institution_id for one in approvals(session, row.id))
    return IntegrationFacts(institution_id=row.institution_id, state=row.state, also=held)


def source(session: Session, version_id: str) -> tuple[DatasetVersion, Cohort] | None:
    """A version of one cohort with it; None where there is no such version, or it is itself united."""
    query = (
        select(DatasetVersion, Cohort)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .join(Cohort, Cohort.id == Dataset.cohort_id)
        .where(DatasetVersion.id == version_id)
    )
    found = session.execute(query).first()
    return (found[0], found[1]) if found else None


def seen_by(session: Session, actor: Actor, after: str | None, limit: int) -> Sequence[Integration]:
    """The list's twin of `policy.may_read_integration`, newest first."""
    query = select(Integration)
    if not (actor.role == "steward" and actor.institution_id is None):
        concerned = select(IntegrationApproval.integration_id).where(
            IntegrationApproval.institution_id == actor.institution_id
        )
        query = query.where(
            or_(Integration.institution_id == actor.institution_id, Integration.id.in_(concerned))
        )
    if after:
        query = query.where(Integration.id < after)
    return session.scalars(query.order_by(Integration.id.desc()).limit(limit)).all()


def published_before(session: Session, row: Integration) -> Sequence[Integration]:
    """The published integrations of the same dataset, locked."""
    query = select(Integration).where(
        Integration.dataset_id == row.dataset_id, Integration.state == "published", Integration.id != row.id
    )
    return session.scalars(query.order_by(Integration.id).with_for_update()).all()


def brief(session: Session, row: Integration) -> dict[str, Any]:
    """An integration as a line of a list."""
    dataset = session.get_one(Dataset, row.dataset_id)
    names = (
        "id", "institution_id", "dataset_id", "number", "state", "mapping_digest", "version_id", "revision",
        "created_at", "published_at",
    )  # fmt: skip
    return {
        **{name: getattr(row, name) for name in names},
        "name": dataset.name,
        "name_ko": dataset.name_ko,
        "approvals": [
            {"institution_id": one.institution_id, "state": one.state, "note": one.note, "at": one.at}
            for one in approvals(session, row.id)
        ],
    }


def view(session: Session, row: Integration, actor: Actor, least: int, unit: int) -> dict[str, Any]:
    """An integration with its mapping and report; the values of a source are shown to those who hold or steward it, to
    the others only where many have them."""
    query = select(Job).where(Job.subject == row.id).order_by(Job.created_at.desc(), Job.id.desc()).limit(1)
    job = session.scalar(query)
    return {
        **brief(session, row),
        "mapping": row.mapping,
        "report": shown(row.report, actor, least, unit),
        "progress": {"job": job.kind, "state": job.state, "failure": parking.why(job), **job.progress}
        if job
        else {},
    }
