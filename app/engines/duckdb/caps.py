"""Capped events: of a person's rows those that come first in an order that only the project's key tells.

The order is a keyed hash of what the row holds, so it says nothing of when a row was, and equal rows are as good as
each other: the same inputs give the same bytes. It is a person's own affair: who else comes or goes changes none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from app.deid.keyed import cap_space
from app.deid.transforms import Rendering
from app.engines.duckdb.sql import DUCKDB, persons_of, quoted, scan, stored, text
from app.engines.duckdb.timeline import EVENT
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
    person, ordered = f"t.{persons_of(table)[0]}", ", ".join(order(con, table))
    con.execute(
        f"CREATE TEMP TABLE {name} AS SELECT t.{ROW} AS row FROM {stored(table)} t JOIN anyone x0 ON {person} = x0.key "
        f"WHERE {where} QUALIFY row_number() OVER (PARTITION BY x0.key ORDER BY {ordered}) <= {cap}"
    )


def kept(name: str) -> str:
    """SQL: whether the row `t` is one of those of `gather`."""
    return f"t.{ROW} IN (SELECT row FROM {name})"


def order(con: duckdb.DuckDBPyConnection, table: Table, r: Rendering = DUCKDB) -> list[str]:
    """What a person's rows are put in order by. The person's own place goes in: else equal rows of two people would
    both leave, or both stay.

    Engines write numbers with a fraction in several ways, so they go in to the thousandth; rows that are alike
    but for less are told apart by the numbers themselves."""
    said = con.execute(f"DESCRIBE {stored(table)}").fetchall()
    own = (row for row in said if row[0] not in (*persons_of(table), ROW) and not row[0].startswith(EVENT))
    held = sorted((row[0], row[1]) for row in own)
    numbers = [f"t.{quoted(name)}" for name, kind in held if kind == "DOUBLE"]
    cells = [
        r.as_text(_thousandths(f"t.{quoted(name)}", r) if kind == "DOUBLE" else f"t.{quoted(name)}")
        for name, kind in held
    ]
    # Each with its length: two rows that differ are two texts.
    whole = " || ".join(f"coalesce({r.as_text(f'length({cell})')} || ':' || {cell}, '-')" for cell in cells)
    first = r.keyed(f"{r.as_text('x0.slice')} || '|' || {whole}", cap_space(table.name))
    return [first, *(f"{number} NULLS LAST" for number in numbers)]


def _thousandths(number: str, r: Rendering) -> str:
    """Whole thousandths of a number, as far as they are exact."""
    return (
        f"(CASE WHEN ABS({number}) < 1e12 THEN CAST({r.floor(f'{number} * 1000', most=1e15)} AS BIGINT) END)"
    )
