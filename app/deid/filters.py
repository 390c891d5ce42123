"""Row filters: only on columns of the plan, at a level no finer than they leave by, and SQL that keeps to it.

`birth_date = 1950-03-02` as a filter tells the recipient the value whatever the recoding says. So a filter looks at
what is released: labels, bands, years, rounded numbers. That a class split by a filter still holds k is for the
recoding and the verifier, which count every filter column as a quasi-identifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.deid import hierarchies
from app.deid.choices import Chosen
from app.deid.transforms import Rendering
from app.deid.transforms.band import BandParams
from app.deid.transforms.clamp import ClampParams
from app.deid.transforms.contract import exact
from app.deid.transforms.round_number import RoundNumberParams
from app.deid.transforms.truncate_date import TruncateDateParams
from app.schemas.dictionary import Column, Dictionary, QuasiIdentifier, Table
from app.schemas.plan import Condition

FEW_VALUES = 20
"""A category of at most so many declared values may be filtered by the value itself."""

_BY_VALUE = frozenset({"keep", "truncate_date", "band", "round_number", "generalise", "roll_up"})
_BY_RANGE = frozenset({"truncate_date", "band", "round_number", "clamp", "generalise"})


def condition_findings(
    dictionary: Dictionary, table: Table, condition: Condition, choice: Chosen
) -> Iterator[tuple[str, str]]:
    """(code, detail) of everything that is wrong with a condition on a planned column."""
    ranged = condition.at_least is not None or condition.at_most is not None
    yield from _shape(condition, ranged)
    name, column = choice.transform.name, choice.column
    if table.kind == "reference":
        yield "filter_not_allowed", "a reference table holds no person and is not filtered"
    elif column.role.kind == "sensitive":
        yield "filter_not_allowed", "a filter on a sensitive value would tell it of everyone in the extract"
    elif name not in _BY_VALUE | _BY_RANGE:
        yield "filter_not_allowed", f"a column that leaves by {name} cannot be filtered"
    elif name == "keep" and column.role.kind == "number":
        yield (
            "filter_too_fine",
            "numbers are filtered at the edges of a band, step or bound; this one has none",
        )
    elif condition.values and name not in _BY_VALUE:
        yield "filter_too_fine", f"a column that leaves by {name} is filtered by its bounds only"
    elif ranged and (name not in _BY_RANGE or (name == "truncate_date" and _is_month(choice))):
        yield "filter_not_allowed", f"a column that leaves by {name} is filtered by values, not by a range"
    else:
        yield from _level(dictionary, condition, choice)
        if ranged and not all(_on_edge(dictionary, condition, choice, edge) for edge in _bounds(condition)):
            yield "filter_off_edge", "the bounds must lie on edges of what is released"
        if not all(_readable(choice, value) for value in condition.values):
            yield "filter_bad_value", "the values must have the type of the released column"


def where(condition: Condition, choice: Chosen, raw: str, released: str, r: Rendering) -> str:
    """The condition as SQL; it is never NULL-true, so that missing values do not pass.

    `released` is the SQL of the released value; of a generalised column the label at `condition.level`. `raw` is the
    stored column: ranges over bands are tested on it, which is the same as choosing whole bands, for bounds lie on
    edges. A range holds at_least and, except of bands and hierarchies (where it is the upper edge), at_most.
    """
    tests = []
    kind = choice.transform.released(choice.column, choice.params).sql
    if condition.values:
        numeric = kind in ("BIGINT", "DOUBLE", "INTEGER")
        listed = [r.number(float(v)) if numeric else r.text(v) for v in condition.values]
        compared = f"CAST({released} AS DOUBLE)" if numeric else r.as_text(released)
        tests.append(f"{compared} IN ({', '.join(listed)})")
    in_bands = choice.transform.name in ("band", "generalise")
    value = r.finite(raw) if in_bands else f"CAST({released} AS DOUBLE)" if kind != "VARCHAR" else ""
    if condition.at_least is not None:
        tests.append(f"{value} >= {r.number(condition.at_least)}")
    if condition.at_most is not None:
        tests.append(f"{value} {'<' if in_bands else '<='} {r.number(condition.at_most)}")
    return "(" + " AND ".join(tests) + ")"


def _shape(condition: Condition, ranged: bool) -> Iterator[tuple[str, str]]:
    if not condition.values and not ranged:
        yield "filter_empty", "a condition has values or bounds"
    if condition.values and ranged:
        yield "filter_ambiguous", "a condition has values or bounds, not both"
    if any(bound != bound or abs(bound) == float("inf") for bound in _bounds(condition)):
        yield "filter_bad_value", "the bounds must be finite"
    low, high = condition.at_least, condition.at_most
    if low is not None and high is not None and low > high:
        yield "filter_empty", "at_least lies above at_most"


def _bounds(condition: Condition) -> list[float]:
    return [bound for bound in (condition.at_least, condition.at_most) if bound is not None]


def _level(dictionary: Dictionary, condition: Condition, choice: Chosen) -> Iterator[tuple[str, str]]:
    if choice.transform.name != "generalise":
        if condition.level:
            yield "filter_level", "only generalised columns are filtered at a level; here it is 0"
        return
    role, level = choice.column.role, condition.level
    least = role.min_level if isinstance(role, QuasiIdentifier) else 0
    if level < least:
        yield "filter_too_fine", f"the dictionary releases this column at level {least} or above"
    elif level > (highest := hierarchies.height(_laid_over(dictionary, choice.column))):
        yield "filter_level", f"the levels of this column run from 0 to {highest}"
    elif level == 0 and not _has_few_values(dictionary, choice.column):
        yield (
            "filter_too_fine",
            f"level 0 is the value itself: level 1 or above, unless the column is a category"
            f" whose labels the dictionary declares (at most {FEW_VALUES})",
        )


def _spec(dictionary: Dictionary, column: Column) -> Mapping[str, Any]:
    return dictionary.hierarchies.get(getattr(column.role, "hierarchy", None) or "", {})


def _laid_over(dictionary: Dictionary, column: Column) -> Mapping[str, Any]:
    """The hierarchy that the column is generalised by: the one its role names, else that of its type."""
    return _spec(dictionary, column) or hierarchies.default_spec(column.type)


def _has_few_values(dictionary: Dictionary, column: Column) -> bool:
    spec = _spec(dictionary, column)
    if column.type == "boolean":
        return True
    listed = len(column.labels)
    if spec.get("kind") == "flat" and spec.get("groups"):
        listed = sum(len(members) for members in spec["groups"].values())
    elif spec.get("kind") == "table":
        listed = len(spec.get("levels") or [])
    elif spec.get("kind") != "flat" and column.type != "string":
        return False
    return 0 < listed <= FEW_VALUES


def _on_edge(dictionary: Dictionary, condition: Condition, choice: Chosen, edge: float) -> bool:
    params = choice.params
    if edge != edge or abs(edge) == float("inf"):
        return False
    if isinstance(params, BandParams):
        steps = (exact(edge) - exact(params.low)) / exact(params.width)
        return params.low <= edge <= params.high and steps.denominator == 1
    if isinstance(params, RoundNumberParams):
        return edge in (params.bottom, params.top) or (exact(edge) / exact(params.to)).denominator == 1
    if isinstance(params, ClampParams):
        # On the far side of a bound every value counts: at least the top, at most the bottom.
        wanted = params.top if edge == condition.at_least else params.bottom
        return edge == wanted
    if isinstance(params, TruncateDateParams):
        return edge.is_integer()
    return _on_level_edge(_spec(dictionary, choice.column), condition.level, edge)


def _on_level_edge(spec: Mapping[str, Any], level: int, edge: float) -> bool:
    """Whether an edge is one of a band of an interval hierarchy at a level above 0."""
    widths, bounds = spec.get("widths") or [], spec.get("bounds") or []
    if spec.get("kind") != "interval" or len(bounds) != 2 or not 1 <= level <= len(widths):
        return False
    low, high, at = exact(bounds[0]), exact(bounds[1]), exact(edge)
    steps = (at - exact(spec.get("origin", bounds[0]))) / exact(widths[level - 1])
    return low <= at <= high and (steps.denominator == 1 or at in (low, high))


def _is_month(choice: Chosen) -> bool:
    return isinstance(choice.params, TruncateDateParams) and choice.params.to == "month"


def _readable(choice: Chosen, value: str) -> bool:
    kind = choice.transform.released(choice.column, choice.params).sql
    if kind == "BOOLEAN":
        return value in ("true", "false")
    if kind == "VARCHAR":
        return True
    try:
        return abs(float(value)) < float("inf")
    except ValueError:
        return False
