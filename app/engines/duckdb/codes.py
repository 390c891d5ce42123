"""Rare codes: judged by distinct participants, not rows; they climb a hierarchy, and what stays rare is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.deid import hierarchies
from app.deid.choices import Chosen
from app.deid.fitting import hierarchy_spec
from app.deid.transforms.roll_up import RollUpParams
from app.engines.duckdb.sql import persons_of, quoted, stored
from app.schemas.dictionary import Column, Dictionary, Table

Range = tuple[int, int]
"""The first and the last of some people."""
MOST_ROWS = 25_000_000
"""Of a table with more, the people of its codes are counted range by range."""


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
    """Make the table `name` (v raw code, n people, released text or null) over the rows that leave (`rows`: FROM ...
    WHERE ...).

    Codes that climb are judged together at each level: only the rows that need the parent carry its label, so
    it is their people that must be `at_least`. Answers how many codes were kept, rolled up, dropped.
    """
    if ranges := _ranges(con, rollup):
        return _settled_by(ranges, con, rollup, name, rows, _counted_by(ranges, con, rollup, rows))
    gather_pairs(con, rollup, name, rows)
    query = f"SELECT v, count(*) AS n FROM {name}_people GROUP BY v ORDER BY v"
    return settle(con, rollup, name, con.sql(query).to_arrow_table(), [f"{name}_people"])


def build_on(
    con: duckdb.DuckDBPyConnection, rollup: Rollup, name: str, rows: str, counted: pa.Table
) -> dict[str, int]:
    """`build` where the people of each code are counted already: who they are is asked for those that may climb."""
    if ranges := _ranges(con, rollup):
        return _settled_by(ranges, con, rollup, name, rows, counted)
    con.register("waits_in", counted.select(["v"]).filter(is_waiting(rollup, counted)))
    con.execute("CREATE OR REPLACE TEMP TABLE waits AS FROM waits_in")
    con.unregister("waits_in")
    gather_pairs(con, rollup, name, rows, f"t.{quoted(rollup.column.name)} IN (SELECT v FROM waits)")
    return settle(con, rollup, name, counted, [f"{name}_people"])


def _settled_by(
    ranges: list[Range],
    con: duckdb.DuckDBPyConnection,
    rollup: Rollup,
    name: str,
    rows: str,
    counted: pa.Table,
) -> dict[str, int]:
    only = f"t.{quoted(rollup.column.name)} IN (SELECT v FROM {name}_labels)"
    return settle(con, rollup, name, counted, [f"({_pairs(rollup, rows, only, some)})" for some in ranges])


def _ranges(con: duckdb.DuckDBPyConnection, rollup: Rollup) -> list[Range]:
    """The people whom k counts, in ranges of about `MOST_ROWS` rows of the table each."""
    rows = int(con.execute(f"SELECT count(*) FROM {stored(rollup.table)}").fetchall()[0][0])
    if rows <= MOST_ROWS:
        return []
    people = np.sort(con.execute("SELECT DISTINCT counted FROM cross_").fetchnumpy()["counted"])
    some = np.array_split(people, -(-rows // MOST_ROWS))
    return [(int(keys[0]), int(keys[-1])) for keys in some if len(keys)]


def _counted_by(ranges: list[Range], con: duckdb.DuckDBPyConnection, rollup: Rollup, rows: str) -> pa.Table:
    """The people of each code (v, n), ascending, range by range: the pairs of codes and people of a thousand million
    rows are more than fits in memory, and whoever is in one range is in no other."""
    each = [
        con.sql(f"SELECT v, count(*) AS n FROM ({_pairs(rollup, rows, within=some)}) GROUP BY v")
        for some in ranges
    ]
    found = pa.concat_tables(one.to_arrow_table() for one in each)
    return found.group_by("v").aggregate([("n", "sum")]).rename_columns(["v", "n"]).sort_by("v")


def gather_pairs(
    con: duckdb.DuckDBPyConnection, rollup: Rollup, name: str, rows: str, only: str = "true"
) -> None:
    """Make `<name>_people` (v, key), distinct, over `rows` (with each person's crosswalk row as `x0`, `x1`).

    `only` is a further predicate over the rows `t`. `key` is what k counts: one of the participants of a person."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name}_people AS {_pairs(rollup, rows, only)}")


def _pairs(rollup: Rollup, rows: str, only: str = "true", within: Range | None = None) -> str:
    column = f"t.{quoted(rollup.column.name)}"
    each = []
    for n, _person in enumerate(persons_of(rollup.table)):
        some = f" AND x{n}.counted BETWEEN {within[0]} AND {within[1]}" if within else ""
        each.append(
            f"SELECT {column} AS v, x{n}.counted AS key {rows} AND {column} IS NOT NULL AND ({only}){some}"
        )
    return f"SELECT DISTINCT v, key FROM ({' UNION ALL '.join(each)})"


def settle(
    con: duckdb.DuckDBPyConnection, rollup: Rollup, name: str, counted: pa.Table, people: Sequence[str]
) -> dict[str, int]:
    """Decide what becomes of each code from its people (`counted`: v, n), and lay it down as the table `name`.

    `people`: SQL of (v, key), each pair once, between them at least those of the codes that wait for a parent; nobody
    is in two of them. `<name>_people` is dropped."""
    released = _climb(con, rollup, name, counted, people)
    lay(con, name, counted, released)
    con.execute(f"DROP TABLE IF EXISTS {name}_people")
    return tally(counted, released)


def lay(con: duckdb.DuckDBPyConnection, name: str, counted: pa.Table, released: list[str | None]) -> None:
    """The mapping as a table (v, n, released)."""
    mapping = pa.table({"v": counted["v"], "n": counted["n"], "released": pa.array(released, pa.string())})
    con.register(f"{name}_in", mapping)
    con.execute(f"CREATE OR REPLACE TABLE {name} AS FROM {name}_in")
    con.unregister(f"{name}_in")


def tally(counted: pa.Table, released: list[str | None]) -> dict[str, int]:
    """How many codes were kept, rolled up, dropped."""
    raw = [str(v) for v in counted["v"].to_pylist()]
    return {
        "kept": sum(r == v for r, v in zip(released, raw, strict=True)),
        "rolled_up": sum(r is not None and r != v for r, v in zip(released, raw, strict=True)),
        "dropped": sum(r is None for r in released),
    }


def is_waiting(rollup: Rollup, counted: pa.Table) -> pa.ChunkedArray:
    """Of each code of `counted`, whether its people must be known beyond their number: it may climb."""
    everyone = pc.greater_equal(counted["n"], 0)
    if rollup.spec is None:
        return pc.invert(everyone)
    return everyone if rollup.first_level > 0 else pc.less(counted["n"], rollup.at_least)


def counted_on(held: pa.Table, steps: pa.Table) -> pa.Table:
    """The codes with their people (v, n), ascending, where `held` (v, n) had them and `steps` (v, d) tells how many
    more or fewer there are; without those of nobody."""
    place, known = _places(held, steps)
    people, moved = np.array(held["n"].to_numpy()), steps["d"].to_numpy()
    people[place[known]] += moved[known]
    came = steps.filter(pa.array(~known))
    kind = held.schema.field("v").type
    values = pa.chunked_array([*held["v"].chunks, *came["v"].cast(kind).chunks], kind)
    counted = pa.table({"v": values, "n": np.concatenate([people, moved[~known]])})
    counted = counted.filter(pc.not_equal(counted["n"], 0))
    return counted.sort_by("v") if came.num_rows else counted


def may_differ(rollup: Rollup, held: pa.Table, steps: pa.Table) -> bool:
    """Whether any code may leave as something else than before: one came or went, or someone came or went who has one
    that is or was too rare to leave as it is. Who they are matters, then, and not only how many."""
    if rollup.first_level > 0:
        return bool(steps.num_rows)
    place, known = _places(held, steps)
    people, moved = held["n"].to_numpy()[place[known]], steps["d"].to_numpy()[known]
    fewest = np.minimum(people, people + moved)
    return not known.all() or bool((fewest < max(1, rollup.at_least)).any())


def _places(held: pa.Table, steps: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Of each step the place of its code among those held, and whether it is one of them."""
    found = pc.index_in(steps["v"].cast(held.schema.field("v").type), value_set=held["v"].combine_chunks())
    place = np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)
    return place, place >= 0


def _climb(
    con: duckdb.DuckDBPyConnection, rollup: Rollup, name: str, counted: pa.Table, people: Sequence[str]
) -> list[str | None]:
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
        for label in _enough(con, name, counted, labels, waiting, rollup.at_least, people):
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
    people: Sequence[str],
) -> list[str]:
    chosen = np.flatnonzero(waiting)
    table = pa.table({"v": counted["v"].take(pa.array(chosen)), "label": [labels[i] for i in chosen]})
    con.register(f"{name}_labels", table)
    found = Counter[str]()
    for some in people:
        each = f"SELECT label, count(DISTINCT key) FROM {some} JOIN {name}_labels USING (v) GROUP BY label"
        found.update(dict(con.execute(each).fetchall()))
    con.unregister(f"{name}_labels")
    return sorted(label for label, n in found.items() if n >= at_least)
