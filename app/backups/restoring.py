"""Put a backup back where nothing is. Everything is checked first, and the database comes last, in one step: a restore
that stops half way leaves nothing that could be served, and goes on when it is called again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.backups.place import OBJECTS, BackupError, Manifest, Place
from app.backups.snapshots import kind_of
from app.db import Database
from app.errors import Problem
from app.keyring import open_keyring, open_web_keyring
from app.models.wrapped import OF_WEB
from app.settings import Settings
from app.storage.spill import held_folder
from app.storage.store import NameTaken, Store


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back; `removed`: objects that the backup does not name, taken away because that was asked for."""

    manifest: Manifest
    removed: int


def restore(
    settings: Settings,
    db: Database,
    rooms: dict[str, Store],
    place: Place,
    id_: str | None = None,
    *,
    discard: bool = False,
) -> Restored:
    """Put one backup, or the newest, into an empty database and stores that hold nothing else. `rooms`: the stores of
    vault, outbox and memory.

    Objects that are there already as the backup names them stay, so that a lost database is put back beside stores
    that were not lost; others are refused, or with `discard` removed. What builds remember is removed, for the restored
    database has not seen it. `app.main.prepare` then takes anew what was withdrawn since; every start does.
    """
    manifest = place.manifest(id_) if id_ is not None else place.newest()
    if manifest is None:
        raise BackupError("there is no whole backup in this place")
    if manifest.database != db.engine.dialect.name:
        raise BackupError(f"the backup is of a database of the kind {manifest.database}")
    _must_open(settings, manifest)
    kind = kind_of(db)
    kind.must_be_empty(db)
    with held_folder(settings.var.resolve() / "spill", "job-restore") as scratch:
        try:
            if faults := place.faults(manifest, scratch):
                raise BackupError(
                    f"{len(faults)} files of the backup are missing or altered, such as {min(faults)}"
                )
            removed = _clear(rooms, place, manifest, scratch, discard=discard)
            for room, name, path in _each(place, manifest, scratch):
                _put(rooms[room], name, path)
        except Problem as problem:  # of a store
            raise BackupError(problem.detail) from None
        for left in settings.var.glob("jobs.db*"):  # the job engine would take the ids that it knows for done
            left.unlink()
        kind.load(db, manifest, lambda kept: place.read(kept, scratch))
    return Restored(manifest, removed)


def _must_open(settings: Settings, manifest: Manifest) -> None:
    """Every key of the backup must open here: nothing but its master key opens what it wrapped."""
    if not settings.has_master and not (settings.var / "master.key").exists():
        raise BackupError("put the master key back first: it is not in a backup")
    web, ring = open_web_keyring(settings), open_keyring(settings)
    for what, names in manifest.masters.items():
        known = web.known if what in OF_WEB else ring.known
        if set(names) - known:
            raise BackupError("the master key is not the one that the backup was made under")


def _clear(rooms: dict[str, Store], place: Place, manifest: Manifest, scratch: Path, *, discard: bool) -> int:
    """Of what is in the stores leave what the backup names too."""
    ours = {held.name for held in place.list_of(manifest, scratch)}
    others = [
        (room, name) for room in OBJECTS for name in rooms[room].names() if f"{room}/{name}" not in ours
    ]
    if others and not discard:
        raise BackupError(
            f"there are {len(others)} objects already that are not of this backup; move them away first, or say that"
            " they are to be removed"
        )
    for room, name in others:
        rooms[room].delete(name)
    for name in rooms["memory"].names():
        rooms["memory"].delete(name)
    return len(others)


def _each(place: Place, manifest: Manifest, scratch: Path) -> Iterator[tuple[str, str, Path]]:
    """Room, name and a file of every object in turn."""
    for held in place.list_of(manifest, scratch):
        room, _, name = held.name.partition("/")
        path = place.store.local_path(held.name, scratch)
        yield room, name, path
        path.unlink(missing_ok=True)


def _put(store: Store, name: str, path: Path) -> None:
    try:
        store.put_file(path, name)
    except NameTaken:  # a broken copy under the name of a whole one
        store.delete(name)
        store.put_file(path, name)
