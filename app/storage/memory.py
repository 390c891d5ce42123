"""The room of what a build leaves for the next one: sealed by the gate, read by nobody else, gone with its extract."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from app.storage.access import AMBIENT, Access
from app.storage.kinds import open_store
from app.storage.store import Store


class Memory:
    """Sealed objects under `<extract>/<generation>`. Losing one costs time, never a promise."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str, access: Access = AMBIENT) -> Memory:
        """The memory behind one store URL."""
        return cls(open_store(url, access))

    def probe(self) -> None:
        """Whether the store keeps its promises; see `Store.probe`."""
        self._store.probe()

    def sweep(self, before: datetime) -> int:
        """Remove what a dead process left half stored before that moment; how many."""
        return self._store.sweep(before)

    def put(self, path: Path, extract_id: str, generation: int) -> None:
        """Keep a copy of the file as what is remembered of the extract, in the place of all that was."""
        self.forget(extract_id)
        self._store.put_file(path, f"{extract_id}/{generation}")

    def get(self, extract_id: str, generation: int) -> bytes | None:
        """What is remembered of a generation; None where nothing is."""
        try:
            return b"".join(self._store.chunks(f"{extract_id}/{generation}"))
        except FileNotFoundError:
            return None

    def forget(self, extract_id: str) -> None:
        """Remove all that is remembered of an extract."""
        for name in self._store.names(extract_id):
            self._store.delete(name)
