"""Leaves as it is. Dates of people never do: their transforms are shift, truncate and relative."""

from __future__ import annotations

from app.deid.transforms.contract import Params, ReleasedType, Transform, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class KeepParams(Params):
    """None."""


class Keep(Transform[KeepParams]):
    """The value itself. On reference tables, which hold no person, also codes and dates (`plan.py` decides)."""

    name = "keep"
    Params = KeepParams
    roles = frozenset({"attribute", "sensitive", "number"})

    def released(self, column: Column, params: KeepParams) -> ReleasedType:
        return stored_as(column.type, "원래 값 그대로", "as it is")

    def sql(self, expression: str, column: Column, params: KeepParams, r: Rendering) -> str:
        if column.type == "string":
            return r.as_text(expression)
        return f"CAST({expression} AS {self.released(column, params).sql})"


TRANSFORM = Keep()
