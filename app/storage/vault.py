"""The room of what was checked: whole tables that engines read. The web never comes here."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import datetime
from pathlib import Path

from app.errors import Finding, Problem
from app.storage.access import AMBIENT, Access
from app.storage.kinds import open_store
from app.storage.store import Store, Stored

_DIGEST = re.compile(r"(?:^|[./])([0-9a-f]{32}|[0-9a-f]{64})\.parquet$")
_FRESH = 3600.0  # seconds


class Vault:
    """Checked tables under names that are never reused for other bytes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, float] = {}  # name -> when its bytes were last found to be its own

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
        """A file of one's own in `scratch`, to read and never to write; it outlives the object while it is needed.

        A Problem `data_damaged` where its bytes are not those that its name tells. What was read within the hour is not
        read through again."""
        path = self._store.local_path(name, scratch)
        said, now = _DIGEST.search(name), time.monotonic()
        if said is not None and now - self._read.get(name, -_FRESH) >= _FRESH:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not digest.startswith(said[1]):
                path.unlink()
                raise Problem(
                    "data_damaged",
                    "A checked table is not as it was stored; the operator puts it back from a backup.",
                    [Finding("object_damaged", "its bytes do not hash to its name", pointer=name)],
                )
            self._read[name] = now
        return path

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
