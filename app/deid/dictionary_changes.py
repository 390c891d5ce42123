"""What a dictionary says otherwise than the one before, each change compatible with what was approved under it, or not.

Compatible: whoever read the old tables can go on with the new ones (a new column, a wider label set, a longer
hierarchy). Breaking: the same name means something else, or is gone (a role, a unit, a type, a removed column). How
files are written (format, encoding, delimiter) and how things are called (titles, descriptions) is no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.schemas.dictionary import Column, Dictionary, Table

COMPATIBLE, BREAKING = "compatible", "breaking"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a column, a table (no `column`), or a hierarchy (`column` is its name, no `table`)."""

    table: str
    column: str
    change: str
    kind: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What names it: table, column, change."""
        return self.table, self.column, self.change

    def to_dict(self) -> dict[str, str]:
        """As it stands in a report."""
        return {"table": self.table, "column": self.column, "change": self.change, "kind": self.kind}


def changes(before: Dictionary, after: Dictionary) -> list[Change]:
    """Every change between two dictionaries, by table and column."""
    found = [*_tables(before, after), *_hierarchies(before.hierarchies, after.hierarchies)]
    return sorted(found, key=lambda one: one.place)


def concerned(change: Change, planned: Mapping[str, Sequence[str]], dictionary: Dictionary) -> bool:
    """Whether a plan, table -> its columns, uses what changed; the dictionary is the one it was made under."""
    if not change.table:
        return any(
            change.column in (getattr(c.role, "hierarchy", None), getattr(c.role, "roll_up", None))
            for name, columns in planned.items()
            for c in dictionary.table(name).fields
            if c.name in columns
        )
    return change.table in planned and (not change.column or change.column in planned[change.table])


def _tables(before: Dictionary, after: Dictionary) -> Iterator[Change]:
    old, new = ({table.name: table for table in one.tables} for one in (before, after))
    for name in old.keys() - new.keys():
        yield Change(name, "", "table_removed", BREAKING)
    for name in new.keys() - old.keys():
        yield Change(name, "", "table_added", COMPATIBLE)
    for name in old.keys() & new.keys():
        yield from _table(old[name], new[name])


def _table(old: Table, new: Table) -> Iterator[Change]:
    for change, was, now in (
        ("table_kind", old.kind, new.kind),
        ("domain", old.domain, new.domain),
        ("way_to_the_person", _way(old), _way(new)),
        ("primary_key", old.primary_key, new.primary_key),
        ("foreign_keys", set(old.foreign_keys), set(new.foreign_keys)),
        ("rows_per_person", old.max_rows_per_person, new.max_rows_per_person),
    ):
        if was != now:
            yield Change(old.name, "", change, BREAKING)
    fields, known = {c.name: c for c in new.fields}, {c.name for c in old.fields}
    for name in fields.keys() - known:
        yield Change(old.name, name, "column_added", COMPATIBLE)
    for column in old.fields:
        if column.name not in fields:
            yield Change(old.name, column.name, "column_removed", BREAKING)
        else:
            yield from _column(old.name, column, fields[column.name])


def _way(table: Table) -> object:
    return table.participant, table.participant_via, table.via_column


def _column(table: str, old: Column, new: Column) -> Iterator[Change]:
    if old.type != new.type:
        yield Change(table, old.name, "type", BREAKING)
    if (old.unit, old.unit_column) != (new.unit, new.unit_column):
        yield Change(table, old.name, "unit", BREAKING)
    if old.role != new.role:
        yield Change(table, old.name, "role", BREAKING)
    if old.required != new.required:
        yield Change(table, old.name, "required", COMPATIBLE)
    if old.missing != new.missing:
        yield Change(
            table, old.name, "missing_codes", BREAKING
        )  # what was a value is none, or the other way round
    if (was := set(old.labels)) != (now := set(new.labels)):
        yield Change(table, old.name, "labels", COMPATIBLE if was < now else BREAKING)


def _hierarchies(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in old.keys() - new.keys():
        yield Change("", name, "hierarchy_removed", BREAKING)
    for name in new.keys() - old.keys():
        yield Change("", name, "hierarchy_added", COMPATIBLE)
    for name in old.keys() & new.keys():
        if old[name] != new[name]:
            longer = old[name].keys() == new[name].keys() and _goes_on(old[name], new[name])
            yield Change("", name, "hierarchy", COMPATIBLE if longer else BREAKING)


def _goes_on(old: Any, new: Any) -> bool:
    """Whether everything that the old one says, the new one says too, and more only after it: every label stays."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(key in new and _goes_on(value, new[key]) for key, value in old.items())
    if _is_list(old) and _is_list(new):
        if all(_is_list(row) and row for row in [*old, *new]):
            rows = {
                row[0]: _below_root(row) for row in new
            }  # of a table the rows are found by their first cell
            return all(row[0] in rows and _goes_on(_below_root(row), rows[row[0]]) for row in old)
        return len(old) <= len(new) and all(map(_goes_on, old, new))
    return bool(old == new)


def _below_root(row: Sequence[Any]) -> Sequence[Any]:
    return row[:-1] if len(row) > 1 and row[-1] == "*" else row


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
