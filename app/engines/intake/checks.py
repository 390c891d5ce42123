"""What a staged table is asked: types, identifiers, keys, labels, units. Counts and lines come back, never values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.deid.dictionary_links import own_participants
from app.deid.identifiers import MARKS, Source, judge, look, mark_of, text_mark
from app.engines.intake.lines import LINES
from app.engines.intake.reading import (
    VAULT_TYPES,
    Files,
    Staged,
    literal,
    quoted,
    scan,
    scanned_columns,
    source_of,
    staged_columns,
)
from app.errors import Finding
from app.schemas.dictionary import Column, Table

Ask = Callable[[str], list[tuple[Any, ...]]]
Lines = Callable[[Sequence[int]], tuple[int, ...]]
Numbers = Callable[[str], npt.NDArray[np.int64]]
_SORTED = 16_000_000  # whole numbers sorted at a time: 128 MB, and as much while they are gathered
_BATCH = (
    30  # columns asked about in one query, so that a wide table does not make one of thousands of aggregates
)


@dataclass(frozen=True, slots=True)
class Count:
    """Of one column of the stage: cells without a value, those of them that are not of the type."""

    nulls: int
    bad: int


def counted(table: Table, ask: Ask) -> tuple[int, dict[str, Count]]:
    """The rows of the stage, and the counts of every column that is read."""
    rows, found = 0, dict[str, Count]()
    for batch in _batches(staged_columns(table)):
        asked = ", ".join(f"count({s.value}), count(*) FILTER ({s.bad})" for s in batch)
        rows, *row = ask(f"SELECT count(*), {asked} FROM stage")[0]
        for i, staged in enumerate(batch):
            found[staged.column.name] = Count(rows - row[2 * i], row[2 * i + 1])
    return rows, found


def column_findings(table: Table, counts: Mapping[str, Count], ask: Ask, lines: Lines) -> Iterator[Finding]:
    """Values of the wrong type, values that must be there and are not. Rows are asked for where there are such."""
    needed = {*table.primary_key, *(own_participants(table) if table.kind == "participant" else ())}
    for staged in staged_columns(table):
        column, count = staged.column, counts[staged.column.name]
        if count.bad:
            yield Finding(
                "wrong_type", f"values are not of the type {_told(column)}", table.name, column.name,
                lines(_first(staged.bad, ask)), count.bad,
            )  # fmt: skip
        if (column.required or column.name in needed) and count.nulls > count.bad:
            yield Finding(
                "missing_value", "values are missing where one is required", table.name, column.name,
                lines(_first(f"{staged.value} IS NULL", ask)), count.nulls - count.bad,
            )  # fmt: skip


def _first(where: str, ask: Ask) -> list[int]:
    """The first rows of which something holds."""
    return [int(row[0]) for row in ask(f"SELECT __row FROM stage WHERE {where} ORDER BY __row LIMIT {LINES}")]


def identifier_findings(table: Table, ask: Ask, lines: Lines) -> tuple[list[Finding], list[Finding]]:
    """Columns declared harmless that hold what looks like an identifier; and, apart, what is doubtful or chance."""
    hits: list[Finding] = []
    doubts: list[Finding] = []
    sources = [source_of(staged) for staged in scanned_columns(table)]
    for source, seen in zip(sources, look(ask, "stage", sources), strict=True):
        verdict = judge(source.column, seen, of_people=table.kind != "reference")
        if verdict.hits:
            count, rows = ask(_marked(source, verdict.marks()))[0]
            detail = f"values look like: {', '.join(sorted(verdict.hits))}"
            hits.append(
                Finding(
                    "identifier", detail, table.name, source.column.name, lines(rows), count, hint=_DECLARE
                )
            )
        for kind, marks in verdict.doubts.items():
            count, rows = ask(_marked(source, marks))[0]
            code, detail = _DOUBTS.get(
                kind if set(marks) <= {"bare", "product"} else "", ("possible_identifier", "")
            )
            detail = detail or f"a few values look like: {kind}; see whether they are of a person"
            doubts.append(Finding(code, detail, table.name, source.column.name, lines(rows), count))
    return hits, doubts


_DECLARE = "declare the column a direct_identifier or free_text: then it is not stored; or take it out"
_DOUBTS = {
    "resident_number": (
        "long_numbers",
        "a few of the column's long numbers begin with a date, as chance would have it",
    )
}


def _marked(source: Source, marks: Sequence[str]) -> str:
    """How many rows have one of these marks, and the first of them."""
    which = ", ".join(str(MARKS.index(mark)) for mark in marks)
    tests = []
    if source.column.type in ("string", "integer", "number"):
        tests.append(f"{mark_of(source)} IN ({which})")
    if source.stray is not None:
        tests.append(f"({source.stray} IS NOT NULL AND {text_mark(source.stray)} IN ({which}))")
    return f"SELECT count(*), min(__row, {LINES}) FROM stage WHERE {' OR '.join(tests)}"


def key_findings(
    table: Table, counts: Mapping[str, Count], in_all: int, ask: Ask, numbers: Numbers, lines: Lines
) -> Iterator[Finding]:
    """Primary keys that occur more than once, of `in_all` rows; the line told is that of the second occurrence."""
    if not table.primary_key:
        return
    if len(table.primary_key) == 1 and table.column(table.primary_key[0]).type == "integer":
        (name,) = table.primary_key
        if not _occurs_twice(_value(table, name), in_all - counts[name].nulls, numbers):
            return
    key = ", ".join(_value(table, name) for name in table.primary_key)
    present = " AND ".join(f"{_value(table, name)} IS NOT NULL" for name in table.primary_key)
    groups = f"FROM stage WHERE {present} GROUP BY {key} HAVING count(*) > 1"
    if not ask(f"SELECT 1 {groups} LIMIT 1"):
        return  # which rows they are costs more, and hardly ever matters
    count, rows = repeated(groups, ask)
    if count:
        yield Finding(
            "duplicate_key", "rows have the primary key of an earlier row", table.name, ", ".join(table.primary_key),
            lines(rows), count,
        )  # fmt: skip


def repeated(groups: str, ask: Ask) -> tuple[int, list[int]]:
    """Of rows in groups of more than one, all but the first of each: how many, and the first that are second."""
    twice = f"SELECT min(__row, 2)[2] AS row, count(*) - 1 AS n {groups}"
    count, rows = ask(f"SELECT sum(n), min(row, {LINES}) FROM ({twice})")[0]
    return int(count or 0), list(rows or ())


def _occurs_twice(value: str, filled: int, numbers: Numbers) -> bool:
    """Whether a whole number of the stage occurs more than once. Sorted in parts that fit in memory: the engine would
    keep all of them by their hash, which costs it several times as much."""
    parts = 1 + filled // _SORTED
    for part in range(parts):
        where = f"{value} IS NOT NULL" + (f" AND hash({value}) % {parts} = {part}" if parts > 1 else "")
        found = numbers(f"SELECT {value} FROM stage WHERE {where}")
        found.sort()
        if (found[1:] == found[:-1]).any():
            return True
    return False


def foreign_findings(
    table: Table, parents: Mapping[str, Files], left_out: Mapping[str, Files], ask: Ask, lines: Lines
) -> Iterator[Finding]:
    """Values that name a row of another table which is not there. Among the parents is the table itself where the file
    is added to rows that it has.

    A row that was left out there because its person is unknown does count as being there. Keys that lead to the
    participant table are no matter of this check: an unknown person is left out and counted, not refused.
    """
    for key in table.foreign_keys:
        if table.column(key.column).role.kind == "participant_id":
            continue
        value = _value(table, key.column)
        if key.table == table.name:
            there = f"SELECT {_value(table, key.references)} AS k FROM stage"
            if key.table in parents:
                there += f" UNION ALL SELECT {quoted(key.references)} FROM {scan(parents[key.table])}"
        else:
            there = f"SELECT {quoted(key.references)} AS k FROM {scan(parents[key.table])}"
        yield from orphans(table, key.column, value, there, left_out.get(key.table), ask, lines)


def orphans(
    table: Table, column: str, value: str, there: str, left_out: Files | None, ask: Ask, lines: Lines
) -> Iterator[Finding]:
    """Rows whose `value` is neither in the query `there` nor among the keys left out."""
    known = f"EXISTS (FROM ({there}) p WHERE p.k = stage.{value})"
    if left_out:
        known += f" OR EXISTS (FROM {scan(left_out)} o WHERE o.k = {hashed(f'stage.{value}')})"
    query = f"SELECT count(*), min(__row, {LINES}) FROM stage WHERE {value} IS NOT NULL AND NOT ({known})"
    count, rows = ask(query)[0]
    if count:
        yield Finding(
            "no_parent",
            "values name a row of another table that is not there",
            table.name,
            column,
            lines(rows),
            count,
        )


def warnings(table: Table, ask: Ask, lines: Lines) -> Iterator[Finding]:
    """What is odd but no reason to refuse: values without a label, codes measured in more than one unit."""
    for staged in staged_columns(table):
        column = staged.column
        if column.labels:
            labels = ", ".join(
                f"TRY_CAST({literal(v.strip())} AS {_sql_type(column)})" for v in column.labels
            )
            query = f"SELECT count(*), min(__row, {LINES}) FROM stage WHERE {staged.value} NOT IN ({labels})"
            count, rows = ask(query)[0]
            if count:
                yield Finding("no_label", "values have no label", table.name, column.name, lines(rows), count)
        if column.unit_column is not None:
            yield from _mixed_units(table, column, ask)


def _mixed_units(table: Table, column: Column, ask: Ask) -> Iterator[Finding]:
    unit = _value(table, column.unit_column or "")
    codes = table.of_role("code")
    by = ", ".join(_value(table, c.name) for c in codes if c.name != column.unit_column) or "true"
    used = f"SELECT 1 FROM stage WHERE {_value(table, column.name)} IS NOT NULL AND {unit} IS NOT NULL"
    mixed = ask(f"SELECT count(*) FROM ({used} GROUP BY {by} HAVING count(DISTINCT {unit}) > 1)")[0][0]
    if mixed:
        detail = "codes are measured in more than one unit"
        yield Finding(
            "mixed_units",
            detail,
            table.name,
            column.name,
            count=mixed,
            hint="the unit column leaves with the value",
        )


def column_counts(table: Table, counts: Mapping[str, Count], ask: Ask) -> list[dict[str, Any]]:
    """Per column that is kept: how many values are null, and how many of these for each stated reason."""
    told = []
    for staged in staged_columns(table):
        entry: dict[str, Any] = {"name": staged.column.name, "nulls": counts[staged.column.name].nulls}
        if staged.column.missing:
            groups = (
                f"SELECT {staged.reason}, count(*) FROM stage WHERE {staged.reason} IS NOT NULL GROUP BY ALL"
            )
            entry["missing"] = dict(sorted(ask(groups)))
        told.append(entry)
    return told


def hashed(value: str) -> str:
    """A record id as 64 bits, so that ids of rows that were left out are not kept as they are."""
    return f"md5_number_lower(CAST({value} AS VARCHAR))"


def _value(table: Table, name: str) -> str:
    return next(s.value for s in staged_columns(table) if s.column.name == name)


def _sql_type(column: Column) -> str:
    return VAULT_TYPES[column.type]


def _told(column: Column) -> str:
    return f"{column.type} ({column.format})" if column.format else column.type


def _batches(columns: list[Staged]) -> Iterator[list[Staged]]:
    for start in range(0, len(columns), _BATCH):
        yield columns[start : start + _BATCH]
