"""Moved dates of a flat file and the window they leave by. Outside it a date is missing, for every row is a person."""

from __future__ import annotations

import numpy as np

from app.deid import window
from app.deid.choices import Chosen, chosen
from app.deid.transforms import Rendering
from app.deid.transforms.shift_date import is_event
from app.workbench.flat import quoted
from app.workbench.preparing import Prepared

OWN = Rendering(shift_days="w.shift_days")


def moved(ready: Prepared) -> list[Chosen]:
    """The planned columns whose dates move."""
    return window.moved(chosen(ready.plan.table(ready.table.name), ready.table))


def windows_of(ready: Prepared) -> dict[window.Place, window.Window]:
    """The window of each column of moved dates (see `deid.window`), over everyone in the file."""
    days_of = {}
    for choice in moved(ready):
        day = OWN.day(_raw(choice))
        found = ready.con.sql(
            f"SELECT {day} - DATE '1970-01-01' AS day, count(*) AS n FROM flat f "
            f"WHERE {is_event(_raw(choice), OWN)} GROUP BY 1 ORDER BY 1"
        ).to_arrow_table()
        days_of[ready.table.name, choice.planned.name] = (
            found["day"].to_numpy().astype(np.int64),
            found["n"].to_numpy().astype(np.int64),
        )
    return window.windows(days_of, ready.plan.privacy.shift_weeks, ready.plan.privacy.min_cell)


def cell(ready: Prepared, windows: window.Windows, choice: Chosen, released: str) -> str:
    """The released value of a column, null where its date lies outside."""
    return (
        f"(CASE WHEN {_inside(ready, windows, choice)} THEN {released} END)"
        if choice in moved(ready)
        else released
    )


def anchor(ready: Prepared, windows: window.Windows) -> str:
    """The first date that leaves as a relative day; `least` passes over the missing ones."""
    days = [
        f"CASE WHEN {_inside(ready, windows, choice)} THEN {OWN.day(_raw(choice))} END"
        for choice in moved(ready)
        if choice.transform.name == "relative_day"
    ]
    return f"least({', '.join(days)})" if days else "NULL::DATE"


def _inside(ready: Prepared, windows: window.Windows, choice: Chosen) -> str:
    return window.is_inside(_raw(choice), windows.get((ready.table.name, choice.planned.name)), OWN)


def _raw(choice: Chosen) -> str:
    return f"f.{quoted(choice.column.name)}"
