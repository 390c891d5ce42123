"""Dates leave as days since the person's own anchor date, so that no calendar is left."""

from __future__ import annotations

from app.deid.transforms.contract import Params, ReleasedType, Transform
from app.deid.transforms.rendering import Rendering
from app.deid.transforms.shift_date import is_event
from app.schemas.dictionary import Column


class RelativeDayParams(Params):
    """None: the anchor is the person's, kept in the crosswalk."""


class RelativeDay(Transform[RelativeDayParams]):
    """Whole days from the anchor's calendar day (day 0) to the event's; before it they are negative.

    A placeholder such as 9999-12-31 leaves as null: less its distance to the anchor it would be the anchor itself.
    """

    name = "relative_day"
    Params = RelativeDayParams
    roles = frozenset({"date"})
    types = frozenset({"date", "datetime"})

    def released(self, column: Column, params: RelativeDayParams) -> ReleasedType:
        return ReleasedType(
            "INTEGER",
            "int32",
            "참여자의 기준일로부터의 일수(무기한·빈 날짜 표시는 결측)",
            "days since the person's anchor date (placeholder dates are missing)",
            sensitive_to_identity=True,
        )

    def sql(self, expression: str, column: Column, params: RelativeDayParams, r: Rendering) -> str:
        days = r.days_between(r.anchor_date, expression)
        return f"(CASE WHEN {is_event(expression, r)} THEN {days} END)"


TRANSFORM = RelativeDay()
