"""Numbers leave bottom and top coded: what lies beyond a bound leaves as the bound."""

from __future__ import annotations

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from app.deid.transforms.contract import NUMBERS, Params, ReleasedType, Transform, plain, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column


class ClampParams(Params):
    """`bottom` stands for itself and everything below, `top` for itself and everything above; at least one is given."""

    bottom: float | None = None
    top: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> ClampParams:
        if self.bottom is None and self.top is None:
            raise PydanticCustomError("no_bound", "bottom or top is needed")
        if self.bottom is not None and self.top is not None and self.bottom >= self.top:
            raise PydanticCustomError("bounds_crossed", "bottom must lie below top")
        return self


class Clamp(Transform[ClampParams]):
    """With top = 90 an age over 89 leaves as 90 (45 CFR 164.514(b)(2)). NaN and infinite numbers leave as null."""

    name = "clamp"
    Params = ClampParams
    roles = frozenset({"number", "sensitive", "attribute"})
    types = NUMBERS

    def fits(self, column: Column, params: ClampParams) -> str | None:
        bounds = (bound for bound in (params.bottom, params.top) if bound is not None)
        if column.type == "integer" and not all(
            bound.is_integer() and abs(bound) < 2**53 for bound in bounds
        ):
            return "the bounds of a column of whole numbers must be whole"
        return None

    def released(self, column: Column, params: ClampParams) -> ReleasedType:
        return stored_as(column.type, *bounds_in_words(params.bottom, params.top))

    def sql(self, expression: str, column: Column, params: ClampParams, r: Rendering) -> str:
        whole = column.type == "integer"
        x = f"CAST({expression} AS BIGINT)" if whole else r.finite(expression)
        literal = r.whole if whole else r.number
        cases = []
        if params.bottom is not None:
            cases.append(f"WHEN {x} < {literal(params.bottom)} THEN {literal(params.bottom)}")
        if params.top is not None:
            cases.append(f"WHEN {x} > {literal(params.top)} THEN {literal(params.top)}")
        return f"(CASE {' '.join(cases)} ELSE {x} END)"


def bounds_in_words(bottom: float | None, top: float | None) -> tuple[str, str]:
    """What the bounds mean, in Korean and English; empty where there is none."""
    ko, en = [], []
    if bottom is not None:
        ko.append(f"{plain(bottom)}은(는) 그 이하")
        en.append(f"{plain(bottom)} means that or less")
    if top is not None:
        ko.append(f"{plain(top)}은(는) 그 이상")
        en.append(f"{plain(top)} means that or more")
    return ", ".join(ko), ", ".join(en)


TRANSFORM = Clamp()
