"""One flat file of people as a typed DuckDB table: read once, and everything that is wrong with it told at once."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app import duck
from app.deid.dictionary_links import own_participants
from app.deid.dictionary_shape import near
from app.errors import Finding, Problem
from app.schemas.dictionary import Column, Table

MOST_LINES = 5
DELIMITERS = (",", "\t", ";", "|")
_TYPES = {
    "string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE",
    "datetime": "TIMESTAMP",
}  # fmt: skip


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True)
class Arrival:
    """The file as texts: `arrived` (__row from 1, c<i> in the order of `names`; empty is null), and beside the texts
    v<i>, the values of the columns that a table's dictionary types; lines unreadable."""

    names: list[str]
    rows: int
    unreadable: int
    lines: tuple[int, ...]


def connect(memory: str, threads: int, spill: Path) -> duckdb.DuckDBPyConnection:
    """A bounded connection in memory that fetches nothing from elsewhere."""
    con = duck.opened()
    for key, value in {
        "memory_limit": text(memory), "threads": str(int(threads)), "temp_directory": text(str(spill / "workbench")),
        "TimeZone": "'UTC'", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
    }.items():  # fmt: skip
        con.execute(f"SET {key} = {value}")
    return con


def told_delimiter(path: Path, said: str | None) -> str:
    """What stands between the fields: as it was said, else the one that the first line has most of."""
    if said is not None:
        found = {"\\t": "\t", "tab": "\t"}.get(said, said)
        if found not in DELIMITERS:
            raise Problem("invalid_request", "The delimiter is one of , ; | or tab.")
        return found
    try:
        with path.open("rb") as file:
            first = file.readline(1 << 20)
    except OSError as error:
        raise Problem("invalid_request", "There is no such file.") from error
    return max(DELIMITERS, key=lambda one: first.count(one.encode()))


def arrive(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    delimiter: str,
    encoding: str,
    spill: Path,
    table: Table | None = None,
) -> Arrival:
    """Read a CSV (header line, RFC 4180 quotes) or Parquet file into `arrived`, typed as `table` says if given.

    Raises `Problem("invalid_request")` where there is no such file or it cannot be read at all."""
    if not path.is_file():
        raise Problem("invalid_request", "There is no such file.")
    try:
        if path.suffix.casefold() in (".parquet", ".pq"):
            return _parquet(con, path, table)
        return _csv_in(con, path, delimiter, encoding, spill, table)
    except (duckdb.Error, OSError, UnicodeError, csv.Error, ValueError) as error:
        # The library's words may quote the file.
        raise Problem("invalid_request", "The file cannot be read in the format that is said.") from error


def _parquet(con: duckdb.DuckDBPyConnection, path: Path, table: Table | None) -> Arrival:
    names = list(pq.read_schema(path).names)
    picked = ", ".join(f"NULLIF(CAST({quoted(n)} AS VARCHAR), '') AS c{i}" for i, n in enumerate(names))
    source = f"(SELECT {picked} FROM read_parquet({text(str(path))}))"
    con.execute(
        f"CREATE TABLE arrived AS SELECT row_number() OVER () AS __row, *{_beside(table, names)} FROM {source}"
    )
    return Arrival(names, _count(con, "arrived"), 0, ())


def _beside(table: Table | None, names: Sequence[str]) -> str:
    """SQL of the typed values, made while the texts are read: a column that stays as it is needs none."""
    places = {name: i for i, name in enumerate(names)}
    held = [c for c in table.fields if c.name in places and not _plain_text(c)] if table else []
    return "".join(f", {_typed(c, f'c{places[c.name]}')} AS v{places[c.name]}" for c in held)


def _plain_text(column: Column) -> bool:
    return column.type == "string" and not column.missing


def _csv(con: duckdb.DuckDBPyConnection, path: Path, delimiter: str, table: Table | None) -> Arrival:
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    if not names or len(set(names)) < len(names):
        raise ValueError
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names)))
    source = (
        f"read_csv({text(str(path))}, columns = {{{columns}}}, auto_detect = false, header = true, "
        f"delim = {text(delimiter)}, quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = true, "
        "store_rejects = true, rejects_limit = 0)"
    )
    con.execute(
        f"CREATE TABLE arrived AS SELECT row_number() OVER () AS __row, *{_beside(table, names)} FROM {source}"
    )
    bad = con.execute(
        f"SELECT count(*), min(line, {MOST_LINES}) FROM (SELECT DISTINCT line FROM reject_errors)"
    ).fetchall()[0]
    return Arrival(names, _count(con, "arrived"), int(bad[0]), tuple(bad[1] or ()))


def _csv_in(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    delimiter: str,
    encoding: str,
    spill: Path,
    table: Table | None,
) -> Arrival:
    if encoding == "utf-8":
        try:
            return _csv(con, path, delimiter, table)
        except duckdb.Error:  # line ends of two kinds are no reason to refuse; what else is wrong stays wrong
            con.execute("DROP TABLE IF EXISTS arrived")
    return _csv(con, _plain(path, encoding, spill), delimiter, table)


def _plain(path: Path, encoding: str, spill: Path) -> Path:
    """A copy in UTF-8 with one kind of line end."""
    copy = spill / "plain.csv"
    read = "utf-8-sig" if encoding == "utf-8" else encoding
    with path.open(encoding=read) as source, copy.open("w", encoding="utf-8", newline="") as target:
        while block := source.read(1 << 20):
            target.write(block)
    return copy


def shape_findings(table: Table, arrival: Arrival, rows_are_people: bool) -> Iterator[Finding]:
    """Columns of the file and of the dictionary that do not meet. An unknown column is refused, never dropped."""
    known, own = {c.name for c in table.fields}, own_participants(table)
    if arrival.unreadable:
        yield Finding("unreadable_rows", "lines do not have the columns of the header", table.name,
                      lines=arrival.lines, count=arrival.unreadable)  # fmt: skip
    for name in arrival.names:
        if name not in known:
            yield Finding("unknown_column", "the dictionary has no such column", table.name, name[:128],
                          near=near(name, known))  # fmt: skip
    for column in table.fields:
        if column.name in arrival.names:
            if rows_are_people and column.name in own:
                yield Finding("contradiction", "the file has ids of people, so rows are not people by themselves",
                              table.name, column.name)  # fmt: skip
        elif column.name not in own:
            yield Finding("missing_column", "the file has no such column", table.name, column.name,
                          near=near(column.name, arrival.names))  # fmt: skip
        elif not rows_are_people:
            yield Finding("missing_column", "the file has no ids of people", table.name, column.name,
                          hint="if every row is another person, say --rows-are-people")  # fmt: skip


def type_rows(con: duckdb.DuckDBPyConnection, table: Table, arrival: Arrival) -> Iterator[Finding]:
    """Let `flat` (__participant, the columns of the dictionary that the file has, <column>__missing) be a view of
    `arrived`, typed by this table, and yield what is wrong: a value of the wrong type is null and told."""
    place = {name: f"c{i}" for i, name in enumerate(arrival.names)}
    held = [c for c in table.fields if c.name in place]
    picked = ["(__row - 1)::INTEGER AS __participant"]
    for column in held:
        picked.append(f"{_value(column, place[column.name])} AS {quoted(column.name)}")
        if column.missing:
            picked.append(f"{_reason(column, place[column.name])} AS {quoted(column.name + '__missing')}")
    con.execute(f"CREATE VIEW flat AS SELECT {', '.join(picked)} FROM arrived")
    yield from _values(con, table, held, place)
    for name in own_participants(table):
        if name in place:
            yield from _twins(con, table, place[name])


def _values(
    con: duckdb.DuckDBPyConnection, table: Table, held: list[Column], place: dict[str, str]
) -> Iterator[Finding]:
    """Values of the wrong type and values that must be there, asked in one pass."""
    asked: list[tuple[Finding, str]] = []
    for column in held:
        raw, value = place[column.name], _value(column, place[column.name])
        if column.type != "string":
            wrong = Finding(
                "wrong_type", f"values are not of the type {column.type}", table.name, column.name
            )
            asked.append(
                (wrong, f"{raw} IS NOT NULL AND {value} IS NULL AND NOT ({_is_missing(column, raw)})")
            )
        if column.required or column.name in own_participants(table):
            absent = Finding("missing_value", "values are missing where required", table.name, column.name)
            asked.append((absent, f"{raw} IS NULL"))
    if not asked:
        return
    figures = ", ".join(
        f"count(*) FILTER ({bad}), min(__row + 1, {MOST_LINES}) FILTER ({bad})" for _, bad in asked
    )
    row = con.execute(f"SELECT {figures} FROM arrived").fetchall()[0]
    for i, (finding, _) in enumerate(asked):
        if row[2 * i]:
            yield replace(finding, count=int(row[2 * i]), lines=tuple(row[2 * i + 1] or ()))


def _value(column: Column, place: str) -> str:
    """Where `arrived` holds the value of a column whose text is at c<i>."""
    return place if _plain_text(column) else f"v{place[1:]}"


def _typed(column: Column, raw: str) -> str:
    value = raw
    if column.type == "integer":
        value = f"CASE WHEN regexp_full_match({raw}, '[+-]?[0-9]+') THEN TRY_CAST({raw} AS BIGINT) END"
    elif column.type == "boolean":
        value = f"TRY_CAST(CASE lower({raw}) WHEN 'y' THEN 'true' WHEN 'n' THEN 'false' ELSE {raw} END AS BOOLEAN)"
    elif column.type in ("date", "datetime") and column.format:
        value = f"TRY_CAST(try_strptime({raw}, {text(column.format)}) AS {_TYPES[column.type]})"
    elif column.type != "string":
        value = f"TRY_CAST({raw} AS {_TYPES[column.type]})"
    return f"CASE WHEN {_is_missing(column, raw)} THEN NULL ELSE {value} END" if column.missing else value


def _is_missing(column: Column, raw: str) -> str:
    codes = ", ".join(text(code) for code in column.missing)
    return f"{raw} IN ({codes})" if codes else "false"


def _reason(column: Column, raw: str) -> str:
    cases = " ".join(f"WHEN {text(code)} THEN {text(reason)}" for code, reason in column.missing.items())
    return f"CASE {raw} {cases} END"


def _twins(con: duckdb.DuckDBPyConnection, table: Table, column: str) -> Iterator[Finding]:
    groups = f"SELECT count(*) - 1 AS n FROM arrived WHERE {column} IS NOT NULL GROUP BY {column} HAVING count(*) > 1"
    count = con.execute(f"SELECT sum(n) FROM ({groups})").fetchall()[0][0]
    if count:
        yield Finding("duplicate_key", "people have more than one row; a flat file has one row a person", table.name,
                      own_participants(table)[0], count=int(count))  # fmt: skip


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def group(con: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[str]) -> dict[str, list[object]]:
    """Make `tuples` (the columns as in `flat`, n: the people who share them, of each family one), in no order that
    means anything; answers the distinct values of each column."""
    if not columns:
        return {}
    listed, unit = ", ".join(map(quoted, columns)), _unit(table)
    counted = "count(*)" if unit == "1" else "sum(unit)::BIGINT"
    source = "flat" if unit == "1" else f"(SELECT *, {unit} AS unit FROM flat)"
    con.execute(f"CREATE TABLE tuples AS SELECT {listed}, {counted} AS n FROM {source} GROUP BY {listed}")
    rows = con.sql(f"SELECT {listed} FROM tuples").to_arrow_table()
    return {column: pc.unique(rows[column]).to_pylist() for column in columns}


def _unit(table: Table) -> str:
    """1 for one member of each family and 0 for the others: k is counted per family."""
    families = table.of_role("family_id")
    if not families:
        return "1"
    family = quoted(families[0].name)
    first = f"row_number() OVER (PARTITION BY {family} ORDER BY __participant) = 1"
    return f"CASE WHEN {family} IS NULL OR {first} THEN 1 ELSE 0 END"
