"""What becomes of integrations when an institution that drafts or feeds them leaves or goes over into another."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.consents.custody import Leaving, Merging
from app.integrations import queries
from app.integrations.states import TRANSITIONS, step
from app.models import Integration, IntegrationApproval

_OPEN = tuple(state for state, verbs in TRANSITIONS.items() if "end" in verbs)


def end(session: Session, leaving: Leaving) -> dict[str, int]:
    """What is being drafted, checked or reviewed and names its data, or is its own draft, ends. A united version that
    is published stays, without its rows."""
    ended = [row for row in _of(session, leaving.institution_id) if row.state in _OPEN]
    for row in ended:
        row.state = step(row.state, "end")
        row.revision += 1
        for institution in sorted({row.institution_id, *queries.facts(session, row).also}):
            record(
                session, stream=institution_stream(institution), event="integration.withdrawn", actor="platform",
                object_id=row.id, at=leaving.at,
                data={"reason": "institution_left", "departure": leaving.departure_id},
            )  # fmt: skip
    session.flush()
    return {"integrations": len(ended)}


def move(session: Session, merging: Merging) -> dict[str, int]:
    """The successor drafts and answers. Where it answered for data of its own too, what is open is approved only if
    both had approved the same mapping."""
    old, new = merging.institution_id, merging.successor_id
    rows = _of(session, old)
    for row in rows:
        if row.institution_id == old:
            row.institution_id = new
        if row.report is not None:
            row.report = _renamed(row.report, old, new)
        said = {one.institution_id: one for one in queries.approvals(session, row.id)}
        if old not in said:
            continue
        mine, theirs = said[old], said.get(new)
        if theirs is None:
            session.add(
                IntegrationApproval(
                    integration_id=row.id, institution_id=new, mapping_digest=mine.mapping_digest, state=mine.state,
                    by=mine.by, note=mine.note, at=mine.at,
                )
            )  # fmt: skip
        elif (mine.state, mine.mapping_digest) != (
            theirs.state,
            theirs.mapping_digest,
        ) and row.state in _OPEN:
            theirs.state, theirs.by, theirs.at = "pending", None, None
        session.delete(mine)
    session.flush()
    return {"integrations": len(rows)}


def _of(session: Session, institution_id: str) -> list[Integration]:
    """Integrations that the institution drafts or whose data it holds, locked."""
    named = select(IntegrationApproval.integration_id).where(
        IntegrationApproval.institution_id == institution_id
    )
    query = select(Integration).where(
        or_(Integration.institution_id == institution_id, Integration.id.in_(named))
    )
    return list(session.scalars(query.order_by(Integration.id).with_for_update()))


def _renamed(report: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """What is left unmapped of a source is the successor's to see."""
    unmapped = [
        {**one, "institution_id": new} if one.get("institution_id") == old else one
        for one in report.get("unmapped", [])
    ]
    return {**report, "unmapped": unmapped}
