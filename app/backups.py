"""Backup and restore of the embedded default: database, vault and outbox at one moment, each file with its digest.

Neither the master key nor the journal of withdrawals is in a backup: the one must not lie beside what it opens, the
other must not be as old as what it corrects.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import update

from app.db import Database
from app.keyring import open_keyring
from app.models import Job
from app.settings import Settings

PROFILE = "baekman-backup/1"
DATABASE = "baekman.db"
ROOMS = ("vault", "outbox")
MANIFEST = "manifest.json"


class BackupError(Exception):
    """What keeps a backup from being made or restored; the text holds file names of ours only."""


def backup(settings: Settings, to: Path, at: datetime) -> dict[str, Any]:
    """Write database, vault and outbox as they are at one moment into an empty folder; what was written.

    The database's only write lock is held meanwhile. Objects are never changed in place, and are removed only after the
    transaction that lets them go: so all that the copy of the database names is there to be copied.
    """
    source = _embedded(settings)
    if not source.exists():
        raise BackupError("there is no database to back up")
    if to.exists() and any(to.iterdir()):
        raise BackupError("the folder of a backup must be empty")
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = sqlite3.connect(source, timeout=60, isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        _copy_database(source, to / DATABASE)
        for room in ROOMS:
            _copy_room(settings.var / room, to / room)
    finally:
        lock.close()
    files = {name: _digest(to / name) for name in _names(to)}
    manifest = {
        "profile": PROFILE, "made_at": at.isoformat(), "master_key": open_keyring(settings).current, "files": files,
    }  # fmt: skip
    _write(to / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
    return {"made_at": manifest["made_at"], "files": len(files)}


def restore(settings: Settings, source: Path) -> dict[str, Any]:
    """Put a backup where nothing is. Everything is checked first, and the database comes last, so that a restore that
    stops half way leaves nothing that could be served. `withdrawals.journal` replays what was withdrawn since."""
    target = _embedded(settings)
    manifest = _checked(source)
    if target.exists():
        raise BackupError("there is a database already; move it away first")
    if settings.master_key is None and not (settings.var / "master.key").exists():
        raise BackupError("put the master key back first: it is not in a backup")
    if open_keyring(settings).current != manifest["master_key"]:
        raise BackupError("the master key is not the one that the backup was made under")
    settings.var.mkdir(parents=True, exist_ok=True, mode=0o700)
    marker = settings.var / "restoring"
    if not marker.exists() and any(next(_names(settings.var / room), None) for room in ROOMS):
        raise BackupError("there are objects already; move them away first")
    marker.touch(mode=0o600)
    for room in ROOMS:
        shutil.rmtree(settings.var / room, ignore_errors=True)
        _copy_room(source / room, settings.var / room)
    shutil.rmtree(
        settings.var / "memory", ignore_errors=True
    )  # of builds that the restored database has not seen
    for left in settings.var.glob("jobs.db*"):  # the job engine would take the ids that it knows for done
        left.unlink()
    staged = target.with_name(f"{DATABASE}.restoring")
    staged.unlink(missing_ok=True)
    _copy_database(source / DATABASE, staged)
    _begin_again(staged)
    staged.rename(target)
    marker.unlink()
    return {"made_at": manifest["made_at"], "files": len(manifest["files"])}


def _embedded(settings: Settings) -> Path:
    if settings.database_url is not None or settings.vault_url or settings.outbox_url:
        raise BackupError(
            "this is for the embedded default; back up your database and stores by their own means"
        )
    return settings.var.resolve() / DATABASE


def _checked(source: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_bytes())
    except (OSError, ValueError):
        raise BackupError("there is no whole backup in this folder") from None
    if manifest.get("profile") != PROFILE:
        raise BackupError("the backup was made by another version")
    wrong = [
        name
        for name, digest in manifest["files"].items()
        if not (source / name).is_file() or _digest(source / name) != digest
    ]
    if wrong:
        raise BackupError(f"{len(wrong)} files of the backup are missing or altered, such as {min(wrong)}")
    return manifest


def _begin_again(path: Path) -> None:
    """Jobs that were handed over wait again: the engine that had them is gone."""
    db = Database(f"sqlite:///{path}")
    with db.unit_of_work() as session:
        session.execute(update(Job).where(Job.state.in_(("queued", "running"))).values(state="waiting"))
    db.dispose()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _copy_database(source: Path, target: Path) -> None:
    reading, writing = sqlite3.connect(source, timeout=60), sqlite3.connect(target)
    try:
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode=DELETE")
    finally:
        writing.close()
        reading.close()
    target.chmod(0o600)
    _sync(target)


def _copy_room(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _names(source):
        if name.startswith("staging/"):
            continue  # not yet an object
        (target / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(source / name, target / name)
        (target / name).chmod(0o600)
        _sync(target / name)


def _names(folder: Path) -> Iterator[str]:
    yield from sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
