"""The parts of an extract: staged by the gate, ready once published, blocked when someone leaves, then replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, exists, select
from sqlalchemy.orm import Session

from app.auth.freezes import anything_frozen
from app.db import new_id
from app.models import BlockMark, Extract, Part, Permit, Recoding
from app.questions import Question

DAMAGED = "damaged"
MADE_AGAIN = "made_again"
"""The reason of a staged part whose name was handed out before: a later build came to the same bytes."""


@dataclass(frozen=True, slots=True)
class NewPart:
    """A part as the gate staged it; `name` is its content's digest with its suffix."""

    table: str
    position: int
    name: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PartState:
    """All that decides whether a byte of a part may leave, read in one row."""

    name: str
    sha256: str
    bytes: int
    state: str
    reason: str | None
    successor: str | None
    withdrawal: str | None
    extract_state: str
    permit_state: str
    permit_until: date
    expires_on: date | None
    marked: bool
    permit_id: str
    frozen: bool  # whether anything at all is: only then is it asked what
    generation: int


@dataclass(frozen=True, slots=True)
class Pinned:
    """A recoding that later releases of the same version to the same project must use, the parts a table, and the
    windows of moved dates (JSON of app.deid.window; None: pinned before there were any)."""

    revision: int
    recoding: str  # JSON of app.deid.anonymity; empty where no quasi-identifier leaves
    parts: Mapping[str, int]
    windows: Mapping[str, Any] | None = None


def stage(session: Session, extract_id: str, generation: int, parts: Iterable[NewPart]) -> None:
    """Enter a generation's parts as staged. A part that is already handed out with the same bytes stays as it is."""
    held = {part.name: part for part in _of_extract(session, extract_id)}
    for new in parts:
        part = held.get(new.name)
        if part is None:
            held[new.name] = _staged(extract_id, generation, new)
            session.add(held[new.name])
        elif part.state != "ready":
            part.state, part.generation, part.reason, part.successor = "staged", generation, MADE_AGAIN, None
            part.withdrawal_id = None
    session.flush()


def publish(session: Session, extract_id: str, names: set[str]) -> None:
    """Make the parts of a generation ready, and every other part replaced by its successor at the same position."""
    parts = _of_extract(session, extract_id)
    now = {(p.table_name, p.position): p.name for p in parts if p.name in names}
    for part in parts:
        if part.name in names:
            # A part that was blocked between record and publish stays blocked: someone in it has left since.
            if part.state == "staged":
                part.state, part.reason = "ready", None
        elif part.state in ("ready", "blocked", "staged", "replaced"):
            part.reason = None if part.state == "staged" else part.reason
            part.state = "replaced"
            part.successor = now.get((part.table_name, part.position))
    session.flush()


def unstage(session: Session, extract_id: str) -> list[str]:
    """Take out of circulation what was staged for a generation that is never published; the names. The caller holds the
    extract and knows that no build of it is on its way."""
    dropped = [part for part in _of_extract(session, extract_id) if part.state == "staged"]
    for part in dropped:
        part.state, part.reason, part.successor = "replaced", None, None
    session.flush()
    return [part.name for part in dropped]


def close_damaged(session: Session, extract_id: str, name: str) -> bool:
    """Close a part whose bytes are no longer its own, until a build has made them anew; whether it was open."""
    found = [part for part in _of_extract(session, extract_id) if (part.name, part.state) == (name, "ready")]
    for part in found:
        part.state, part.reason = "blocked", DAMAGED
    session.flush()
    return bool(found)


def block(
    session: Session, extract_id: str, places: Iterable[tuple[str, int]], reason: str, withdrawal_id: str
) -> list[str]:
    """Close the parts at these (table, position) places for a withdrawal; the names that were open until now."""
    return block_each(session, extract_id, {withdrawal_id: places}, reason)[withdrawal_id]


def block_each(
    session: Session, extract_id: str, places: Mapping[str, Iterable[tuple[str, int]]], reason: str
) -> dict[str, list[str]]:
    """For each withdrawal, in their order, `block`: a part that several have a place in is closed by the first."""
    open_: dict[tuple[str, int], list[Part]] = {}
    for part in _of_extract(session, extract_id):
        if part.state in ("ready", "staged"):
            open_.setdefault((part.table_name, part.position), []).append(part)
    closed: dict[str, list[str]] = {}
    for withdrawal_id, wanted in places.items():
        closed[withdrawal_id] = []
        for part in [part for place in sorted(set(wanted)) for part in open_.pop(place, [])]:
            part.state, part.reason, part.withdrawal_id = "blocked", reason, withdrawal_id
            closed[withdrawal_id].append(part.name)
    session.flush()
    return closed


# Asked before every MiB that leaves.
_STATE = Question(
    select(
        Part.name, Part.sha256, Part.bytes, Part.state, Part.reason, Part.successor, Part.withdrawal_id,
        Extract.state, Permit.state, Permit.valid_until, Extract.expires_at,
        exists().where(BlockMark.extract_id == Extract.id, BlockMark.narrowed.is_(False)),
        Permit.id,
        anything_frozen(),
        Part.generation,
    )
    .join(Extract, Extract.id == Part.extract_id)
    .join(Permit, Permit.id == Extract.permit_id)
    .where(Part.extract_id == bindparam("extract"), Part.name == bindparam("part"))
)  # fmt: skip


def state_of(connection: Connection, extract_id: str, name: str) -> PartState | None:
    """The one row that a byte check reads; None where there is no such part."""
    row = _STATE.first(connection, extract=extract_id, part=name)
    if row is None:
        return None
    return PartState(
        name=row[0],
        sha256=row[1],
        bytes=row[2],
        state=row[3],
        reason=row[4],
        successor=row[5],
        withdrawal=row[6],
        extract_state=row[7],
        permit_state=row[8],
        permit_until=row[9],
        expires_on=row[10].date() if row[10] else None,
        marked=bool(row[11]),
        permit_id=row[12],
        frozen=bool(row[13]),
        generation=row[14],
    )


def listed(session: Session, extract_id: str, states: Iterable[str] = ("ready",)) -> list[dict[str, Any]]:
    """The parts in these states, by table and position."""
    return [
        {
            "table": p.table_name,
            "position": p.position,
            "name": p.name,
            "sha256": p.sha256,
            "rows": p.rows,
            "bytes": p.bytes,
            "state": p.state,
            "generation": p.generation,
            "reason": p.reason,
            "successor": p.successor,
            "receipt": p.withdrawal_id,
        }
        for p in session.scalars(_of(extract_id).where(Part.state.in_(sorted(states))))
    ]


def pinned_recoding(session: Session, project_id: str, version_id: str) -> Pinned | None:
    """Release memory: the newest recoding of a project and version."""
    row = session.scalar(
        select(Recoding)
        .where(Recoding.project_id == project_id, Recoding.version_id == version_id)
        .order_by(Recoding.revision.desc())
        .limit(1)
    )
    return Pinned(row.revision, row.body["recoding"], row.parts, row.body.get("windows")) if row else None


def pin(
    session: Session,
    project_id: str,
    version_id: str,
    recoding: str,
    parts: dict[str, int],
    windows: Mapping[str, Any],
    at: datetime,
) -> None:
    """Remember the recoding, the number of parts a table and the windows, where they are not the pinned ones yet."""
    held = pinned_recoding(session, project_id, version_id)
    new = (recoding, parts, windows)
    if held is None or (held.recoding, dict(held.parts), held.windows) != new:
        session.add(
            Recoding(
                project_id=project_id,
                version_id=version_id,
                revision=held.revision + 1 if held else 1,
                body={"recoding": recoding, "windows": dict(windows)},
                parts=parts,
                at=at,
            )
        )
        session.flush()


def _of_extract(session: Session, extract_id: str) -> list[Part]:
    return list(session.scalars(_of(extract_id)))


def _of(extract_id: str) -> Select[Part]:
    by = (Part.table_name, Part.position, Part.generation)
    return select(Part).where(Part.extract_id == extract_id).order_by(*by)


def _staged(extract_id: str, generation: int, new: NewPart) -> Part:
    return Part(
        id=new_id("prt"),
        extract_id=extract_id,
        table_name=new.table,
        position=new.position,
        generation=generation,
        name=new.name,
        sha256=new.sha256,
        rows=new.rows,
        bytes=new.bytes,
        state="staged",
        reason=None,
        successor=None,
        withdrawal_id=None,
    )
