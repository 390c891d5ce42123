"""Numbers leave rounded to multiples, then bottom and top coded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.deid.transforms.clamp import bounds_in_words
from app.deid.transforms.contract import NUMBERS, Params, ReleasedType, Transform, exact, plain, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column, FieldType

_MOST = "1e15"  # from here on doubles are coarser than tenths


class RoundNumberParams(Params):
    """`to`: the step, at most 6 decimals. `bottom`, `top`: as in clamp, applied to the rounded number."""

    to: Annotated[float, Field(ge=1e-6, le=1e9)]
    bottom: float | None = None
    top: float | None = None

    @model_validator(mode="after")
    def _sound(self) -> RoundNumberParams:
        if (exact(self.to) * 10**6).denominator != 1:
            raise PydanticCustomError("too_fine", "at most 6 decimals")
        if self.bottom is not None and self.top is not None and self.bottom >= self.top:
            raise PydanticCustomError("bounds_crossed", "bottom must lie below top")
        return self


class RoundNumber(Transform[RoundNumberParams]):
    """FLOOR(x / to + 0.5) * to: ties go up, on every engine alike (their ROUND differ).

    Multiplied and divided by whole numbers only, so that 0.3 leaves as 0.3. NaN, infinite numbers and unbounded ones
    of 1e15 and more leave as null.
    """

    name = "round_number"
    Params = RoundNumberParams
    roles = frozenset({"number", "sensitive", "attribute"})
    types = NUMBERS

    def released(self, column: Column, params: RoundNumberParams) -> ReleasedType:
        ko, en = bounds_in_words(params.bottom, params.top)
        step = plain(params.to)
        return stored_as(
            _type(column, params),
            f"{step}의 배수로 반올림" + (f"; {ko}" if ko else ""),
            f"rounded to multiples of {step}" + (f"; {en}" if en else ""),
        )

    def sql(self, expression: str, column: Column, params: RoundNumberParams, r: Rendering) -> str:
        x, step = r.finite(expression), exact(params.to)
        most = float(_MOST) / params.to + 1
        steps = r.floor(f"{x} * {step.denominator} / {step.numerator} + 0.5", most=most)
        rounded = f"{steps} * {step.numerator} / {step.denominator}"
        cases = []
        if params.bottom is not None:
            cases.append(f"WHEN {x} < {r.number(params.bottom)} THEN {r.number(params.bottom)}")
            rounded = f"GREATEST({rounded}, {r.number(params.bottom)})"
        if params.top is not None:
            cases.append(f"WHEN {x} > {r.number(params.top)} THEN {r.number(params.top)}")
            rounded = f"LEAST({rounded}, {r.number(params.top)})"
        cases.append(f"WHEN ABS({x}) < {_MOST} THEN {rounded}")
        kind = "BIGINT" if _type(column, params) == "integer" else "DOUBLE"
        return f"CAST((CASE {' '.join(cases)} END) AS {kind})"


def _type(column: Column, params: RoundNumberParams) -> FieldType:
    parts = [part for part in (params.to, params.bottom, params.top) if part is not None]
    whole = all(part.is_integer() and abs(part) < 2**53 for part in parts)
    return "integer" if column.type == "integer" and whole else "number"


TRANSFORM = RoundNumber()
