"""A file of lines that are only ever added: what is written and synced is there after any crash of anything else."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.schemas.plan import canonical
from app.storage.store import sync


class JournalBroken(Exception):
    """A line in the middle cannot be read: nothing that rests on the journal may be served. The text is its number."""


class Journal:
    """JSON objects, one a line. Several processes may add; a line is whole or, as the last one, torn by a crash."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, *entries: Mapping[str, Any]) -> None:
        """Write the entries and return only when they are on the disk."""
        if not entries:
            return
        lines = "".join(f"{canonical(dict(entry))}\n" for entry in entries).encode()
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # a crash tore the last line: it was acknowledged to nobody
                    lines = b"\n" + lines
            view = memoryview(lines)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        if is_new:
            sync(self.path.parent)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every entry, oldest first; a torn line is left out where a crash can have torn it."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    entry = json.loads(line)
                except ValueError:
                    if line.startswith(b"{") and not line.rstrip(b"\n").endswith(b"}"):
                        continue
                    raise JournalBroken(f"line {number} cannot be read") from None
                yield entry
