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
import pyarrow as pa

from app.deid import keyed
from app.deid.choices import chosen
from app.deid.window import Windows
from app.engines.duckdb import caps, people, timeline
from app.engines.duckdb import codes as rare
from app.engines.duckdb.columns import joins, order_of, select
from app.engines.duckdb.run import VERSION, DuckDbRun
from app.engines.duckdb.sql import VAULT, persons_of, quoted, stored, text
from app.engines.duckdb.writing import SLICES, in_order, pack
from app.engines.protocol import Classes, Limits, Progress, Source, StagedPart
from app.engines.spark import codes
from app.engines.spark.dialect import SparkRendering
from app.engines.spark.filters import SparkFilters
from app.engines.spark.session import PLACE, Session
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
    ) -> None:
        super().__init__(con, source, limits)
        self.session, self.made_by = session, f"spark {session.version}, {VERSION}"
        self._rows_source = replace(source, rendering=SparkRendering)
        self._row_filters = SparkFilters(con, session, self._rows_source)
        self._codes_counted: dict[str, pa.Table] = {}
        more = {table.name: timeline.events(self._rows_source, table) for table in self._tables()}
        for planned in source.plan.tables:
            if planned.max_rows_per_person:
                more[planned.name].append(f"{PLACE} AS {caps.ROW}")
        for name, held in files.items():
            session.files(f"{VAULT}_{name}", held, more.get(name, ()))
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
        self._count_codes()
        for table in self._tables():
            self._codes[table.name] = self._roll_up(table)

    def _settle(self) -> Windows:
        return timeline.settle(self.session.ask_each, self._rows_source)

    def _see_through(self, windows: Windows) -> None:
        super()._see_through(windows)
        self._rows_source = replace(self._rows_source, windows=windows)
        self._row_filters = SparkFilters(self.con, self.session, self._rows_source)

    def _look(self) -> None:
        tables = {
            i: table for i, table in enumerate(people.event_tables(self.source)) if table.kind == "event"
        }
        found = " UNION ALL ".join(
            f"SELECT {i} AS place, x0.key FROM {self._held(table)} t "
            f"JOIN x x0 ON t.{persons_of(table)[0]} = x0.key WHERE {self._row_filters.on(table)}"
            for i, table in tables.items()
        )
        if found:
            self.session.fetch(f"SELECT DISTINCT place, key FROM ({found}) AS found", self.con, "having_any")
        for i in tables:
            rows = f"SELECT key FROM having_any WHERE place = {i}"
            self.con.execute(f"CREATE OR REPLACE TABLE having_{i} AS {rows}")
        self.con.execute("DROP TABLE IF EXISTS having_any")

    def _counts(self, table: Table) -> tuple[int, int]:
        if table.kind == "event" and table.name not in self._counted:
            self._count_events()
        return super()._counts(table)

    def _count_events(self) -> None:
        """`_counted` of all event tables at once."""
        queries, capped = dict[str, str](), dict[str, str]()
        for table in self._event_tables():
            walk = joins(self._rows_source, table, {})
            rows = f"{self._held(table)} t {walk} WHERE {self._row_filters.of(table)}"
            place = timeline.rows(self._rows_source, table)
            queries[table.name] = timeline.inside_and_outside(place, rows)
            if self.source.plan.table(table.name).max_rows_per_person:
                kept = f"count(*) AS leaves, CAST(0 AS BIGINT) AS outside {self._event_rows(table)}"
                capped[table.name] = f"SELECT {kept}"
        answers = self.session.ask_each([*queries.values(), *capped.values()])
        found = [(int(a["leaves"][0].as_py()), int(a["outside"][0].as_py())) for a in answers]
        counts = dict(zip(queries, found[: len(queries)], strict=True))
        for name, (leaves, _) in zip(capped, found[len(queries) :], strict=True):
            counts[name] = leaves, counts[name][1]
        self._counted |= counts

    def _count_codes(self) -> None:
        """`_codes_counted` of all codes of event tables, of each type at once."""
        of_type: dict[str, list[rare.Rollup]] = {}
        for table in self._event_tables():
            for choice in chosen(self.source.plan.table(table.name), table):
                if choice.transform.name == "roll_up":
                    rollup = rare.rollup_of(self.dictionary, table, choice)
                    of_type.setdefault(rollup.column.type, []).append(rollup)
        for rollups in of_type.values():
            found = self.session.ask_each([codes.count(r, self._event_rows(r.table)) for r in rollups])
            self._codes_counted |= {r.key: counted for r, counted in zip(rollups, found, strict=True)}

    def _event_tables(self) -> list[Table]:
        return [table for table in self._tables() if table.kind == "event"]

    def _judge_codes(self, rollup: rare.Rollup, name: str) -> dict[str, int]:
        if rollup.table.kind == "event":
            counted, rows = self._codes_counted[rollup.key], self._event_rows(rollup.table)
            return codes.build(self.session, self.con, rollup, name, rows, counted)
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
