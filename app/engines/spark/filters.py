"""The row filter where Spark reads the rows: the same predicates, with what they need laid into its session."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from app.engines.duckdb import caps
from app.engines.duckdb.codes import Rollup
from app.engines.duckdb.filters import Filters
from app.engines.duckdb.sql import persons_of, stored
from app.engines.protocol import Source
from app.engines.spark import codes
from app.engines.spark.session import Session
from app.schemas.dictionary import Table


class SparkFilters(Filters):
    """The conditions of one plan over the views of a session; `con` decides on codes, which are few."""

    def __init__(self, con: duckdb.DuckDBPyConnection, session: Session, source: Source) -> None:
        super().__init__(con, source)
        self.session = session

    def _ask(self, query: str) -> Any:
        return self.session.ask(query)

    def _lay(self, name: str, table: pa.Table) -> None:
        self.session.lay_table(name, table)

    def _build_codes(self, rollup: Rollup, name: str, rows: str) -> None:
        counted = self.session.ask(codes.count(rollup, rows))
        codes.build(self.session, self.con, rollup, name, rows, counted)

    def _gather_capped(self, table: Table, cap: int, name: str, where: str) -> None:
        ordered = caps.order(self.con, table, self.r)
        marks = ", ".join(f"{sql.removesuffix(' NULLS LAST')} AS mark_{i}" for i, sql in enumerate(ordered))
        order = ", ".join(f"mark_{i} NULLS LAST" for i in range(len(ordered)))
        rows = (
            f"SELECT t.{caps.ROW} AS row, x0.key AS key, {marks} FROM {stored(table, self.r)} t "
            f"JOIN anyone x0 ON t.{persons_of(table)[0]} = x0.key WHERE {where}"
        )
        placed = f"SELECT row, row_number() OVER (PARTITION BY key ORDER BY {order}) AS place FROM ({rows}) AS rows"
        self.session.keep(f"SELECT row FROM ({placed}) AS placed WHERE place <= {cap}", name)

    def _name(self) -> str:
        return f"rows_{super()._name()}"  # beside those of DuckDB, in the same connection
