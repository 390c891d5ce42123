"""The room of what was checked: whole tables that engines read. The web never comes here."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from app.storage.access import AMBIENT, Access
from app.storage.kinds import open_store
from app.storage.store import Store, Stored


class Vault:
    """Checked tables under names that are never reused for other bytes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str, access: Access = AMBIENT) -> Vault:
        """The vault behind one store URL."""
        return cls(open_store(url, access))

    def probe(self) -> None:
        """Whether the store keeps its promises; see `Store.probe`."""
        self._store.probe()

    def sweep(self, before: datetime) -> int:
        """Remove what a dead process left half stored before that moment; how many."""
        return self._store.sweep(before)

    def put_file(self, path: Path, name: str) -> Stored:
        """Keep a copy of the file under the name; the same bytes again are fine, others a `NameTaken`."""
        return self._store.put_file(path, name)

    def local_path(self, name: str, scratch: Path) -> Path:
        """A file of one's own in `scratch`, to read and never to write; it outlives the object while it is needed."""
        return self._store.local_path(name, scratch)

    def fetch(self, name: str, to: Path) -> None:
        """Copy the object to a new file; `FileNotFoundError` where there is none."""
        self._store.fetch(name, to)

    def size(self, name: str) -> int:
        """Bytes of the object; `FileNotFoundError` where there is none."""
        return self._store.size(name)

    def delete(self, name: str) -> None:
        """Destroy the object; it is no error where it is gone already."""
        self._store.delete(name)

    def list(self, before: datetime | None = None) -> list[str]:
        """Every name, or those written before a moment, sorted."""
        return self._store.names(before=before)
