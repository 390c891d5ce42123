"""People over several sources: a class is made of all rows of a person, and who is one person counts once.

A linked person has a row of each source under one pseudonym, and whoever knows them knows all of these. Where linkage
is not allowed they have several pseudonyms, of which `Expectation.twins` tells that they are one person.
"""

from __future__ import annotations

import pyarrow as pa

from app.deid.verify.evidence import Expectation
from app.deid.verify.gathered import Gathered
from app.deid.verify.order import persons
from app.deid.verify.reader import Reader, bits
from app.deid.verify.scope import SOURCE, Leaving, labels_of

PERSON = "coalesce(person, p)"
"""SQL: one pseudonym of whoever has `p`, always the same, where `twin` is joined to it."""


def name_twins(reader: Reader, twins: pa.Table) -> None:
    """Make `twin` (p, person): the pseudonyms that are one person with others, and the first of that person's."""
    reader.load("twins", twins)
    named = f"SELECT {bits('pseudonym')} AS p, min(person) AS person FROM twins GROUP BY 1"
    reader.do(
        f"CREATE TEMP TABLE twin AS SELECT p, min(p) OVER (PARTITION BY person) AS person FROM ({named})"
    )


def members(
    reader: Reader,
    tables: list[Leaving],
    roster: Leaving,
    gathered: Gathered,
    roster_rows: str,
    labels: list[str],
    expectation: Expectation,
) -> tuple[int, int]:
    """Make `member` (p, unit, class) from what the participant table tells (its rows (p, unit, class), and the labels
    of `classes`); how many classes, and how many rows too many. After `name_twins`."""
    rows = f"(SELECT * FROM {roster_rows} JOIN classes USING (class))"
    unit = f"{PERSON}::VARCHAR"
    if roster.of_role("family_id"):
        unit = f"coalesce(family, {unit})"
    reader.do(
        f"CREATE TEMP TABLE labelled AS SELECT p, {unit} AS unit, row({', '.join(['true', *labels])}) AS l "
        f"FROM {rows} LEFT JOIN twin USING (p)"
    )
    linked = expectation.plan.linkage and SOURCE in roster.names
    single = "p"
    if linked:
        single = f"(p, l{labels_of(expectation.plan, roster).index(SOURCE)})"
        _whole(reader, tables, gathered)
    twice = reader.number(f"SELECT count(*) - count(DISTINCT {single}) FROM {rows} WHERE p IS NOT NULL")
    reader.do(
        "CREATE TEMP TABLE sets AS SELECT l, row_number() OVER ()::INTEGER AS class "
        "FROM (SELECT DISTINCT l FROM labelled)"
    )
    reader.do("CREATE TEMP TABLE member AS SELECT p, unit, class FROM labelled JOIN sets USING (l)")
    reader.do("DROP TABLE labelled")
    return reader.number("SELECT count(*) FROM sets"), twice


def _whole(reader: Reader, tables: list[Leaving], gathered: Gathered) -> None:
    """`labelled` with one row a person: the labels of all of their rows, and the sources that any table tells of."""
    each = [
        _told_of(table, number, gathered)
        for number, table in enumerate(tables)
        if table.personal and SOURCE in table.names
    ]
    reader.do(
        "CREATE TEMP TABLE whole AS SELECT p, min(unit) AS unit, "
        "row(list_sort(list(DISTINCT l)), any_value(told)) AS l "
        "FROM labelled LEFT JOIN (SELECT p, list_sort(list(DISTINCT v::VARCHAR)) AS told "
        f"FROM ({' UNION ALL '.join(each)}) GROUP BY p) USING (p) GROUP BY p"
    )
    reader.do("DROP TABLE labelled")
    reader.do("ALTER TABLE whole RENAME TO labelled")


def _told_of(table: Leaving, number: int, gathered: Gathered) -> str:
    """SQL of (v, p): each source that the table names, with the people that it names it for."""

    def read(rows: str) -> str:
        pairs = f"SELECT DISTINCT v, p FROM ({persons(table, number, rows, SOURCE)})"
        return f"SELECT v, {bits('p')} AS p FROM ({pairs})"

    pairs = gathered.lay(f"source/{table.name}", table.name, read)
    return f"SELECT v, p FROM {pairs} WHERE v IS NOT NULL"
