"""Every hierarchy covers the values of its column in the vault, and how it looks level by level; before any release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.deid.fitting import hierarchy_spec
from app.deid.hierarchies import Fitted, HierarchyError, fit, references, resolve
from app.deid.roles import person_columns, stored
from app.engines.intake.connection import Connection
from app.engines.intake.parents import Since
from app.engines.intake.reading import Files, quoted, scan
from app.errors import Finding
from app.schemas.dictionary import Code, Column, Dictionary, Table

NAMED = 8
"""The most labels of a level that are named."""


@dataclass(frozen=True)
class Coverage:
    """What does not hold, and of each column that climbs a hierarchy its levels: {table, column, levels}, and `rows`
    "new" where they are of the new rows alone. `same`: the (table, column) whose rows were not looked at again."""

    findings: list[Finding]
    levels: list[dict[str, Any]]
    same: frozenset[tuple[str, str]] = frozenset()


def coverage(
    dictionary: Dictionary, tables: Mapping[str, Files], con: Connection, min_cell: int, since: Since
) -> Coverage:
    """Lay every hierarchy over the distinct values of its columns, in all tables of people that are in the vault.
    Values that it covered in the version before are not looked at again.

    Level 0 is only counted; above it a label is named where at least `min_cell` people stand under it.
    """
    specs, found, levels = _resolved(dictionary, tables, con), list[Finding](), list[dict[str, Any]]()
    same = set[tuple[str, str]]()
    for table in (t for t in dictionary.tables if t.name in tables and t.kind != "reference"):
        held = set(con.names(scan(tables[table.name])))
        for column in stored(table):
            spec = _spec(dictionary, specs, column)
            if spec is None or not {column.name, *person_columns(table)} <= held:
                continue
            rows = since.values(table.name) if _climbs_as_before(since, table, column) else tables[table.name]
            if not rows:
                same.add((table.name, column.name))
                continue
            if column.name not in con.names(scan(rows)):
                continue  # the new rows came before the column did
            values = dict(con.ask(_people_per_value(table, column, rows)))
            try:
                fitted = fit(spec, list(values) or [None], column.name)
            except HierarchyError as error:
                found += (Finding(f"hierarchy_{c}", d, table.name, column.name) for c, d in error.problems)
                continue
            once = table.kind == "participant"
            shown = list(_levels(fitted, list(values.values()) or [0], min_cell, once=once))
            part = {} if rows == tables[table.name] else {"rows": "new"}
            levels.append({"table": table.name, "column": column.name, "levels": shown, **part})
    return Coverage(found, levels, frozenset(same))


def _climbs_as_before(since: Since, table: Table, column: Column) -> bool:
    """Whether the column climbed the same hierarchy in the version before."""
    if since.before is None or (was := since.before.table(table.name)) is None:
        return False
    before = next((c for c in was.fields if c.name == column.name), None)
    if before is None or (before.role, before.type) != (column.role, column.type):
        return False
    name = _named(column)
    hierarchies = since.before.dictionary.hierarchies
    return name is None or hierarchies.get(name) == since.dictionary.hierarchies.get(name)


def _resolved(
    dictionary: Dictionary, tables: Mapping[str, Files], con: Connection
) -> dict[str, dict[str, Any]]:
    """The hierarchies that can be laid over values; what is wrong with a reference table is told elsewhere."""
    ready: dict[str, dict[str, Any]] = {}
    for name, spec in dictionary.hierarchies.items():
        wanted = references({name: spec})
        try:
            if all(set(c) <= set(con.names(scan(tables[t]))) for t, c in wanted.items()):
                read = {t: con.table(scan(tables[t]), c) for t, c in wanted.items()}
                ready |= resolve({name: spec}, read)
        except (KeyError, HierarchyError):
            continue
    return ready


def _spec(
    dictionary: Dictionary, specs: Mapping[str, dict[str, Any]], column: Column
) -> Mapping[str, Any] | None:
    if (name := _named(column)) is not None:
        return specs.get(name)
    return hierarchy_spec(dictionary, column) if column.role.kind in ("quasi_identifier", "site") else None


def _named(column: Column) -> str | None:
    role = column.role
    return role.roll_up if isinstance(role, Code) else getattr(role, "hierarchy", None)


def _people_per_value(table: Table, column: Column, files: Files) -> str:
    """Of a link table the first of a row's people are counted: for naming a label fewer is safe."""
    person = quoted(person_columns(table)[0])
    return (
        f"SELECT {quoted(column.name)} AS v, count(DISTINCT {person}) FROM {scan(files)} "
        "WHERE v IS NOT NULL GROUP BY v ORDER BY v"
    )


def _levels(fitted: Fitted, people: list[int], least: int, *, once: bool) -> Iterator[dict[str, Any]]:
    """`once`: a person has one value, so people add up; else those of the commonest value, at least, are under it."""
    for level, labels in enumerate(fitted.labels):
        under: Counter[str] = Counter()
        for node, n in zip(fitted.nodes[:, level], people, strict=True):
            under[labels[node]] = under[labels[node]] + n if once else max(under[labels[node]], n)
        ranked = sorted(under.items(), key=lambda one: (-one[1], one[0]))
        named = [label for label, n in ranked[:NAMED] if n >= least] if level else []
        yield {"level": level, "labels": len(under), "commonest": named}
