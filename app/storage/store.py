"""One place for whole objects: written once under a name, read in ranges, never changed in place."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, S3Store

from app.errors import Problem
from app.passing import says_full, storage_full

CHUNK = 1 << 20  # bytes; 1 MiB chunks are on par with nginx, 64 KiB chunks reach a quarter of it
FETCH = 8 * CHUNK  # bytes asked of a server at once; a slow reader then holds no connection open
WHOLE = 8 * CHUNK  # a file up to this size is written in one request, under its name at once
STAGING = "staging"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*")


class NameTaken(Exception):
    """The name already holds other bytes; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds under a name: its size in bytes and its SHA-256 in lower-case hex."""

    name: str
    bytes: int
    sha256: str


def checked(name: str) -> str:
    """The name itself where it is one: at most 200 ASCII characters, no `..`, no hidden or staging name."""
    if len(name) > 200 or not _NAME.fullmatch(name) or name.split("/")[0] == STAGING:
        raise ValueError("not a name of an object")
    return name


class Store:
    """Objects under names. Two writers of one name end in one object: the first stands, the same bytes are fine."""

    def __init__(self, objects: LocalStore | MemoryStore | S3Store, root: Path | None = None) -> None:
        self._objects = objects
        self._root = root  # where objects are plain files of this machine

    def put_file(self, path: Path, name: str) -> Stored:
        """Store a copy of the file and say what was stored; `NameTaken` where the name holds other bytes.

        The object appears whole or not at all: written on condition that the name is free, or, where it is large or a
        file, staged under a random name and then copied on that condition. Memory stays at a few chunks. Where objects
        are files it is durable on return.
        """
        reading = _Digest(path)
        try:
            with _speaking():
                if self._root is None and path.stat().st_size <= WHOLE:
                    self._objects.put(checked(name), b"".join(reading), mode="create", use_multipart=False)
                else:
                    self._put_staged(reading, checked(name))
        except AlreadyExistsError:
            if self.digest(name) != (reading.bytes, reading.hex):
                raise NameTaken(name) from None
        self._sync_folder(name)
        return Stored(name, reading.bytes, reading.hex)

    def _put_staged(self, reading: _Digest, name: str) -> None:
        staged = f"{STAGING}/{secrets.token_hex(16)}"
        self._make_folders(staged, name)
        try:
            self._objects.put(staged, iter(reading), chunk_size=5 * CHUNK, max_concurrency=4)
            self._seal(staged)
            self._objects.copy(staged, name, overwrite=False)
        finally:
            with suppress(BaseError, FileNotFoundError):  # it never came to be, or the sweep comes again
                self._objects.delete(staged)

    def adopt_file(self, path: Path, name: str) -> Stored:
        """Like `put_file`, but the store takes the file over: no copy where it lies on the store's own disk.

        The caller must not write to the file any more and removes it when it likes.
        """
        if self._root is None:
            return self.put_file(path, name)
        reading = _Digest(path)
        for _chunk in reading:
            pass
        self._make_folders(checked(name))
        try:
            os.link(path, self._root / name)
        except FileExistsError:
            if self.digest(name) != (reading.bytes, reading.hex):
                raise NameTaken(name) from None
        except OSError:  # another disk, or one without links
            return self.put_file(path, name)
        self._seal(name)
        self._sync_folder(name)
        return Stored(name, reading.bytes, reading.hex)

    def chunks(self, name: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to but not including `end` (default: the end), at most 1 MiB at a time.

        `FileNotFoundError` at the first chunk where the object is gone.
        """
        end = self.size(name) if end is None else end
        if self._root is not None:
            yield from _file_chunks(self._root / checked(name), start, end)
            return
        for position in range(start, end, FETCH):
            reached = min(position + FETCH, end)
            with _speaking():
                block = memoryview(self._objects.get_range(checked(name), start=position, end=reached))
            if len(block) != reached - position:
                raise _silent()  # it ended short and said nothing
            for begin in range(0, len(block), CHUNK):
                yield bytes(block[begin : begin + CHUNK])

    def size(self, name: str) -> int:
        """The size in bytes; `FileNotFoundError` where there is none."""
        with _speaking():
            return int(self._objects.head(checked(name))["size"])

    def is_file(self, name: str, size: int) -> bool:
        """Whether objects are plain files here, and this one lies there with so many bytes."""
        if self._root is None:
            return False
        try:
            return (self._root / checked(name)).stat().st_size == size
        except FileNotFoundError:
            return False

    def exists(self, name: str) -> bool:
        """Whether the name holds an object."""
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Remove the object; it is no error where it is gone already."""
        try:
            with _speaking():
                self._objects.delete(checked(name))
        except FileNotFoundError:
            return
        self._sync_folder(name)

    def names(self, under: str | None = None, *, before: datetime | None = None) -> list[str]:
        """Every name, or those under a folder, or those written before a moment, sorted; what is being staged has none
        yet."""
        with _speaking():
            found = [
                meta["path"]
                for batch in self._objects.list(under)
                for meta in batch
                if before is None or meta["last_modified"] < before
            ]
        return sorted(name for name in found if not name.startswith(f"{STAGING}/"))

    def fetch(self, name: str, to: Path) -> None:
        """Copy the object to a new file (0600); nothing is left at `to` where it fails."""
        partial = to.with_name(f"{to.name}.{secrets.token_hex(4)}")
        try:
            with open(partial, "xb", opener=private) as file:
                file.writelines(self.chunks(name))
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

    def local_path(self, name: str, scratch: Path) -> Path:
        """A file of the caller's own in `scratch`, to read only: it stays when the object is deleted meanwhile.

        Where objects are files of the same disk it is another name of the object, else a copy.
        """
        own = scratch / checked(name).replace("/", "__")
        if self._root is None:
            self.fetch(name, own)
            return own
        own.unlink(missing_ok=True)
        try:
            os.link(self._root / name, own)
        except FileNotFoundError:
            raise FileNotFoundError(name) from None
        except OSError:  # another disk, or one without links
            self.fetch(name, own)
        return own

    def digest(self, name: str) -> tuple[int, str]:
        """Size in bytes and SHA-256 of what is stored, read from the store."""
        size, digest = 0, hashlib.sha256()
        for chunk in self.chunks(name):
            size += len(chunk)
            digest.update(chunk)
        return size, digest.hexdigest()

    def sweep(self, before: datetime) -> int:
        """Remove what was staged before that moment and never finished (the process died); how many.

        Where objects are files a write that broke off lies beside its name, and the library lists it nowhere."""
        if self._root is not None:
            return _sweep_folder(self._root / STAGING, before)
        with _speaking():
            batches = self._objects.list(STAGING)
            dead = [meta["path"] for batch in batches for meta in batch if meta["last_modified"] < before]
            if dead:
                self._objects.delete(dead)
        return len(dead)

    def probe(self) -> None:
        """Try what every promise rests on: a name that is taken stays taken, and what is deleted leaves no version.

        A `Problem` where the store cannot be reached, lets a write over a write, or keeps what is deleted.
        """
        name = f"{STAGING}/probe-{secrets.token_hex(16)}"
        self._make_folders(name)
        with _speaking():
            self._objects.put(name, b"1", mode="create", use_multipart=False)
            try:
                version = self._objects.head(name)["version"]
                over = self._writes_over(name)
            finally:
                self._objects.delete(name)
        if over:
            raise Problem("store_unavailable", "The object store lets one write replace another.")
        if version not in (None, "null"):
            raise Problem(
                "store_unavailable",
                "The object store keeps versions of what is deleted; nothing could be destroyed there.",
            )

    def _writes_over(self, name: str) -> bool:
        try:
            self._objects.put(name, b"2", mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def _make_folders(self, *names: str) -> None:
        if self._root is None:
            return
        for name in names:
            folder = self._root
            for segment in name.split("/")[:-1]:
                folder = folder / segment
                folder.mkdir(mode=0o700, exist_ok=True)

    def _seal(self, name: str) -> None:
        """Where objects are files: readable by their owner only, and on the disk."""
        if self._root is not None:
            (self._root / name).chmod(0o600)
            sync(self._root / name)

    def _sync_folder(self, name: str) -> None:
        if self._root is not None:
            sync((self._root / name).parent)


@contextmanager
def _speaking() -> Iterator[None]:
    """What the store's library says in our words; its own hold hosts, buckets and names of objects."""
    try:
        yield
    except (AlreadyExistsError, FileNotFoundError):
        raise
    except NotFoundError:
        raise FileNotFoundError from None
    except BaseError as error:
        raise storage_full() if says_full(str(error)) else _silent() from None


def _silent() -> Problem:
    return Problem(
        "store_unavailable",
        "The object store did not answer as it should; nothing was changed that is not whole.",
        headers={"Retry-After": "30"},
    )


class _Digest:
    """Reads a file once in chunks and knows, when it was read, how many bytes there were and their SHA-256."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                self.bytes += len(chunk)
                self._digest.update(chunk)
                yield chunk

    @property
    def hex(self) -> str:
        return self._digest.hexdigest()


def _sweep_folder(folder: Path, before: datetime) -> int:
    limit, dead = before.timestamp(), 0
    for path in folder.iterdir() if folder.exists() else ():
        with suppress(FileNotFoundError):  # its writer has ended well this moment
            if path.stat().st_mtime < limit:
                path.unlink()
                dead += 1
    return dead


def private(path: str, flags: int) -> int:
    """An opener of files for their owner alone (0600), whatever the umask."""
    return os.open(path, flags, 0o600)


def _file_chunks(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk


def sync(path: Path) -> None:
    """Let the disk have a file, or the names in a folder, before anything is acknowledged."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(path: Path) -> Path:
    """The folder, made where it is missing, for its owner alone (0700)."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_mode & 0o777 != 0o700:  # else it may be one that this process can only read
        path.chmod(0o700)
    return path
