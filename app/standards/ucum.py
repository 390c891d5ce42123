"""Units of measure (UCUM codes): what one is in another, exactly, by the arithmetic of UCUM over units in data; pure.

Source: The Unified Code for Units of Measure 2.1 (2017-11-21): its grammar (products, quotients, exponents,
parentheses, annotations), its prefixes, and the units of `ucum_units.json`. A unit that is not there is not guessed,
and units of different dimensions have no factor (mg/dL and mmol/L need the substance): whoever maps them says it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

Dimension = tuple[tuple[str, int], ...]
_MOST = 60  # characters of a unit, and the exponents that are followed
_TOKEN = re.compile(r"\{[^{}]*\}|[()./]|(?:10[*^]|[A-Za-z%]*\[[A-Za-z0-9_'/]+\]|[A-Za-z%]+|\d+)(?:[+-]?\d+)?")
_NOTE = re.compile(r"\{[^{}]*\}")
_NUMBER = re.compile(r"\d+")
_EXPONENT = re.compile(r"(10[*^]|.*?[A-Za-z%\]])([+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Conversion:
    """value in the other unit = value * factor + offset."""

    factor: Fraction
    offset: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Unit:
    """value in base units = value * size + zero point; `dimension` the base units and their exponents."""

    size: Fraction
    dimension: Dimension = ()
    zero: Fraction = Fraction(0)

    def times(self, other: Unit, power: int = 1) -> Unit:
        """The product with a power of another unit."""
        exponents = dict(self.dimension)
        for base, exponent in other.dimension:
            exponents[base] = exponents.get(base, 0) + exponent * power
        kept = tuple(sorted((base, exponent) for base, exponent in exponents.items() if exponent))
        return Unit(self.size * other.size**power, kept)


ONE = Unit(Fraction(1))


def conversion(unit: str, into: str) -> Conversion | None:
    """How a value in `unit` becomes one in `into`; None where that is not known here (which does not make it wrong)."""
    if unit == into:
        return Conversion(Fraction(1))
    one, other = parsed(unit), parsed(into)
    if one is None or other is None or one.dimension != other.dimension:
        return None
    if sorted(_NOTE.findall(unit)) != sorted(_NOTE.findall(into)):
        return (
            None  # to UCUM a note means nothing; to a reader mL/min/{1.73_m2} is another quantity than mL/min
        )
    return Conversion(one.size / other.size, (one.zero - other.zero) / other.size)


@cache
def parsed(unit: str) -> Unit | None:
    """A unit in base units; None where it is no UCUM expression, or names a unit that is not in the data.

    Scales with a zero point of their own (degrees Celsius) stand alone: UCUM gives no product of them a meaning.
    """
    if (special := _special().get(unit)) is not None:
        return special
    tokens = _TOKEN.findall(unit)
    if not unit or len(unit) > _MOST or "".join(tokens) != unit:
        return None
    found, rest = _term(tokens)
    return found if not rest else None


def _term(tokens: list[str]) -> tuple[Unit | None, list[str]]:
    """Components from left to right: a slash divides by the next one alone. The unit, and the tokens after it."""
    made, power = ONE, 1
    if tokens[:1] == ["/"]:
        tokens, power = tokens[1:], -1
    while True:
        component, tokens = _component(tokens)
        if component is None:
            return None, tokens
        made = made.times(component, power)
        if not tokens or tokens[0] not in ("/", "."):
            return made, tokens
        power, tokens = (-1 if tokens[0] == "/" else 1), tokens[1:]


def _component(tokens: list[str]) -> tuple[Unit | None, list[str]]:
    if not tokens:
        return None, tokens
    first, rest = tokens[0], tokens[1:]
    if first == "(":
        inner, rest = _term(rest)
        return (inner, rest[1:]) if inner is not None and rest[:1] == [")"] else (None, rest)
    if first.startswith("{"):
        return ONE, rest
    found = _simple(first)
    if (
        found is not None and rest and rest[0].startswith("{")
    ):  # an annotation says what is counted, not how much
        rest = rest[1:]
    return found, rest


def _simple(text: str) -> Unit | None:
    """A whole number, or a unit with its prefix and exponent."""
    if _NUMBER.fullmatch(text):
        return Unit(Fraction(int(text))) if int(text) else None
    parts = _EXPONENT.fullmatch(text)
    if parts is None:
        return None
    power = int(parts[2]) if parts[2] else 1
    unit = _named(parts[1])
    return ONE.times(unit, power) if unit is not None and 0 < abs(power) <= _MOST else None


def _named(name: str) -> Unit | None:
    units, metric, prefixes = _known()
    if name in units:
        return units[name]
    for prefix, size in prefixes.items():
        if name.startswith(prefix) and name[len(prefix) :] in metric:
            return Unit(size).times(units[name[len(prefix) :]])
    return None


@cache
def _known() -> tuple[dict[str, Unit], frozenset[str], dict[str, Fraction]]:
    """Units by code, those that take prefixes, and the prefixes."""
    data = json.loads((Path(__file__).parent / "ucum_units.json").read_text(encoding="utf-8"))
    units = {
        code: Unit(Fraction(one["size"]), tuple(sorted((base, int(e)) for base, e in one["of"].items())))
        for code, one in data["units"].items()
    }
    metric = frozenset(code for code, one in data["units"].items() if one.get("metric"))
    return units, metric, {prefix: Fraction(size) for prefix, size in data["prefixes"].items()}


def _special() -> dict[str, Unit]:
    """Scales of temperature with a zero point of their own, over kelvin (UCUM, table 11)."""
    kelvin, freezing = (("K", 1),), Fraction("273.15")
    return {
        "Cel": Unit(Fraction(1), kelvin, freezing),
        "[degF]": Unit(Fraction(5, 9), kelvin, freezing - Fraction(160, 9)),
    }
