"""One moment of a database, to read and to carry away; and a database made of it again. By kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from app.backups import postgresql, sqlite
from app.backups.place import Kept, Manifest
from app.db import Database

Keep = Callable[[Iterator[bytes]], Kept]
Read = Callable[[Kept], Iterator[bytes]]


class Snapshot(Protocol):
    """The database as it was at one moment, for as long as it is held."""

    @property
    def session(self) -> Session:
        """Reads what was there at that moment, and nothing later."""

    @property
    def revision(self) -> str:
        """The migration that it has."""

    def columns(self) -> Mapping[str, list[str]]:
        """The columns of each table, in the order in which `rows` has them."""

    def rows(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Each table in turn, as bytes that `load` understands; a table is read before the next is asked for."""

    def sequences(self) -> dict[str, int]:
        """`table.column` -> the last number that was given."""


class Kind(Protocol):
    """How a kind of database is copied."""

    def snapshot(self, db: Database, scratch: Path) -> AbstractContextManager[Snapshot]:
        """The database now."""

    def must_be_empty(self, db: Database) -> None:
        """A BackupError where something is there that a restore would write over."""

    def load(self, db: Database, manifest: Manifest, read: Read) -> None:
        """Make the database what it was: wholly or not at all. Jobs that were handed over wait again."""


def kind_of(db: Database) -> Kind:
    """The kind of this database."""
    return sqlite.Sqlite() if db.is_sqlite else postgresql.Postgresql()
