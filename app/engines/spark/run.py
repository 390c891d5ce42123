"""One plan over one source, two engines: Spark reads the rows of events, DuckDB keeps the people and packs the parts.

What has one row a person (crosswalk, classes, who is where) is as small for both, and is what recoding, ledger and
verifier have in memory anyway. What has many rows a person is asked of Spark, by the same SQL in its dialect. A part
leaves Spark as rows without an order; DuckDB puts each in its total order and writes it, as it does those of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import duckdb

from app.deid import keyed
from app.deid.choices import chosen
from app.deid.window import Windows
from app.engines.duckdb import codes as rare
from app.engines.duckdb import people, timeline
from app.engines.duckdb.columns import joins, order_of, select
from app.engines.duckdb.run import VERSION, DuckDbRun
from app.engines.duckdb.sql import VAULT, persons_of, quoted, stored, text
from app.engines.duckdb.writing import SLICES, in_order, pack
from app.engines.protocol import Classes, Limits, Progress, Source, StagedPart
from app.engines.spark import codes
from app.engines.spark.dialect import SparkRendering
from app.engines.spark.filters import SparkFilters
from app.engines.spark.session import Session
from app.schemas.dictionary import Table


class SparkRun(DuckDbRun):
    """One plan over one source (see `engines.protocol.Run`)."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        source: Source,
        limits: Limits,
        session: Session,
        files: Mapping[str, list[Path]],
        version: str,
    ) -> None:
        super().__init__(con, source, limits)
        self.session, self.made_by = session, f"{version}, {VERSION}"
        self._rows_source = replace(source, rendering=SparkRendering)
        self._row_filters = SparkFilters(con, session, self._rows_source)
        capped = {table.name for table in source.plan.tables if table.max_rows_per_person}
        for name, held in files.items():
            session.files(f"{VAULT}_{name}", held, "__row" if name in capped else None)
        session.lay("x", con, _walk("x"))
        session.lay("anyone", con, "SELECT key, CAST(slice AS BIGINT) AS slice, shift_days FROM anyone")
        session.lay_table(
            "secrets", keyed.secrets(source.record_key, keyed.spaces(source.plan, source.dictionary))
        )

    def classify(self, classes: Classes) -> None:
        """Take the class of each tuple, then settle anchors and rare codes over those who leave."""
        self._take(classes)
        if timeline.anchors(self._rows_source):  # they are found in the rows of these very people
            self.session.lay("cross_", self.con, _walk("cross_"))
        self._anchor()
        self.session.lay("cross_", self.con, _walk("cross_"))
        self.session.lay("classes", self.con, "FROM classes")
        for table in self._tables():
            self._codes[table.name] = self._roll_up(table)

    def _settle(self) -> Windows:
        return timeline.settle(self.session.ask, self._rows_source)

    def _see_through(self, windows: Windows) -> None:
        super()._see_through(windows)
        self._rows_source = replace(self._rows_source, windows=windows)
        self._row_filters = SparkFilters(self.con, self.session, self._rows_source)

    def _look(self) -> None:
        for i, table in enumerate(people.event_tables(self.source)):
            if table.kind == "event":
                person = f"t.{persons_of(table)[0]}"
                self.session.fetch(
                    f"SELECT DISTINCT x0.key FROM {self._held(table)} t JOIN x x0 ON {person} = x0.key "
                    f"WHERE {self._row_filters.on(table)}",
                    self.con,
                    f"having_{i}",
                )

    def _count(self, table: Table) -> tuple[int, int]:
        if table.kind != "event":
            return super()._count(table)
        capped = self.source.plan.table(table.name).max_rows_per_person
        inside = self.session.number(f"SELECT count(*) AS n {self._event_rows(table)}") if capped else None
        rows = (
            f"{self._held(table)} t {joins(self._rows_source, table, {})} WHERE {self._row_filters.of(table)}"
        )
        found = self.session.ask(timeline.inside_and_outside(timeline.rows(self._rows_source, table), rows))
        leaves, outside = (int(found[name][0].as_py()) for name in ("leaves", "outside"))
        return leaves if inside is None else inside, outside

    def _judge_codes(self, rollup: rare.Rollup, name: str) -> dict[str, int]:
        if rollup.table.kind == "event":
            return codes.build(self.session, self.con, rollup, name, self._event_rows(rollup.table))
        found = super()._judge_codes(rollup, name)
        self.session.lay(name, self.con, f"FROM {name}")
        return found

    def _anchors(self) -> list[str]:
        each = timeline.anchors(self._rows_source)
        if not each:
            return []
        days = f"SELECT key, min(day) AS day FROM ({' UNION ALL '.join(each)}) AS days GROUP BY key"
        self.session.fetch(days, self.con, "first_days")
        return ["SELECT key, day FROM first_days"]

    def _write_table(
        self, table: Table, codes: dict[str, str], staging: Path, parts: int, progress: Progress
    ) -> list[StagedPart]:
        """As DuckDB does for tables without people; else Spark finds the rows of each part, and DuckDB packs them."""
        if table.kind == "reference":
            return super()._write_table(table, codes, staging, parts, progress)
        columns = select(self._rows_source, table, codes)
        released = ", ".join(f"{c.sql} AS c{i}" for i, c in enumerate(columns))
        folder = self.session.write(
            f"SELECT CAST(x0.slice * {parts} DIV {SLICES} AS INTEGER) AS position, x0.rank AS __rank, {released} "
            f"FROM {self._held(table)} t {joins(self._rows_source, table, codes)} "
            f"WHERE {self._row_filters.on(table)}",
            by="position",
        )
        names = [c.name for c in columns]
        named = ", ".join(f"c{i} AS {quoted(name)}" for i, name in enumerate(names))
        by, written = order_of(self.source, table), list[StagedPart]()
        for position in range(parts):
            place = folder / f"position={position}"
            if place.exists():
                found = f"read_parquet({text(f'{place}/*.parquet')}, hive_partitioning = false)"
                rows = f"SELECT __rank, {named} FROM {found}"
                written.append(pack(self.con, in_order(rows, names, by), table.name, staging, position))
                shutil.rmtree(place)
            elif position == parts - 1 and not written:
                rows = f"SELECT 0 AS __rank, {self._nothing(table)} WHERE false"
                written.append(pack(self.con, in_order(rows, names, by), table.name, staging, position))
            progress(done_table=table.name, done_part=position + 1)
        shutil.rmtree(folder)
        return written

    def _nothing(self, table: Table) -> str:
        columns = chosen(self.source.plan.table(table.name), table)
        return ", ".join(
            f"CAST(NULL AS {c.transform.released(c.column, c.params).sql}) AS {quoted(c.planned.name)}"
            for c in columns
        )

    def _held(self, table: Table) -> str:
        return stored(table, self._row_filters.r)

    def _event_rows(self, table: Table) -> str:
        walk = joins(self._rows_source, table, {})
        return f"FROM {self._held(table)} t {walk} WHERE {self._row_filters.on(table)}"


def _walk(name: str) -> str:
    """A crosswalk with numbers that Spark has, too."""
    return f"SELECT * REPLACE (CAST(slice AS BIGINT) AS slice) FROM {name}"
