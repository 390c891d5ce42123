"""Every hierarchy covers the values of its column in the vault, and how it looks level by level; before any release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from app.deid.fitting import hierarchy_spec
from app.deid.hierarchies import Fitted, HierarchyError, fit, references, resolve
from app.deid.roles import person_columns, stored
from app.engines.intake.connection import Connection
from app.engines.intake.reading import literal, quoted
from app.errors import Finding
from app.schemas.dictionary import Code, Column, Dictionary, Table

NAMED = 8
"""The most labels of a level that are named."""


@dataclass(frozen=True)
class Coverage:
    """What does not hold, and of each column that climbs a hierarchy its levels: {table, column, levels}."""

    findings: list[Finding]
    levels: list[dict[str, Any]]


def coverage(dictionary: Dictionary, tables: Mapping[str, Path], con: Connection, min_cell: int) -> Coverage:
    """Lay every hierarchy over the distinct values of its columns, in all tables of people that are in the vault.

    Level 0 is only counted; above it a label is named where at least `min_cell` people stand under it.
    """
    specs, found, levels = _resolved(dictionary, tables), list[Finding](), list[dict[str, Any]]()
    for table in (t for t in dictionary.tables if t.name in tables and t.kind != "reference"):
        held = set(pq.read_schema(tables[table.name]).names)
        for column in stored(table):
            spec = _spec(dictionary, specs, column)
            if spec is None or not {column.name, *person_columns(table)} <= held:
                continue
            values = dict(con.ask(_people_per_value(table, column, tables[table.name])))
            try:
                fitted = fit(spec, list(values) or [None], column.name)
            except HierarchyError as error:
                found += (Finding(f"hierarchy_{c}", d, table.name, column.name) for c, d in error.problems)
                continue
            once = table.kind == "participant"
            shown = list(_levels(fitted, list(values.values()) or [0], min_cell, once=once))
            levels.append({"table": table.name, "column": column.name, "levels": shown})
    return Coverage(found, levels)


def _resolved(dictionary: Dictionary, tables: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The hierarchies that can be laid over values; what is wrong with a reference table is told elsewhere."""
    ready: dict[str, dict[str, Any]] = {}
    for name, spec in dictionary.hierarchies.items():
        wanted = references({name: spec})
        try:
            if all(set(c) <= set(pq.read_schema(tables[t]).names) for t, c in wanted.items()):
                read = {t: pq.read_table(tables[t], columns=list(c)) for t, c in wanted.items()}
                ready |= resolve({name: spec}, read)
        except (KeyError, HierarchyError):
            continue
    return ready


def _spec(
    dictionary: Dictionary, specs: Mapping[str, dict[str, Any]], column: Column
) -> Mapping[str, Any] | None:
    role = column.role
    name = role.roll_up if isinstance(role, Code) else getattr(role, "hierarchy", None)
    if name is not None:
        return specs.get(name)
    return hierarchy_spec(dictionary, column) if role.kind in ("quasi_identifier", "site") else None


def _people_per_value(table: Table, column: Column, path: Path) -> str:
    """Of a link table the first of a row's people are counted: for naming a label fewer is safe."""
    person = quoted(person_columns(table)[0])
    return (
        f"SELECT {quoted(column.name)} AS v, count(DISTINCT {person}) FROM read_parquet({literal(str(path))}) "
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
