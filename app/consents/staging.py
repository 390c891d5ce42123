"""What a load says, in tables of the transaction alone: they hold keyed hashes and are gone when it ends."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    "load_people", _META, Column("n", Integer), Column("identity", LargeBinary(32)),
    Column("random_id", LargeBinary(16)), Column("return_token", LargeBinary(16)), Column("linkage", LargeBinary(16)),
    Column("may_link", Boolean), Column("deceased", Boolean),
    prefixes=["TEMPORARY"],
)  # fmt: skip
# Everyone with their key, and what holds of them after the load. `says_more`: that was not known before; `parts`: they
# may be linked no more by the token they had.
PERSONS = Table(
    "load_persons", _META, Column("n", Integer), Column("participant_key", Integer), Column("is_new", Boolean),
    Column("identity", LargeBinary(32)), Column("random_id", LargeBinary(16)), Column("return_token", LargeBinary(16)),
    Column("linkage", LargeBinary(16)), Column("may_link", Boolean), Column("deceased", Boolean),
    Column("says_more", Boolean), Column("parts", Boolean),
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
_SORT = "64MB"  # what PostgreSQL may take for one sort or hash of a load before it goes to disk


@contextmanager
def staged(
    session: Session, people: Iterable[pa.RecordBatch], lines: Iterable[pa.RecordBatch]
) -> Iterator[Connection]:
    """People and lines filled in (see `schemas.register`), the others empty; dropped at the end, or by the rollback."""
    connection = session.connection()
    _room(connection, _LARGE)
    _META.create_all(connection)
    for batch in people:
        _fill(connection, PEOPLE, _with_ids(batch))
    for batch in lines:
        _fill(connection, LINES, batch)
    settle(connection, LINES.c.n)
    yield connection
    _META.drop_all(connection)
    if connection.dialect.name == "sqlite":
        _room(connection, _USUAL)


def _room(connection: Connection, kibibytes: int) -> None:
    """SQLite's page cache: random keys go to everywhere in an index, and two megabytes hold too little of one. On
    PostgreSQL the transaction's room for sorts; and a load is a few plain statements, which compiling makes dearer."""
    if connection.dialect.name == "sqlite":
        connection.execute(text(f"PRAGMA cache_size = -{kibibytes}"))
        return
    connection.execute(text(f"SET LOCAL work_mem = '{_SORT}'"))
    connection.execute(text("SET LOCAL jit = off"))


def settle(connection: Connection, *columns: Column[Any]) -> None:
    """Let PostgreSQL plan by what these columns of a table hold: nobody looks at temporary ones by itself, and the
    other columns are neither joined nor sorted by."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(column.name for column in columns)
        connection.execute(text(f"ANALYZE {columns[0].table.name} ({names})"))


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
    """Bytes as PostgreSQL reads them (`\\x` and hex), without a loop over rows; all else is written alike by both."""
    if not (pa.types.is_fixed_size_binary(column.type) or pa.types.is_binary(column.type)):
        return column
    rows, known = len(column), column.drop_null()
    if not len(known):
        return pa.nulls(rows, pa.string())
    width = len(known[0].as_py())  # of keyed hashes and random ids alike: each column has one
    fixed = pc.fill_null(column, bytes(width)).cast(pa.binary(width))
    data = fixed.buffers()[1].slice(fixed.offset * width, rows * width)
    told = np.empty((rows, 2 + 2 * width), dtype=np.uint8)
    told[:, :2] = np.frombuffer(b"\\x", dtype=np.uint8)
    told[:, 2:] = np.frombuffer(data.to_pybytes().hex().encode(), dtype=np.uint8).reshape(rows, 2 * width)
    offsets = np.arange(rows + 1, dtype=np.int32) * (2 + 2 * width)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(told)]
    texts = pa.Array.from_buffers(pa.string(), rows, buffers)
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))
