"""Capped events in DuckDB: of a person's rows those that come first in an order that only the project's key tells.

The order is a keyed hash of what the row holds, so it says nothing of when a row was, and equal rows are as good as
each other: the same inputs give the same bytes. It is a person's own affair: who else comes or goes changes none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from app.deid.transforms import Rendering
from app.engines.duckdb.sql import persons_of, quoted, scan, stored, text
from app.schemas.dictionary import Table

ROW = "__row"
"""The place of a row in the files of its table, which the view of a capped table shows."""
_MOST_ROWS = 1 << 40  # of one file: places of several files do not meet


def files(paths: Sequence[Path], capped: bool) -> str:
    """A query of all rows of a table's vault files; of a capped table with their places."""
    if not capped:
        return f"FROM {scan(paths)}"
    each = (
        f"SELECT * EXCLUDE (file_row_number), file_row_number + {place * _MOST_ROWS} AS {ROW} "
        f"FROM read_parquet({text(str(path))}, file_row_number = true)"
        for place, path in enumerate(paths)
    )
    return " UNION ALL BY NAME ".join(each)


def gather(con: duckdb.DuckDBPyConnection, table: Table, cap: int, name: str, where: str) -> None:
    """Make the table `name` (row): of the rows `t` of each person `x0` that meet `where`, at most `cap`."""
    person = f"t.{persons_of(table)[0]}"
    con.execute(
        f"CREATE TEMP TABLE {name} AS SELECT t.{ROW} AS row FROM {stored(table)} t JOIN anyone x0 ON {person} = x0.key "
        f"WHERE {where} QUALIFY row_number() OVER (PARTITION BY x0.key ORDER BY {_order(con, table)}) <= {cap}"
    )


def kept(name: str) -> str:
    """SQL: whether the row `t` is one of those of `gather`."""
    return f"t.{ROW} IN (SELECT row FROM {name})"


def _order(con: duckdb.DuckDBPyConnection, table: Table) -> str:
    """The person's own place goes in: else equal rows of two people would both leave, or both stay."""
    held = sorted(row[0] for row in con.execute(f"DESCRIBE {stored(table)}").fetchall())
    cells = [f"CAST(t.{quoted(name)} AS VARCHAR)" for name in held if name not in (*persons_of(table), ROW)]
    # Each with its length: two rows that differ are two texts.
    whole = " || ".join(f"coalesce(length({cell}) || ':' || {cell}, '-')" for cell in cells)
    return Rendering().keyed(f"CAST(x0.slice AS VARCHAR) || '|' || {whole}", f"cap:{table.name}")
