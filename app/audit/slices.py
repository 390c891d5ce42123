"""A slice of an audit chain that proves itself: its lines, what comes before the first, and the end of the chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit.chain import line_digest
from app.errors import Finding
from app.models import AuditLine
from app.schemas.plan import canonical


def first_about(session: Session, stream: str, object_id: str) -> int:
    """The number of the first line of a stream about an object; 1 where there is none."""
    query = select(func.min(AuditLine.number)).where(
        AuditLine.stream == stream, AuditLine.object_id == object_id
    )
    return session.scalar(query) or 1


def slice_of(session: Session, stream: str, first: int) -> Iterator[dict[str, Any]]:
    """The lines of a stream from `first` to its end, each with its digest and that of the line before; read in
    batches."""
    query = select(AuditLine).where(AuditLine.stream == stream, AuditLine.number >= first)
    for line in session.scalars(query.order_by(AuditLine.number).execution_options(yield_per=1000)):
        yield {
            "type": "line", "stream": stream, "number": line.number, "at": line.at.astimezone(UTC).isoformat(),
            "event": line.event, "actor": line.actor, "object_id": line.object_id, "data": line.data,
            "previous": line.previous.hex(), "digest": line.digest.hex(),
        }  # fmt: skip


def sealed(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The records as lines of JSON, and a last one with the SHA-256 of all before it."""
    seal = hashlib.sha256()
    count = 0
    for one in records:
        text = canonical(one) + "\n"
        seal.update(text.encode())
        count += 1
        yield text
    yield canonical({"type": "end", "records": count, "sha256": seal.hexdigest()}) + "\n"


def faults(lines: Iterable[str]) -> Iterator[Finding]:
    """Everything that is wrong with what `sealed` wrote: altered, missing, moved or added lines; read one by one.

    It shows that nothing was changed since it was written. Whoever can compute digests can make up a chain of their
    own: that the end is the end of ours, the chain itself tells (`GET /v1/audit/verify`)."""
    seal, count, ended = hashlib.sha256(), 0, False
    ends: dict[str, tuple[int, str]] = {}
    for number, text in enumerate(lines, 1):
        one = _read(text)
        if one is None or ended:
            yield Finding("line_unreadable", "is not a record, or comes after the end", lines=(number,))
            continue
        if one["type"] == "end":
            ended = True
            if (one.get("records"), one.get("sha256")) != (count, seal.hexdigest()):
                yield Finding("seal_broken", "the records are not those that were sealed", lines=(number,))
            continue
        seal.update(text.encode())
        count += 1
        if one["type"] == "line":
            yield from _line(one, ends, number)
    if not ended:
        yield Finding("seal_missing", "the end is missing")


def _line(one: dict[str, Any], ends: dict[str, tuple[int, str]], number: int) -> Iterator[Finding]:
    try:
        at = datetime.fromisoformat(one["at"])
        expected = line_digest(
            bytes.fromhex(one["previous"]), one["stream"], one["number"], at, one["event"], one["actor"],
            one["object_id"], one["data"],
        ).hex()  # fmt: skip
        held = ends.get(one["stream"], (one["number"] - 1, one["previous"]))
        follows = held == (one["number"] - 1, one["previous"])
        ends[one["stream"]] = (one["number"], one["digest"])
    except (KeyError, TypeError, ValueError):
        yield Finding("line_unreadable", "is not a line of a chain", lines=(number,))
        return
    if one["digest"] != expected:
        yield Finding("line_altered", "the digest is not that of the line", lines=(number,))
    if not follows:
        yield Finding("line_missing", "a line before this one is missing", lines=(number,))


def _read(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("type"), str) else None
