"""Numbers in bands whose widths nest; outside the bounds, open bands."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from app.deid.hierarchies.fitted import Climb, HierarchyError

KIND = "interval"
DEFAULTS = ("integer", "number")


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """Bands [low, high) of each of spec["widths"] between spec["bounds"], counted from spec["origin"] (default: the
    lower bound). Level 0 is the raw value, also outside the bounds.

    The domain is the width of the bounds in units of spec["unit"] (default 1); an open band is charged the width
    of a band of its level, for its own is unknown. Raises HierarchyError.
    """
    low, high, origin, unit, widths = _parameters(spec)
    numbers = [exact(value) for value in values]
    bad = [i for i, number in enumerate(numbers) if number is None]
    if bad:
        detail = f"{len(bad)} of {len(numbers)} values are not numbers, the first at {bad[0]}"
        raise HierarchyError([("not_covered", detail)])
    known = [number for number in numbers if number is not None]
    texts, shares = [[str(value) for value in values]], [np.full(len(known), float(unit / (high - low)))]
    scale = math.lcm(*(number.denominator for number in (low, high, origin, *widths, *known)))
    edges, scaled = (_times(low, scale), _times(high, scale)), [_times(number, scale) for number in known]
    for width in widths:
        places = _places(scaled, edges, _times(origin, scale), _times(width, scale))
        one = dict(zip(places, known, strict=True))  # each band is worked out for one of its numbers
        told = {place: _band(number, low, high, origin, width) for place, number in one.items()}
        parts = {place: float(size / (high - low)) for place, (_, size) in told.items()}
        texts.append([told[place][0] for place in places])
        shares.append(np.array([parts[place] for place in places]))
    return Climb(texts, shares, float((high - low) / unit))


def default(column_type: str, values: Sequence[object]) -> dict[str, Any]:
    """Five nesting widths, each twice the last, over the values' range, else over 0 to 120 (a human life)."""
    known = [number for number in map(exact, values) if number is not None]
    if not known or max(known) == min(known):
        return {"kind": KIND, "bounds": [0, 120], "widths": [5, 10, 20, 40]}
    power = max(
        math.ceil(math.log10(float(max(known) - min(known)) / 100)), 0 if column_type == "integer" else -9
    )
    step = Fraction(10) ** power
    low, high = math.floor(min(known) / step) * step, (math.floor(max(known) / step) + 1) * step
    widths = [_plain(step * factor) for factor in (1, 5, 10, 20, 40)]
    spec = {"kind": KIND, "bounds": [_plain(low), _plain(high)], "widths": widths}
    return spec if step >= 1 else {**spec, "unit": _plain(step)}


def exact(value: object) -> Fraction | None:
    """The number a value is or spells, exactly; None where it is none (or not finite, or a truth value)."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, Fraction):
        return value
    try:
        return Fraction(Decimal(str(value).strip()))
    except (InvalidOperation, ValueError, OverflowError):
        return None


def _parameters(spec: Mapping[str, Any]) -> tuple[Fraction, Fraction, Fraction, Fraction, list[Fraction]]:
    bounds, widths = list(spec.get("bounds") or []), [exact(width) for width in spec.get("widths") or []]
    low, high = (exact(bounds[0]), exact(bounds[1])) if len(bounds) == 2 else (None, None)
    origin, unit = exact(spec.get("origin", low)), exact(spec.get("unit", 1))
    problems = []
    if low is None or high is None or low >= high:
        problems.append(("bad_bounds", "bounds must be two numbers, the lower first"))
    if origin is None and low is not None:
        problems.append(("bad_origin", "the origin must be a number"))
    if unit is None or unit <= 0:
        problems.append(("bad_unit", "the unit must be a positive number"))
    sizes = [width for width in widths if width is not None and width > 0]
    if not sizes or len(sizes) < len(widths):
        problems.append(("bad_widths", "widths must be positive numbers, at least one"))
    steps = pairwise(sizes)
    torn = [
        i + 1 for i, (small, large) in enumerate(steps) if large <= small or (large / small).denominator != 1
    ]
    problems += [("not_nested", f"width {i} is not a multiple of the width before it") for i in torn]
    if problems or low is None or high is None or origin is None or unit is None:
        raise HierarchyError(problems)
    return low, high, origin, unit, sizes


def _times(number: Fraction, scale: int) -> int:
    """`number * scale`, where the scale is a multiple of the number's denominator."""
    return number.numerator * (scale // number.denominator)


def _places(numbers: Sequence[int], edges: tuple[int, int], origin: int, width: int) -> list[int | str]:
    """The band of each number: how many widths from the origin, or outside; whole numbers, since fractions are slow."""
    low, high = edges
    return ["<" if n < low else ">=" if n >= high else (n - origin) // width for n in numbers]


def _band(
    number: Fraction, low: Fraction, high: Fraction, origin: Fraction, width: Fraction
) -> tuple[str, Fraction]:
    if number < low:
        return f"<{_plain(low)}", min(width, high - low)
    if number >= high:
        return f">={_plain(high)}", min(width, high - low)
    start = origin + math.floor((number - origin) / width) * width
    left, right = max(start, low), min(start + width, high)
    return f"[{_plain(left)}, {_plain(right)})", right - left


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)
