"""Hierarchies written out as a table, a row per value from the raw value up to "*" (ARX's format)."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise
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
    columns = list(zip(*rows, strict=True))
    place = {raw: i for i, raw in enumerate(columns[0])}
    found = [place.get(str(value), -1) for value in values]
    if -1 in found:
        detail = (
            f"{found.count(-1)} of {len(found)} values are not in the table, the first at {found.index(-1)}"
        )
        raise HierarchyError([("not_covered", detail)])
    texts, shares = [], []
    for column in columns[:levels]:
        under = Counter(column)
        texts.append([column[i] for i in found])
        shares.append(np.array([under[text] for text in texts[-1]]) / len(rows))
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
    # Of each two levels the distinct (label, label above), in the order of the rows.
    steps = [
        list(dict.fromkeys(zip(low, high, strict=True)))
        for low, high in pairwise(list(zip(*rows, strict=True)))
    ]
    for level, parents in enumerate(steps):
        torn = len(parents) - len({low for low, _ in parents})
        if torn and level:
            problems.append(not_nested(level, torn))
    circles = _circles(steps)
    if circles:
        problems.append(("cycle", f"{circles} labels lie above themselves"))
    return problems


def _circles(steps: list[list[tuple[str, str]]]) -> int:
    """How many labels come back above a label that is above them; one that stays as it is for some levels does not."""
    above: dict[str, set[str]] = {}
    for low, high in chain.from_iterable(steps):
        if low != high:
            above.setdefault(low, set()).add(high)
    order = TopologicalSorter(above)
    try:
        order.prepare()
    except CycleError as error:
        return len(error.args[1]) - 1
    return 0
