"""The only door to the database: one unit of work a command, committed here and nowhere else."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

_PATIENCE = 30_000  # milliseconds that a writer waits for another on SQLite
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A new id such as `coh_01k...`: 48 bits of milliseconds and 80 random bits, so that ids sort by age."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class Database:
    """An engine with our pragmas. `unit_of_work` writes, `read` only reads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)

    @contextmanager
    def unit_of_work(self) -> Iterator[Session]:
        """One transaction that writes: commits at the end of the block, rolls back on any error.

        SQLite takes its write lock at the start (BEGIN IMMEDIATE), so that two writers queue instead of failing.
        """
        with Session(self.engine, expire_on_commit=False, autoflush=False) as session:
            if self.is_sqlite:
                session.connection(execution_options={"baekman_write": True})
            yield session
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads; whatever was changed in it is rolled back."""
        with Session(self.engine, expire_on_commit=False, autoflush=False) as session:
            yield session
            session.expunge_all()  # what was read stays readable: a rollback would expire it
            session.rollback()

    @contextmanager
    def migration(self) -> Iterator[Connection]:
        """One transaction for a change of the schema.

        SQLite changes a column by making the table anew; while it does, rows of other tables point at nothing. So
        its foreign keys are off meanwhile and every one is checked before the commit, as its manual asks.
        """
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                with connection.begin():
                    # Processes that start together queue here; a change that cannot have its table soon gives up and
                    # is tried anew, for behind a waiting ALTER every reader of the table would wait.
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7261735)")
                    connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
                    yield connection
                return
            raw = connection.connection.driver_connection
            if raw is None:
                raise RuntimeError("a connection without its driver")
            raw.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    yield connection
                    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                        raise RuntimeError("the migration leaves rows that point at nothing")
            finally:
                raw.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether nobody else is in a block of this name now, over all processes of the database; never waits.

        SQLite serves one process, which takes care of itself: always True. On PostgreSQL the lock goes with the
        connection, so that a process that dies lets go.
        """
        if self.is_sqlite:
            yield True
            return
        with self.engine.connect() as connection:
            key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
            got = bool(connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}))
            yield got
            connection.rollback()

    def drop_old_pages(self) -> bool:
        """Let the file's log go, which holds pages as they were before the last changes; whether it went.

        Nobody is waited for and nobody has to wait: while somebody reads it stays, and the next call takes it. On
        PostgreSQL this is the work of its own vacuum.
        """
        if not self.is_sqlite:
            return True
        with self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            if raw is None:
                raise RuntimeError("a connection without its driver")
            raw.execute("PRAGMA busy_timeout=0")
            try:
                return bool(raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
            finally:
                raw.execute(f"PRAGMA busy_timeout={_PATIENCE}")

    def ping(self) -> bool:
        """Whether the database answers."""
        try:
            with self.read() as session:
                session.execute(text("SELECT 1"))
        except DBAPIError:
            return False
        return True

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _postgres_engine(url: str) -> Engine:
    return create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED")


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (
            "journal_mode=WAL",
            "foreign_keys=ON",
            f"busy_timeout={_PATIENCE}",
            "synchronous=NORMAL",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(
            "PRAGMA main.secure_delete=ON"
        )  # what is deleted or overwritten is gone from its page

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("baekman_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
