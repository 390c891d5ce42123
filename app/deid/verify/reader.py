"""One bounded DuckDB over the staged bytes; what it answers is counts, never values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

# Plans that trust the footer's statistics would let a lying footer hide rows from the verifier.
# `common_subplan` is wrong in itself (ADR 74).
DISTRUSTED = ("statistics_propagation", "filter_pushdown", "common_subplan")


def name(identifier: str) -> str:
    """An SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """An SQL string literal; for paths, patterns and names, never for values that come from people."""
    return "'" + value.replace("'", "''") + "'"


def bits(key: str) -> str:
    """SQL: a keyed id as its 64 bits, which are compared, joined and kept at a fraction of its text. What is no keyed
    id, and refused as such, gets some number of its own."""
    written = f"{key}::VARCHAR"
    return f"CASE WHEN {key} IS NOT NULL THEN coalesce(TRY_CAST('0x' || {written} AS UBIGINT), hash({written})) END"


def scan(paths: Sequence[Path]) -> str:
    """The parts as one relation, rows in the order of the files."""
    listed = ", ".join(text(str(path)) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false, union_by_name = false)"


class Reader:
    """A connection and the few questions that are put to it."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con

    def do(self, statement: str) -> None:
        """Run a statement."""
        self._con.execute(statement).fetchall()  # drained: a result that nobody reads may not have finished

    def values(self, query: str) -> dict[str, Any]:
        """The one row of an aggregate over cells, by column name, as Arrow reads the types of Parquet."""
        rows: list[dict[str, Any]] = self._con.sql(query).to_arrow_table().to_pylist()
        return rows[0]

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of figures, by column name."""
        asked = self._con.execute(query)
        names = [column[0] for column in asked.description or ()]
        return [dict(zip(names, row, strict=True)) for row in asked.fetchall()]

    def row(self, query: str) -> dict[str, Any]:
        """The one row of an aggregate, by column name."""
        return self.rows(query)[0]

    def number(self, query: str) -> int:
        """The one number of an aggregate; null is 0."""
        return int(next(iter(self.row(query).values())) or 0)

    @contextmanager
    def shown(self, table: str, rows: pa.Table) -> Iterator[None]:
        """An Arrow table under a name, without a copy, for a while."""
        self._con.register(table, rows)
        try:
            yield
        finally:
            self._con.unregister(table)

    def frame(self, query: str) -> pa.Table:
        """The whole answer as Arrow."""
        return self._con.sql(query).to_arrow_table()

    def types(self, relation: str) -> dict[str, str]:
        """DuckDB's type of each column of a relation."""
        return {
            row["column_name"]: row["column_type"] for row in self.rows(f"DESCRIBE SELECT * FROM {relation}")
        }

    def load(self, table: str, rows: pa.Table | Path, columns: str = "*") -> None:
        """A temporary table from Arrow or from one Parquet file; `columns`: what is taken of it, as SQL."""
        if isinstance(rows, Path):
            self.do(f"CREATE TEMP TABLE {table} AS SELECT {columns} FROM {scan([rows])}")
            return
        self._con.register(f"{table}_in", rows)
        self.do(f"CREATE TEMP TABLE {table} AS SELECT {columns} FROM {table}_in")
        self._con.unregister(f"{table}_in")


@contextmanager
def reader(spill: Path, memory: str, threads: int) -> Iterator[Reader]:
    """A reader with `memory` such as `1GB`, which spills into `spill` and whose settings are then locked."""
    con = duckdb.connect(":memory:")
    settings = {
        "memory_limit": text(memory),
        "threads": str(int(threads)),
        "temp_directory": text(str(spill / "verify")),
        "TimeZone": "'UTC'",
        "disabled_optimizers": text(",".join(DISTRUSTED)),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "lock_configuration": "true",
    }
    try:
        con.execute("; ".join(f"SET {key} = {value}" for key, value in settings.items()))
        yield Reader(con)
    finally:
        con.close()
