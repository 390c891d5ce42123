"""What every measure stands on: raw and released rows by the same person numbers, in one bounded DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app import duck
from app.deid.choices import Chosen, chosen
from app.schemas.dictionary import Dictionary, Table
from app.schemas.mapping import SOURCE
from app.schemas.plan import Plan

Tables = Mapping[str, Sequence[Path]]
"""Parquet files of each table, by the table's name."""

Floats = npt.NDArray[np.float64]

_NO_TWINS = pa.table({"pseudonym": pa.array([], pa.string()), "person": pa.array([], pa.int32())})


@dataclass(frozen=True)
class Bounds:
    """What measuring may use, and the seed of its samples.

    `spill` is a folder for what outgrows `memory` (such as `1GB`), wiped by the caller. `attacked` people are
    sampled for the event attack, `studied` people for the utility analyses.
    """

    spill: Path
    memory: str = "1GB"
    threads: int = 2
    seed: int = 1
    attacked: int = 2_000
    studied: int = 50_000


@dataclass(frozen=True)
class Leaf:
    """A released column: its table, and how it leaves."""

    table: Table
    choice: Chosen

    @property
    def name(self) -> str:
        """The name of the column, the same on both sides."""
        return self.choice.column.name

    @property
    def role(self) -> str:
        """The kind of its role."""
        return self.choice.column.role.kind

    @property
    def transform(self) -> str:
        """The name of the transform it leaves by."""
        return self.choice.transform.name


class Ground:
    """The two sides. A relation is SQL with the person's number `p` and the table's columns.

    A row of several people stands under each of them, or once, under the first, where rows are counted. A person is
    who has a pseudonym: whoever is linked has one, several keys, and a row a source in the participant table. Person
    numbers follow the keys, so that a sample by number does not depend on the pseudonyms of one run.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        raw: Tables,
        released: Tables,
        dictionary: Dictionary,
        plan: Plan,
        bounds: Bounds,
    ) -> None:
        self._con, self._raw, self._released = con, raw, released
        self.dictionary, self.plan, self.bounds = dictionary, plan, bounds
        self.leaves = [
            Leaf(dictionary.table(t.name), c)
            for t in plan.tables
            for c in chosen(t, dictionary.table(t.name))
            if not c.is_reason
        ]
        keys = self.number("SELECT count(*) FROM participant")
        self._is_linked = keys > self.number("SELECT count(*) FROM person")

    @property
    def tables(self) -> list[Table]:
        """The tables of the plan that hold people."""
        found = (self.dictionary.table(t.name) for t in self.plan.tables)
        return [t for t in found if t.kind != "reference"]

    @property
    def roster(self) -> Table | None:
        """The participant table, where it leaves."""
        return next((t for t in self.tables if t.kind == "participant"), None)

    @property
    def labels(self) -> list[Leaf]:
        """The quasi-identifiers that make the classes, in the plan's order."""
        return [leaf for leaf in self.leaves if leaf.transform == "generalise"]

    def of(self, table: Table, *kinds: str) -> list[Leaf]:
        """The released columns of a table whose role is one of `kinds`."""
        return [leaf for leaf in self.leaves if leaf.table is table and leaf.role in kinds]

    @property
    def families(self) -> bool:
        """Whether k is counted in families: the roster says who belongs together."""
        return self.roster is not None and bool(self.roster.of_role("family_id"))

    def before(self, table: Table, *, once: bool = False) -> str:
        """The raw rows of a table of which all people are eligible."""
        own = ["__participant"]
        if table.kind == "link":
            own = [f"__participant_{n}" for n in range(1, len(table.of_role("participant_id")) + 1)]
        rows = _scan(self._raw[table.name], "union_by_name = true, ")
        return _under_people(rows, own, "participant", "key", once)

    def after(self, table: Table, *, once: bool = False) -> str:
        """The released rows of a table."""
        rows = _scan(self._released[table.name])
        own = [c.name for c in table.of_role("participant_id")]
        if own:
            return _under_people(rows, [quoted(name) for name in own], "person", "pseudonym", once)
        parent, _, column = (table.participant_via or "").partition(".")
        owners = f"SELECT DISTINCT {quoted(column)} AS k, p FROM {self.after(self.dictionary.table(parent))}"
        return f"(SELECT o.p, t.* FROM {rows} t JOIN ({owners}) o ON o.k = t.{quoted(table.via_column or column)})"

    def one_row_each(self, roster: Table, *, released: bool) -> str:
        """The participant table with one row a person: of a linked one the set of their sources, and of each other
        column that leaves the value that these agree on, else none."""
        rows = self.after(roster) if released else self.before(roster)
        if not self._is_linked:
            return rows
        names = [f.name for f in self.leaves if f.table is roster and f.role != "participant_id"]
        each = "".join(f", {_agreed(name)} AS {quoted(name)}" for name in names)
        return f"(SELECT p{each} FROM {rows} GROUP BY p)"

    def classes(self, roster: Table, *, released: bool) -> str:
        """The class of each person of the participant table (p, class), by the `labels` (there must be some). Whoever
        knows a linked one knows all of their rows: their class is made of the labels of each, and of the sources that
        any table tells of."""
        side = self.after if released else self.before
        rows = f"SELECT p, row({', '.join(quoted(leaf.name) for leaf in self.labels)}) AS class FROM {side(roster)}"
        if not self._is_linked:
            return f"({rows})"
        tables = [f.table for f in self.leaves if f.name == SOURCE and f.table in self.tables]
        source = f"{quoted(SOURCE)}::VARCHAR" if roster in tables else "NULL::VARCHAR"
        told = " UNION ".join(f"SELECT p, {source} AS v FROM {side(table)}" for table in tables or [roster])
        return (
            f"(SELECT p, row({set_of('class')}, any_value(told)) AS class FROM ({rows}) LEFT JOIN "
            f"(SELECT p, {set_of('v')} AS told FROM ({told}) WHERE v IS NOT NULL GROUP BY p) USING (p) GROUP BY p)"
        )

    def do(self, statement: str) -> None:
        """Run a statement."""
        self._con.execute(statement)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a small answer."""
        found: list[dict[str, Any]] = self._con.sql(query).to_arrow_table().to_pylist()
        return found

    def row(self, query: str) -> dict[str, Any]:
        """The one row of an aggregate."""
        return self.rows(query)[0]

    def number(self, query: str) -> int:
        """The one whole number of an aggregate; null is 0."""
        return int(next(iter(self.row(query).values())) or 0)

    def arrow(self, query: str) -> pa.Table:
        """An answer by columns."""
        return self._con.sql(query).to_arrow_table()

    def load(self, name: str, table: pa.Table) -> None:
        """A temporary table from Arrow, in place of any of that name."""
        self._con.register(f"{name}_in", table)
        self.do(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name}_in")
        self._con.unregister(f"{name}_in")


@contextmanager
def stand(
    raw: Tables,
    released: Tables,
    crosswalk: pa.Table,
    dictionary: Dictionary,
    plan: Plan,
    bounds: Bounds,
    twins: pa.Table | None = None,
) -> Iterator[Ground]:
    """Open the two sides; afterwards these can be asked: `participant` (key, p), `person` (p, pseudonym, counted: the
    same for pseudonyms that are one person), `unit` (p, unit: the family, else the person) and `out` (p: who is
    released).

    `crosswalk` has columns key and pseudonym of everyone who was eligible (consent and row filter), before any
    suppression; linked keys have one pseudonym. `twins` (pseudonym, person) names pseudonyms that are one person. Raw
    files hold keys in `__participant` (`__participant_<n>` on a link table).
    """
    con = duck.opened()
    try:
        for key, value in {
            "memory_limit": text(bounds.memory), "threads": str(int(bounds.threads)), "TimeZone": "'UTC'",
            "temp_directory": text(str(bounds.spill / "risk")), "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false", "lock_configuration": "true",
        }.items():  # fmt: skip
            con.execute(f"SET {key} = {value}")
        con.register("crosswalk_in", crosswalk)
        con.register("twins_in", _NO_TWINS if twins is None else twins)
        con.execute(
            "CREATE TEMP TABLE person AS SELECT (row_number() OVER (ORDER BY key) - 1)::INTEGER AS p, pseudonym, "
            "coalesce(person, key) AS counted FROM "
            "(SELECT pseudonym, min(key) AS key FROM crosswalk_in GROUP BY pseudonym) LEFT JOIN "
            "(SELECT pseudonym, min(person) AS person FROM twins_in GROUP BY pseudonym) USING (pseudonym)"
        )
        con.execute(
            "CREATE TEMP TABLE participant AS SELECT key, p FROM crosswalk_in JOIN person USING (pseudonym)"
        )
        con.unregister("twins_in")
        con.unregister("crosswalk_in")
        ground = Ground(con, raw, released, dictionary, plan, bounds)
        ground.do(f"CREATE TEMP TABLE unit AS {_units(ground)}")
        holding = [ground.roster] if ground.roster is not None else ground.tables
        each = " UNION ".join(f"SELECT p FROM {ground.after(t)}" for t in holding)
        ground.do(
            f"CREATE TEMP TABLE out AS SELECT DISTINCT p FROM ({each or 'SELECT NULL::INTEGER AS p LIMIT 0'})"
        )
        yield ground
    finally:
        con.close()


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as an SQL literal; for paths and names, never for values that come from people."""
    return "'" + value.replace("'", "''") + "'"


def day(leaf: Leaf, column: str, released: bool) -> str:
    """SQL of a date as a number of days; where less of it leaves, of the middle of what is told."""
    if not released or leaf.transform == "shift_date":
        return f"date_diff('day', DATE '1970-01-01', CAST({column} AS DATE))"
    if leaf.transform == "relative_day":
        return column
    start = f"CAST({column} || '-15' AS DATE)"
    if getattr(leaf.choice.params, "to", None) == "year":
        start = f"make_date({column}::BIGINT, 7, 1)"
    return f"date_diff('day', DATE '1970-01-01', {start})"


def _agreed(name: str) -> str:
    """SQL: what the rows of one person have together."""
    column = quoted(name)
    if name == SOURCE:
        return f"string_agg(DISTINCT {column}, '+' ORDER BY {column})"
    return f"CASE WHEN min({column}) = max({column}) THEN min({column}) END"


def set_of(column: str) -> str:
    """SQL: the different values of a group, so that equal sets are equal."""
    return f"list_sort(list(DISTINCT {column}))"


def _under_people(rows: str, own: Sequence[str], known: str, by: str, once: bool) -> str:
    """Rows whose people are all known, each under every one of them (`once`: the first), but under nobody twice."""
    every = " ".join(f"JOIN {known} w{n} ON w{n}.{by} = t.{name}" for n, name in enumerate(own))
    each = [
        f"SELECT w{n}.p, t.* FROM {rows} t {every}"
        + (f" WHERE w{n}.p NOT IN ({', '.join(f'w{m}.p' for m in range(n))})" if n else "")
        for n in range(1 if once else len(own))
    ]
    return f"({' UNION ALL '.join(each)})"


def _units(ground: Ground) -> str:
    """Of each person the unit that k counts, as the engine counts it: families of the raw roster, else people."""
    roster = ground.roster
    if roster is None or not ground.families:
        return "SELECT p, 'p' || counted AS unit FROM person"
    family = quoted(roster.of_role("family_id")[0].name)
    known = f"SELECT p, min({family}::VARCHAR) AS f FROM {ground.before(roster)} GROUP BY p"
    return f"SELECT p, coalesce('f' || f, 'p' || counted) AS unit FROM person LEFT JOIN ({known}) USING (p)"


def _scan(paths: Sequence[Path], how: str = "") -> str:
    listed = ", ".join(text(str(path)) for path in paths)
    return f"read_parquet([{listed}], {how}hive_partitioning = false)"
