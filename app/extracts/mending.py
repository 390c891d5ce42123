"""A part whose bytes are no longer those that were released is closed, told, and made anew by the next generation."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from app.audit import project_stream, record
from app.extracts import queries
from app.extracts.service import ExtractService
from app.jobs import order
from app.ledger.parts import close_damaged
from app.models import Extract, Part

CYCLE = timedelta(days=7)  # in which every part is read once
_HOUR = timedelta(hours=1)


def close_where_damaged(extracts: ExtractService, extract_id: str, name: str) -> bool:
    """Read all of a part's bytes; where they are not its own, or are gone, it is closed from now on and built anew:
    whether that was so. Its holder is told `part_damaged` meanwhile; equal inputs give equal bytes, so that the name
    stays."""
    with extracts.db.read() as session:
        part = session.scalar(select(Part).where(Part.extract_id == extract_id, Part.name == name))
    if part is None or part.state != "ready" or _is_whole(extracts, part):
        return False
    now = extracts.clock()
    with extracts.db.unit_of_work() as session:
        row = queries.extract(session, extract_id, lock=True)
        if not close_damaged(session, extract_id, name):
            return False
        # Before the build, for a name never changes its bytes while it holds any.
        extracts.outbox.delete(f"{extract_id}/{name}")
        if row.state == "ready":
            order(session, "reissue_extract", extract_id, now, project=row.project_id)
        record(
            session, stream=project_stream(row.project_id), event="part.damaged", actor="platform",
            object_id=extract_id, at=now, data={"part": part.sha256, "generation": row.generation},
        )  # fmt: skip
    return True


def look_through(extracts: ExtractService, *, all_of_them: bool = False) -> int:
    """Read the parts whose turn it is in this hour, so that each is read once in a `CYCLE`; how many were damaged."""
    hours = CYCLE // _HOUR
    turn = int(extracts.clock().timestamp() // _HOUR.total_seconds()) % hours
    query = (
        select(Part.extract_id, Part.name, Part.sha256)
        .join(Extract, Extract.id == Part.extract_id)
        .where(Part.state == "ready", Extract.state == "ready")
        .order_by(Part.extract_id, Part.name)
    )
    with extracts.db.read() as session:
        read = session.execute(query.execution_options(yield_per=1000))
        due = [(of, name) for of, name, sha256 in read if all_of_them or int(sha256[:8], 16) % hours == turn]
    return sum(close_where_damaged(extracts, of, name) for of, name in due)


def _is_whole(extracts: ExtractService, part: Part) -> bool:
    try:
        return extracts.outbox.digest(f"{part.extract_id}/{part.name}") == (part.bytes, part.sha256)
    except FileNotFoundError:
        return False
