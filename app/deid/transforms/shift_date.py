"""Dates move by their person's own secret number of weeks: intervals and weekdays stay, the calendar goes."""

from __future__ import annotations

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column

# Dates that say "none" or "for ever". Shifted, each would tell its person's shift: 9999-12-31 less 49 days is 49 days.
PLACEHOLDERS = (
    "1753-01-01", "1800-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01", "2099-01-01", "2099-12-31",
)  # fmt: skip
EARLIEST, LATEST = "1850-01-01", "2100-01-01"


def is_event(expression: str, r: Rendering) -> str:
    """Whether a date can be one of a life: within [EARLIEST, LATEST) and no placeholder. Never true of NULL."""
    if r.are_events:
        return f"({expression} IS NOT NULL)"
    day = r.day(expression)
    return f"({day} >= DATE '{EARLIEST}' AND {day} < DATE '{LATEST}' AND {r.none_of(day, PLACEHOLDERS)})"


def event_of(expression: str, r: Rendering) -> str:
    """The date where it is one of a life, else NULL: said once, it need not be asked again (`Rendering.are_events`)."""
    return f"CASE WHEN {is_event(expression, r)} THEN {expression} END"


class ShiftDateParams(Params):
    """None: the shift is the person's, kept in the crosswalk."""


class ShiftDate(Transform[ShiftDateParams]):
    """Date + shift_days of the crosswalk row (a multiple of 7, never 0). The time of day stays.

    Not Safe Harbor (45 CFR 164.514(b)(2) asks for the year alone): it needs expert determination. A placeholder
    leaves as null.
    """

    name = "shift_date"
    Params = ShiftDateParams
    roles = frozenset({"date"})
    types = frozenset({"date", "datetime"})

    def released(self, column: Column, params: ShiftDateParams) -> ReleasedType:
        return stored_as(
            column.type,
            "참여자마다 다른 주 단위로 이동한 날짜(간격과 요일 유지, 무기한·빈 날짜 표시는 결측)",
            "date moved by weeks, per person (intervals and weekdays kept; placeholder dates are missing)",
            sensitive_to_identity=True,
        )

    def sql(self, expression: str, column: Column, params: ShiftDateParams, r: Rendering) -> str:
        moved = r.add_days(expression, r.shift_days, column.type)
        return f"(CASE WHEN {is_event(expression, r)} THEN {moved} END)"


TRANSFORM = ShiftDate()
