"""Write the parts: each a slice of the pseudonym space, rows in total order, so that equal inputs give equal bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb

from app.deid.transforms import Rendering
from app.engines.duckdb.columns import joins, select
from app.engines.duckdb.filters import Filters
from app.engines.duckdb.sql import quoted, stored, text
from app.engines.protocol import Progress, Source, StagedPart
from app.schemas.dictionary import Table

ROW_GROUP = 122_880
LEVEL = (
    1  # of zstd: keyed ids are random letters, on which a higher level spends twice the time for larger files
)
SLICES = 2**32


def write_table(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    filters: Filters,
    table: Table,
    codes: dict[str, str],
    staging: Path,
    parts: int,
    progress: Progress,
) -> list[StagedPart]:
    """The parts of one table. A slice without rows is no part, unless nothing at all would be left of the table."""
    written: list[StagedPart] = []
    for position in range(parts):
        part = write_part(con, source, filters, table, codes, staging, position, parts)
        if part.rows or (position == parts - 1 and not written):
            written.append(part)
        progress(done_table=table.name, done_part=position + 1)
    return written


def write_part(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    filters: Filters,
    table: Table,
    codes: dict[str, str],
    staging: Path,
    position: int,
    parts: int,
) -> StagedPart:
    """One part of `parts`; it may turn out to be without rows."""
    query = _query(source, filters, table, codes, position, parts)
    return pack(con, query, table.name, staging, position)


def pack(con: duckdb.DuckDBPyConnection, query: str, table: str, staging: Path, position: int) -> StagedPart:
    """The rows of a query, in its order, as the part of a table at a position."""
    target = staging / f"{table}.{position}.writing"
    con.execute(
        f"COPY ({query}) TO {text(str(target))} "
        f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {LEVEL}, ROW_GROUP_SIZE {ROW_GROUP})"
    )
    return _staged(con, table, position, target)


def bounds(position: int, parts: int) -> tuple[int, int]:
    """First and last slice (of 2**32) of a part."""
    return -(-position * SLICES // parts), -(-(position + 1) * SLICES // parts) - 1


def position_of(slice_: int, parts: int) -> int:
    """The part that holds a slice."""
    return slice_ * parts // SLICES


def _query(
    source: Source,
    filters: Filters,
    table: Table,
    codes: dict[str, str],
    position: int,
    parts: int,
) -> str:
    chosen = select(source, table, codes)
    columns = ", ".join(f"{c.sql} AS {quoted(c.name)}" for c in chosen)
    names = ", ".join(quoted(c.name) for c in chosen)
    told = told_of([c.name for c in chosen])
    if table.kind == "reference":
        return f"SELECT {told} FROM (SELECT {columns} FROM {stored(table)} t) ORDER BY {names}"
    first, last = bounds(position, parts)
    within = f"x0.slice BETWEEN {first} AND {last}"
    rows = (
        f"SELECT x0.rank AS __rank, {columns} FROM {stored(table)} t {joins(source, table, codes)} "
        f"WHERE {within} AND {filters.on(table)}"
    )
    return in_order(rows, [c.name for c in chosen])


def told_of(names: list[str]) -> str:
    """The released columns, each of which may be empty."""
    return ", ".join(f"{Rendering().optional(quoted(name))} AS {quoted(name)}" for name in names)


def in_order(rows: str, names: list[str]) -> str:
    """Released rows with their `__rank` in the order they leave in. The order of arrival would link two projects by
    position: the order is the pseudonym's, then the row's own."""
    return f"SELECT {told_of(names)} FROM ({rows}) ORDER BY __rank, {', '.join(map(quoted, names))}"


def _staged(con: duckdb.DuckDBPyConnection, table: str, position: int, target: Path) -> StagedPart:
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    path = target.with_name(f"{sha256}.parquet")
    if (
        path.exists()
    ):  # the same bytes at another place (two empty slices): told apart by a folder of their own
        folder = target.with_name(f"{table}.{position}")
        folder.mkdir()
        path = folder / path.name
    target.rename(path)
    rows = con.execute(f"SELECT num_rows FROM parquet_file_metadata({text(str(path))})").fetchall()[0][0]
    return StagedPart(table, position, path, int(rows), path.stat().st_size, sha256)
