"""The row filter as SQL over what is released, never over what is stored: labels, bands, years, rolled-up codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from app.deid import hierarchies
from app.deid.choices import Chosen, chosen
from app.deid.filters import where
from app.deid.fitting import hierarchy_spec
from app.engines.duckdb import caps, codes, timeline
from app.engines.duckdb.sql import persons_of, quoted, stored
from app.engines.protocol import Source
from app.schemas.dictionary import Table
from app.schemas.plan import Condition


@dataclass(frozen=True, slots=True)
class Laid:
    """A temporary table of raw values (v, each once) and the column of it that holds what is released for each."""

    name: str
    column: str


class Filters:
    """The conditions of one plan. On the participant table they select people, elsewhere that table's rows.

    What a condition needs (labels of a level, rolled-up codes) is laid into temporary tables once.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, source: Source) -> None:
        self.con, self.source, self.r = con, source, source.rendering()
        self._made: dict[tuple[str, str], str] = {}
        self._capped: dict[str, str] = {}
        self._tables = 0

    def on(self, table: Table) -> str:
        """The rows `t` (of person `x0`) of a table that leave: all conditions on it, the window of its dates, and of
        what is left no more of a person than the plan says."""
        place, cap = timeline.rows(self.source, table), self._cap(table)
        where = self.of(table) if place == "true" else f"{self.of(table)} AND {place}"
        if cap is None:
            return where
        if table.name not in self._capped:
            # Once for all questions and parts; the rows that are kept already meet everything else.
            self._capped[table.name] = name = self._name()
            self._gather_capped(table, cap, name, where)
        return caps.kept(self._capped[table.name])

    def of(self, table: Table) -> str:
        """All conditions on a table as one predicate over its rows `t`; a missing value never passes."""
        if (table.name, "") not in self._made:
            tests = [self.one(c) for c in self.source.plan.filter if c.table == table.name]
            self._made[table.name, ""] = " AND ".join(tests) or "true"
        return self._made[table.name, ""]

    def one(self, condition: Condition) -> str:
        """One condition as a predicate over the rows `t` of its table."""
        table, choice = self._choice(condition)
        raw, r = f"t.{quoted(choice.planned.name)}", self.r
        if (laid := self._laid(table, choice, condition.level)) is not None:
            released = f"(SELECT min({laid.column}) FROM {laid.name} WHERE v = {raw})"
        else:
            released = choice.transform.sql(raw, choice.column, choice.params, r) or "NULL"
        return where(condition, choice, raw, released, r)

    def _choice(self, condition: Condition) -> tuple[Table, Chosen]:
        table = self.source.dictionary.table(condition.table)
        planned = chosen(self.source.plan.table(table.name), table)
        return table, next(c for c in planned if c.planned.name == condition.column)

    def _laid(self, table: Table, choice: Chosen, level: int) -> Laid | None:
        """Where the released values of a column stand beside its raw ones; None where they follow from each by SQL."""
        if choice.transform.name == "generalise":
            return Laid(self._labels(table, choice, level), "label")
        if choice.transform.name == "roll_up":
            return Laid(self._codes(table, choice), "released")
        return None

    def _labels(self, table: Table, choice: Chosen, level: int) -> str:
        """A table (v, label) of the column's values at a level of its hierarchy."""
        name = self._name()
        query = f"SELECT DISTINCT {quoted(choice.column.name)} AS v FROM {stored(table, self.r)} ORDER BY v"
        values = self._ask(query)["v"].combine_chunks().drop_null()
        spec = hierarchy_spec(self.source.dictionary, choice.column)
        labels = hierarchies.preview(spec, level, values.to_pylist()) if len(values) else []
        self._lay(name, pa.table({"v": values, "label": pa.array(labels, pa.string())}))
        return name

    def _codes(self, table: Table, choice: Chosen) -> str:
        """A table (v, released) of the column's codes, judged over all rows of people with consent: a filter on a
        code too rare to be released finds nothing, so that it tells nothing."""
        name = self._name()
        joins = " ".join(
            f"JOIN x x{n} ON t.{person} = x{n}.key AND x{n}.in_{table.domain}"
            for n, person in enumerate(persons_of(table))
        )
        rollup = codes.rollup_of(self.source.dictionary, table, choice)
        self._build_codes(rollup, name, f"FROM {stored(table, self.r)} t {joins} WHERE true")
        return name

    def _cap(self, table: Table) -> int | None:
        planned = (t for t in self.source.plan.tables if t.name == table.name)
        return next((t.max_rows_per_person for t in planned), None)

    def _ask(self, query: str) -> Any:
        return self.con.sql(query).to_arrow_table()

    def _lay(self, name: str, table: pa.Table) -> None:
        self.con.register(f"{name}_in", table)
        self.con.execute(f"CREATE TEMP TABLE {name} AS FROM {name}_in")
        self.con.unregister(f"{name}_in")

    def _build_codes(self, rollup: codes.Rollup, name: str, rows: str) -> None:
        codes.build(self.con, rollup, name, rows)

    def _gather_capped(self, table: Table, cap: int, name: str, where: str) -> None:
        caps.gather(self.con, table, cap, name, where)

    def _name(self) -> str:
        self._tables += 1
        return f"filter_{self._tables}"
