"""PostgreSQL: every table by COPY in one snapshot, read while others write; put back in one transaction.

The tables themselves are made by our migrations, up to the one that the backup had. So no program of the server's
version is needed, and a backup goes to any later version of PostgreSQL. What DBOS keeps (schema `dbos`) is left
out: our rows of jobs are the truth, and a new engine is handed them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.backups.begun import begin_again
from app.backups.place import BackupError, Kept, Manifest
from app.db import Database
from app.models.migrating import upgrade_on

_MARK = "alembic_version"
_TABLES = text(
    "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
    " AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY c.relname, a.attnum"
)
_SEQUENCES = text(
    "SELECT t.relname, a.attname, pg_sequence_last_value(s.oid) FROM pg_depend d"
    " JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_class t ON t.oid = d.refobjid"
    " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid"
    " WHERE d.deptype IN ('a', 'i') AND t.relnamespace = current_schema()::regnamespace"
)
_THERE = text(
    "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p')"
    " AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN (current_schema(), 'dbos'))"
)
# What the text of rows depends on, and what would cut a long read short.
_SAID = (
    "SET LOCAL timezone = 'UTC'", "SET LOCAL datestyle = 'ISO'", "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'", "SET LOCAL extra_float_digits = 1", "SET LOCAL client_encoding = 'UTF8'",
    "SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = 0",
)  # fmt: skip


@dataclass(frozen=True)
class RowSnapshot:
    """One transaction that only reads, at one moment."""

    connection: Connection
    session: Session
    revision: str

    def columns(self) -> Mapping[str, list[str]]:
        """As the database has them, so that no table is forgotten."""
        found: dict[str, list[str]] = {}
        for table, column in self.connection.execute(_TABLES):
            if table != _MARK:
                found.setdefault(table, []).append(column)
        return found

    def rows(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """By COPY, as text."""
        for table, columns in self.columns().items():
            yield table, self._copied(f"COPY {_listed(table, columns)} TO STDOUT")

    def sequences(self) -> dict[str, int]:
        """They count outside of transactions: what is told is at least what the rows hold."""
        found = self.connection.execute(_SEQUENCES)
        return {f"{table}.{column}": last for table, column, last in found if last is not None}

    def _copied(self, statement: str) -> Iterator[bytes]:
        with _driver(self.connection).cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for block in copy:
                yield bytes(block)


class Postgresql:
    """A server of its own."""

    @contextmanager
    def snapshot(self, db: Database, scratch: Path) -> Iterator[RowSnapshot]:
        """The rows that are committed now."""
        reading = db.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with _speaking(), reading.connect() as connection, Session(connection) as session:
            for said in _SAID:
                connection.exec_driver_sql(said)
            found = MigrationContext.configure(connection).get_current_revision()
            if found is None:
                raise BackupError("there is no database to back up")
            yield RowSnapshot(connection, session, found)

    def must_be_empty(self, db: Database) -> None:
        """No table of anybody's may be there, nor what another engine knew of jobs."""
        with _speaking(), db.engine.connect() as connection:
            _must_be_empty(connection)

    def load(self, db: Database, manifest: Manifest, read: Callable[[Kept], Iterator[bytes]]) -> None:
        """In one transaction: whatever stops it leaves the database empty."""
        with _speaking(), db.migration() as connection:
            _must_be_empty(connection)  # again, behind the lock: a service may have been started meanwhile
            upgrade_on(connection, manifest.revision)
            for said in _SAID:
                connection.exec_driver_sql(said)
            self._fill(connection, manifest, read)
            begin_again(connection)

    def _fill(
        self, connection: Connection, manifest: Manifest, read: Callable[[Kept], Iterator[bytes]]
    ) -> None:
        made = MetaData()
        made.reflect(connection)
        order = [table.name for table in made.sorted_tables if table.name != _MARK]
        if set(order) != set(manifest.rows):
            raise BackupError("the backup has other tables than its migrations make")
        connection.exec_driver_sql("TRUNCATE " + ", ".join(_quoted(one) for one in order))
        for table in order:  # whoever is pointed at comes first
            statement = f"COPY {_listed(table, manifest.columns[table])} FROM STDIN"
            with _driver(connection).cursor() as cursor, cursor.copy(statement.encode()) as copy:
                for chunk in read(manifest.rows[table]):
                    copy.write(chunk)
        for name, last in manifest.sequences.items():
            table, _, column = name.partition(".")
            query = text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)")
            connection.execute(query, {"table": _quoted(table), "column": column, "last": last})


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _listed(table: str, columns: list[str]) -> str:
    return f"{_quoted(table)} ({', '.join(_quoted(one) for one in columns)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _must_be_empty(connection: Connection) -> None:
    if connection.scalar(_THERE):
        raise BackupError("there are tables in the database already; make a new, empty one")


@contextmanager
def _speaking() -> Iterator[None]:
    """The state tells what it was; the driver's words may hold hosts and values."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        state = getattr(getattr(error, "orig", error), "sqlstate", None)
        raise BackupError("the database did not do it" + (f" (SQLSTATE {state})" if state else "")) from None
