"""A whole version holds together: tables are as the dictionary says, people are known, keys lead somewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from app.deid.hierarchies import HierarchyError, references, resolve
from app.deid.roles import person_columns, stored
from app.engines.intake.checks import hashed
from app.engines.intake.connection import Connection
from app.engines.intake.parents import Since
from app.engines.intake.reading import VAULT_TYPES, Files, quoted, scan
from app.errors import Finding
from app.schemas.dictionary import Column, Dictionary, ForeignKey, Table


def definition(table: Table) -> str:
    """The digest of what a checked table depends on: where it changes, the table must be uploaded again.

    Titles, labels and how a stored column leaves may change freely.
    """
    said = {
        "kind": table.kind, "participant": table.participant, "via": [table.participant_via, table.via_column],
        "primary_key": table.primary_key, "max_unmatched": table.max_unmatched,
        "fields": [_said(column, column in stored(table)) for column in table.fields],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def goes_on_from(before: Table, after: Table) -> bool:
    """Whether rows that were checked under the one may stand beside rows checked under the other: the dictionary says
    the same of them but for columns that came and need not be filled."""
    known = {column.name for column in before.fields}
    new = [column for column in after.fields if column.name not in known]
    cut = after.model_copy(update={"fields": tuple(c for c in after.fields if c.name in known)})
    return definition(cut) == definition(before) and not any(column.required for column in new)


def _said(column: Column, kept: bool) -> list[object]:
    fate = "kept" if kept else column.role.kind
    return [
        column.name,
        fate,
        *([column.type, column.format, column.missing, column.required] if kept else []),
    ]


def version_findings(
    dictionary: Dictionary,
    tables: Mapping[str, Files],
    left_out: Mapping[str, Files],
    con: Connection,
    since: Since,
) -> Iterator[Finding]:
    """What does not hold over the tables in the vault: here rows have no lines any more, so counts alone are told."""
    yield from _ancestors(dictionary, tables, con)
    for table in dictionary.tables:
        if table.name not in tables:
            continue
        yield from _columns(table, scan(tables[table.name]), con)
        people, via = dictionary.people.name, (table.participant_via or "").partition(".")[0]
        if people in tables and table.kind in ("event", "link") and (rows := since.rows(table, people)):
            yield from _people(table, scan(rows), tables[people], con)
        if via in tables and (rows := since.rows(table, via)):
            yield from _way(table, scan(rows), tables[via], con)
        for key in table.foreign_keys:
            same = (table.participant_via, table.via_column) == (f"{key.table}.{key.references}", key.column)
            if key.table not in tables or same or table.column(key.column).role.kind == "participant_id":
                continue
            if rows := since.rows(table, key.table):
                yield from _key(table, key, scan(rows), tables[key.table], left_out.get(key.table), con)


def _ancestors(dictionary: Dictionary, tables: Mapping[str, Files], con: Connection) -> Iterator[Finding]:
    """Hierarchies that reference tables hold have no circles, and are there: refused now, not when they are used."""
    for name, spec in dictionary.hierarchies.items():
        for table, columns in references({name: spec}).items():
            if table not in tables:
                continue  # that a table is not there is told of all tables alike
            held = con.names(scan(tables[table]))
            if set(columns) <= set(held):
                links = con.table(scan(tables[table]), columns)
                try:
                    resolve({name: spec}, {table: links})
                except HierarchyError as error:
                    for code, detail in error.problems:
                        yield Finding(f"hierarchy_{code}", detail, table, pointer=f"/hierarchies/{name}")


def _columns(table: Table, here: str, con: Connection) -> Iterator[Finding]:
    expected = dict.fromkeys(person_columns(table), "INTEGER")
    for column in stored(table):
        expected[column.name] = VAULT_TYPES[column.type]
        if column.missing:
            expected[f"{column.name}__missing"] = "VARCHAR"
    found = {row[0]: row[1] for row in con.ask(f"DESCRIBE SELECT * FROM {here}")}
    if found != expected:
        detail = "the table in the vault has other columns than the dictionary says"
        yield Finding(
            "dictionary_changed", detail, table.name, count=len(found.items() ^ expected.items()), hint=_AGAIN
        )


def _people(table: Table, here: str, people: Files, con: Connection) -> Iterator[Finding]:
    known = f"SELECT __participant FROM {scan(people)}"
    gone = " OR ".join(f"{quoted(name)} NOT IN ({known})" for name in person_columns(table))
    if count := con.one(f"SELECT count(*) FROM {here} WHERE {gone}"):
        detail = "rows are of people whom the participant table of now does not hold"
        yield Finding("unknown_people", detail, table.name, count=count, hint=_AGAIN)


def _way(table: Table, here: str, there: Files, con: Connection) -> Iterator[Finding]:
    """A row that reaches its person through another table has the person that this table says now."""
    own, theirs = quoted(table.via_column or ""), quoted((table.participant_via or "").partition(".")[2])
    same = f"p.{theirs} = c.{own} AND p.__participant = c.__participant"
    led = f"EXISTS (FROM {scan(there)} p WHERE {same})"
    if count := con.one(f"SELECT count(*) FROM {here} c WHERE NOT {led}"):
        detail = "rows lead to a row that is not there, or is of another person by now"
        yield Finding("no_parent", detail, table.name, table.via_column, count=count, hint=_AGAIN)


def _key(
    table: Table, key: ForeignKey, here: str, there: Files, left_out: Files | None, con: Connection
) -> Iterator[Finding]:
    own, theirs = quoted(key.column), quoted(key.references)
    known = f"EXISTS (FROM {scan(there)} p WHERE p.{theirs} = c.{own})"
    if left_out:
        known += f" OR EXISTS (FROM {scan(left_out)} o WHERE o.k = {hashed(f'c.{own}')})"
    if count := con.one(f"SELECT count(*) FROM {here} c WHERE c.{own} IS NOT NULL AND NOT ({known})"):
        detail = "values name a row of another table that is not there"
        yield Finding("no_parent", detail, table.name, key.column, count=count, hint=_AGAIN)


_AGAIN = "upload the table again"
