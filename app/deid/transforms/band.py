"""Numbers leave as the band they lie in; below and above the bounds, as one open band each."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.deid.transforms.contract import NUMBERS, Params, ReleasedType, Transform, exact, plain, stored_as
from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column

_MOST_BANDS = 10_000
_Bound = Annotated[float, Field(ge=-1e9, le=1e9)]


class BandParams(Params):
    """Bands [a, a + width) from `low` to `high`, which lie a whole number of widths apart; at most 6 decimals."""

    width: Annotated[float, Field(ge=1e-6, le=1e9)]
    low: _Bound
    high: _Bound

    @model_validator(mode="after")
    def _bands(self) -> BandParams:
        bands = (exact(self.high) - exact(self.low)) / exact(self.width)
        if bands.denominator != 1 or not 1 <= bands <= _MOST_BANDS:
            raise PydanticCustomError("not_on_edges", "from low to high it must be 1 to 10000 whole widths")
        if any((exact(x) * 10**6).denominator != 1 for x in (self.width, self.low, self.high)):
            raise PydanticCustomError("too_fine", "at most 6 decimals")
        return self


class Band(Transform[BandParams]):
    """`<low`, `[a, b)`, `>=high`. With high = 90 on an age: 45 CFR 164.514(b)(2) asks for ages over 89 as one group.

    NaN and infinite numbers leave as null.
    """

    name = "band"
    Params = BandParams
    roles = frozenset({"number", "sensitive", "attribute"})
    types = NUMBERS

    def released(self, column: Column, params: BandParams) -> ReleasedType:
        low, high, width = map(plain, (params.low, params.high, params.width))
        return stored_as(
            "string",
            f"폭 {width}의 구간 [a, b), {low} 미만과 {high} 이상은 각각 하나로",
            f"band [a, b) of width {width}; below {low} and from {high} on one band each",
        )

    def sql(self, expression: str, column: Column, params: BandParams, r: Rendering) -> str:
        x, low = r.finite(expression), r.number(params.low)
        guess = r.floor(f"({x} - {low}) / {r.number(params.width)}", most=_MOST_BANDS + 1)
        # A division may fall just beside a whole number, so the guess is put right by comparing with the edges.
        index = (
            f"({guess} + CASE WHEN {x} >= {_edge(guess, 1, params)} THEN 1"
            f" WHEN {x} < {_edge(guess, 0, params)} THEN -1 ELSE 0 END)"
        )
        edges = [r.as_text(_label(index, more, params)) for more in (0, 1)]
        inside = f"('[' || {edges[0]} || ', ' || {edges[1]} || ')')"
        below, above = r.text(f"<{plain(params.low)}"), r.text(f">={plain(params.high)}")
        return (
            f"(CASE WHEN {x} < {low} THEN {below} WHEN {x} >= {r.number(params.high)} THEN {above}"
            f" WHEN {x} IS NOT NULL THEN {inside} END)"
        )


def _scale(params: BandParams) -> int:
    digits = [len(text.partition(".")[2]) for text in (plain(params.width), plain(params.low))]
    return max(digits)


def _steps(number: float, params: BandParams) -> int:
    """A parameter in units of the last decimal, exactly."""
    return int(Decimal(plain(number)).scaleb(_scale(params)))


def _units(index: str, more: int, params: BandParams) -> str:
    """The lower edge of the band `index + more`, in units of the last decimal: whole, so exact on every engine."""
    number = f"CAST({index} AS BIGINT) + {more}"
    return f"(({number}) * {_steps(params.width, params)} + {_steps(params.low, params)})"


def _edge(index: str, more: int, params: BandParams) -> str:
    """The edge as the double nearest to it: dividing two whole numbers rounds correctly."""
    return f"(CAST({_units(index, more, params)} AS DOUBLE) / {10 ** _scale(params)})"


def _label(index: str, more: int, params: BandParams) -> str:
    """The edge as a number whose text has as many decimals as the width or the lower bound."""
    units, scale = _units(index, more, params), _scale(params)
    if scale == 0:
        return units
    one = f"CAST('0.{'1'.zfill(scale)}' AS DECIMAL(7, {scale}))"
    return f"CAST({units} AS DECIMAL(18, 0)) * {one}"


TRANSFORM = Band()
