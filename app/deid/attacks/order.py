"""The order of the rows: random pseudonyms decide it, so neither place nor neighbourhood tells anything."""

from __future__ import annotations

from app.deid.attacks.extract import Extract, Sheet, quoted
from app.deid.attacks.result import Result, Words, judged

Z = 5.0
"""Standard deviations that a rank correlation may lie from none: beyond it by chance once in 1.7 million."""


def order(extract: Extract) -> Result:
    """Of each table: rows that break the order of pseudonyms, and the strongest rank correlation of a person's place
    with a released value of theirs, in standard deviations."""
    broken, strongest, at = 0, 0.0, ""
    for sheet in extract.sheets:
        if not sheet.persons:
            continue
        person = quoted(sheet.persons[0])
        for path in sheet.paths:
            part = "read_parquet('" + str(path).replace("'", "''") + "')"
            broken += extract.number(
                f"SELECT count(*) FROM (SELECT {person} < lag({person}) OVER () AS down FROM {part}) WHERE down"
            )
        for name, z in _correlations(extract, sheet):
            if z > strongest:
                strongest, at = z, f"{sheet.name}.{name}"
    figures = {"rows_out_of_order": broken, "strongest_z": strongest, "strongest_column": at, "bound_z": Z}
    return Result(
        "order",
        Words("행의 순서와 위치", "Order and position of the rows"),
        Words("원자료의 행 순서", "the order of the rows in the source"),
        Words(
            f"가명 순서만 있음; 위치와 값의 상관 {Z:g} 표준편차 이하",
            f"pseudonym order only; place and value within {Z:g} standard deviations",
        ),
        figures,
        judged(broken == 0 and strongest <= Z),
    )


def _correlations(extract: Extract, sheet: Sheet) -> list[tuple[str, float]]:
    """(column, |rank correlation| * sqrt(people - 1)) of each person's place with their smallest value."""
    person, values = quoted(sheet.persons[0]), [leaf.name for leaf in sheet.leaves if not leaf.keyed]
    found = []
    for name in values:
        [row] = extract.rowset(
            f"WITH placed AS (SELECT {person} AS p, {quoted(name)} AS v, row_number() OVER () AS r FROM {sheet.rows}), "
            "one AS (SELECT min(r) AS place, min(v) AS v FROM placed WHERE v IS NOT NULL GROUP BY p), "
            "ranked AS (SELECT rank() OVER (ORDER BY place) AS a, rank() OVER (ORDER BY v) + "
            "(count(*) OVER (PARTITION BY v) - 1) / 2 AS b FROM one) "
            "SELECT CASE WHEN count(DISTINCT b) > 1 THEN abs(corr(a, b)) * sqrt(count(*) - 1) END AS z FROM ranked"
        )
        if row["z"] is not None:
            found.append((name, float(row["z"])))
    return found
