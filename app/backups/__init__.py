"""Backup and restore of database, vault and outbox as one consistent point, on either database and any store (ADR 52).

Neither a master key nor the journal of withdrawals is in a backup: the one must not lie beside what it opens, the
other must not be as old as what it corrects. Nothing waits for a backup: no withdrawal, no destruction, no build.
"""

from app.backups.making import Made, backup
from app.backups.place import BackupError, Manifest, Place
from app.backups.restoring import Restored, restore
from app.backups.stores import open_place, open_rooms

__all__ = [
    "BackupError",
    "Made",
    "Manifest",
    "Place",
    "Restored",
    "backup",
    "open_place",
    "open_rooms",
    "restore",
]
