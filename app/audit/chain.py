"""One hash chain per stream: each line's digest covers the line before it, and one locked row is the chain's end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select, union
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.events import EVENTS
from app.models import AuditHead, AuditLine
from app.schemas.plan import canonical

PLATFORM = "platform"
GENESIS = hashlib.sha256(b"baekman audit chain").digest()


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain does not hold: the number of the first line that is wrong, and how."""

    stream: str
    number: int
    what: str  # altered | missing | head


def institution_stream(institution_id: str) -> str:
    """The stream of what happens to an institution's cohorts."""
    return f"institution:{institution_id}"


def project_stream(project_id: str) -> str:
    """The stream of what a project asks for and gets."""
    return f"project:{project_id}"


def record(
    session: Session,
    *,
    stream: str,
    event: str,
    actor: str,
    object_id: str,
    at: datetime,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Add one line. `data` holds ids, digests and counts only; an event that is not in `EVENTS` is a KeyError.

    The head row is locked (on SQLite the writer lock is held already), so that lines of one stream are numbered without
    gaps.
    """
    record_each(session, stream=stream, event=event, actor=actor, at=at, lines=[(object_id, data or {})])


def record_each(
    session: Session,
    *,
    stream: str,
    event: str,
    actor: str,
    at: datetime,
    lines: Iterable[tuple[str, Mapping[str, Any]]],
) -> None:
    """Add one line for each `(object_id, data)`, in their order: as `record` does, with the chain's end read once."""
    if event not in EVENTS:
        raise KeyError(event)
    head = _locked_head(session, stream)
    for object_id, data in lines:
        number, previous, body = head.number + 1, head.digest, dict(data)
        digest = line_digest(previous, stream, number, at, event, actor, object_id, body)
        session.add(
            AuditLine(
                stream=stream,
                number=number,
                at=at,
                event=event,
                actor=actor,
                object_id=object_id,
                data=body,
                previous=previous,
                digest=digest,
            )
        )
        head.number, head.digest = number, digest
    session.flush()


def verify(session: Session, stream: str) -> tuple[int, Break | None]:
    """The number of lines of the stream, and the first break in it, reading in batches. Lines that are added meanwhile
    are no break: the chain passes the end that it had before, and does not go past the one that it has afterwards."""
    previous, number, end = GENESIS, 0, _end(session, stream)
    passed = (number, previous) == end
    lines = select(AuditLine).where(AuditLine.stream == stream).order_by(AuditLine.number)
    with session.scalars(lines.execution_options(yield_per=1000)) as read:
        for line in read:
            number += 1
            if line.number != number:
                return number, Break(stream, number, "missing")
            expected = line_digest(
                previous, stream, number, line.at, line.event, line.actor, line.object_id, line.data
            )
            if line.previous != previous or line.digest != expected:
                return number, Break(stream, number, "altered")
            previous = line.digest
            passed = passed or (number, previous) == end
    if not passed or number > _end(session, stream)[0]:
        return number, Break(stream, number, "head")
    return number, None


def streams(session: Session) -> list[str]:
    """Every stream that has lines or an end, in order."""
    return sorted(session.scalars(union(select(AuditHead.stream), select(AuditLine.stream))))


def newest(session: Session) -> datetime | None:
    """When the last line of any stream was written, by the clock of whoever wrote it; None where there is none."""
    ends = (AuditLine.stream == AuditHead.stream) & (AuditLine.number == AuditHead.number)
    return session.scalar(select(func.max(AuditLine.at)).join(AuditHead, ends))


def _end(session: Session, stream: str) -> tuple[int, bytes]:
    """Number and digest of the last line as the head has it now; where there is none, those of an empty chain."""
    query = select(AuditHead.number, AuditHead.digest).where(AuditHead.stream == stream)
    head = session.execute(query).first()
    return (head[0], head[1]) if head else (0, GENESIS)


def _locked_head(session: Session, stream: str) -> AuditHead:
    query = select(AuditHead).where(AuditHead.stream == stream).with_for_update()
    if head := session.scalar(query):
        return head
    try:
        with session.begin_nested():
            session.execute(insert(AuditHead).values(stream=stream, number=0, digest=GENESIS))
    except IntegrityError:
        pass  # another transaction began the chain a moment ago; its row is the one to lock
    return session.scalars(query).one()


def line_digest(
    previous: bytes, stream: str, number: int, at: datetime, event: str, actor: str, object_id: str, data: Any
) -> bytes:
    """The digest of a line after the one with the digest `previous`."""
    line = [stream, number, at.astimezone(UTC).isoformat(), event, actor, object_id, data]
    return hashlib.sha256(previous + canonical(line).encode()).digest()
