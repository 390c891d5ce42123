"""What a load says, in two tables of the transaction alone: they hold keyed hashes and are gone when it ends."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc_csv
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)
from sqlalchemy.orm import Session

from app.models.base import JsonType

_META = MetaData()

PEOPLE = Table(
    "load_people", _META, Column("n", Integer, primary_key=True), Column("identity", LargeBinary(32)),
    Column("random_id", LargeBinary(16)), Column("return_token", LargeBinary(16)), Column("linkage", LargeBinary(16)),
    Column("may_link", Boolean), Column("deceased", Boolean), Column("participant_key", Integer),
    Column("is_new", Boolean),
    prefixes=["TEMPORARY"],
)  # fmt: skip
SAID = (
    "state", "purposes", "form_version", "language", "given_at", "valid_until", "by_proxy", "assent", "adult_due",
    "kind",
)  # fmt: skip
"""What a line says of one domain, as columns of the staged lines, of `consents` and of its history alike."""


def _said() -> list[Column[Any]]:
    return [
        Column("state", String(20)), Column("purposes", JsonType), Column("form_version", String(40)),
        Column("language", String(10)), Column("given_at", Date), Column("valid_until", Date),
        Column("by_proxy", Boolean), Column("assent", String(10)), Column("adult_due", Date),
        Column("kind", String(20)),
    ]  # fmt: skip


LINES = Table(
    "load_lines", _META, Column("line", Integer), Column("n", Integer), Column("domain", String(20)), *_said(),
    prefixes=["TEMPORARY"],
)  # fmt: skip
# `was`: the state before, null where nothing was said; `held`: why the line may not change it, null where it may;
# `narrows`: copies may rest on it and their purpose may no longer be among those agreed to.
CHANGES = Table(
    "load_changes", _META, Column("line", Integer), Column("participant_key", Integer), Column("domain", String(20)),
    *_said(), Column("was", String(20)), Column("held", String(20)), Column("narrows", Boolean),
    prefixes=["TEMPORARY"],
)  # fmt: skip


_USUAL, _LARGE = 2_000, 128_000  # KiB of pages; SQLite's own default, and what a load may take


@contextmanager
def staged(
    session: Session, people: Iterable[pa.RecordBatch], lines: Iterable[pa.RecordBatch]
) -> Iterator[Connection]:
    """Both tables filled (see `schemas.register`), `load_changes` empty; dropped at the end, or by the rollback."""
    connection = session.connection()
    _room(connection, _LARGE)
    _META.create_all(connection)
    for batch in people:
        _fill(connection, PEOPLE, _with_ids(batch))
    for batch in lines:
        _fill(connection, LINES, batch)
    settle(connection, PEOPLE, LINES)
    yield connection
    _META.drop_all(connection)
    _room(connection, _USUAL)


def _room(connection: Connection, kibibytes: int) -> None:
    """SQLite's page cache: random keys go to everywhere in an index, and two megabytes hold too little of one."""
    if connection.dialect.name == "sqlite":
        connection.execute(text(f"PRAGMA cache_size = -{kibibytes}"))


def settle(connection: Connection, *tables: Table) -> None:
    """Let PostgreSQL plan by what the tables hold: nobody looks at temporary ones by itself."""
    if connection.dialect.name == "postgresql":
        for table in tables:
            connection.execute(text(f"ANALYZE {table.name}"))


def _with_ids(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Fresh random ids and tokens beside each person; they are used where the person is new."""
    rows = batch.num_rows
    fresh = {name: _binary(secrets.token_bytes(16 * rows), 16) for name in ("random_id", "return_token")}
    columns = {name: batch.column(name) for name in batch.schema.names}
    return pa.RecordBatch.from_pydict({**columns, **fresh})


def _binary(data: bytes, width: int) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(width), len(data) // width, [None, pa.py_buffer(data)])


def _fill(connection: Connection, table: Table, batch: pa.RecordBatch) -> None:
    names = [name for name in batch.schema.names if name in table.c]
    batch = batch.select(names)
    if connection.dialect.name == "postgresql":
        _copy(connection, table, batch)
        return
    # The driver's own types: SQLAlchemy would turn each value by a function of Python.
    columns = [_plain(batch.column(name)) for name in names]
    marks = ", ".join("?" * len(names))
    cursor = connection.connection.cursor()
    cursor.executemany(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})", list(zip(*columns, strict=True))
    )
    cursor.close()


def _plain(column: pa.Array) -> list[Any]:
    if pa.types.is_date(column.type):
        column = column.cast(pa.string())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values: list[Any] = column.to_pylist()
    return values


def _copy(connection: Connection, table: Table, batch: pa.RecordBatch) -> None:
    columns = {name: _text(batch.column(name)) for name in batch.schema.names}
    sink = io.BytesIO()
    options = pc_csv.WriteOptions(include_header=False, batch_size=batch.num_rows or 1)
    pc_csv.write_csv(pa.RecordBatch.from_pydict(columns), sink, options)
    names = ", ".join(batch.schema.names)
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN (FORMAT csv)") as copy,
    ):
        copy.write(sink.getvalue())


def _text(column: pa.Array) -> pa.Array:
    """Bytes as PostgreSQL reads them; all else is written alike by both."""
    if not (pa.types.is_fixed_size_binary(column.type) or pa.types.is_binary(column.type)):
        return column
    return pa.array(
        [None if value is None else "\\x" + value.hex() for value in column.to_pylist()], pa.string()
    )
