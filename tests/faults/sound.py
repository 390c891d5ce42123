"""What must hold after any fault, once the queue has drained: read from the rows and the folders, by no code of ours.

Nothing acknowledged is lost, no file with rows of people lies about that no row names, no extract is half handed out,
every audit chain holds, and no job is left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import verify
from app.db import Database
from app.models import (
    AuditHead,
    AuditLine,
    Base,
    BlockMark,
    Extract,
    Job,
    Part,
    Upload,
    VaultSegment,
    VaultTable,
    Withdrawal,
)

ROOMS = ("inbox", "vault", "outbox", "memory")
KEEPS_ORIGINAL = ("complete", "checking", "quarantined", "rejected")
RECEIVES = ("open", "receiving")


@dataclass
class Acknowledged:
    """What somebody was told: rows that are there, bytes of an upload that are safe, withdrawals that were taken."""

    rows: list[tuple[type[Base], str]] = field(default_factory=list)
    received: dict[str, int] = field(default_factory=dict)
    withdrawals: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Places:
    """Where the stores of one installation lie, all of them folders; `spills`: of each of its processes."""

    rooms: Mapping[str, Path]
    spills: tuple[Path, ...]
    journal: Path

    @classmethod
    def under(cls, var: Path) -> Places:
        """Those of the embedded default."""
        return cls({room: var / room for room in ROOMS}, (var / "spill",), var / "withdrawals.journal")


def must_be_sound(db: Database, places: Places, told: Acknowledged | None = None) -> None:
    """An AssertionError that lists everything that is not as it must be."""
    found = unsound(db, places, told)
    assert found == [], "\n".join(found)


def unsound(db: Database, places: Places, told: Acknowledged | None = None) -> list[str]:
    """Everything that is not as it must be, in a few words each."""
    with db.read() as session:
        return unsound_to(session, places, told)


def unsound_to(session: Session, places: Places, told: Acknowledged | None = None) -> list[str]:
    """The same as one transaction sees it."""
    return [
        *_lost(session, places, told or Acknowledged()),
        *_undone(session),
        *_chains(session),
        *_vault(session, places.rooms["vault"]),
        *_handed_out(session, places.rooms["outbox"]),
        *_arrived(session, places),
        *_remembered(session, places.rooms["memory"]),
        *_lying_about(places),
    ]


def _lost(session: Session, places: Places, told: Acknowledged) -> Iterator[str]:
    for model, id_ in told.rows:
        if session.get(model, id_) is None:
            yield f"lost: {model.__tablename__} {id_}"
    for id_, received in told.received.items():
        upload = session.get(Upload, id_)
        if upload is None or upload.received < received:
            yield f"lost: bytes of the upload {id_}"
    lines = places.journal.read_text().splitlines() if places.journal.exists() else []
    written = {json.loads(line).get("id") for line in lines if line.endswith("}")}
    held = set(session.scalars(select(Withdrawal.id)))
    for id_ in told.withdrawals:
        if id_ not in held:
            yield f"lost: the withdrawal {id_}"
    for id_ in held - written:
        yield f"lost: the withdrawal {id_} is not in the journal"


def _undone(session: Session) -> Iterator[str]:
    """The queue has drained, and nothing waits for a job that nobody will run."""
    for job in session.scalars(select(Job).where(Job.state.in_(("waiting", "queued", "running", "parked")))):
        yield f"undone: the job {job.kind} of {job.subject} is {job.state}"
    for extract in session.scalars(select(Extract).where(Extract.state.in_(("queued", "building")))):
        yield f"undone: the extract {extract.id} is {extract.state} and no job builds it"
    for upload in session.scalars(select(Upload).where(Upload.state == "checking")):
        yield f"undone: the upload {upload.id} is checking and no job checks it"
    for mark in session.scalars(select(BlockMark).where(BlockMark.narrowed.is_(False))):
        yield f"undone: the extract {mark.extract_id} is closed whole for {mark.withdrawal_id}"
    for row in session.scalars(select(Withdrawal).where(Withdrawal.state != "closed")):
        yield f"undone: the withdrawal {row.id} is {row.state}"


def _chains(session: Session) -> Iterator[str]:
    streams = set(session.scalars(select(AuditHead.stream))) | set(
        session.scalars(select(AuditLine.stream).distinct())
    )
    for stream in sorted(streams):
        if session.get(AuditHead, stream) is None:
            yield f"chain: {stream} has lines and no end"
        elif (broken := verify(session, stream)[1]) is not None:
            yield f"chain: {stream} is broken at {broken.number} ({broken.what})"


def _vault(session: Session, room: Path) -> Iterator[str]:
    digests: dict[str, str | None] = {}
    live = {
        (row.version_id, row.table_name, row.generation): row
        for row in session.scalars(select(VaultTable).where(VaultTable.removed_by.is_(None)))
    }
    segments = list(session.scalars(select(VaultSegment)))
    laid = [s for s in segments if (s.version_id, s.table_name, s.generation) in live]
    every: list[VaultTable | VaultSegment] = [*live.values(), *laid]
    for one in every:
        if one.object_name:
            digests[one.object_name] = one.sha256
        if one.left_out_name:
            digests.setdefault(one.left_out_name, None)
    yield from _as_named("vault", room, digests)


def _handed_out(session: Session, room: Path) -> Iterator[str]:
    wanted: dict[str, str | None] = {}
    parts: dict[str, list[Part]] = {}
    for part in session.scalars(select(Part)):
        parts.setdefault(part.extract_id, []).append(part)
        if part.state == "staged":
            yield f"half published: the part {part.name} of {part.extract_id} is staged"
    for extract in session.scalars(select(Extract)):
        ready = {p.name: p for p in parts.get(extract.id, []) if p.state == "ready"}
        if extract.state != "ready":
            if ready and extract.state not in ("expired", "destroyed"):
                yield f"half published: {extract.id} is {extract.state} and has parts that are ready"
            continue
        wanted |= {f"{extract.id}/{name}": part.sha256 for name, part in ready.items()}
        said = [p["name"] for table in (extract.manifest or {})["tables"] for p in table["parts"]]
        blocked = {p.name for p in parts.get(extract.id, []) if p.state == "blocked"}
        if {*said} - blocked != ready.keys() or not said:
            yield f"half published: the manifest of {extract.id} and its parts differ"
    yield from _as_named("outbox", room, wanted)


def _arrived(session: Session, places: Places) -> Iterator[str]:
    uploads = {row.id: row for row in session.scalars(select(Upload))}
    for path in _files(places.rooms["inbox"]):
        row = uploads.get(path.name)
        if row is None or row.original != "kept" or row.state not in KEEPS_ORIGINAL:
            yield f"orphan: inbox/{path.name}"
    for spill in places.spills:
        for path in _files(spill / "inbox"):
            row = uploads.get(path.name)
            if row is None:
                if path.stat().st_size:  # an empty one was begun and never acknowledged
                    yield f"orphan: spill/inbox/{path.name}"
            elif row.original != "kept":
                yield f"orphan: spill/inbox/{path.name} of an upload that is {row.state}"
    for row in uploads.values():
        kept = any((spill / "inbox" / row.id).exists() for spill in places.spills)
        if row.original == "kept" and not kept and not (places.rooms["inbox"] / row.id).exists():
            yield f"lost: the bytes of the upload {row.id}, which is {row.state}"


def _remembered(session: Session, room: Path) -> Iterator[str]:
    known = {
        f"{row.id}/{row.generation}"
        for row in session.scalars(select(Extract).where(Extract.state == "ready"))
    }
    for path in _files(room):
        if path.relative_to(room).as_posix() not in known:
            yield f"orphan: memory/{path.relative_to(room)}"


def _lying_about(places: Places) -> Iterator[str]:
    for name, room in places.rooms.items():
        for path in _files(room / "staging"):
            yield f"orphan: {name}/staging/{path.name}"
    for spill in places.spills:
        for path in _files(spill):
            if path.parent != spill / "inbox":
                yield f"orphan: spill/{path.relative_to(spill)}"


def _as_named(what: str, room: Path, wanted: Mapping[str, str | None]) -> Iterator[str]:
    """The room holds what rows name, with the bytes that they say, and nothing else."""
    here = {path.relative_to(room).as_posix(): path for path in _files(room)}
    here = {name: path for name, path in here.items() if not name.startswith("staging/")}
    yield from (f"orphan: {what}/{name}" for name in sorted(here.keys() - wanted.keys()))
    yield from (f"lost: {what}/{name}" for name in sorted(wanted.keys() - here.keys()))
    for name in sorted(here.keys() & wanted.keys()):
        if wanted[name] and hashlib.sha256(here[name].read_bytes()).hexdigest() != wanted[name]:
            yield f"corrupted: {what}/{name}"


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else ()
