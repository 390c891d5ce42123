"""Rare codes and labels: each value that leaves is shared by enough people, over all parts together."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from app.deid.verify.evidence import Expectation, refusal
from app.deid.verify.gathered import Gathered
from app.deid.verify.order import persons
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, bits
from app.deid.verify.scope import Leaving, Out
from app.deid.verify.sharing import people_of_values
from app.deid.verify.survey import Survey
from app.deid.verify.whole import PERSON
from app.errors import Finding
from app.schemas.dictionary import Code


def check_rare(
    reader: Reader,
    table: Leaving,
    number: int,
    gathered: Gathered,
    surveyed: Survey,
    expectation: Expectation,
) -> Iterator[Finding]:
    """Codes, and identifying labels outside the participant table, by distinct people and not rows. Parts of a table
    share no first person, so that their people add up; the others of a link table, and who has several pseudonyms, are
    counted one by one. After `check_people`."""
    twins = expectation.twins is not None
    several = twins or len(table.persons) > 1
    in_order = table.via is None and not several and not surveyed.unsorted
    for out in table.outs:
        least = _least(table, out, expectation)
        if least is None:
            continue
        counted = f"v, {bits('p')} AS p" if several else "v, count(DISTINCT p) AS n"

        def read(rows: str, out: Out = out, counted: str = counted) -> str:
            pairs = (
                f"SELECT DISTINCT v, p FROM ({persons(table, number, rows, out.name)}) WHERE v IS NOT NULL"
            )
            return f"SELECT {counted} FROM ({pairs}){'' if several else ' GROUP BY v'}"

        def told(part: Part, out: Out = out) -> pa.Table | None:
            return people_of_values(part.path, table.persons[0], out.name)

        laid = gathered.lay(f"codes/{table.name}/{out.name}", table.name, read, told if in_order else None)
        people = f"count(DISTINCT {PERSON if twins else 'p'})" if several else "sum(n)"
        pairs = f"{laid} LEFT JOIN twin USING (p)" if twins else laid
        few = reader.number(
            f"SELECT count(*) FROM (SELECT v FROM {pairs} GROUP BY v HAVING {people} < {least})"
        )
        if few:
            yield refusal("rare_label", table=table.name, column=out.name, count=few)


def _least(table: Leaving, out: Out, expectation: Expectation) -> int | None:
    """The people that a value of the column needs; None where any number will do."""
    role, least = out.column.role, max(expectation.k, expectation.plan.privacy.k)
    identifying = out.role in ("quasi_identifier", "site") and table.table.kind != "participant"
    if not table.personal or out.reason or not (isinstance(role, Code) or identifying):
        return None
    if isinstance(role, Code):
        planned = out.planned.params.get("min_participants")
        return max(role.min_participants or least, planned if isinstance(planned, int) else 0)
    return least
