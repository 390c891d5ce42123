"""The room of what arrived: bytes are appended on this machine, and become one whole object when complete.

Object stores cannot append (docs/adr/0007), so what is partial lies in a local spill folder. The caller's record of
the offset is the truth: whatever lies beyond it in the file was never acknowledged and is cut off.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from app.storage.access import AMBIENT, Access
from app.storage.kinds import open_store
from app.storage.store import Store, Stored, checked, make_private_folder


class Busy(Exception):
    """Another request, of this process or another one, is writing to this upload."""


class Writer:
    """The one hand that writes to a partial upload."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """Bytes in the file, acknowledged or not."""
        return os.fstat(self._descriptor).st_size

    def cut(self, size: int) -> None:
        """Drop every byte from `size` on."""
        os.ftruncate(self._descriptor, size)

    def write(self, offset: int, chunk: bytes) -> None:
        """Put the whole chunk at the offset; durable only after `sync`."""
        rest = memoryview(chunk)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            offset, rest = offset + written, rest[written:]

    def sync(self) -> None:
        """Return when everything written so far is on the disk."""
        os.fsync(self._descriptor)


class Inbox:
    """Uploads by their id: partial in `spill`, complete in the store."""

    def __init__(self, store: Store, spill: Path) -> None:
        self._store = store
        self._spill = make_private_folder(spill)

    @classmethod
    def open(cls, url: str, spill: Path, access: Access = AMBIENT) -> Inbox:
        """The inbox behind one store URL, with its spill folder."""
        return cls(open_store(url, access), spill)

    def probe(self) -> None:
        """Whether the store keeps its promises; see `Store.probe`."""
        self._store.probe()

    def prepare(self, name: str) -> None:
        """Make the empty file of a new upload, durably; a name is begun once."""
        os.close(os.open(self._file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        folder = os.open(self._spill, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def writer(self, name: str) -> Iterator[Writer]:
        """The only writer of this upload until the block ends; `Busy` where there is one already.

        `FileNotFoundError` where the upload has no partial file.
        The lock belongs to the open file, so that the system frees it when the process dies.
        """
        descriptor = os.open(self._file(name), os.O_RDWR)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(name) from None
            yield Writer(descriptor)
        finally:
            os.close(descriptor)

    def seal(self, name: str) -> Stored:
        """Make the complete file the object of that name; may be repeated until `drop_partial`."""
        return self._store.adopt_file(self._file(name), name)

    def drop_partial(self, name: str) -> None:
        """Remove the local file alone."""
        self._file(name).unlink(missing_ok=True)

    def local_path(self, name: str, scratch: Path) -> Path:
        """A file of one's own in `scratch` with the complete upload; `FileNotFoundError` where there is none."""
        return self._store.local_path(name, scratch)

    def exists(self, name: str) -> bool:
        """Whether any byte of this upload is held, partial or complete."""
        return self._file(name).exists() or self._store.exists(name)

    def remove(self, name: str) -> None:
        """Remove all that is held of this upload; it is no error where it is gone already."""
        self.drop_partial(name)
        self._store.delete(name)

    def names(self) -> list[str]:
        """Every upload of which something is held, sorted."""
        return sorted({path.name for path in self._spill.iterdir()} | set(self._store.names()))

    def partial_names(self) -> list[str]:
        """Uploads of which this machine's disk holds bytes, sorted."""
        return sorted(path.name for path in self._spill.iterdir())

    def untouched_since(self, moment: datetime) -> list[str]:
        """Partial uploads that nobody wrote to since that moment, sorted."""
        limit = moment.timestamp()
        return sorted(path.name for path in self._spill.iterdir() if path.stat().st_mtime < limit)

    def sweep(self, before: datetime) -> int:
        """Remove what a dead process left half stored before that moment; how many."""
        return self._store.sweep(before.astimezone(UTC))

    def _file(self, name: str) -> Path:
        if "/" in checked(name):
            raise ValueError("an upload's name has no folder")
        return self._spill / name
