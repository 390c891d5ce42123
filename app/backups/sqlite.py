"""SQLite: the file as it is at one moment, copied by SQLite itself while others write."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic.migration import MigrationContext
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.backups.begun import begin_again
from app.backups.place import BackupError, Kept, Manifest
from app.db import Database
from app.storage.store import sync

FILE = "database"  # the one table of a backup: the whole file
_LOGS = ("-wal", "-shm", "-journal")  # beside the file; SQLite replays into it whatever lies there


@dataclass(frozen=True)
class FileSnapshot:
    """A copy of the file."""

    path: Path
    session: Session
    revision: str

    def columns(self) -> Mapping[str, list[str]]:
        """None: the file knows them."""
        return {}

    def rows(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The file."""

        def chunks() -> Iterator[bytes]:
            with self.path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    yield chunk

        yield FILE, chunks()

    def sequences(self) -> dict[str, int]:
        """None: they are in the file."""
        return {}


class Sqlite:
    """The embedded default."""

    @contextmanager
    def snapshot(self, db: Database, scratch: Path) -> Iterator[FileSnapshot]:
        """The file now, in a copy."""
        source = _path(db)
        if not source.exists():
            raise BackupError("there is no database to back up")
        copy = scratch / "snapshot.db"
        copy.unlink(missing_ok=True)
        _copy(source, copy)
        held = Database(f"sqlite:///{copy}")
        try:
            with held.read() as session:
                found = MigrationContext.configure(session.connection()).get_current_revision()
                yield FileSnapshot(copy, session, found or "")
        finally:
            held.dispose()
            _drop(copy)

    def must_be_empty(self, db: Database) -> None:
        """No file may be there, nor a log that a lost one left behind."""
        target = _path(db)
        there = [path.name for path in _with_logs(target) if path.exists()]
        if there:
            raise BackupError(
                f"there is a database already, or a log of one: {', '.join(there)}; move all away first"
            )

    def load(self, db: Database, manifest: Manifest, read: Callable[[Kept], Iterator[bytes]]) -> None:
        """Under another name first, so that a half written file is no database."""
        target = _path(db)
        staged = target.with_name(f"{target.name}.restoring")
        _drop(staged)
        with open(staged, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.writelines(read(manifest.rows[FILE]))
        held = Database(f"sqlite:///{staged}")
        with held.unit_of_work() as session:
            begin_again(session.connection())
        held.dispose()
        for log in _with_logs(staged)[1:]:
            log.unlink(missing_ok=True)
        sync(staged)
        self.must_be_empty(db)  # again: a service may have been started meanwhile
        staged.rename(target)
        sync(target.parent)


def _path(db: Database) -> Path:
    return Path(make_url(db.url).database or "")


def _copy(source: Path, target: Path) -> None:
    reading, writing = sqlite3.connect(source, timeout=60), sqlite3.connect(target)
    try:
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode=DELETE")
    finally:
        writing.close()
        reading.close()
    target.chmod(0o600)


def _with_logs(path: Path) -> list[Path]:
    return [path, *(Path(f"{path}{suffix}") for suffix in _LOGS)]


def _drop(path: Path) -> None:
    for one in _with_logs(path):
        one.unlink(missing_ok=True)
