"""What somebody who leaves had in hand goes to somebody else: requests, reviews, projects and their permits."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.auth.policy import Actor
from app.consents.cohorts import behind
from app.models import AccessRequest, Permit, Project
from app.requests import queries
from app.requests.agreement import Terms, digest_of, text_of
from app.requests.states import PERMIT_TRANSITIONS, TRANSITIONS, step_permit

_OPEN = tuple(state for state, verbs in TRANSITIONS.items() if verbs)
_LIVE = tuple(state for state, verbs in PERMIT_TRANSITIONS.items() if "hand_over" in verbs)


def hand_over(session: Session, old: str, new: str, actor: Actor, now: datetime) -> dict[str, int]:
    """From one subject to another; how many requests and projects. Nobody is bound by what another agreed to: permits
    wait for the new holder's own agreement, whose text names them, and no byte flows until then."""
    asked = session.scalars(
        select(AccessRequest)
        .where(AccessRequest.applicant == old, AccessRequest.state.in_(_OPEN))
        .with_for_update()
    ).all()
    claimed = session.scalars(
        select(AccessRequest)
        .where(AccessRequest.claimed_by == old, AccessRequest.state.in_(_OPEN))
        .with_for_update()
    ).all()
    for row in asked:
        row.applicant = new
    for row in claimed:
        row.claimed_by = new
    projects = session.scalars(
        select(Project).where(Project.holder == old).order_by(Project.id).with_for_update()
    ).all()
    for project in projects:
        project.holder = new
        permits = select(Permit).where(
            Permit.project_id == project.id, Permit.state.in_(_LIVE),
            Permit.valid_until >= now.date(),  # of one that is over, what was agreed to stays
        )  # fmt: skip
        for permit in session.scalars(permits.order_by(Permit.id).with_for_update()):
            permit.state, permit.agreed_by, permit.agreed_at = (
                step_permit(permit.state, "hand_over"),
                None,
                None,
            )
            _bind(session, permit, project)
            record(
                session, stream=project_stream(project.id), event="permit.handed_over", actor=actor.subject,
                object_id=permit.id, at=now, data={"state": permit.state, "agreement": permit.agreement_digest},
            )  # fmt: skip
    session.flush()
    return {"requests": len(asked), "reviews": len(claimed), "projects": len(projects)}


def _bind(session: Session, permit: Permit, project: Project) -> None:
    """The agreement anew, in the name of the holder of now."""
    of = behind(session, permit.version_id)
    names = [(cohort.name, queries.institution_name(session, cohort.institution_id)) for cohort in of.cohorts]
    permit.agreement_text = text_of(
        Terms(
            permit_id=permit.id, holder=project.holder, title=session.get_one(AccessRequest, project.request_id).title,
            cohorts=names, plan_hash=permit.plan_hash, valid_until=permit.valid_until, conditions=permit.conditions,
        )
    )  # fmt: skip
    permit.agreement_digest = digest_of(permit.agreement_text)
