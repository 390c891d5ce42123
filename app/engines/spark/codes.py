"""Rare codes where Spark reads the rows: it counts people, and names them only where codes may climb."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from app.engines.duckdb import codes as rare
from app.engines.duckdb.sql import persons_of, quoted
from app.engines.spark.session import Session


def count(rollup: rare.Rollup, rows: str) -> str:
    """A query of each code of `rows` and how many people have it (`v`, `n`)."""
    return f"SELECT v, count(DISTINCT key) AS n FROM ({_pairs(rollup, rows)}) AS people GROUP BY v"


def _pairs(rollup: rare.Rollup, rows: str) -> str:
    column = f"t.{quoted(rollup.column.name)}"
    return " UNION ALL ".join(
        f"SELECT {column} AS v, x{n}.counted AS key {rows} AND {column} IS NOT NULL"
        for n, _person in enumerate(persons_of(rollup.table))
    )


def build(
    session: Session,
    con: duckdb.DuckDBPyConnection,
    rollup: rare.Rollup,
    name: str,
    rows: str,
    counted: pa.Table,
) -> dict[str, int]:
    """What `engines.duckdb.codes.build` does, over `rows` of the session, of which `counted` is the answer to `count`;
    the table is laid into both."""
    counted = counted.sort_by("v").combine_chunks()
    waits = counted.select(["v"]).filter(rare.is_waiting(rollup, counted))
    if waits.num_rows:
        session.lay_table(f"{name}_waits", waits)
        among = (
            f"SELECT DISTINCT p.v, p.key FROM ({_pairs(rollup, rows)}) AS p JOIN {name}_waits w ON w.v = p.v"
        )
        session.fetch(among, con, f"{name}_people")
    else:
        con.register("counted_in", counted)
        con.execute(
            f"CREATE OR REPLACE TABLE {name}_people AS SELECT v, n AS key FROM counted_in WHERE false"
        )
        con.unregister("counted_in")
    found = rare.settle(con, rollup, name, counted, [f"{name}_people"])
    session.lay(name, con, f"FROM {name}")
    return found
