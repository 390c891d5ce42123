"""Who may be in the extract, in which groups: the frequency table, and the class each person is given."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.deid.choices import chosen
from app.engines.duckdb.filters import Filters
from app.engines.duckdb.sql import persons_of, quoted, stored
from app.engines.protocol import Classes, Groups, Source
from app.schemas.dictionary import Column, Table
from app.schemas.mapping import SOURCE

UNLABELLED = -2  # people who consent to other domains than the participant table's: they have no labels


def quasi_identifiers(source: Source) -> list[Column]:
    """The quasi-identifiers and sites of the participant table that the plan releases, in plan order."""
    return [c for c in _released(source) if c.role.kind in ("quasi_identifier", "site")]


def sensitive_columns(source: Source) -> list[Column]:
    """The sensitive columns of the participant table that the plan releases."""
    return [c for c in _released(source) if c.role.kind == "sensitive"]


def _released(source: Source) -> list[Column]:
    people = source.dictionary.people
    planned = [t for t in source.plan.tables if t.name == people.name]
    return [c.column for t in planned for c in chosen(t, people) if not c.is_reason]


def event_tables(source: Source) -> list[Table]:
    """The event and link tables of the plan, in plan order."""
    tables = [source.dictionary.table(t.name) for t in source.plan.tables]
    return [t for t in tables if t.kind in ("event", "link")]


def gather(con: duckdb.DuckDBPyConnection, source: Source, filters: Filters) -> dict[str, int]:
    """Make `people` (key, family, qi_<i>, sv_<i>): those of the participant table with consent who pass the filter;
    `family` only where `counts_units`.

    `key` is the person's (see `Source`), so that whoever takes part in two cohorts and is linked counts once.
    `family` is one text a family, and a person's own where no family is known (of all participants the register knows
    to be the same, linked or not). Answers the attrition counts.
    """
    people, table = source.dictionary.people, stored(source.dictionary.people)
    columns = [f"t.{quoted(c.name)} AS qi_{i}" for i, c in enumerate(quasi_identifiers(source))]
    columns += [f"t.{quoted(c.name)} AS sv_{i}" for i, c in enumerate(sensitive_columns(source))]
    columns = [_family(people), *columns] if counts_units(source) else columns
    consented = f"FROM {table} t JOIN x ON t.__participant = x.key AND x.in_{people.domain}"
    con.execute(
        f"CREATE OR REPLACE TABLE people AS SELECT {', '.join(['x.person AS key', *columns])} "
        f"{consented} WHERE {filters.on(people)}"
    )
    if source.is_linked:
        _gather_persons(con, source, filters)
    filtered = consents = _number(con, "SELECT count(*) FROM people")
    con.execute("DELETE FROM people WHERE key IN (FROM excluded)")
    if source.is_linked or any(c.table == people.name for c in source.plan.filter):
        every = "DISTINCT x.person" if source.is_linked else "*"
        consents = _number(con, f"SELECT count({every}) {consented}")
    registered = _number(con, f"SELECT count(*) FROM {table}")
    return {"registered": registered, "consented": consents, "filtered": filtered}


def counts_units(source: Source) -> bool:
    """Whether k counts other than rows of the participant table: families, or people that several cohorts hold."""
    families = bool(source.dictionary.people.of_role("family_id"))
    return families or "counted" in source.crosswalk.column_names


def _gather_persons(con: duckdb.DuckDBPyConnection, source: Source, filters: Filters) -> None:
    """One row a person of `people`, and `people_rows` as they were. The tuple of a person whom two sources know is that
    of the person: the set of the sources that any table tells of, and of each quasi-identifier the value that they
    agree on, else none."""
    con.execute("CREATE OR REPLACE TABLE people_rows AS FROM people")
    told = " UNION ALL ".join(
        f"SELECT x0.person AS key, t.{quoted(SOURCE)} AS v FROM {stored(table)} t "
        f"JOIN x x0 ON t.{person} = x0.key AND x0.in_{table.domain} WHERE {filters.on(table)}"
        for table in [source.dictionary.people, *event_tables(source)]
        for person in persons_of(table)
    )
    sets = f"SELECT key, string_agg(DISTINCT v, '+' ORDER BY v) AS sources FROM ({told}) GROUP BY key"
    columns = ["min(family) AS family"]
    for i, column in enumerate(quasi_identifiers(source)):
        one = f"CASE WHEN count(DISTINCT qi_{i}) = 1 THEN min(qi_{i}) END"
        columns.append(f"{'min(s.sources)' if column.name == SOURCE else one} AS qi_{i}")
    columns += [f"min(sv_{i}) AS sv_{i}" for i, _ in enumerate(sensitive_columns(source))]
    con.execute(
        f"CREATE OR REPLACE TABLE people AS SELECT r.key, {', '.join(columns)} FROM people_rows r "
        f"JOIN ({sets}) s ON s.key = r.key GROUP BY r.key"
    )


def gather_outsiders(con: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Make `outsiders` (key): people with consent for another domain of the plan only. A filter on people cannot
    be judged for them, so where there is one they stay out."""
    people = source.dictionary.people
    filtered = any(c.table == people.name for c in source.plan.filter)
    inside = f"SELECT person FROM x WHERE in_{people.domain}"
    elsewhere = f"AND person NOT IN ({inside})" if source.is_linked else ""
    con.execute(
        "CREATE OR REPLACE TABLE outsiders AS SELECT DISTINCT person AS key FROM x "
        f"WHERE NOT in_{people.domain} AND {'false' if filtered else 'true'} {elsewhere}"
    )


def gather_having(con: duckdb.DuckDBPyConnection, source: Source, filters: Filters) -> None:
    """Make `having_<i>` (key) per event table: the people of the crosswalk with rows there that pass the filter,
    whatever their consent to its domain. It is read once; who is in the extract changes around it."""
    for i, table in enumerate(event_tables(source)):
        if table.kind == "event":
            rows = f"FROM {stored(table)} t JOIN x x0 ON t.{persons_of(table)[0]} = x0.key WHERE {filters.on(table)}"
            con.execute(f"CREATE OR REPLACE TABLE having_{i} AS SELECT DISTINCT x0.key {rows}")


def having(source: Source, table: Table) -> str:
    """The name of that table, for an event table of the plan."""
    return f"having_{[t.name for t in event_tables(source)].index(table.name)}"


def gather_presence(con: duckdb.DuckDBPyConnection, source: Source, filters: Filters) -> None:
    """Make `present_<i>` (key) per event or link table: the people with rows there that would leave."""
    for i, table in enumerate(event_tables(source)):
        distinct = "DISTINCT "
        if table.kind == "event":
            distinct = "DISTINCT " if source.is_linked else ""  # else everybody has one key
            each = (
                f"SELECT x.person AS key FROM having_{i} h JOIN x ON x.key = h.key "
                f"SEMI JOIN inside i ON i.key = x.person WHERE x.in_{table.domain}"
            )
        else:
            persons = persons_of(table)
            joins = " ".join(
                f"JOIN x x{n} ON t.{p} = x{n}.key AND x{n}.in_{table.domain} JOIN inside i{n} ON i{n}.key = x{n}.person"
                for n, p in enumerate(persons)
            )
            rows = f"FROM {stored(table)} t {joins} WHERE {filters.on(table)}"
            each = " UNION ".join(f"SELECT x{n}.person AS key {rows}" for n in range(len(persons)))
        con.execute(f"CREATE OR REPLACE TABLE present_{i} AS SELECT {distinct}key FROM ({each})")


def drop_small_outsiders(
    con: duckdb.DuckDBPyConnection, source: Source, filters: Filters, k: int
) -> dict[str, int]:
    """Outsiders form one class of their own in every table; below k in any table none of them leaves.

    Answers the people of that class per table, before it was dropped."""
    counts = {}
    for i, table in enumerate(event_tables(source)):
        there = f"present_{i} JOIN outsiders USING (key) JOIN x USING (key)"
        counts[table.name] = _number(con, f"SELECT count(DISTINCT x.counted) FROM {there}")
    if any(0 < count < k for count in counts.values()):
        con.execute("DELETE FROM outsiders")
        refresh_inside(con)
        gather_presence(con, source, filters)
    return counts


def refresh_inside(con: duckdb.DuckDBPyConnection) -> None:
    """`inside` (key): everyone who may still be in the extract. Outsiders are never in the participant table."""
    con.execute("CREATE OR REPLACE VIEW inside AS SELECT key FROM people UNION ALL SELECT key FROM outsiders")


def group(
    con: duckdb.DuckDBPyConnection, source: Source, filters: Filters, attrition: Mapping[str, int], k: int
) -> Groups:
    """The frequency table of `people`, ordered by its tuples so that it is the same for the same people."""
    identifiers, tables = quasi_identifiers(source), event_tables(source)
    outsiders = drop_small_outsiders(con, source, filters, k)
    keys = [f"qi_{i}" for i in range(len(identifiers))]
    marks = [f"count(p{i}.key) AS n_{i}" for i in range(len(tables))]
    joins = " ".join(f"LEFT JOIN present_{i} p{i} ON p{i}.key = people.key" for i in range(len(tables)))
    by = f"GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}" if keys else ""
    select = ", ".join([*keys, "count(*) AS n", *marks])
    con.execute(f"CREATE OR REPLACE TABLE tuples AS SELECT {select} FROM people {joins} {by}")
    con.execute("ALTER TABLE tuples ADD COLUMN tuple INTEGER")
    con.execute("UPDATE tuples SET tuple = rowid")
    found = con.sql("SELECT * FROM tuples ORDER BY tuple").to_arrow_table()
    columns, codes = _codes(found, keys)
    counts = [found["n"], *(found[f"n_{i}"] for i in range(len(tables)))]
    return Groups(
        names=tuple(c.name for c in identifiers),
        columns=columns,
        codes=codes,
        counts=np.stack([c.to_numpy().astype(np.int64) for c in counts], axis=1),
        tables=tuple(t.name for t in tables),
        histograms=_histograms(con, source, found.num_rows),
        attrition=attrition,
        outsiders=outsiders,
    )


def classify(con: duckdb.DuckDBPyConnection, source: Source, classes: Classes) -> int:
    """Make `cross` (the crosswalk of those who leave, with class) and `classes` (class, label_<i>).

    Suppressed people are removed from `people`, and stay out if the people are gathered again (their going can take
    rows of a link table from others, so that presence must be counted anew). Answers how many they were."""
    of_tuple = pa.table(
        {
            "tuple": np.arange(len(classes.of_tuple), dtype=np.int32),
            "class": classes.of_tuple.astype(np.int32),
        }
    )
    con.register("of_tuple_in", of_tuple)
    con.execute("CREATE OR REPLACE TABLE of_tuple AS FROM of_tuple_in")
    con.unregister("of_tuple_in")
    size = len(quasi_identifiers(source))
    match = " AND ".join(f"p.qi_{i} IS NOT DISTINCT FROM t.qi_{i}" for i in range(size)) or "true"
    con.execute(
        "CREATE OR REPLACE TABLE labelled AS SELECT p.key, c.class FROM people p "
        f"JOIN tuples t ON {match} JOIN of_tuple c ON c.tuple = t.tuple"
    )
    _register_labels(con, classes, size)
    suppressed = _number(con, "SELECT count(*) FROM labelled WHERE class = -1")
    if suppressed:
        con.execute("INSERT INTO excluded SELECT key FROM labelled WHERE class = -1")
        con.execute("DELETE FROM people WHERE key IN (SELECT key FROM labelled WHERE class = -1)")
    con.execute(
        f"CREATE OR REPLACE TABLE cross_ AS SELECT x.*, coalesce(l.class, {UNLABELLED}) AS class FROM x "
        "LEFT JOIN labelled l ON l.key = x.person WHERE l.class >= 0 OR x.person IN (SELECT key FROM outsiders)"
    )
    return suppressed


def _register_labels(con: duckdb.DuckDBPyConnection, classes: Classes, size: int) -> None:
    ids = sorted(classes.labels)
    columns: dict[str, pa.Array] = {"class": pa.array(ids, pa.int32())}
    for i in range(size):
        columns[f"label_{i}"] = pa.array([classes.labels[c][i] for c in ids], pa.string())
    con.register("labels_in", pa.table(columns))
    con.execute("CREATE OR REPLACE TABLE classes AS SELECT * FROM labels_in")
    con.unregister("labels_in")


def smallest_group(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    counts: npt.NDArray[np.int64],
    of_tuple: npt.NDArray[np.int32],
) -> int | None:
    """The fewest families of any class in any table; None where nobody is left. `counts`, `of_tuple`: the people of
    each tuple (see `Groups`) and its class."""
    if not counts_units(source):  # the people of a class are those of its tuples
        kept, classes = of_tuple >= 0, int(of_tuple.max(initial=-1)) + 1
        sizes = np.zeros((classes, counts.shape[1]), dtype=np.int64)
        np.add.at(sizes, of_tuple[kept], counts[kept])
        return min(sizes[sizes > 0].tolist(), default=None)
    tables = ["SELECT key FROM people"]
    tables += [f"SELECT key FROM present_{i}" for i in range(len(event_tables(source)))]
    each = [
        "SELECT count(DISTINCT family) AS n FROM labelled JOIN people USING (key) "
        f"SEMI JOIN ({keys}) k USING (key) GROUP BY class"
        for keys in tables
    ]
    found = con.execute(f"SELECT min(n) FROM ({' UNION ALL '.join(each)})").fetchall()[0][0]
    return None if found is None else int(found)


def _family(people: Table) -> str:
    families = people.of_role("family_id")
    known = f"'f' || CAST(t.{quoted(families[0].name)} AS VARCHAR)" if families else "NULL"
    return f"coalesce({known}, 'p' || x.counted) AS family"


def _codes(found: pa.Table, keys: list[str]) -> tuple[tuple[list[object], ...], npt.NDArray[np.int32]]:
    columns, codes = [], []
    for key in keys:
        values = pc.unique(found[key])
        codes.append(pc.index_in(found[key], value_set=values).to_numpy())
        columns.append(values.to_pylist())
    if not keys:
        return (), np.zeros((found.num_rows, 0), dtype=np.int32)
    return tuple(columns), np.stack(codes, axis=1).astype(np.int32)


def _histograms(
    con: duckdb.DuckDBPyConnection, source: Source, size: int
) -> dict[str, tuple[list[object], npt.NDArray[np.int64]]]:
    match = " AND ".join(
        f"p.qi_{i} IS NOT DISTINCT FROM t.qi_{i}" for i in range(len(quasi_identifiers(source)))
    )
    histograms = {}
    # A linked person holds every value that any of their sources has of them.
    rows = "JOIN people_rows r USING (key)" if source.is_linked else ""
    for i, column in enumerate(sensitive_columns(source)):
        value = f"{'r' if source.is_linked else 'p'}.sv_{i}"
        counted = con.sql(
            f"SELECT t.tuple, {value} AS v, count({'DISTINCT p.key' if source.is_linked else '*'}) AS n "
            f"FROM people p {rows} JOIN tuples t ON {match or 'true'} "
            f"WHERE {value} IS NOT NULL GROUP BY ALL ORDER BY ALL"
        ).to_arrow_table()
        values = pc.unique(counted["v"])
        table = np.zeros((size, len(values)), dtype=np.int64)
        places = pc.index_in(counted["v"], value_set=values).to_numpy()
        table[counted["tuple"].to_numpy(), places] = counted["n"].to_numpy()
        histograms[column.name] = (values.to_pylist(), table)
    return histograms


def _number(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchall()[0]
    return int(row[0] or 0)
