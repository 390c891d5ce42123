"""The place of backups: a store where all backups of one installation share what is the same in them.

vault/... outbox/...   objects under their own names, which are never given to other bytes
pieces/<sha256>        rows of the database and lists of objects, compressed, named by their content
backups/<id>           one backup: it is written last, and names everything that belongs to it
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from app.errors import Problem
from app.storage.store import NameTaken, Store

PROFILE = "baekman-backup/2"
OBJECTS = ("vault", "outbox")
PIECE = 64 << 20  # bytes of rows in one piece, before it is compressed


class BackupError(Exception):
    """What keeps a backup from being made or restored; the text holds names of ours and counts only."""


class Kept(BaseModel):
    """Bytes that lie in pieces, in this order."""

    pieces: list[str]
    bytes: int  # as they lie there


class Manifest(BaseModel):
    """One backup. `masters`: by which master keys its keys are wrapped, by what these are for; `missing`: objects that
    the database named and no store held."""

    profile: str
    id: str
    made_at: str
    installation: str
    database: str
    revision: str
    masters: dict[str, list[str]]
    rows: dict[str, Kept]
    columns: dict[str, list[str]]
    sequences: dict[str, int]
    objects: Kept
    object_count: int
    object_bytes: int
    missing: list[str]


@dataclass(frozen=True, slots=True)
class Held:
    """An object of a backup, under the name of its room and its own."""

    name: str
    bytes: int
    sha256: str


class Place:
    """One store with backups in it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def manifests(self) -> list[str]:
        """The ids of all whole backups, oldest first."""
        return [name.partition("/")[2] for name in self.store.names("backups")]

    def manifest(self, id_: str) -> Manifest:
        """One backup; a BackupError where there is none of that id, or it was made by another version."""
        try:
            told: Any = json.loads(b"".join(self.store.chunks(f"backups/{id_}")))
        except (FileNotFoundError, ValueError):
            raise BackupError("there is no whole backup of that id in this place") from None
        if not isinstance(told, dict) or told.get("profile") != PROFILE:
            raise BackupError("the backup was made by another version")
        try:
            return Manifest.model_validate(told)
        except ValidationError:
            raise BackupError("what is said of the backup was altered") from None

    def newest(self) -> Manifest | None:
        """The newest backup, where there is one."""
        ids = self.manifests()
        return self.manifest(ids[-1]) if ids else None

    def write(self, manifest: Manifest, scratch: Path) -> None:
        """Name the backup: from now on it is one."""
        path = scratch / "manifest"
        path.write_bytes(manifest.model_dump_json(indent=1).encode())
        self.store.put_file(path, f"backups/{manifest.id}")

    def keep(self, chunks: Iterable[bytes], scratch: Path, known: set[str]) -> Kept:
        """Put a stream of bytes into pieces; those that are `known` to lie here are not sent again."""
        pieces, size = [], 0
        for path in _cut(chunks, scratch / "piece"):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if f"pieces/{digest}" not in known:
                self.store.put_file(path, f"pieces/{digest}")
                known.add(f"pieces/{digest}")
            pieces.append(digest)
            size += path.stat().st_size
            path.unlink()
        return Kept(pieces=pieces, bytes=size)

    def read(self, kept: Kept, scratch: Path) -> Iterator[bytes]:
        """The bytes again, at most a megabyte at a time; a BackupError where a piece is not what it was."""
        for digest in kept.pieces:
            path = scratch / "read"
            try:
                self.store.fetch(f"pieces/{digest}", path)
            except FileNotFoundError:
                raise BackupError(f"the piece {digest} is missing") from None
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise BackupError(f"the piece {digest} was altered")
            with gzip.open(path) as opened:
                while chunk := opened.read(1 << 20):
                    yield chunk
            path.unlink()

    def list_of(self, manifest: Manifest, scratch: Path) -> Iterator[Held]:
        """Every object of a backup."""
        rest = b""
        for chunk in self.read(manifest.objects, scratch):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                name, size, digest = line.decode("ascii").split("\t")
                yield Held(name, int(size), digest)

    def put_object(self, path: Path, held: Held) -> None:
        """Keep one object; a BackupError where the name is known here for other bytes."""
        try:
            self.store.put_file(path, held.name)
        except NameTaken:
            raise BackupError(f"the place holds other bytes as {held.name}") from None

    def faults(self, manifest: Manifest, scratch: Path) -> list[str]:
        """Names of what is missing or is not what it was, of all that the backup needs: everything is read."""
        found = []
        for kept in (*manifest.rows.values(), manifest.objects):
            found += [f"pieces/{one}" for one in kept.pieces if not self._is(f"pieces/{one}", one)]
        if not found:  # else the list itself cannot be trusted
            found += [
                held.name for held in self.list_of(manifest, scratch) if not self._is(held.name, held.sha256)
            ]
        return found

    def prune(self, keep: int, scratch: Path) -> int:
        """Leave the newest `keep` backups and nothing that none of them names, and nothing that a backup which was
        never finished left; how many objects and pieces went."""
        (*old,) = self.manifests()[:-keep]
        for id_ in old:  # first, so that none is left that lacks something
            self.store.delete(f"backups/{id_}")
        named: set[str] = set()
        for id_ in self.manifests():
            manifest = self.manifest(id_)
            for kept in (*manifest.rows.values(), manifest.objects):
                named |= {f"pieces/{one}" for one in kept.pieces}
            named |= {held.name for held in self.list_of(manifest, scratch)}
        gone = 0
        for room in (*OBJECTS, "pieces"):
            for name in self.store.names(room):
                if name not in named:
                    self.store.delete(name)
                    gone += 1
        return gone

    def _is(self, name: str, sha256: str) -> bool:
        try:
            return self.store.digest(name)[1] == sha256
        except (FileNotFoundError, ValueError):
            return False
        except Problem as problem:
            raise BackupError(problem.detail) from None


def _cut(chunks: Iterable[bytes], path: Path) -> Iterator[Path]:
    """A stream as compressed files of a piece each, under one path in turn: equal bytes make equal files."""
    source = iter(chunks)
    left: memoryview = memoryview(b"")
    while True:
        taken = 0
        with (
            path.open("wb") as file,
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as zipped,
        ):
            while taken < PIECE:
                if not left:
                    left = memoryview(next(source, b""))
                    if not left:
                        break
                part, left = left[: PIECE - taken], left[PIECE - taken :]
                taken += zipped.write(part)
        if not taken:
            path.unlink()
            return
        yield path
