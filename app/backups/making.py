"""Make a backup: objects first, then the database at one moment, then the few objects that came in between.

Objects are never changed in place and are removed only after the transaction that lets them go. So whatever a moment
of the database names was there at that moment; what goes before it is copied makes the moment be taken anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import select

from app.audit import PLATFORM, record
from app.backups.named import Named, named
from app.backups.place import OBJECTS, PROFILE, BackupError, Held, Kept, Manifest, Place
from app.backups.snapshots import Snapshot, kind_of
from app.clock import Clock
from app.db import Database, new_id
from app.errors import Problem
from app.models import AuditLine
from app.models.wrapped import masters
from app.settings import Settings
from app.storage.spill import held_folder
from app.storage.store import Store

TRIES = 4  # moments, until what a moment names and no store holds is taken for lost
_AT_ONCE = 4  # objects
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Made:
    """A backup, and what of it was new in its place. `missing`: objects that the database names and no store holds, or
    holds with other bytes than were recorded."""

    manifest: Manifest
    copied: int
    copied_bytes: int
    pruned: int

    @property
    def missing(self) -> list[str]:
        """Names of objects, with their rooms."""
        return self.manifest.missing


def backup(
    settings: Settings,
    db: Database,
    rooms: dict[str, Store],
    place: Place,
    clock: Clock,
    keep: int | None = None,
) -> Made:
    """Write database, vault and outbox as they are at one moment beside what the place holds already; then leave the
    newest `keep` backups alone there, where that is said. `rooms`: the stores of `vault` and `outbox`.

    What the place holds is not read again, so that a second backup sends what is new. The line `backup.made` in the
    platform's chain tells the doctor. One backup of an installation at a time: a BackupError else.
    """
    spill = settings.var.resolve() / "spill"
    with _speaking(), _alone(settings, db), held_folder(spill, "job-backup") as scratch:
        copying = _Copying(rooms, place, scratch)
        with kind_of(db).snapshot(db, scratch) as early:
            ours = _installation(early)
            _must_be_ours(place, ours)
            copying.learn(place.newest())
            copying.run(named(early.session))
        for tried in range(1, TRIES + 1):
            with kind_of(db).snapshot(db, scratch) as moment:
                at = clock()
                copying.missing.clear()
                copying.run(named(moment.session))
                if copying.missing and tried < TRIES:
                    continue  # removed since: the next moment does not name it
                manifest = _manifest(moment, copying, place, scratch, at.isoformat(), ours)
                break
        place.write(manifest, scratch)
        pruned = place.prune(keep, scratch) if keep else 0
    with db.unit_of_work() as session:
        data = {
            "made_at": manifest.made_at,
            "objects": manifest.object_count,
            "missing": len(manifest.missing),
        }
        record(
            session, stream=PLATFORM, event="backup.made", actor="shell", object_id=manifest.id, at=clock(),
            data=data,
        )  # fmt: skip
    return Made(manifest, copying.copied, copying.copied_bytes, pruned)


@contextmanager
def _speaking() -> Iterator[None]:
    try:
        yield
    except Problem as problem:  # of a store that did not answer
        raise BackupError(problem.detail) from None


class _Copying:
    """Brings objects into a place, each once."""

    def __init__(self, rooms: dict[str, Store], place: Place, scratch: Path) -> None:
        self.rooms, self.place, self.scratch = rooms, place, scratch
        self.there = {name for room in (*OBJECTS, "pieces") for name in place.store.names(room)}
        self.held: dict[str, Held] = {}  # whose bytes are known: copied now, or listed by the backup before
        self.missing: set[str] = set()
        self.copied = self.copied_bytes = 0

    def learn(self, newest: Manifest | None) -> None:
        """What the newest backup lists need not be read again."""
        for held in self.place.list_of(newest, self.scratch) if newest is not None else ():
            if held.name in self.there:
                self.held[held.name] = held

    def run(self, wanted: Iterable[Named]) -> None:
        """Copy what is not there yet; what no store holds as it was recorded is `missing`."""
        rest = (one for one in wanted if one.path not in self.held)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while batch := list(islice(rest, _BATCH)):
                for one, held in zip(batch, pool.map(self._copy, batch), strict=True):
                    if held is None:
                        self.missing.add(one.path)
                    else:
                        self.held[one.path] = held
                        self.copied += 1
                        self.copied_bytes += held.bytes

    def _copy(self, one: Named) -> Held | None:
        source = self.rooms[one.room]
        try:
            path = source.local_path(one.name, self.scratch)
        except FileNotFoundError:
            return None
        try:
            size, digest = _digest(path)
            if one.sha256 is not None and digest != one.sha256:
                return None
            held = Held(one.path, size, digest)
            self.place.put_object(path, held)
            return held
        finally:
            path.unlink(missing_ok=True)


def _manifest(
    moment: Snapshot, copying: _Copying, place: Place, scratch: Path, at: str, installation: str
) -> Manifest:
    counted = _Listed(copying.held, named(moment.session))
    objects = place.keep(counted.lines(), scratch, copying.there)
    rows: dict[str, Kept] = {}
    for table, chunks in moment.rows():
        rows[table] = place.keep(chunks, scratch, copying.there)
    by = {what: sorted(counted_by) for what, counted_by in masters(moment.session).items()}
    return Manifest(
        profile=PROFILE, id=new_id("bak"), made_at=at, installation=installation,
        database=moment.session.get_bind().dialect.name, revision=moment.revision, masters=by, rows=rows,
        columns=dict(moment.columns()), sequences=moment.sequences(), objects=objects,
        object_count=counted.count, object_bytes=counted.bytes, missing=sorted(copying.missing),
    )  # fmt: skip


class _Listed:
    """The list of a backup's objects, counted while it is written."""

    def __init__(self, held: dict[str, Held], wanted: Iterable[Named]) -> None:
        self.held, self.wanted = held, wanted
        self.count = self.bytes = 0

    def lines(self) -> Iterator[bytes]:
        for one in self.wanted:
            if (held := self.held.get(one.path)) is not None:
                self.count, self.bytes = self.count + 1, self.bytes + held.bytes
                yield f"{held.name}\t{held.bytes}\t{held.sha256}\n".encode("ascii")


def _installation(moment: Snapshot) -> str:
    """What tells one installation from another: how the chain of its platform begins. Empty before its first line."""
    first = select(AuditLine.digest).where(AuditLine.stream == PLATFORM, AuditLine.number == 1)
    found = moment.session.scalar(first)
    return found.hex() if found else ""


def _must_be_ours(place: Place, ours: str) -> None:
    newest = place.newest()
    if newest is not None and newest.installation and ours and newest.installation != ours:
        raise BackupError("the place holds the backups of another installation")


@contextmanager
def _alone(settings: Settings, db: Database) -> Iterator[None]:
    """One at a time over all machines of the installation: what one is about to name another must not sweep away."""
    settings.var.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(settings.var / "backup.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with db.alone("backup") as alone:
            if not alone:
                raise BlockingIOError
            yield
    except BlockingIOError:
        raise BackupError("another backup is being made") from None
    finally:
        os.close(lock)


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
