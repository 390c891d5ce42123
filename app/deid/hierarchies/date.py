"""Dates of the calendar rolled up to months, quarters, years and spans of years."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np

from app.deid.hierarchies.fitted import Climb, HierarchyError

KIND = "date"
DEFAULTS = ("date",)

# Mean lengths in days of the Gregorian calendar; they only weigh the loss.
YEAR = 365.2425
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """Roll days up to each of spec["levels"]: month, quarter, year, or "<n>y" (years n*i to n*i + n - 1).

    Values are dates or ISO texts. The domain is the days of spec["bounds"] (two ISO dates), else of the values'
    own span. Raises HierarchyError.
    """
    months = _months(spec)
    days = [_day(value) for value in values]
    bad = [i for i, day in enumerate(days) if day is None]
    if bad:
        detail = f"{len(bad)} of {len(days)} values are not ISO dates, the first at {bad[0]}"
        raise HierarchyError([("not_covered", detail)])
    known = [day for day in days if day is not None]
    span = _span(spec, known)
    texts = [[str(value) for value in values], *([_label(day, size) for day in known] for size in months)]
    sizes = [1.0, *(size * YEAR / 12 for size in months)]
    return Climb(texts, [np.full(len(known), min(1.0, size / span)) for size in sizes], span)


def default(column_type: str, values: Sequence[object]) -> dict[str, Any]:
    """Months up to decades."""
    return {"kind": KIND, "levels": ["month", "quarter", "year", "5y", "10y"]}


def _months(spec: Mapping[str, Any]) -> list[int]:
    sizes = [_size(str(level)) for level in spec.get("levels") or []]
    if not sizes or 0 in sizes:
        raise HierarchyError(
            [("bad_levels", "levels must be month, quarter, year or a number of years such as 5y")]
        )
    steps = pairwise(sizes)
    torn = [i + 1 for i, (small, large) in enumerate(steps) if large <= small or large % small]
    if torn:
        raise HierarchyError(
            [("not_nested", f"level {i} does not hold the level before it whole") for i in torn]
        )
    return sizes


def _size(level: str) -> int:
    named = {"month": 1, "quarter": 3, "year": 12}.get(level)
    years = re.fullmatch(r"(\d{1,3})y", level)
    return named or (12 * int(years[1]) if years else 0)


def _day(value: object) -> date | None:
    text = value.isoformat()[:10] if isinstance(value, date) else str(value)
    if not _ISO.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _label(day: date, months: int) -> str:
    if months == 1:
        return f"{day.year:04}-{day.month:02}"
    if months == 3:
        return f"{day.year:04}-Q{(day.month + 2) // 3}"
    years = months // 12
    first = day.year // years * years
    return f"{first:04}" if years == 1 else f"{first:04}-{first + years - 1:04}"


def _span(spec: Mapping[str, Any], days: list[date]) -> float:
    bounds = [_day(bound) for bound in spec.get("bounds") or []] or [
        min(days, default=None),
        max(days, default=None),
    ]
    first, last = bounds if len(bounds) == 2 else (None, None)
    if first is None or last is None:
        if spec.get("bounds"):
            raise HierarchyError([("bad_bounds", "bounds must be two ISO dates, the earlier first")])
        return 1.0
    if last < first:
        raise HierarchyError([("bad_bounds", "bounds must be two ISO dates, the earlier first")])
    return float((last - first).days + 1)
