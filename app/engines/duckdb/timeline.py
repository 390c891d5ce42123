"""The window of moved dates: found once, then asked of every row and every date that would leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import pyarrow as pa

from app.deid import vocabularies, window
from app.deid.choices import Chosen, chosen
from app.deid.transforms import Rendering
from app.deid.transforms.shift_date import event_of, is_event
from app.deid.window import Place, Window
from app.engines.duckdb.sql import persons_of, quoted, stored
from app.engines.protocol import Source
from app.schemas.dictionary import Table

Ask = Callable[[Sequence[str]], list[pa.Table]]
"""The answers to queries over the rows, which have the same columns: small tables, their rows in any order."""
EVENT = "event;"
"""Before the name of a column of moved dates: that date where it is one of a life. The views of both engines have it,
and no column of a dictionary is called so (`schemas.dictionary.NAME`)."""


def own(source: Source) -> Rendering:
    """Dates move with the first person of a row."""
    return source.rendering(shift_days="x0.shift_days", are_events=True)


def events(source: Source, table: Table) -> list[str]:
    """What the view of a table has beside its columns: of each column of moved dates what of it is an event. To say so
    wherever a date is used, five times in a part, cost more than reading a small part does (ADR 63)."""
    return [
        f"{event_of(quoted(choice.planned.name), source.rendering())} AS {quoted(EVENT + choice.planned.name)}"
        for choice in dated(source, table)
    ]


def looked_at(source: Source, table: Table, rows: str) -> str:
    """The query `rows` of a table, with its `events`."""
    found = events(source, table)
    return f"SELECT *, {', '.join(found)} FROM ({rows}) rows" if found else rows


def settle(ask: Ask, source: Source) -> dict[Place, Window]:
    """The windows of the plan's moved dates, over the rows of everyone with consent, filtered or not: what is observed
    does not depend on whom the plan asks for."""
    queries, r = dict[Place, str](), own(source)
    for planned in source.plan.tables:
        table = source.dictionary.table(planned.name)
        for choice in dated(source, table):
            day = r.days_between("DATE '1970-01-01'", date_of(choice))
            queries[table.name, choice.planned.name] = (
                f"SELECT {day} AS day, count(DISTINCT x0.key) AS n FROM {stored(table, r)} t "
                f"JOIN x x0 ON t.{persons_of(table)[0]} = x0.key AND x0.in_{table.domain} "
                f"WHERE {is_event(date_of(choice), r)} GROUP BY 1"
            )
    days_of = {}
    for place, found in zip(queries, ask(list(queries.values())), strict=True):
        days, people = (found[name].to_numpy().astype(np.int64) for name in ("day", "n"))
        order = np.argsort(days)
        days_of[place] = days[order], people[order]
    privacy = source.plan.privacy
    return window.windows(days_of, privacy.shift_weeks, privacy.min_cell, _begun(ask, source))


def _begun(ask: Ask, source: Source) -> dict[str, date]:
    """Table -> the latest day on which codes that stand beside moved dates came into use."""
    r = own(source)
    asked = list[tuple[str, date, str]]()
    for planned in source.plan.tables:
        table = source.dictionary.table(planned.name)
        dates = [date_of(choice) for choice in dated(source, table)]
        for choice in chosen(planned, table) if dates else ():
            start = vocabularies.start_of(choice.column)
            if start is None or choice.is_reason or choice.transform.name == "drop":
                continue
            days = " UNION ALL ".join(
                f"SELECT DISTINCT {r.day(raw)} AS day, x0.key FROM {stored(table, r)} t "
                f"JOIN x x0 ON t.{persons_of(table)[0]} = x0.key AND x0.in_{table.domain} "
                f"WHERE t.{quoted(choice.planned.name)} IS NOT NULL AND {is_event(raw, r)}"
                for raw in dates
            )
            earlier = f"count(*) FILTER (WHERE day < DATE '{start}') AS before"
            counted = f"SELECT {earlier}, count(*) AS total FROM ({days}) AS days"
            asked.append((table.name, start, counted))
    least, found = source.plan.privacy.min_cell, dict[str, date]()
    answers = ask([query for _, _, query in asked])
    for (name, start, _), counts in zip(asked, answers, strict=True):
        before, total = (int(counts[column][0].as_py()) for column in ("before", "total"))
        if vocabularies.begins_then(before, total, least):
            found[name] = max(start, found.get(name, start))
    return found


def dated(source: Source, table: Table) -> list[Chosen]:
    """The columns of a planned table whose dates move."""
    if table.kind == "reference":
        return []
    return window.moved(chosen(source.plan.table(table.name), table))


def rows(source: Source, table: Table) -> str:
    """The rows `t` (of person `x0`) of a table that leave as far as dates go; those that reach their person through
    another row go with it. A person's row always leaves."""
    if table.kind in ("participant", "reference"):
        return "true"
    dates = {date_of(c): _window(source, table, c) for c in dated(source, table)}
    place = window.has_a_place(dates, own(source))
    return " AND ".join(one for one in (place, _with_parent(source, table)) if one != "true") or "true"


def inside_and_outside(place: str, rows: str) -> str:
    """A query of `leaves` and `outside`: how many of the `rows` (of a FROM) meet `place`, and how many do not."""
    counts = "count(*) FILTER (WHERE place) AS leaves, count(*) FILTER (WHERE NOT coalesce(place, false)) AS outside"
    return f"SELECT {counts} FROM (SELECT {place} AS place FROM {rows}) AS placed"


def _with_parent(source: Source, table: Table) -> str:
    if not table.participant_via:
        return "true"
    name, _, key = table.participant_via.partition(".")
    parent = source.dictionary.table(name)
    place = rows(source, parent) if name in {t.name for t in source.plan.tables} else "true"
    if place == "true":
        return "true"
    kept = (
        f"SELECT t.{quoted(key)} FROM {stored(parent, own(source))} t "
        f"JOIN anyone x0 ON t.{persons_of(parent)[0]} = x0.key WHERE t.{quoted(key)} IS NOT NULL AND {place}"
    )
    return f"(t.{quoted(table.via_column or key)} IN ({kept}))"


def cell(source: Source, table: Table, choice: Chosen, released: str) -> str:
    """The released value of a column, null where its date lies outside."""
    if choice not in dated(source, table):
        return released
    inside = window.is_inside(date_of(choice), _window(source, table, choice), own(source))
    return f"(CASE WHEN {inside} THEN {released} END)"


def anchors(source: Source) -> list[str]:
    """Queries of (key, day): every date inside that leaves as a relative day. The first of a person is their day 0."""
    return [
        f"SELECT x0.key, CAST({date_of(choice)} AS DATE) AS day FROM {stored(table, own(source))} t "
        f"JOIN cross_ x0 ON t.{persons_of(table)[0]} = x0.key AND x0.in_{table.domain} "
        f"WHERE {window.is_inside(date_of(choice), _window(source, table, choice), own(source))}"
        for planned in source.plan.tables
        for table in [source.dictionary.table(planned.name)]
        for choice in dated(source, table)
        if choice.transform.name == "relative_day"
    ]


def _window(source: Source, table: Table, choice: Chosen) -> Window | None:
    return (source.windows or {}).get((table.name, choice.planned.name))


def date_of(choice: Chosen) -> str:
    """The column of the rows `t` that moved dates are read from."""
    return f"t.{quoted(EVENT + choice.planned.name)}"
