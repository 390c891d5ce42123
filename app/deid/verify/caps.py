"""Capped events: nobody has more rows of a table than plan and dictionary allow, counted on the written bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.deid.verify.evidence import Expectation, refusal
from app.deid.verify.order import persons
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, scan
from app.deid.verify.scope import Leaving
from app.errors import Finding


def check_caps(
    reader: Reader, table: Leaving, number: int, parts: Sequence[Part], expectation: Expectation
) -> Iterator[Finding]:
    """The people beyond the stricter of the two caps. A person's rows are in one part, so parts that stay, which were
    judged when they were new, need not be read again."""
    planned = expectation.plan.table(table.name).max_rows_per_person
    most = min((cap for cap in (planned, table.table.max_rows_per_person) if cap is not None), default=None)
    if most is None or not parts:
        return
    column = table.via[0] if table.via else table.persons[0]
    rows = persons(table, number, scan([part.path for part in parts]), column)
    beyond = reader.number(
        f"SELECT count(*) FROM (SELECT p FROM ({rows}) GROUP BY p HAVING count(*) > {most})"
    )
    if beyond:
        yield refusal("too_many_rows", table=table.name, count=beyond)
