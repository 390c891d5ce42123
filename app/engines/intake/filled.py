"""How many people of a table have a value in each of its columns, over the tables in the vault."""

from __future__ import annotations

from app.deid.roles import person_columns, stored
from app.engines.intake.connection import Connection
from app.engines.intake.reading import Files, quoted, scan
from app.schemas.dictionary import Table

_AT_ONCE = 200  # columns of one pass: a table may have thousands


def filled(table: Table, files: Files, con: Connection) -> dict[str, tuple[int, int]]:
    """Column -> (people of the table, those with a value in any row); empty for a table without people.

    Of a link table the first of a row's people is counted. Rows are clustered by person, so grouping them is cheap.
    """
    held = set(con.names(scan(files)))
    people, columns = person_columns(table), [c.name for c in stored(table) if c.name in held]
    if not people or people[0] not in held:
        return {}
    found: dict[str, tuple[int, int]] = {}
    person, here = quoted(people[0]), scan(files)
    for start in range(0, len(columns), _AT_ONCE):
        some = columns[start : start + _AT_ONCE]
        has = ", ".join(f"bool_or({quoted(name)} IS NOT NULL) AS h{i}" for i, name in enumerate(some))
        counts = ", ".join(f"count(*) FILTER (WHERE h{i})" for i in range(len(some)))
        row = con.ask(f"SELECT count(*), {counts} FROM (SELECT {has} FROM {here} GROUP BY {person})")[0]
        found |= {name: (int(row[0]), int(count)) for name, count in zip(some, row[1:], strict=True)}
    return found
