"""Permits: read, accept the agreement, suspend, resume, revoke; each change with its line in the project's chain."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.auth import policy
from app.auth.policy import Actor
from app.errors import Finding, Problem
from app.jobs import order
from app.models import Permit
from app.permits.following import of_permit
from app.requests import queries
from app.requests.states import PERMIT_TRANSITIONS, step_permit

_LASTING = tuple(state for state, verbs in PERMIT_TRANSITIONS.items() if "expire" in verbs)
EVENTS = {"suspend": "permit.suspended", "resume": "permit.resumed", "revoke": "permit.revoked"}
View = dict[str, Any]


def view(session: Session, actor: Actor, permit_id: str) -> View:
    """One permit, for its holder and the cohort's stewards."""
    row, project, of = queries.permit(session, permit_id)
    policy.must_read_permit(actor, queries.permit_facts(project, of))
    return queries.permit_view(row, project)


def held(session: Session, actor: Actor, after: str | None, limit: int) -> list[View]:
    """The permits of the actor, newest first."""
    rows = queries.permits_of_holder(session, actor.subject, after, limit)
    return [queries.permit_view(row, queries.permit(session, row.id)[1]) for row in rows]


def agreement(session: Session, actor: Actor, permit_id: str) -> View:
    """The text that is to be accepted, or was."""
    row, project, of = queries.permit(session, permit_id)
    policy.must_read_permit(actor, queries.permit_facts(project, of))
    return {
        "permit_id": row.id, "text": row.agreement_text, "languages": ["ko", "en"], "digest": row.agreement_digest,
        "agreed_by": row.agreed_by, "agreed_at": row.agreed_at,
    }  # fmt: skip


def accept(session: Session, actor: Actor, permit_id: str, digest: str, now: datetime) -> View:
    """pending_agreement -> active, by the holder, for the text of this digest. Accepting again changes nothing."""
    row, project, of = queries.permit(session, permit_id, lock=True)
    policy.must_accept_agreement(actor, queries.permit_facts(project, of))
    if not hmac.compare_digest(digest, row.agreement_digest):
        finding = Finding("digest_mismatch", "is not the digest of this agreement", pointer="/digest")
        raise Problem("precondition_failed", "Read the agreement again.", [finding])
    if row.agreed_at is not None and row.state == "active":
        return queries.permit_view(row, project)
    if now.date() > row.valid_until:
        raise Problem("permit_not_live", "The permit has expired.")
    row.state, row.agreed_by, row.agreed_at = step_permit(row.state, "accept"), actor.subject, now
    _build_what_waited(session, row, now)
    record(
        session, stream=project_stream(project.id), event="agreement.accepted", actor=actor.subject,
        object_id=row.id, at=now, data={"agreement": row.agreement_digest},
    )  # fmt: skip
    return queries.permit_view(row, project)


def suspend_by_platform(session: Session, permit_id: str, reason: str, now: datetime) -> bool:
    """Stop an active permit for now, for a reason that nobody had to judge; a steward resumes it. Whether it was."""
    row, project, _of = queries.permit(session, permit_id, lock=True)
    if row.state != "active":
        return False
    row.state = step_permit(row.state, "suspend")
    record(
        session, stream=project_stream(project.id), event="permit.suspended", actor="platform", object_id=row.id,
        at=now, data={"state": row.state, "reason": reason},
    )  # fmt: skip
    return True


def expire_due(session: Session, now: datetime) -> int:
    """Permits whose last day is over have expired, for good; how many. By the clock nothing flows since that day."""
    over = select(Permit).where(Permit.state.in_(_LASTING), Permit.valid_until < now.date())
    rows = session.scalars(over.order_by(Permit.id).with_for_update()).all()
    for row in rows:
        row.state = step_permit(row.state, "expire")
        record(
            session, stream=project_stream(row.project_id), event="permit.expired", actor="platform", object_id=row.id,
            at=now, data={"valid_until": row.valid_until.isoformat()},
        )  # fmt: skip
    return len(rows)


def manage(session: Session, actor: Actor, permit_id: str, verb: str, note: str, now: datetime) -> View:
    """suspend | resume | revoke, by a steward of the cohort. The reason is kept in the chain by its length alone.

    While a permit is suspended nothing is built: what withdrawals closed meanwhile is built when it is active again."""
    row, project, of = queries.permit(session, permit_id, lock=True)
    policy.must_manage_permit(actor, queries.permit_facts(project, of))
    unagreed = verb == "resume" and row.agreed_at is None
    row.state = step_permit(row.state, "resume_unagreed" if unagreed else verb)
    _build_what_waited(session, row, now)
    record(
        session, stream=project_stream(project.id), event=EVENTS[verb], actor=actor.subject, object_id=row.id,
        at=now, data={"state": row.state, "note_length": len(note)},
    )  # fmt: skip
    return queries.permit_view(row, project)


def _build_what_waited(session: Session, row: Permit, now: datetime) -> None:
    """Nothing is built while a permit is not active: when it is again, what withdrawals closed meanwhile is, and the
    generation of a version that it went on to."""
    extract = of_permit(session, row.id)
    if row.state != "active" or extract is None or extract.state != "ready":
        return
    if extract.version_id != row.version_id or queries.closed_extracts(session, row.id):
        order(session, "reissue_extract", extract.id, now)
