"""How the tables of a dictionary hang together: every event reaches its person, every key leads to a table."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from app.deid.caps import dictionary_findings
from app.deid.dictionary_shape import near, pointer
from app.errors import Finding
from app.schemas.dictionary import Column, Dictionary, ForeignKey, RecordId, Table

DROPPED = frozenset({"direct_identifier", "free_text", "linkage_token"})
"""Roles whose values are never stored: they are left behind when a file is checked."""


def own_participants(table: Table) -> tuple[str, ...]:
    """The names of a table's own participant columns, in the order of `participant`, else of the fields."""
    return table.participant or tuple(c.name for c in table.of_role("participant_id"))


def parents_of(dictionary: Dictionary, table: Table) -> tuple[str, ...]:
    """The tables that must be checked before this one: its people, the way to its person, its foreign keys."""
    named = [key.table for key in table.foreign_keys]
    if table.participant_via is not None:
        named.append(table.participant_via.partition(".")[0])
    if table.kind in ("event", "link"):
        named.append(dictionary.people.name)
    return tuple(dict.fromkeys(name for name in named if name != table.name))


def link_findings(dictionary: Dictionary) -> Iterator[Finding]:
    """Everything that is wrong with participants, ways to a person and foreign keys."""
    tables = {table.name: table for table in dictionary.tables}
    for i, table in enumerate(dictionary.tables):
        here = pointer("tables", i)
        yield from _participants(table, here)
        yield from dictionary_findings(
            table, tables.get((table.participant_via or "").partition(".")[0]), here
        )
        if table.participant_via is not None:
            yield from _via(tables, table, here)
        for j, key in enumerate(table.foreign_keys):
            yield from _foreign_key(tables, table, key, f"{here}/foreign_keys/{j}")
    yield from _circles(dictionary)


def _participants(table: Table, here: str) -> Iterator[Finding]:
    own = [c.name for c in table.of_role("participant_id")]
    if table.participant and (set(table.participant) != set(own) or len(table.participant) != len(own)):
        yield Finding(
            "contradiction", "`participant` must name exactly the columns whose role is participant_id",
            table.name, pointer=here + "/participant",
        )  # fmt: skip
    wanted = {
        "participant": "a participant table has exactly one column whose role is participant_id",
        "event": "an event table has one column whose role is participant_id, or says participant_via; not both",
        "link": "a link table has at least two columns whose role is participant_id",
        "reference": "",
    }[table.kind]
    good = {
        "participant": len(own) == 1,
        "event": len(own) + (table.participant_via is not None) == 1,
        "link": len(own) >= 2,
        "reference": True,
    }[table.kind]
    if not good:
        yield Finding("participant_columns", wanted, table.name, count=len(own), pointer=here + "/fields")
    if table.kind != "event" and table.participant_via is not None:
        yield Finding(
            "contradiction",
            "only an event table says participant_via",
            table.name,
            pointer=here + "/participant_via",
        )
    if table.via_column is not None and table.participant_via is None:
        yield Finding(
            "contradiction", "via_column needs participant_via", table.name, pointer=here + "/via_column"
        )


def _via(tables: dict[str, Table], table: Table, here: str) -> Iterator[Finding]:
    name, _, column = (table.participant_via or "").partition(".")
    own = _column(table, table.via_column or column)
    if own is None:
        yield no_column(
            table,
            table.via_column or column,
            here + ("/via_column" if table.via_column else "/participant_via"),
        )
    parent = tables.get(name)
    if parent is None:
        yield _no_table(tables, table, name, here + "/participant_via")
        return
    there = _column(parent, column)
    if parent.kind in ("reference", "link"):
        yield Finding(
            "contradiction",
            f"a {parent.kind} table does not lead to one person",
            table.name,
            pointer=here + "/participant_via",
        )
    if there is None:
        yield no_column(parent, column, here + "/participant_via")
    elif parent.primary_key != (column,):
        yield Finding(
            "via_not_key", "the column that leads to the person must be the primary key of its table",
            table.name, pointer=here + "/participant_via",
        )  # fmt: skip
    if own is not None and there is not None:
        yield from _pair(table, own, there, here + "/participant_via")


def _foreign_key(tables: dict[str, Table], table: Table, key: ForeignKey, here: str) -> Iterator[Finding]:
    own = _column(table, key.column)
    if own is None:
        yield no_column(table, key.column, here + "/column")
    target = tables.get(key.table)
    if target is None:
        yield _no_table(tables, table, key.table, here + "/table")
        return
    there = _column(target, key.references)
    if there is None:
        yield no_column(target, key.references, here + "/references")
    elif target.primary_key != (key.references,) and there.role.kind != "participant_id":
        yield Finding(
            "key_not_primary",
            "a foreign key must lead to the primary key of its table",
            table.name,
            key.column,
            pointer=here,
        )
    if own is not None and there is not None:
        yield from _pair(table, own, there, here)


def _pair(table: Table, own: Column, there: Column, here: str) -> Iterator[Finding]:
    """Two columns that hold the same values must be of one type and stored, and their ids keyed in one space."""
    for column in (own, there):
        if column.role.kind in DROPPED:
            detail = f"a {column.role.kind} is not stored, so no table can be joined by it"
            yield Finding("contradiction", detail, table.name, column.name, pointer=here)
    if own.type != there.type:
        yield Finding(
            "types_differ", f"the column is of type {own.type}, what it points at of type {there.type}",
            table.name, own.name, pointer=here,
        )  # fmt: skip
    if (own.role.kind == "participant_id") != (there.role.kind == "participant_id"):
        yield Finding(
            "contradiction", "a column that points at a participant_id is one itself, and the other way round",
            table.name, own.name, pointer=here,
        )  # fmt: skip
    if isinstance(own.role, RecordId) and isinstance(there.role, RecordId):
        spaces = (own.role.of or own.name).casefold(), (there.role.of or there.name).casefold()
        if spaces[0] != spaces[1]:
            yield Finding(
                "record_spaces_differ", "the two columns hold the same ids and must say the same `of`",
                table.name, own.name, pointer=here, hint="set `of` of the one to the name of the other",
            )  # fmt: skip


def _circles(dictionary: Dictionary) -> Iterator[Finding]:
    names = {table.name for table in dictionary.tables}
    graph: dict[str, set[str]] = {}
    for table in dictionary.tables:
        via = [table.participant_via.partition(".")[0]] if table.participant_via else []
        if table.name in via:
            yield Finding("circle", "the way to the person leads back to the table itself", table.name)
        linked = {key.table for key in table.foreign_keys} | set(via)
        graph[table.name] = (linked & names) - {table.name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield Finding("circle", "tables point at each other in a circle", hint=" -> ".join(error.args[1]))


def _column(table: Table, name: str) -> Column | None:
    return next((column for column in table.fields if column.name == name), None)


def no_column(table: Table, name: str, where: str) -> Finding:
    """A name that the table does not have, with the names it might have meant."""
    guesses = near(name, (c.name for c in table.fields))
    return Finding(
        "unknown_column", "the table has no such column", table.name, name, pointer=where, near=guesses
    )


def _no_table(tables: dict[str, Table], table: Table, name: str, where: str) -> Finding:
    return Finding(
        "unknown_table",
        "the dictionary has no such table",
        table.name,
        pointer=where,
        near=near(name, tables),
    )
