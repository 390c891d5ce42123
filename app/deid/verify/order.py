"""Order and tracing: rows run by (pseudonym, released columns) within and across parts; who has rows where.

Every row is compared with the one before, in one streaming pass; nothing is sorted. It leaves a temporary table
`seen_<n>` (p): the distinct people of the n-th table, by the 64 bits of their pseudonyms.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import pyarrow as pa

from app.deid.verify.evidence import PartEvidence, refusal
from app.deid.verify.gathered import Gathered
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, bits, name, scan
from app.deid.verify.scope import Leaving
from app.deid.verify.survey import Survey, descents, sort_key
from app.errors import Finding


def check_order(
    reader: Reader,
    tables: list[Leaving],
    parts: dict[str, list[Part]],
    surveys: dict[str, Survey],
    gathered: Gathered,
) -> list[Finding]:
    """Findings of every table; afterwards `seen_<n>` exists for the n-th table where it holds people."""
    findings: list[Finding] = []
    numbers = {table.name: n for n, table in enumerate(tables)}
    by_name = {table.name: table for table in tables}
    direct = [t for t in tables if t.persons or not t.personal]
    for table in [*direct, *_parents_first([t for t in tables if t not in direct])]:
        if table.via is None:
            number = numbers[table.name]
            findings += _direct(reader, table, number, parts[table.name], surveys[table.name], gathered)
        else:
            number, (_, parent, column) = numbers[table.name], table.via
            rows = scan([p.path for p in parts[parent]])
            source = persons(by_name[parent], numbers[parent], rows, column)
            reader.do(
                f"CREATE TEMP TABLE owner_{number} AS SELECT DISTINCT v AS k, p FROM ({source}) WHERE v IS NOT NULL"
            )
            findings += _via(reader, table, number, parts[table.name])
            _see(reader, table, number, gathered, None)
    return findings


def persons(table: Leaving, number: int, rows: str, column: str) -> str:
    """SQL of (v, p): each row's value of `column` with each of its people; after `check_order`."""
    if table.via is None:
        return " UNION ALL ".join(
            f"SELECT {name(column)} AS v, {name(p)} AS p FROM {rows}" for p in table.persons
        )
    return f"SELECT t.{name(column)} AS v, o.p FROM {rows} t JOIN owner_{number} o ON o.k = t.{name(table.via[0])}"


def _parents_first(tables: list[Leaving]) -> list[Leaving]:
    waiting, ordered = list(tables), []
    while waiting:
        names = {t.name for t in waiting}
        ready = [t for t in waiting if t.via is None or t.via[1] not in names]
        ordered += ready
        waiting = [t for t in waiting if t not in ready]
    return ordered


def ends(table: Leaving, parts: list[Part], surveyed: Survey) -> list[PartEvidence]:
    """Each part with the extremes of the pseudonyms that its rows begin with."""
    found = []
    for part, extremes in zip(parts, surveyed.extremes, strict=True):
        low, high = extremes[table.persons[0]] if table.persons else (None, None)
        found.append(PartEvidence(table.name, part.position, part.sha256, part.rows, low, high))
    return found


def _see(reader: Reader, table: Leaving, number: int, gathered: Gathered, surveyed: Survey | None) -> None:
    """`seen_<n>`; `surveyed`: what is known of the people of the staged parts."""
    single = surveyed is not None and surveyed.single  # nobody has two rows
    one = table.via is None and len(table.persons) == 1

    def read(rows: str) -> str:
        if one:
            told = f"SELECT {'' if single else 'DISTINCT '}{name(table.persons[0])} AS p FROM {rows}"
        else:
            column = table.via[0] if table.via else table.persons[0]
            told = f"SELECT DISTINCT p FROM ({persons(table, number, rows, column)})"
        return f"SELECT {bits('p')} AS p FROM ({told})"

    def told(part: Part) -> pa.Table | None:
        found = surveyed.people.get(part.position) if surveyed else None
        return None if found is None else pa.table({"p": found})

    seen = gathered.lay(f"seen/{table.name}", table.name, read, told if one else None)
    # Parts that share a person are refused: then nobody is counted twice.
    kind = "VIEW" if one else "TABLE"
    reader.do(f"CREATE TEMP {kind} seen_{number} AS SELECT {'' if one else 'DISTINCT '}p FROM {seen}")


def _direct(
    reader: Reader, table: Leaving, number: int, parts: list[Part], surveyed: Survey, gathered: Gathered
) -> list[Finding]:
    torn = 0
    if table.persons:
        _see(reader, table, number, gathered, surveyed)
        told = [*gathered.staying(table.name), *ends(table, parts, surveyed)]
        held = sorted((p for p in told if p.low is not None), key=lambda p: p.position)
        # Parts in order and without a person in common: with order inside each, the whole is in order.
        torn = sum((before.high or "") >= (after.low or "") for before, after in pairwise(held))
    unsorted = surveyed.unsorted if table.persons or len(parts) < 2 else reader.number(descents(table, parts))
    found = {"rows_unsorted": unsorted, "parts_overlap": torn}
    return [refusal(code, table=table.name, count=count) for code, count in found.items() if count]


def _via(reader: Reader, table: Leaving, number: int, parts: list[Part]) -> list[Finding]:
    """No pseudonym in the row: its place in the order is that of its parent's person. A person's rows must be one
    run, runs in the order of pseudonyms, and only the first row of a run may be less than the row before it."""
    own, key = name(table.via[0] if table.via else ""), ", ".join(name(n) for n in sort_key(table))
    rows = scan([p.path for p in parts])
    reader.do(
        f"CREATE TEMP TABLE runs AS SELECT p, min(r) AS first, max(r) AS last, count(*) AS n FROM (SELECT {own} AS k, "
        f"row_number() OVER () AS r FROM {rows}) LEFT JOIN owner_{number} USING (k) GROUP BY p"
    )
    reader.do(
        "CREATE TEMP TABLE descents AS SELECT r FROM (SELECT row_number() OVER () AS r, "
        f"row({key}) < lag(row({key})) OVER () AS less FROM {rows}) WHERE less"
    )
    torn = reader.number(
        "SELECT (SELECT count(*) FROM runs WHERE last - first + 1 <> n) + (SELECT count(*) FROM (SELECT first, "
        "lag(first) OVER (ORDER BY p NULLS LAST) AS f FROM runs) WHERE first < f) + "
        "(SELECT count(*) FROM descents WHERE r NOT IN (SELECT first FROM runs))"
    )
    starts = {1 + total for total in accumulate(p.rows for p in parts)} - {1, 1 + sum(p.rows for p in parts)}
    listed = ", ".join(str(start) for start in sorted(starts))
    cut = reader.number(
        f"SELECT count(*) FROM unnest([{listed}]::BIGINT[]) s(r) WHERE r NOT IN (SELECT first FROM runs)"
    )
    orphans = reader.number("SELECT sum(n) FROM runs WHERE p IS NULL")
    reader.do("DROP TABLE runs")
    reader.do("DROP TABLE descents")
    found = {"rows_unsorted": torn, "parts_overlap": cut, "orphan_rows": orphans}
    return [refusal(code, table=table.name, count=count) for code, count in found.items() if count]
