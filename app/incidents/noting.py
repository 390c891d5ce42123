"""The lines of incidents and freezes in the audit chains, written in one order: that of the names of the streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.audit import PLATFORM, institution_stream, project_stream, record
from app.auth.policy import Actor, Target
from app.incidents import queries
from app.models import Cohort, Incident, Permit


def note(
    session: Session,
    row: Incident,
    event: str,
    actor: Actor,
    now: datetime,
    data: Mapping[str, Any],
    felt: tuple[str, Sequence[Target]] = ("", ()),
) -> None:
    """The incident's line in the platform's chain and in that of every institution it touches; and of each target of
    `felt` (an event, and what was frozen or thawed) one where that is felt."""
    session.flush()
    body = {"state": row.state, **data}
    lines = [(one, event, row.id, body) for one in map(institution_stream, queries.parties(session, row.id))]
    lines.append((PLATFORM, event, row.id, body))
    for one in felt[1]:
        told = {"kind": one.kind, "incident": row.id}
        lines.append((_stream(session, one), felt[0], one.subject or one.kind, told))
    for stream, what, about, told in sorted(lines, key=lambda line: line[:3]):
        record(session, stream=stream, event=what, actor=actor.subject, object_id=about, at=now, data=told)


def _stream(session: Session, target: Target) -> str:
    """The chain of those who feel it: the project's, the institution's, else the platform's."""
    if target.kind == "project":
        return project_stream(target.subject)
    if target.kind == "permit":
        return project_stream(session.get_one(Permit, target.subject).project_id)
    if target.kind == "institution":
        return institution_stream(target.subject)
    if target.kind == "cohort":
        return institution_stream(session.get_one(Cohort, target.subject).institution_id)
    return PLATFORM
