"""The planned columns of a table as SQL over the crosswalk: one expression per column, by the column's transform."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.deid.choices import Chosen, chosen
from app.deid.transforms import Rendering
from app.engines.duckdb import timeline
from app.engines.duckdb.people import quasi_identifiers
from app.engines.duckdb.sql import persons_of, quoted
from app.engines.protocol import Source
from app.schemas.dictionary import Column, Table
from app.schemas.mapping import SOURCE


@dataclass(frozen=True, slots=True)
class Selected:
    """One released column: its name and its SQL."""

    name: str
    sql: str


def select(source: Source, table: Table, codes: dict[str, str]) -> list[Selected]:
    """The released columns of a table, in plan order. `codes` has the mapping table of each rolled-up column."""
    found = []
    for choice in chosen(source.plan.table(table.name), table):
        expression = _expression(source, choice, codes)
        rendering = rendering_of(source, table, choice.column)
        if choice in timeline.dated(source, table):
            expression = timeline.date_of(choice)
            rendering = replace(rendering, are_events=True)
        sql = choice.transform.sql(expression, choice.column, choice.params, rendering)
        if sql is not None:
            found.append(Selected(choice.planned.name, timeline.cell(source, table, choice, sql)))
    return found


def order_of(source: Source, table: Table) -> list[str]:
    """The released columns that the rows of a person are put in order by: all, as the plan has them, or those up to the
    end of the primary key where it leaves as keyed ids. No two rows have the same, so that later columns say nothing;
    over several sources a key is one of each, and all are asked."""
    left = {c.planned.name: c.transform.name for c in chosen(source.plan.table(table.name), table)}
    names = [name for name, transform in left.items() if transform != "drop"]
    if table.name in source.united or not table.primary_key:
        return names
    if any(left.get(name) not in ("keyed_id", "pseudonymise") for name in table.primary_key):
        return names
    return names[: 1 + max(map(names.index, table.primary_key))]


def joins(source: Source, table: Table, codes: dict[str, str]) -> str:
    """The one crosswalk join (one a person on a link table), then the labels and code mappings it needs.

    Only here do rows meet people: who is not in the crosswalk has no row.
    """
    parts = [
        f"JOIN cross_ x{n} ON t.{person} = x{n}.key AND x{n}.in_{table.domain}"
        for n, person in enumerate(persons_of(table))
    ]
    if table.name == source.dictionary.people.name:
        parts.append("JOIN classes l ON l.class = x0.class")
    for column, name in codes.items():
        parts.append(f"LEFT JOIN {name} ON {name}.v = t.{quoted(column)}")
    return " ".join(parts)


def rendering_of(source: Source, table: Table, column: Column) -> Rendering:
    """The person whose pseudonym and shift a column takes: the one it names, else the row's first person."""
    number = list(table.participant).index(column.name) if column.name in table.participant else 0
    return source.rendering(
        pseudonym=f"x{number}.pseudonym",
        shift_days=f"x{number}.shift_days",
        anchor_date=f"x{number}.anchor_date",
    )


def _is_source(source: Source, choice: Chosen) -> bool:
    return source.is_linked and choice.column.name == SOURCE


def _expression(source: Source, choice: Chosen, codes: dict[str, str]) -> str:
    if choice.transform.name == "roll_up":
        return f"{codes[choice.column.name]}.released"
    if choice.transform.name == "generalise":
        names = [c.name for c in quasi_identifiers(source)]
        label = f"l.label_{names.index(choice.column.name)}"
        # The source is never generalised: a label is one source, or all sources of a linked person, whose rows each
        # tell their own.
        return (
            f"CASE WHEN {label} IS NOT NULL THEN t.{quoted(SOURCE)} END"
            if _is_source(source, choice)
            else label
        )
    return f"t.{quoted(choice.planned.name)}"
