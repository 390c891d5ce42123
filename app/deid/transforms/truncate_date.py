"""Dates leave as their year or their month."""

from __future__ import annotations

from typing import Literal

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class TruncateDateParams(Params):
    """`to`: what is left of the date."""

    to: Literal["year", "month"]


class TruncateDate(Transform[TruncateDateParams]):
    """The year as a whole number (Safe Harbor's form), or the month as `YYYY-MM`."""

    name = "truncate_date"
    Params = TruncateDateParams
    roles = frozenset({"date"})
    types = frozenset({"date", "datetime"})

    def released(self, column: Column, params: TruncateDateParams) -> ReleasedType:
        if params.to == "year":
            return stored_as("integer", "연도", "year")
        return stored_as("string", "연월(YYYY-MM)", "month (YYYY-MM)")

    def sql(self, expression: str, column: Column, params: TruncateDateParams, r: Rendering) -> str:
        # YEAR() is BIGINT on one engine and INT on the other.
        year = f"CAST(YEAR({expression}) AS BIGINT)"
        if params.to == "year":
            return year
        month = f"CAST(MONTH({expression}) AS BIGINT)"
        padded = [f"LPAD({r.as_text(part)}, {size}, '0')" for part, size in ((year, 4), (month, 2))]
        return f"({padded[0]} || '-' || {padded[1]})"


TRANSFORM = TruncateDate()
