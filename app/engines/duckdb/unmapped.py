"""What the rows of the sources hold that a mapping does not name: listed with how often, and never passed on."""

from __future__ import annotations

from app.deid import hierarchies
from app.deid.fitting import hierarchy_spec
from app.deid.hierarchies import HierarchyError
from app.deid.mappings import Question
from app.deid.united import kind_of, mapped_columns
from app.engines.duckdb.sql import VAULT, persons_of, quoted
from app.engines.duckdb.united import Unites
from app.engines.protocol import MOST_LISTED, Member, Source, Unmapped
from app.schemas.dictionary import Column, Table


def left_unmapped(unites: Unites, source: Source) -> list[Unmapped]:
    """Every value, unit and code that no mapping names, column by column of every source."""
    found = []
    for name, members in source.united.items():
        table = source.dictionary.table(name)
        for member in members:
            for column in mapped_columns(table):
                asked = _question(unites, column, member)
                if asked and (listed := _listed(unites, table, member, column, asked)) is not None:
                    found.append(listed)
    return found


def not_covered(unites: Unites, source: Source) -> list[Unmapped]:
    """United quasi-identifiers whose hierarchy does not cover the values as they come out of the mapping."""
    found = []
    for name in source.united:
        table = source.dictionary.table(name)
        for column in table.of_role("quasi_identifier", "site"):
            if getattr(column.role, "hierarchy", None) is None and table.kind != "participant":
                continue
            query = f"SELECT DISTINCT {quoted(column.name)} AS v FROM {VAULT}.{quoted(name)} ORDER BY v"
            values = unites.con.sql(query).to_arrow_table()["v"].to_pylist()
            try:
                if values:
                    hierarchies.fit(hierarchy_spec(source.dictionary, column), values, name=column.name)
            except HierarchyError as error:
                detail = "; ".join(detail for _code, detail in error.problems)
                found.append(Unmapped("", name, column.name, "hierarchy", (), len(error.problems), detail))
    return found


def _question(unites: Unites, column: Column, member: Member) -> Question | None:
    mapped = member.mapped.columns[column.name]
    kind = kind_of(mapped)
    if kind is None or mapped.source is None:
        return None
    return kind[0].question(
        unites.places(mapped, member), member.table.column(mapped.source), column, kind[1]
    )


def _listed(unites: Unites, table: Table, member: Member, column: Column, asked: Question) -> Unmapped | None:
    person = "NULL" if table.kind == "reference" else f"s.{persons_of(table)[0]}"
    query = (
        f"SELECT CAST({asked.value} AS VARCHAR) AS v, count(*) AS n, count(DISTINCT {person}) AS people "
        f"FROM {unites.rows(member)} s WHERE {asked.unmapped} GROUP BY 1"
    )
    distinct = unites.con.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0]
    if not distinct:
        return None
    rows = unites.con.execute(f"{query} ORDER BY people DESC, n DESC, v LIMIT {MOST_LISTED}").fetchall()
    entries = tuple((v, int(n), int(people)) for v, n, people in rows)
    return Unmapped(member.source, table.name, column.name, asked.what, entries, int(distinct))
