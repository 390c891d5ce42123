"""Answers to those who look on: may I, and why not; the lines of an audit stream, and where its chain breaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import PLATFORM, verify
from app.auth import policy
from app.auth.policy import Actor, AuditFacts
from app.clock import Clock
from app.consents.cohorts import behind
from app.consents.custody import heirs
from app.db import Database
from app.errors import not_found
from app.models import AuditHead, AuditLine, Permit, Project
from app.requests import why


@dataclass(frozen=True)
class OversightService:
    """Reads alone; nothing here changes anything."""

    db: Database
    clock: Clock

    def why(self, actor: Actor, verb: str, object_id: str) -> dict[str, Any]:
        """May I? Which conditions are met, which are not, and who can mend the rest."""
        with self.db.read() as session:
            return why.answer(session, actor, verb, object_id, self.clock())

    def audit(self, actor: Actor, stream: str, after: int, limit: int) -> list[dict[str, Any]]:
        """The lines of one audit stream after a number."""
        with self.db.read() as session:
            return lines(session, actor, stream, after, limit)

    def verify_audit(self, actor: Actor, stream: str) -> dict[str, Any]:
        """Whether the chain of a stream holds, and where it breaks first."""
        with self.db.read() as session:
            return verified(session, actor, stream)


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
