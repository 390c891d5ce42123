"""The stores that a backup reads and a restore fills, and where backups lie, by the settings.

They are opened past the rooms, whose doors are for what people ask: who runs these commands holds the stores' keys."""

from __future__ import annotations

from pathlib import Path

from app.backups.place import BackupError, Place
from app.settings import Room, Settings
from app.storage.access import access
from app.storage.kinds import open_store
from app.storage.store import Store


def open_rooms(settings: Settings, *names: Room) -> dict[str, Store]:
    """The stores of these rooms, by name."""
    return {name: open_store(settings.store_url(name), access(settings, name)) for name in names}


def open_place(settings: Settings, where: str | None) -> Place:
    """The place of backups: a folder, the URL of a store, or what the settings say; a BackupError where it is none."""
    told = where or settings.backup_url
    if told is None:
        raise BackupError("say where: a folder, the URL of a store, or BAEKMAN_BACKUP_URL")
    url = told if "://" in told else Path(told).resolve().as_uri()
    try:
        return Place(open_store(url, access(settings, "backup")))
    except ValueError as error:
        raise BackupError(str(error)) from None
