"""Hierarchies written out as a table, a row per value from the raw value up to "*" (ARX's format)."""

import csv
import io
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import numpy as np

from app.deid.hierarchies.fitted import MISSING, ROOT, Climb, HierarchyError, not_nested

KIND = "table"
DEFAULTS: tuple[str, ...] = ()


def parse_arx(text: str) -> dict[str, Any]:
    """A table spec from ARX's hierarchy file: fields separated by ';', a line per value, no header."""
    rows = [row for row in csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=";") if row]
    return {"kind": KIND, "levels": rows}


def climb(spec: Mapping[str, Any], values: Sequence[object]) -> Climb:
    """Look every value up in spec["levels"]; the domain is the table's rows. Raises HierarchyError."""
    rows = [[str(cell) for cell in row] for row in spec.get("levels") or []]
    problems = _check(rows)
    if problems:
        raise HierarchyError(problems)
    # A table may end in "*" (as ARX's do) or leave the root out.
    levels = len(rows[0]) - all(row[-1] == ROOT for row in rows)
    place = {row[0]: i for i, row in enumerate(rows)}
    found = [place.get(str(value), -1) for value in values]
    if -1 in found:
        detail = (
            f"{found.count(-1)} of {len(found)} values are not in the table, the first at {found.index(-1)}"
        )
        raise HierarchyError([("not_covered", detail)])
    texts, shares = [], []
    for level in range(levels):
        under: dict[str, int] = {}
        for row in rows:
            under[row[level]] = under.get(row[level], 0) + 1
        texts.append([rows[i][level] for i in found])
        shares.append(np.array([under[rows[i][level]] for i in found]) / len(rows))
    return Climb(texts, shares, float(len(rows)))


def _check(rows: list[list[str]]) -> list[tuple[str, str]]:
    if not rows or min(map(len, rows)) == 0:
        return [("empty", "the table has no rows, or an empty row")]
    if len({len(row) for row in rows}) > 1:
        odd = next(i for i, row in enumerate(rows) if len(row) != len(rows[0]))
        return [("ragged", f"row {odd} has another number of levels than row 0")]
    problems = []
    if len({row[0] for row in rows}) < len(rows):
        problems.append(
            ("duplicate", f"{len(rows) - len({row[0] for row in rows})} values have more than one row")
        )
    reserved = sum(cell == MISSING for row in rows for cell in row)
    if reserved:
        problems.append(("reserved_label", f"{reserved} cells hold a label that is kept for missing values"))
    for level in range(len(rows[0]) - 1):
        parents = {(row[level], row[level + 1]) for row in rows}
        torn = len(parents) - len({low for low, _ in parents})
        if torn and level:
            problems.append(not_nested(level, torn))
    circles = _circles(rows)
    if circles:
        problems.append(("cycle", f"{circles} labels lie above themselves"))
    return problems


def _circles(rows: list[list[str]]) -> int:
    """How many labels come back above a label that is above them; one that stays as it is for some levels does not."""
    above: dict[str, set[str]] = {}
    for row in rows:
        for low, high in pairwise(row):
            if low != high:
                above.setdefault(low, set()).add(high)
    order = TopologicalSorter(above)
    try:
        order.prepare()
    except CycleError as error:
        return len(error.args[1]) - 1
    return 0
