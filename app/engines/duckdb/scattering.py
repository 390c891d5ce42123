"""One pass over a table for all of its parts: released rows are laid by part into the job's folder, without an order.

A part that is asked for by itself reads the whole table, for the vault is clustered by participant and parts are cut
by pseudonym. So a table of many parts is read once, each row goes to the file of its part, and every part is put in
order from its own file: what a row costs does not grow with the number of parts, and a part is ordered at a time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from app.engines.duckdb.sql import quoted, text

AT_ONCE = 64
"""Parts of one pass: what DuckDB gathers for each takes memory. The most parts that a table has are four passes."""
LAID = "rows_laid"
ROW_GROUP = 8192
"""Rows of one part that are gathered before they are written."""
LAYING = 4
"""Laying all rows aside and reading them again costs as much as so many times finding them in the table."""
SMALL = 50_000
"""Of so few rows it is dearer to ask for them anew than to find them: they are laid into a table of the connection."""


def passes(positions: Sequence[int], parts: int) -> list[Sequence[int]]:
    """The positions (of `parts`) that are laid aside together, in their order, in few passes; none where it
    is cheaper that each part reads the table for itself, which is never more than five times."""
    if (len(positions) - 1) * parts <= LAYING * len(positions):
        return []
    number = -(-len(positions) // AT_ONCE)
    each = -(-len(positions) // number)
    return [positions[start : start + each] for start in range(0, len(positions), each)]


@contextmanager
def scattered(
    con: duckdb.DuckDBPyConnection, rows: str, names: Sequence[str], folder: Path | None
) -> Iterator[Scattered | Table]:
    """The rows of a query of `__part`, `__rank` and the named columns, by part; `folder` must not exist, lies where the
    connection may write, and is gone at the end. Disk: about the rows as they leave; memory: what DuckDB gathers of
    them before it writes, whatever their number. Without a folder they are a table of the connection."""
    columns = ", ".join(f"{quoted(name)} AS c{i}" for i, name in enumerate(names))
    if folder is None:
        con.execute(f"CREATE OR REPLACE TEMP TABLE {LAID} AS SELECT __part, __rank, {columns} FROM ({rows})")
        yield Table(tuple(names))
        con.execute(f"DROP TABLE {LAID}")
        return
    folder.mkdir(mode=0o700)
    try:
        con.execute(
            f"COPY (SELECT __part, __rank, {columns} FROM ({rows})) TO {text(str(folder))} "
            f"(FORMAT parquet, PARTITION_BY (__part), COMPRESSION uncompressed, ROW_GROUP_SIZE {ROW_GROUP})"
        )
        yield Scattered(folder, rows, tuple(names))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Table:
    """The rows of a small table by part."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def rows(self, position: int) -> str:
        """A query of the rows (`__rank` and the columns) of a part."""
        named = ", ".join(f"c{i} AS {quoted(name)}" for i, name in enumerate(self._names))
        return f"SELECT __rank, {named} FROM {LAID} WHERE __part = {position}"

    def done(self, position: int) -> None:
        """The part is written: nothing is to be done."""


class Scattered:
    """The rows of a table by part."""

    def __init__(self, folder: Path, rows: str, names: tuple[str, ...]) -> None:
        self._folder, self._rows, self._names = folder, rows, names

    def rows(self, position: int) -> str:
        """A query of the rows (`__rank` and the columns) of a part."""
        place = self._place(position)
        if not place.exists():
            named = ", ".join(map(quoted, self._names))
            return f"SELECT __rank, {named} FROM ({self._rows}) WHERE false"
        named = ", ".join(f"c{i} AS {quoted(name)}" for i, name in enumerate(self._names))
        files = text(f"{place}/*.parquet")
        return f"SELECT __rank, {named} FROM read_parquet({files}, hive_partitioning = false)"

    def done(self, position: int) -> None:
        """The part is written: its rows here go."""
        shutil.rmtree(self._place(position), ignore_errors=True)

    def _place(self, position: int) -> Path:
        return self._folder / f"__part={position}"
