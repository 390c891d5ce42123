"""Databases with every table, cheaply: what makes them runs once a process, its result is copied or sent whole."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import create_mock_engine, inspect

from app.db import Database
from app.models import Base
from app.models.migrating import upgrade


def with_tables(db: Database) -> None:
    """Every table of the models in an empty database; one that has some keeps them and gets what it lacks."""
    if inspect(db.engine).get_table_names():
        Base.metadata.create_all(db.engine)
    elif db.is_sqlite:
        copy_into(_tables_in_sqlite(), db)
    else:
        with db.engine.begin() as connection:
            connection.exec_driver_sql(_tables_in_postgresql())


def with_migrations(db: Database) -> None:
    """What every migration makes of an empty database, with their mark."""
    if db.is_sqlite and not inspect(db.engine).get_table_names():
        copy_into(_migrated_sqlite(), db)
    else:
        upgrade(db)


@cache
def _tables_in_sqlite() -> sqlite3.Connection:
    return template(lambda db: Base.metadata.create_all(db.engine))


@cache
def _migrated_sqlite() -> sqlite3.Connection:
    return template(upgrade)


@cache
def _tables_in_postgresql() -> str:
    """All that `create_all` says, as one text: the server takes it in one answer instead of some two hundred."""
    said: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        said.append(str(statement.compile(dialect=mock.dialect)))

    mock = create_mock_engine("postgresql+psycopg://", note)
    Base.metadata.create_all(mock, checkfirst=False)
    return ";\n".join(said)


def template(make: Callable[[Database], None]) -> sqlite3.Connection:
    """A database in memory, with what `make` makes of an empty one."""
    held = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="baekman-tables-") as folder:
        path = Path(folder) / "x.db"
        db = Database(f"sqlite:///{path}")
        make(db)
        db.dispose()
        made = sqlite3.connect(path)
        made.backup(held)
        made.close()
    return held


def copy_into(template: sqlite3.Connection, db: Database) -> None:
    connection = db.engine.raw_connection()
    try:
        raw: Any = connection.driver_connection
        template.backup(raw)
    finally:
        connection.close()


def copy_of(db: Database) -> sqlite3.Connection:
    """What the database holds now, in memory: for `copy_into`."""
    held = sqlite3.connect(":memory:", check_same_thread=False)
    connection = db.engine.raw_connection()
    try:
        raw: Any = connection.driver_connection
        raw.backup(held)
    finally:
        connection.close()
    return held
