"""From one unit to another: of the whole column, or row by row where a column holds the unit."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from pydantic import Field

from app.deid.mappings.contract import Kind, MappingParams, Places, Question, typed
from app.deid.transforms.contract import exact
from app.schemas.dictionary import Column
from app.standards.ucum import Conversion, conversion


class Factor(MappingParams):
    """united = value * factor + offset. Without a factor the two units must be in the table of common ones."""

    factor: float | None = Field(default=None, gt=0)
    offset: float = 0.0


class UnitParams(MappingParams):
    """`units`: each unit that occurs (UCUM code, or as the unit column writes it) and how it becomes the united one."""

    units: dict[str, Factor] = Field(min_length=1, max_length=100)


class Unit(Kind[UnitParams]):
    """A conversion for each unit; a unit that the mapping does not name is listed."""

    name = "unit"
    Params = UnitParams

    def findings(
        self, source: Column | None, target: Column, params: UnitParams
    ) -> Iterator[tuple[str, str]]:
        if target.type != "number" or target.unit is None:
            yield "no_unit", "the united column must be a number with a unit"
            return
        if source is None or source.type not in ("integer", "number"):
            yield "type_differs", "only a number has a unit"
            return
        if source.unit_column is None and source.unit is None:
            yield "unit_unknown", "the source's dictionary does not say in which unit the column is"
        if source.unit_column is None and source.unit is not None and set(params.units) != {source.unit}:
            yield "unit_unmapped", "the units must be just the one that the source's dictionary names"
        unknown = sum(_conversion(unit, factor, target) is None for unit, factor in params.units.items())
        if unknown:
            yield "conversion_unknown", f"the conversion of {unknown} units is not known: give their factors"

    def sql(self, at: Places, source: Column | None, target: Column, params: UnitParams) -> str:
        value = f"CAST({at.raw} AS DOUBLE)"
        each = {unit: _conversion(unit, factor, target) for unit, factor in params.units.items()}
        known = {unit: _applied(value, found) for unit, found in each.items() if found is not None}
        if at.unit is None:
            return typed(next(iter(known.values()), "NULL"), target)
        cases = " ".join(f"WHEN {_text(unit)} THEN {sql}" for unit, sql in known.items())
        return typed(f"CASE {at.unit} {cases} END", target)

    def question(
        self, at: Places, source: Column | None, target: Column, params: UnitParams
    ) -> Question | None:
        if at.unit is None:
            return None
        known = ", ".join(_text(unit) for unit in sorted(params.units))
        unmapped = f"{at.raw} IS NOT NULL AND ({at.unit} IS NULL OR {at.unit} NOT IN ({known}))"
        return Question("unit", at.unit, unmapped)


def _conversion(unit: str, factor: Factor, target: Column) -> Conversion | None:
    if factor.factor is None:
        return conversion(unit, target.unit or "")
    return Conversion(exact(factor.factor), exact(factor.offset))


def _applied(value: str, found: Conversion) -> str:
    """Multiplied before it is divided, so that 72500 g are 72.5 kg and nothing near it."""
    scaled = _scaled(value, found.factor)
    return f"({scaled} + {float(found.offset)!r})" if found.offset else scaled


def _scaled(value: str, factor: Fraction) -> str:
    if max(factor.numerator, factor.denominator) < 2**53:
        return f"({value} * {factor.numerator}.0::DOUBLE / {factor.denominator}.0::DOUBLE)"
    return f"({value} * {float(factor)!r}::DOUBLE)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


KIND = Unit()
