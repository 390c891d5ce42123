"""A permit goes on to another version: what its project remembers of the one before holds for the next."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Erratum, Extract, Permit, Recoding
from app.schemas.plan import Plan, plan_hash

CANNOT_FOLLOW = frozenset(
    {
        "anonymity_unreachable", "extract_too_close", "outcome_worse_than_reviewed", "plan_invalid",
        "verification_failed", "version_not_ready",
    }
)  # fmt: skip
"""Refusals of a release that another try of the same version would meet again."""


def carry_recoding(session: Session, project_id: str, before: str, after: str, at: datetime) -> None:
    """Pin the newest recoding and part counts of a project and version to the next version too, so that it is only ever
    coarsened. The windows of moved dates are not carried: they follow from the days that the data span."""
    query = select(Recoding).where(Recoding.project_id == project_id, Recoding.version_id == before)
    held = session.scalar(query.order_by(Recoding.revision.desc()).limit(1))
    there = select(Recoding.revision).where(Recoding.project_id == project_id, Recoding.version_id == after)
    if held is None or session.scalar(there.limit(1)) is not None:
        return
    session.add(
        Recoding(
            project_id=project_id, version_id=after, revision=1, body={"recoding": held.body["recoding"]},
            parts=held.parts, at=at,
        )
    )  # fmt: skip
    session.flush()


def of_permit(session: Session, permit_id: str) -> Extract | None:
    """The extract of a permit, locked."""
    return session.scalar(select(Extract).where(Extract.permit_id == permit_id).with_for_update())


def go_back(session: Session, extract: Extract) -> str | None:
    """The permit of an extract stays on the version of the generation that is handed out, and its steward is asked
    about the other; the version that it was to go to, or None where there is none."""
    permit = session.get_one(Permit, extract.permit_id, with_for_update=True)
    if permit.version_id == extract.version_id or _is_wrong(session, extract.version_id):
        return None
    to, permit.version_id = permit.version_id, extract.version_id
    permit.plan = {**permit.plan, "version_id": extract.version_id}
    permit.plan_hash, permit.asked_version = plan_hash(Plan.model_validate(permit.plan)), to
    session.flush()
    return to


def _is_wrong(session: Session, version_id: str) -> bool:
    """Whether an erratum speaks of the version: nothing of it is built again."""
    return session.scalar(select(Erratum.id).where(Erratum.corrects == version_id).limit(1)) is not None


def versions_of(extract: Extract, permit: Permit) -> list[str]:
    """The version of the generation that is handed out, and the one that the next is built of, each once: a person's
    rows may be in either while it is built."""
    return list(dict.fromkeys((extract.version_id, permit.version_id)))
