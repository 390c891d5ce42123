"""The only door to the database: one unit of work a command, committed here and nowhere else.

Isolation: READ COMMITTED on PostgreSQL. What a command decides on is locked (SELECT ... FOR NO KEY UPDATE) and read
under the lock, in the order of `LOCKS`; on SQLite a command that writes is alone (BEGIN IMMEDIATE). What PostgreSQL
gives up for another's sake is done anew by `retried`.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

T = TypeVar("T")
P = ParamSpec("P")
S = TypeVar("S", bound="_HasDb")
_PATIENCE = 30_000  # milliseconds that a writer waits for another on SQLite
LOCKS = (
    "institutions", "datasets", "dataset_versions", "cohorts", "access_requests", "permits", "extracts",
    "ledger_chunks", "destructions", "withdrawals", "participants", "jobs", "audit_heads",
)  # fmt: skip
"""In which order a command locks rows of several tables: two that keep it never wait for each other in a circle."""
GIVEN_UP = frozenset({"40001", "40P01"})
"""SQLSTATEs of what PostgreSQL gives up so that another goes on: a serialization failure, a deadlock."""
_TRIES = 5
IDS_A_STATEMENT = 400
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_numbering = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """A new id such as `coh_01k...`: 48 bits of milliseconds and 80 random bits. Ids sort by age, and those of one
    process also within a millisecond: the next is the last and 64 random bits more."""
    global _last
    with _numbering:
        number, now = _last + 1 + secrets.randbits(64), time.time_ns() // 1_000_000
        if now > _last >> 80:
            number = now << 80 | secrets.randbits(80)
        _last = number
    return f"{prefix}_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def batches(ids: Collection[Any]) -> Iterator[list[Any]]:
    """Ids in their order, as many at once as a statement takes: a database binds tens of thousands at most."""
    held = sorted(ids)
    for start in range(0, len(held), IDS_A_STATEMENT):
        yield held[start : start + IDS_A_STATEMENT]


class _HasDb(Protocol):
    @property
    def db(self) -> Database:
        """The database of a service."""


def retried(verb: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A verb of a service that is done by `Database.again`."""

    @wraps(verb)
    def tried(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.db.again(lambda: verb(self, *args, **kwargs))

    return cast("Callable[Concatenate[S, P], T]", tried)


class Database:
    """An engine with our pragmas. `unit_of_work` writes, `read` only reads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        # The same pool. SQLite's driver is in this mode anyway, and we say BEGIN ourselves.
        plain = {"baekman_glance": True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._glancing = self.engine.execution_options(**plain)

    def again(self, act: Callable[[], T]) -> T:
        """Do a command whose effect lies in its transactions alone, and anew where the database gave it up for
        another's sake: that left nothing. After a short random wait, a few times at most."""
        for tried in range(1, _TRIES + 1):
            try:
                return act()
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in GIVEN_UP or tried == _TRIES:
                    raise
                time.sleep(secrets.randbelow(20 * 2**tried) / 1000)
        raise AssertionError

    @contextmanager
    def unit_of_work(self) -> Iterator[Session]:
        """One transaction that writes: commits at the end of the block, rolls back on any error.

        SQLite takes its write lock at the start (BEGIN IMMEDIATE), so that two writers queue instead of failing.
        """
        with self._session() as session:
            if self.is_sqlite:
                session.connection(execution_options={"baekman_write": True})
            yield session
            session.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only reads; whatever was changed in it is rolled back."""
        with self._session() as session:
            yield session
            session.expunge_all()  # what was read stays readable: a rollback would expire it
            session.rollback()

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For a question that is asked so often that a session and a transaction would cost more: every statement sees
        what is committed when it begins, as in a transaction of PostgreSQL. Nothing is written, and every row is
        fetched."""
        with self._glancing.connect() as connection:
            yield connection

    def _session(self) -> Session:
        # One that has ended refuses whoever asks it again: it would take another connection, and give none back.
        return Session(self.engine, expire_on_commit=False, autoflush=False, close_resets_only=False)

    def on_commit(self, act: Callable[[], None]) -> Callable[[], None]:
        """Call `act`, which is short and cannot fail, whenever this process commits; the answer ends that."""

        def committed(_connection: Connection) -> None:
            act()

        event.listen(self.engine, "commit", committed)
        return lambda: event.remove(self.engine, "commit", committed)

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
            query = text("SELECT pg_try_advisory_xact_lock(:key)")
            got = bool(connection.scalar(query, {"key": _lock_of(name)}))
            yield got
            connection.rollback()

    @contextmanager
    def in_turn(self, name: str) -> Iterator[None]:
        """Wait until nobody else is in a block of this name, over all processes of the database. SQLite serves one."""
        if self.is_sqlite:
            yield
            return
        with self.engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_of(name)})
            yield
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
        except SQLAlchemyError:  # away, or all connections are taken
            return False
        return True

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _lock_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


def _postgres_engine(url: str) -> Engine:
    # A server that cannot be reached is told within seconds, unless the URL says otherwise.
    told = {} if "connect_timeout" in url else {"connect_timeout": 10}
    engine = create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args=told)
    engine.dialect.statement_compiler = _weaker(engine.dialect.statement_compiler)
    return engine


def _weaker(compiler: Any) -> Any:
    """The compiler with FOR NO KEY UPDATE wherever a row is locked.

    Two commands exclude each other as with FOR UPDATE. But whoever writes a row that points at the locked one (its
    foreign key is looked up FOR KEY SHARE, in no agreed order) waits for nobody; and no key of ours ever changes.
    """

    class Weaker(compiler):  # type: ignore[misc]  # of the dialect that the URL names
        def for_update_clause(self, select: Any, **kw: Any) -> str:
            told: str = super().for_update_clause(select, **kw)
            return told.replace(" FOR UPDATE", " FOR NO KEY UPDATE")

    return Weaker


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
        told = connection.get_execution_options()
        if "baekman_glance" not in told:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if told.get("baekman_write") else "BEGIN")

    return engine
