"""Reading and checking the audit chains: who may see a stream, its lines in order, and where it breaks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import PLATFORM, verify
from app.auth import policy
from app.auth.policy import Actor, AuditFacts
from app.consents.cohorts import behind
from app.consents.custody import heirs
from app.errors import not_found
from app.models import AuditHead, AuditLine, Permit, Project


def lines(session: Session, actor: Actor, stream: str, after: int, limit: int) -> list[dict[str, Any]]:
    """The lines of a stream after a number, oldest first. Ids, digests and counts only stand in them."""
    policy.must_read_audit(actor, _facts(session, stream))
    query = select(AuditLine).where(AuditLine.stream == stream, AuditLine.number > after)
    return [
        {
            "number": line.number, "at": line.at, "event": line.event, "actor": line.actor,
            "object_id": line.object_id, "data": line.data, "digest": line.digest.hex(),
        }
        for line in session.scalars(query.order_by(AuditLine.number).limit(limit))
    ]  # fmt: skip


def verified(session: Session, actor: Actor, stream: str) -> dict[str, Any]:
    """Recompute every digest of a stream."""
    policy.must_read_audit(actor, _facts(session, stream))
    count, broken = verify(session, stream)
    head = session.get(AuditHead, stream)
    return {
        "stream": stream,
        "lines": count,
        "holds": broken is None,
        "head": head.digest.hex() if head else None,
        "first_break": {"number": broken.number, "what": broken.what} if broken else None,
    }


def _facts(session: Session, stream: str) -> AuditFacts:
    kind, _, name = stream.partition(":")
    if stream == PLATFORM:
        return AuditFacts()
    if kind == "institution" and name:
        return AuditFacts(institution_id=name, also=heirs(session, name))
    query = (
        select(Project.holder, Permit.version_id)
        .join(Permit, Permit.project_id == Project.id)
        .where(Project.id == name)
    )
    row = session.execute(query).first() if kind == "project" else None
    if row is None:
        raise not_found("audit stream")
    first, *others = behind(session, row[1]).institutions
    return AuditFacts(institution_id=first, holder=row[0], also=tuple(others))
