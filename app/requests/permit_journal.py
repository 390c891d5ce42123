"""What stops a permit is written down outside the database too, and done again where the database has forgotten it.

A line holds ids, a state and a time. A permit that was let live again after it was suspended is in it as well, so that
nothing is stopped anew that a steward had resumed; but a replay never opens anything.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.db import Database
from app.models import AuditLine, Permit
from app.storage.journal import Journal

STOPS = {"suspended": "permit.suspended", "revoked": "permit.revoked"}
_EVENTS = (*STOPS.values(), "permit.resumed")


def entry_of(permit_id: str, state: str, at: datetime) -> dict[str, Any]:
    """The line of a permit that came into a state."""
    return {"permit": permit_id, "state": state, "at": at.isoformat()}


def replay(db: Database, journal: Journal, now: datetime) -> int:
    """Stop every permit of which the last line says so and whose chain is older than that line; how many."""
    last = {entry["permit"]: entry for entry in journal.entries() if "permit" in entry}
    stopped = 0
    for permit_id, entry in sorted(last.items()):
        if entry["state"] in STOPS:
            with db.unit_of_work() as session:
                stopped += _stopped(session, permit_id, entry, now)
    return stopped


def _stopped(session: Session, permit_id: str, entry: dict[str, Any], now: datetime) -> bool:
    row = session.get(Permit, permit_id, with_for_update=True)
    if row is None:  # issued after the backup was made
        return False
    known = select(func.max(AuditLine.at)).where(
        AuditLine.stream == project_stream(row.project_id),
        AuditLine.object_id == permit_id,
        AuditLine.event.in_(_EVENTS),
    )
    newest = session.scalar(known)
    if newest is not None and newest >= datetime.fromisoformat(entry["at"]):
        return False
    if row.state not in ("pending_agreement", "active", "suspended") or row.state == entry["state"]:
        return False
    row.state = entry["state"]
    record(
        session, stream=project_stream(row.project_id), event=STOPS[row.state], actor="platform", object_id=permit_id,
        at=now, data={"state": row.state, "reason": "replayed"},
    )  # fmt: skip
    return True
