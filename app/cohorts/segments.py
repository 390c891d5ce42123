"""How the generations of a checked table follow each other: carried to a next version, grown, or left by people.

Objects of the vault are never changed: what is the same in two generations, or two versions, is one object that both
name, and it is destroyed with the last that does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.cohorts import intake_queries as queries
from app.engines.destruction import Rewritten
from app.engines.intake import Kept
from app.models import Upload, VaultSegment, VaultTable
from app.storage.held import segments_of


@dataclass(frozen=True, slots=True)
class Segment:
    """One object of a table: its counts, what is null in it by column, and the upload it came with."""

    object_name: str
    left_out_name: str | None
    rows: int
    people: int
    bytes: int
    sha256: str
    left_out: int
    columns: list[Any]
    upload_id: str | None


@dataclass(frozen=True, slots=True)
class Left:
    """What the destruction of people leaves of a table: its objects that were rewritten by their old names, the
    distinct people that remain, and the rows that are gone."""

    made: Mapping[str, Rewritten]
    people: int
    gone: int


def segments(session: Session, row: VaultTable) -> list[Segment]:
    """The segments of one generation; of a table that is one object, that one."""
    if row.object_name is None:
        return [
            Segment(
                one.object_name, one.left_out_name, one.rows, one.people, one.bytes, one.sha256, one.left_out,
                one.columns, one.upload_id,
            )
            for one in segments_of(session, row)
        ]  # fmt: skip
    return [
        Segment(
            row.object_name, row.left_out_name, row.rows, row.people, row.bytes, row.sha256, row.left_out,
            _told_by(session, row.upload_id), row.upload_id,
        )
    ]  # fmt: skip


def carry(session: Session, before: str, version_id: str, at: datetime) -> int:
    """Begin a version with every table of another: the same objects, no row is copied; how many tables."""
    held = queries.newest_tables(session, before)
    for row in held.values():
        next_row = VaultTable(
            version_id=version_id, table_name=row.table_name, generation=1, object_name=row.object_name,
            upload_id=row.upload_id, rows=row.rows, people=row.people, bytes=row.bytes, sha256=row.sha256,
            left_out=row.left_out, left_out_name=row.left_out_name, definition=row.definition, created_at=at,
            people_shown=row.people_shown, removed_by=None,
        )  # fmt: skip
        session.add(next_row)
        session.flush()
        if row.object_name is None:
            _add(session, next_row, segments(session, row))
    return len(held)


def grow(
    session: Session,
    row: VaultTable,
    upload_id: str | None,
    kept: Sequence[Segment],
    people: int,
    definition: str,
    at: datetime,
) -> VaultTable:
    """The next generation of a table, made of these segments with so many distinct people in all."""
    return _write(session, row, upload_id, kept, people, definition, at, people_shown=None)


def add_next(session: Session, row: VaultTable, left: Left, at: datetime, min_cell: int) -> None:
    """The next generation of a table that people left. Others see the number of its people move only by as many as may
    be told of."""
    shown = row.people if row.people_shown is None else row.people_shown
    moves = shown - left.people >= min_cell
    kept = [_rewritten(one, left.made.get(one.object_name)) for one in segments(session, row)]
    _write(
        session, row, row.upload_id, kept, left.people, row.definition, at,
        people_shown=None if moves else shown,
    )  # fmt: skip


def segment_of(kept: Kept, left_out: int, upload_id: str | None) -> Segment:
    """An object as the check of an upload kept it."""
    return Segment(
        kept.object_name, kept.keys, kept.rows, kept.people, kept.bytes, kept.sha256, left_out, kept.columns, upload_id
    )  # fmt: skip


def recounted(one: Segment, made: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What is null in the rows that are left of a segment, of every column that was told of it. One that is not stored
    is there in each of them: it is an id of their people."""
    found = {entry["name"]: entry for entry in made}
    return [found.get(entry["name"], {"name": entry["name"], "nulls": 0}) for entry in one.columns]


def columns_of(kept: Iterable[Segment]) -> list[dict[str, Any]]:
    """What is null in a table, by column, over its segments: {name, nulls, missing}. A column that came later is null
    in all rows before it."""
    held = list(kept)
    names = list(dict.fromkeys(entry["name"] for one in held for entry in one.columns))
    found = []
    for name in names:
        entry: dict[str, Any] = {"name": name, "nulls": 0}
        for one in held:
            said = next((e for e in one.columns if e["name"] == name), None)
            entry["nulls"] += said["nulls"] if said else one.rows
            for reason, count in (said or {}).get("missing", {}).items():
                entry.setdefault("missing", {})[reason] = entry.get("missing", {}).get(reason, 0) + count
        found.append(entry)
    return found


def _rewritten(one: Segment, made: Rewritten | None) -> Segment:
    if made is None:
        return one
    return Segment(
        made.object_name, one.left_out_name, made.rows, made.people, made.bytes, made.sha256, one.left_out,
        recounted(one, made.columns), one.upload_id,
    )  # fmt: skip


def _told_by(session: Session, upload_id: str | None) -> list[Any]:
    upload = session.get(Upload, upload_id) if upload_id else None
    return list((upload.report or {}).get("columns", [])) if upload else []


def _write(
    session: Session,
    row: VaultTable,
    upload_id: str | None,
    kept: Sequence[Segment],
    people: int,
    definition: str,
    at: datetime,
    people_shown: int | None,
) -> VaultTable:
    # What is null in a table of one object stands in its upload's report; where that is true no more, in a segment.
    only = kept[0] if len(kept) == 1 and kept[0].columns == _told_by(session, upload_id) else None
    next_row = VaultTable(
        version_id=row.version_id, table_name=row.table_name,
        generation=queries.next_generation(session, row.version_id, row.table_name),
        object_name=only.object_name if only else None, upload_id=upload_id,
        rows=sum(one.rows for one in kept), people=people, bytes=sum(one.bytes for one in kept),
        sha256=kept[0].sha256 if len(kept) == 1 else _digest(kept), left_out=sum(one.left_out for one in kept),
        left_out_name=only.left_out_name if only else None, definition=definition, created_at=at,
        people_shown=people_shown, removed_by=None,
    )  # fmt: skip
    session.add(next_row)
    session.flush()
    if only is None:
        _add(session, next_row, kept)
    return next_row


def _add(session: Session, row: VaultTable, kept: Sequence[Segment]) -> None:
    session.add_all(
        VaultSegment(
            version_id=row.version_id, table_name=row.table_name, generation=row.generation, position=position,
            object_name=one.object_name, left_out_name=one.left_out_name, rows=one.rows, people=one.people,
            bytes=one.bytes, sha256=one.sha256, left_out=one.left_out, columns=one.columns, upload_id=one.upload_id,
        )
        for position, one in enumerate(kept)
    )  # fmt: skip
    session.flush()


def _digest(kept: Sequence[Segment]) -> str:
    return hashlib.sha256("".join(one.sha256 for one in kept).encode()).hexdigest()
