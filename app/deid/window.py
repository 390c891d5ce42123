"""The window of dates that move: the days that are complete whatever anyone's shift, so that no edge tells a shift.

Rows of a table are known from one day to another, the day of extraction above all. Were all of them released, a
person's last date less that day would be about their shift. With shifts in [-W, +W], the days from first + W to
last - W of the *moved* calendar hold everyone's rows, however far each was moved; outside only some people could have
any. So only what falls inside leaves. Relative days know no calendar, but the last one tells the first one's date:
they are cut by the same rule, as if they were moved too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from app.deid.choices import Chosen
from app.deid.transforms import Rendering
from app.deid.transforms.shift_date import is_event
from app.errors import Finding, Problem

Days = npt.NDArray[np.int64]
Place = tuple[str, str]  # table, column

MOVED = frozenset({"shift_date", "relative_day"})
TAIL = 0.005
"""The share of person-days beyond each edge: fewer than these are wild dates and neither open nor close a window."""
MOST_GAP = 730
"""Days without any row after which dates are not of the same observation (9999 aside: say, an expected end in 2050).
Two years, for there are cohorts that see their people every second year."""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Window:
    """The days, both included, that a date may leave by (after its shift)."""

    first: date
    last: date

    def to_json(self) -> list[str]:
        """`[first, last]`, ISO 8601."""
        return [self.first.isoformat(), self.last.isoformat()]


Windows = Mapping[Place, Window]


def moved(choices: list[Chosen]) -> list[Chosen]:
    """The columns that leave by a person's own calendar: their window is one rule."""
    return [c for c in choices if c.transform.name in MOVED and not c.is_reason]


def windows(
    days_of: Mapping[Place, tuple[Days, Days]],
    shift_weeks: int,
    least: int,
    begun: Mapping[str, date] | None = None,
) -> dict[Place, Window]:
    """The window of each column of moved dates; a column without any date has none.

    `days_of` has per (table, column) the distinct true days since 1970-01-01, ascending, and the people seen on each.
    `least` (min_cell): no edge is told by fewer person-days. `begun` has per table the day on which a vocabulary beside
    its dates came into use: an edge inside the observation, before which no day is complete.
    Raises `Problem("window_closed")` with every column whose dates span too little for the shift.
    """
    found: dict[Place, Window] = {}
    closed = []
    for (table, column), (days, people) in days_of.items():
        if not len(days):
            continue
        ends = observed(days, people, least)
        margin = 7 * shift_weeks + 1  # one day more: what is dated with the edge itself never shows
        if ends is not None and begun and table in begun:
            ends = max(ends[0], (begun[table] - _EPOCH).days), ends[1]
        if ends is not None and ends[1] - ends[0] >= 2 * margin:
            found[table, column] = Window(_day(ends[0] + margin), _day(ends[1] - margin))
            continue
        most = max(0, (ends[1] - ends[0]) // 2 - 1) // 7 if ends else 0
        hint = "leave the column out, let it leave by its year, or choose a smaller shift_weeks"
        hint += f" (at most {most})" if most else ""
        closed.append(
            Finding("window_closed", "no day is complete for every possible shift", table, column, hint=hint)
        )
    if closed:
        raise Problem(
            "window_closed", "Dates span too little for the shift; nothing of them could leave.", closed
        )
    return found


def observed(days: Days, people: Days, least: int) -> tuple[int, int] | None:
    """First and last day of the observation, without the thin tails and without what lies beyond a long gap; None
    where there are too few dates to tell."""
    ends = _without_tails(people, least)
    if ends is None:
        return None
    middle = ends[1]
    gaps = np.flatnonzero(np.diff(days) > MOST_GAP)
    start = max([0, *(int(g) + 1 for g in gaps if g < middle)])
    stop = min([len(days), *(int(g) + 1 for g in gaps if g >= middle)])
    days, people = days[start:stop], people[start:stop]
    ends = _without_tails(people, least)
    return None if ends is None else (int(days[ends[0]]), int(days[ends[2]]))


def _without_tails(people: Days, least: int) -> tuple[int, int, int] | None:
    """The places of the first, middle and last day: beyond each end lie `TAIL` of the person-days, or `least`."""
    total = int(people.sum())
    cut = max(least, int(np.ceil(TAIL * total)))
    if total < 2 * cut:
        return None
    before, after = np.cumsum(people), np.cumsum(people[::-1])[::-1]
    return (
        int(np.argmax(before >= cut)),
        int(np.argmax(2 * before >= total)),
        int(np.flatnonzero(after >= cut)[-1]),
    )


def is_inside(expression: str, window: Window | None, r: Rendering) -> str:
    """SQL: whether the date `expression`, once moved, lies in the window. Never true of NULL and of placeholders."""
    if window is None:
        return "false"
    moved_day = f"({r.day(expression)} + CAST({r.shift_days} AS INTEGER))"
    first, last = window.to_json()
    return f"({is_event(expression, r)} AND {moved_day} BETWEEN DATE '{first}' AND DATE '{last}')"


def has_a_place(expressions: Mapping[str, Window | None], r: Rendering) -> str:
    """SQL: whether a row of an event table leaves: one of its dates lies inside, or it has no date at all."""
    if not expressions:
        return "true"
    dated = " OR ".join(f"coalesce({is_event(e, r)}, false)" for e in expressions)
    inside = " OR ".join(f"coalesce({is_inside(e, w, r)}, false)" for e, w in expressions.items())
    return f"(NOT ({dated}) OR {inside})"


def to_json(found: Windows) -> dict[str, dict[str, list[str]]]:
    """Table -> column -> `[first, last]`: how windows are pinned and told."""
    said: dict[str, dict[str, list[str]]] = {}
    for (table, column), window in sorted(found.items()):
        said.setdefault(table, {})[column] = window.to_json()
    return said


def from_json(said: Mapping[str, Any]) -> dict[Place, Window]:
    """What `to_json` wrote."""
    return {
        (table, column): Window(*(date.fromisoformat(day) for day in ends))
        for table, columns in said.items()
        for column, ends in columns.items()
    }


def _day(number: int) -> date:
    return _EPOCH + timedelta(days=number)
