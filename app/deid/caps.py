"""Capped events: what a plan may say about the most rows of a person, and must say where the dictionary does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from app.deid.dictionary_shape import near
from app.errors import Finding
from app.schemas.dictionary import Dictionary, Table
from app.schemas.plan import Plan, PlannedTable

_EVENTS_ONLY = "only an event table has a most number of rows a person"


def cap_findings(
    dictionary: Dictionary, plan: Plan, table: Table, planned: PlannedTable, here: str
) -> Iterator[Finding]:
    """What is wrong with the cap of one planned table."""
    cap, most = planned.max_rows_per_person, table.max_rows_per_person
    at = here + "/max_rows_per_person"
    if most is not None and (cap is None or cap > most):
        detail = f"of a person at most {most} rows of this table leave"
        yield Finding("finer_than_dictionary", detail, table.name, pointer=at)
    if cap is None:
        return
    if table.kind != "event":
        yield Finding("cap_not_allowed", _EVENTS_ONLY, table.name, pointer=at)
    # Rows of the other table whose row here stays behind would have no person.
    for name in (t.name for t in plan.tables if t.name in children(dictionary, table)):
        yield Finding(
            "cap_not_allowed",
            "another table of the plan reaches its people through rows of this one",
            table.name,
            pointer=at,
            hint=f"leave out the cap, or the table {name}",
        )


def unplaced_findings(caps: Mapping[str, int], tables: Sequence[str]) -> list[Finding]:
    """Caps that were asked for tables of which nothing leaves."""
    return [
        Finding(
            "unknown_table", "a cap was asked for a table that does not leave", name[:64],
            pointer="/max_rows_per_person", near=near(name, tables),
        )
        for name in caps
        if name not in tables
    ]  # fmt: skip


def dictionary_findings(table: Table, parent: Table | None, here: str) -> Iterator[Finding]:
    """What is wrong with the cap that a dictionary sets for a table, or for `parent`, its way to a person."""
    if table.max_rows_per_person is not None and table.kind != "event":
        yield Finding("contradiction", _EVENTS_ONLY, table.name, pointer=here + "/max_rows_per_person")
    if parent is not None and parent.max_rows_per_person is not None:
        detail = "a table through whose rows people are reached cannot have a most number of rows a person"
        yield Finding("contradiction", detail, table.name, pointer=here + "/participant_via")


def children(dictionary: Dictionary, table: Table) -> set[str]:
    """The names of the tables that reach their people through this one."""
    return {
        other.name
        for other in dictionary.tables
        if other.participant_via and other.participant_via.partition(".")[0] == table.name
    }
