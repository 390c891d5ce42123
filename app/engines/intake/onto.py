"""A file laid onto the rows that a table has: an append adds rows that are not there, a patch replaces rows that are.

The rows there are looked at by their keys and people alone, so that an append costs its own rows and not the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from app.deid.dictionary_links import DROPPED, own_participants
from app.deid.roles import person_columns, stored
from app.engines.intake.connection import Connection
from app.engines.intake.lines import LINES
from app.engines.intake.parents import Parent
from app.engines.intake.people import people_of
from app.engines.intake.reading import VAULT_TYPES, Files, literal, quoted, scan, staged_columns
from app.errors import Finding
from app.schemas.dictionary import Table

Lines = Callable[[Sequence[int]], tuple[int, ...]]
ROW_GROUP = 100_000  # rows of one row group of a vault file


@dataclass(frozen=True, slots=True)
class Partition:
    """The rows that an append says it brings: those whose `column` lies from `first` up to, not including, `before`."""

    column: str
    first: str
    before: str


@dataclass(frozen=True, slots=True)
class Onto:
    """What a file is laid onto: the objects of the table, with so many distinct people in them."""

    mode: Literal["append", "patch"]
    held: Parent
    people: int
    partition: Partition | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """What a patch leaves of an object, in a new file."""

    path: Path
    rows: int
    people: int
    columns: list[dict[str, Any]]


def record_key(table: Table) -> tuple[str, ...]:
    """The vault columns that tell the rows of a table apart; none where the dictionary names no key that is stored."""
    if table.kind == "participant":
        return person_columns(table)
    people = dict(zip(own_participants(table), person_columns(table), strict=False))
    found = []
    for name in table.primary_key:
        if table.column(name).role.kind in DROPPED:
            return ()
        found.append(people.get(name, name))
    return tuple(found)


def onto_findings(table: Table, onto: Onto, held: Files, db: Connection, lines: Lines) -> Iterator[Finding]:
    """What forbids to lay the rows of the view `known` onto those that the table has."""
    key = record_key(table)
    if onto.mode == "patch":
        yield from _patch(table, key, held, db, lines)
        return
    if onto.partition is not None:
        yield from _partition(table, onto.partition, held, db, lines)
    elif not key:
        yield Finding(
            "partition_missing", "the table has no primary key, so only a partition tells what is there already",
            table.name, hint="say which column the new rows lie between which values of",
        )  # fmt: skip
    if key:
        query = f"SELECT count(*), min(__row, {LINES}) FROM known k WHERE EXISTS ({_same(table, key, held)})"
        count, rows = db.ask(query)[0]
        if count:
            yield Finding(
                "overlap", "rows are in the table already", table.name, ", ".join(table.primary_key) or None,
                lines(rows), int(count), hint="an append brings new rows; to change rows send a patch",
            )  # fmt: skip


def without_patched(table: Table, file: Path, db: Connection, path: Path) -> Rest | None:
    """The rows of an object that no row of `known` replaces, in their old order; None where none is replaced."""
    key = record_key(table)
    known = " AND ".join(f"{value} = h.{quoted(name)}" for name, value in _values(table, key))
    gone = f"EXISTS (FROM known k WHERE {known})"
    if not db.one(f"SELECT count(*) FROM {scan((file,))} h WHERE {gone}"):
        return None
    db.ask(
        f"COPY (SELECT * EXCLUDE (file_row_number) FROM read_parquet({literal(str(file))}, file_row_number = true) h "
        f"WHERE NOT {gone} ORDER BY file_row_number) TO {literal(str(path))} "
        f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
    )
    rest = scan((path,))
    return Rest(
        path,
        db.one(f"SELECT count(*) FROM {rest}"),
        db.one(_distinct(table, [rest])),
        list(nulls_in(rest, db)),
    )


def people_in_all(table: Table, onto: Onto, held: Files, file: Path, db: Connection) -> int:
    """The distinct people of the table with the rows laid onto it, which are those of `known` and of `file`."""
    names = person_columns(table)
    if not names:
        return 0
    if onto.mode == "append":
        new, there = people_of(names, (file,), db), people_of(names, held, db)
        return onto.people + len(np.setdiff1d(new, there, assume_unique=True))
    key = record_key(table)
    same = " AND ".join(f"{value} = h.{quoted(name)}" for name, value in _values(table, key))
    rest = f"(SELECT h.* FROM {scan(held)} h WHERE NOT EXISTS (FROM known k WHERE {same}))"
    return db.one(_distinct(table, [rest, "known"]))


def _patch(
    table: Table, key: tuple[str, ...], held: Files, db: Connection, lines: Lines
) -> Iterator[Finding]:
    if not key:
        yield Finding(
            "no_record_id", "the table has no primary key, so its rows cannot be named one by one", table.name,
            hint="replace the table",
        )  # fmt: skip
        return
    query = f"SELECT count(*), min(__row, {LINES}) FROM known k WHERE NOT EXISTS ({_same(table, key, held)})"
    count, rows = db.ask(query)[0]
    if count:
        yield Finding(
            "unknown_record", "rows have a record id that the table does not hold", table.name,
            ", ".join(table.primary_key) or None, lines(rows), int(count), hint="a new row comes with an append",
        )  # fmt: skip
    left_out, rows = db.ask(
        f"SELECT count(*), min(s.__row, {LINES}) FROM stage s WHERE s.__row NOT IN (SELECT __row FROM known)"
    )[0]
    if left_out:
        yield Finding(
            "unknown_people", "rows are of people who are not in the participant table", table.name,
            lines=lines(rows), count=int(left_out),
        )  # fmt: skip


def _partition(
    table: Table, partition: Partition, held: Files, db: Connection, lines: Lines
) -> Iterator[Finding]:
    staged = next((s for s in staged_columns(table) if s.column.name == partition.column), None)
    if staged is None or staged.column not in stored(table):
        yield Finding("unknown_column", "the partition names no stored column", table.name, partition.column)
        return
    type_ = VAULT_TYPES[staged.column.type]
    low, high = (f"CAST({literal(text)} AS {type_})" for text in (partition.first, partition.before))
    inside = f"({staged.value} >= {low} AND {staged.value} < {high})"
    query = f"SELECT count(*), min(__row, {LINES}) FROM known WHERE NOT coalesce({inside}, false)"
    count, rows = db.ask(query)[0]
    if count:
        yield Finding(
            "outside_partition", "rows lie outside the partition that was named", table.name, partition.column,
            lines(rows), int(count),
        )  # fmt: skip
    if partition.column not in db.names(scan(held)):
        return
    there = quoted(partition.column)
    if count := db.one(f"SELECT count(*) FROM {scan(held)} WHERE {there} >= {low} AND {there} < {high}"):
        yield Finding(
            "overlap", "the table has rows of this partition already", table.name, partition.column, count=count,
            hint="name a partition that is not there, or replace the table",
        )  # fmt: skip


def _values(table: Table, key: Sequence[str]) -> list[tuple[str, str]]:
    """Each vault column of the key with its value in a row `k` of the view `known`."""
    staged = {s.column.name: s for s in staged_columns(table)}
    people = set(person_columns(table))
    return [
        (
            name,
            f"k.{quoted(name)}" if name in people
            else f"CAST(k.{staged[name].value} AS {VAULT_TYPES[staged[name].column.type]})",
        )
        for name in key
    ]  # fmt: skip


def _same(table: Table, key: Sequence[str], held: Files) -> str:
    columns = ", ".join(quoted(name) for name in key)
    same = " AND ".join(f"h.{quoted(name)} = {value}" for name, value in _values(table, key))
    return f"FROM (SELECT {columns} FROM {scan(held)}) h WHERE {same}"


def _distinct(table: Table, sources: Sequence[str]) -> str:
    names = person_columns(table)
    each = [f"SELECT {quoted(name)} AS p FROM {source}" for source in sources for name in names]
    return f"SELECT count(DISTINCT p) FROM ({' UNION ALL '.join(each)})" if each else "SELECT 0"


def nulls_in(rows: str, db: Connection) -> Iterator[dict[str, Any]]:
    """What is null in vault rows that can be selected from, by column: {name, nulls, missing}."""
    held = db.names(rows)
    for column in held:
        if column.startswith("__") or column.endswith("__missing"):
            continue  # names that are ours
        name = quoted(column)
        entry: dict[str, Any] = {
            "name": column,
            "nulls": db.one(f"SELECT count(*) FROM {rows} WHERE {name} IS NULL"),
        }
        if f"{column}__missing" in held:
            reason = quoted(f"{column}__missing")
            counted = db.ask(f"SELECT {reason}, count(*) FROM {rows} WHERE {reason} IS NOT NULL GROUP BY ALL")
            entry["missing"] = {str(name): int(count) for name, count in sorted(counted)}
        yield entry
