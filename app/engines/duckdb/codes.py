"""Rare codes: judged by distinct participants, not rows; they climb a hierarchy, and what stays rare is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from app.deid import hierarchies
from app.deid.choices import Chosen
from app.deid.fitting import hierarchy_spec
from app.deid.transforms.roll_up import RollUpParams
from app.engines.duckdb.sql import persons_of, quoted
from app.schemas.dictionary import Column, Dictionary, Table


@dataclass(frozen=True, slots=True)
class Rollup:
    """One column to judge: codes with fewer distinct people than `at_least` climb `spec` (None: are dropped)."""

    table: Table
    column: Column
    at_least: int
    spec: dict[str, Any] | None
    first_level: int = 0

    @property
    def key(self) -> str:
        """`table.column`."""
        return f"{self.table.name}.{self.column.name}"


def rollup_of(dictionary: Dictionary, table: Table, choice: Chosen) -> Rollup:
    """How a planned column is rolled up; a quasi-identifier without a named hierarchy climbs that of its type."""
    params = choice.params
    if not isinstance(params, RollUpParams):
        raise TypeError("not a column that leaves by roll_up")
    spec = dictionary.hierarchies[params.hierarchy] if params.hierarchy else None
    if spec is None and choice.column.role.kind in ("quasi_identifier", "site"):
        spec = hierarchy_spec(dictionary, choice.column)
    return Rollup(table, choice.column, params.min_participants, spec, params.min_level)


def build(con: duckdb.DuckDBPyConnection, rollup: Rollup, name: str, rows: str) -> dict[str, int]:
    """Make the table `name` (v raw code, released text or null) over the rows that leave (`rows`: FROM ... WHERE ...).

    Codes that climb are judged together at each level: only the rows that need the parent carry its label, so
    it is their people that must be `at_least`. Answers how many codes were kept, rolled up, dropped.
    """
    column = f"t.{quoted(rollup.column.name)}"
    each = " UNION ".join(
        f"SELECT {column} AS v, t.{person} AS key {rows} AND {column} IS NOT NULL"
        for person in persons_of(rollup.table)
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name}_people AS SELECT DISTINCT v, key FROM ({each})")
    counted = con.sql(f"SELECT v, count(*) AS n FROM {name}_people GROUP BY v ORDER BY v").to_arrow_table()
    released = _climb(con, rollup, name, counted)
    con.register(f"{name}_in", pa.table({"v": counted["v"], "released": pa.array(released, pa.string())}))
    con.execute(f"CREATE OR REPLACE TABLE {name} AS FROM {name}_in")
    con.unregister(f"{name}_in")
    con.execute(f"DROP TABLE {name}_people")
    raw = [str(v) for v in counted["v"].to_pylist()]
    return {
        "kept": sum(r == v for r, v in zip(released, raw, strict=True)),
        "rolled_up": sum(r is not None and r != v for r, v in zip(released, raw, strict=True)),
        "dropped": sum(r is None for r in released),
    }


def _climb(con: duckdb.DuckDBPyConnection, rollup: Rollup, name: str, counted: pa.Table) -> list[str | None]:
    values = counted["v"].to_pylist()
    released: list[str | None] = [None] * len(values)
    waiting = np.ones(len(values), dtype=bool)
    if rollup.first_level == 0:
        enough = counted["n"].to_numpy() >= rollup.at_least
        released = [str(v) if ok else None for v, ok in zip(values, enough, strict=True)]
        waiting = ~enough
    if rollup.spec is None or not waiting.any():
        return released
    fitted = hierarchies.fit(rollup.spec, values)
    for level in range(max(1, rollup.first_level), fitted.height):
        labels = [fitted.labels[level][node] for node in fitted.nodes[:, level]]
        for label in _enough(con, name, counted, labels, waiting, rollup.at_least):
            for i in np.flatnonzero(waiting):
                if labels[i] == label:
                    released[i], waiting[i] = label, False
    return released


def _enough(
    con: duckdb.DuckDBPyConnection,
    name: str,
    counted: pa.Table,
    labels: list[str],
    waiting: Any,
    at_least: int,
) -> list[str]:
    chosen = np.flatnonzero(waiting)
    table = pa.table({"v": counted["v"].take(pa.array(chosen)), "label": [labels[i] for i in chosen]})
    con.register(f"{name}_labels", table)
    query = (
        f"SELECT label FROM {name}_people JOIN {name}_labels USING (v) GROUP BY label "
        f"HAVING count(DISTINCT key) >= {at_least} ORDER BY label"
    )
    found = [row[0] for row in con.sql(query).fetchall()]
    con.unregister(f"{name}_labels")
    return found
