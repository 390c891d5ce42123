"""The room of what was released: parts that the gate put here and extracts deliver in ranges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from app.storage.access import AMBIENT, Access
from app.storage.kinds import open_store
from app.storage.store import Store, Stored


class Outbox:
    """Released parts, each named by its content."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str, access: Access = AMBIENT) -> Outbox:
        """The outbox behind one store URL."""
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

    def chunks(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` up to but not including `end`, at most 1 MiB at a time."""
        return self._store.chunks(name, start, end)

    def is_file(self, name: str, size: int) -> bool:
        """Whether the part is a file of a folder, and has so many bytes: then who shares the folder has it as well."""
        return self._store.is_file(name, size)

    def size(self, name: str) -> int:
        """Bytes of the part; `FileNotFoundError` where there is none."""
        return self._store.size(name)

    def digest(self, name: str) -> tuple[int, str]:
        """Bytes and SHA-256 of what lies there, all of it read; `FileNotFoundError` where there is none."""
        return self._store.digest(name)

    def exists(self, name: str) -> bool:
        """Whether the part is here."""
        return self._store.exists(name)

    def delete(self, name: str) -> None:
        """Remove the part; it is no error where it is gone already."""
        self._store.delete(name)
