"""Write the parts: each a slice of the pseudonym space, rows in total order, so that equal inputs give equal bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from app.deid.transforms import Rendering
from app.engines.duckdb import scattering
from app.engines.duckdb.columns import joins, order_of, select
from app.engines.duckdb.filters import Filters
from app.engines.duckdb.sql import persons_of, quoted, stored, text
from app.engines.protocol import Progress, Source, StagedPart
from app.schemas.dictionary import Table

ROW_GROUP = 122_880
LEVEL = (
    1  # of zstd: keyed ids are random letters, on which a higher level spends twice the time for larger files
)
SLICES = 2**32
FEW = 6
"""Of so many parts or more, few of the rows that are read together are those of one. They are gathered first: else what
becomes of them is worked out in handfuls, each of which costs a function of ours as much as two thousand rows do."""
NEAR = "rows_near"


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
    for part in write_parts(con, source, filters, table, codes, staging, range(parts), parts):
        if part.rows or (part.position == parts - 1 and not written):
            written.append(part)
        progress(done_table=table.name, done_part=part.position + 1)
    return written


def write_parts(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    filters: Filters,
    table: Table,
    codes: dict[str, str],
    staging: Path,
    positions: Sequence[int],
    parts: int,
) -> Iterator[StagedPart]:
    """The parts (of `parts`) of a table at these positions, one after the other; each may turn out to be without rows.

    However many they are, the table is read a few times at most (`scattering.passes`), and the bytes are the same."""
    chosen = select(source, table, codes)
    names = [c.name for c in chosen]
    columns = ", ".join(f"{c.sql} AS {quoted(c.name)}" for c in chosen)
    if table.kind == "reference":
        rows = f"SELECT {told_of(names)} FROM (SELECT {columns} FROM {stored(table)} t)"
        ordered = f"{rows} ORDER BY {', '.join(map(quoted, names))}"
        for position in positions:
            yield pack(con, ordered, table.name, staging, position)
        return
    by = order_of(source, table)
    joined = f"t {joins(source, table, codes)} WHERE {filters.on(table)}"
    rows = f"FROM {stored(table)} {joined}"
    small = len(positions) > 1 and _rows_of(con, table) <= scattering.SMALL
    together = [positions] if small else scattering.passes(positions, parts)
    for position in positions if not together else ():
        first, last = bounds(position, parts)
        within, held = f"{joined} AND x0.slice BETWEEN {first} AND {last}", stored(table)
        if parts >= FEW:
            gathered = near(con, table, columns + within, first, last)
            con.execute(f"CREATE OR REPLACE TEMP TABLE {NEAR} AS {gathered}")
            held = NEAR
        told = f"SELECT x0.rank AS __rank, {columns} FROM {held} {within}"
        yield pack(con, in_order(told, names, by), table.name, staging, position)
        con.execute(f"DROP TABLE IF EXISTS {NEAR}")
    place = f"(x0.slice::UBIGINT * {parts} // {SLICES})::INTEGER"
    for some in together:
        within = rows if len(some) == parts else f"{rows} AND {place} IN ({', '.join(map(str, some))})"
        told = f"SELECT {place} AS __part, x0.rank AS __rank, {columns} {within}"
        folder = None if small else source.spill / f"rows-{table.name}"
        with scattering.scattered(con, told, names, folder) as laid:
            for position in some:
                yield pack(con, in_order(laid.rows(position), names, by), table.name, staging, position)
                laid.done(position)


def pack(con: duckdb.DuckDBPyConnection, query: str, table: str, staging: Path, position: int) -> StagedPart:
    """The rows of a query, in its order, as the part of a table at a position."""
    target = staging / f"{table}.{position}.writing"
    written = con.execute(
        f"COPY ({query}) TO {text(str(target))} "
        f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {LEVEL}, ROW_GROUP_SIZE {ROW_GROUP})"
    ).fetchall()
    return _staged(table, position, target, int(written[0][0]))


def near(con: duckdb.DuckDBPyConnection, table: Table, asked: str, first: int, last: int) -> str:
    """A query of the rows of the people of some slices, with the columns that `asked` names."""
    held = [str(row[0]) for row in con.execute(f"DESCRIBE {stored(table)}").fetchall()]
    named = [quoted(name) for name in held if f"t.{quoted(name)}" in asked or f"t.{name}" in asked]
    people = f"JOIN cross_ x0 ON t.{persons_of(table)[0]} = x0.key AND x0.slice BETWEEN {first} AND {last}"
    return f"SELECT {', '.join(f't.{name}' for name in named)} FROM {stored(table)} t {people}"


def _rows_of(con: duckdb.DuckDBPyConnection, table: Table) -> int:
    return int(con.execute(f"SELECT count(*) FROM {stored(table)}").fetchall()[0][0])


def bounds(position: int, parts: int) -> tuple[int, int]:
    """First and last slice (of 2**32) of a part."""
    return -(-position * SLICES // parts), -(-(position + 1) * SLICES // parts) - 1


def position_of(slice_: int, parts: int) -> int:
    """The part that holds a slice."""
    return slice_ * parts // SLICES


def told_of(names: list[str]) -> str:
    """The released columns, each of which may be empty."""
    return ", ".join(f"{Rendering().optional(quoted(name))} AS {quoted(name)}" for name in names)


def in_order(rows: str, names: list[str], by: list[str]) -> str:
    """Released rows with their `__rank` in the order they leave in. The order of arrival would link two projects by
    position: the order is the pseudonym's, then the row's own, `by` columns that tell rows apart (`order_of`)."""
    return f"SELECT {told_of(names)} FROM ({rows}) ORDER BY {', '.join(['__rank', *map(quoted, by)])}"


def _staged(table: str, position: int, target: Path, rows: int) -> StagedPart:
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
    return StagedPart(table, position, path, rows, path.stat().st_size, sha256)
