"""An erratum in one extract: parts with wrong values are closed, the holder is told, the corrected ones are ordered."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.db import new_id
from app.extracts import queries
from app.ledger.parts import block, listed
from app.models import Erratum, Extract, RecallNotice

REASON = "erratum"


def recall_erratum(session: Session, extract_id: str, erratum_id: str, days: int, now: datetime) -> list[str]:
    """Close what is handed out of the wrong version and tell its holder, once; the names of the closed parts."""
    row = queries.extract(session, extract_id, lock=True)
    erratum = session.get_one(Erratum, erratum_id)
    if row.generation == 0 or _is_told(session, row, erratum_id):
        return []
    tables = {one["table"] for one in erratum.tables}
    closed: list[str] = []
    if row.state == "ready" and row.version_id == erratum.corrects:
        ready = listed(session, row.id, ("ready", "staged"))
        places = [(part["table"], part["position"]) for part in ready if part["table"] in tables]
        closed = block(session, row.id, places, REASON, erratum.id)
    session.add(
        RecallNotice(
            id=new_id("rcl"), withdrawal_id=None, erratum_id=erratum.id, extract_id=row.id, pseudonym="", source=None,
            state="open", ground="", at=now, attested_at=None, due_at=now + timedelta(days=days), frozen_until=None,
            overdue_at=None,
        )
    )  # fmt: skip
    session.flush()
    record(
        session, stream=project_stream(row.project_id), event="erratum.recalled", actor="platform",
        object_id=row.id, at=now, data={"erratum": erratum.id, "parts_closed": len(closed)},
    )  # fmt: skip
    return closed


def _is_told(session: Session, row: Extract, erratum_id: str) -> bool:
    query = select(RecallNotice.id).where(
        RecallNotice.extract_id == row.id, RecallNotice.erratum_id == erratum_id
    )
    return session.scalar(query.limit(1)) is not None
