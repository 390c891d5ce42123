"""Made-up tables from dictionary and plan alone: right columns, types and labels, so that code can be written before
approval. No row is read, so nothing can leak; no figure computed on them means anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.deid import hierarchies
from app.deid.choices import Chosen, chosen
from app.deid.fitting import hierarchy_spec
from app.deid.hierarchies import HierarchyError
from app.deid.transforms import MISSING_SUFFIX
from app.schemas.dictionary import Column, Dictionary, Table
from app.schemas.plan import Plan

FIRST, LAST = date(2015, 1, 1), date(2024, 12, 31)
_EVENTS = 3  # rows of a person in an event table, on average
_REFERENCE = 20
_EMPTY = 0.05  # share of cells without a value, where a value may be missing
_ARROW = {
    "string": pa.string(), "int64": pa.int64(), "int32": pa.int32(), "double": pa.float64(), "bool": pa.bool_(),
    "date32[day]": pa.date32(), "timestamp[us]": pa.timestamp("us"),
}  # fmt: skip


def dummy(dictionary: Dictionary, plan: Plan, people: int = 100, seed: int = 1) -> dict[str, pa.Table]:
    """The tables of a checked plan, made up for `people` people; equal inputs give equal tables.

    Ids meet across tables, dates lie between 2015 and 2024, labels are of the dictionary's hierarchies, codes and
    categories of its labels (where it lists none, made-up words).
    """
    return _Maker(dictionary, plan, people, seed).tables()


def write(tables: Mapping[str, pa.Table], folder: Path) -> list[Path]:
    """One Parquet file a table, `<table>.parquet`, in a folder that exists."""
    paths = []
    for name, table in tables.items():
        paths.append(folder / f"{name}.parquet")
        pq.write_table(table, paths[-1], compression="zstd")
    return paths


class _Maker:
    def __init__(self, dictionary: Dictionary, plan: Plan, people: int, seed: int) -> None:
        self.dictionary, self.plan = dictionary, plan
        self.chance = np.random.default_rng(seed)
        self.people = sorted(self._ids(people))
        self.rows = {t.name: self._size(dictionary.table(t.name)) for t in plan.tables}
        self.spaces: dict[str, list[str]] = {}

    def tables(self) -> dict[str, pa.Table]:
        # Tables whose ids others name come first, so that what they name is there.
        planned = sorted(
            self.plan.tables, key=lambda t: self.dictionary.table(t.name).participant_via is not None
        )
        made = {t.name: self._table(self.dictionary.table(t.name)) for t in planned}
        return {t.name: made[t.name] for t in self.plan.tables}

    def _size(self, table: Table) -> int:
        if table.kind == "participant":
            return len(self.people)
        return _REFERENCE if table.kind == "reference" else _EVENTS * len(self.people)

    def _ids(self, n: int) -> list[str]:
        return [f"{word:016x}" for word in self.chance.integers(0, 2**63, n, dtype=np.int64).tolist()]

    def _table(self, table: Table) -> pa.Table:
        size, columns = self.rows[table.name], {}
        for choice in chosen(self.plan.table(table.name), table):
            name = choice.column.name + MISSING_SUFFIX if choice.is_reason else choice.column.name
            kind = _ARROW[choice.transform.released(choice.column, choice.params).arrow]
            columns[name] = pa.array(self._values(table, choice, size), kind)
        made = pa.table(columns)
        return (
            made.sort_by([(name, "ascending") for name in made.column_names])
            if table.kind != "participant"
            else made
        )

    def _values(self, table: Table, choice: Chosen, size: int) -> Sequence[Any]:
        transform = choice.transform.name
        if transform == "pseudonymise":
            return self.people if table.kind == "participant" else self._pick(self.people, size)
        if transform == "keyed_id":
            return self._keyed(table, choice, size)
        values = self._pick(self._domain(table, choice), size)
        if choice.is_reason or not choice.column.required:
            empty = self.chance.random(size) < (1 - _EMPTY if choice.is_reason else _EMPTY)
            values = [None if gone else value for value, gone in zip(values, empty, strict=True)]
        return values

    def _keyed(self, table: Table, choice: Chosen, size: int) -> Sequence[str]:
        """Ids of one space: of a table's own key every one another, elsewhere any of those."""
        space = str(getattr(choice.params, "space", ""))
        own = table.primary_key == (choice.column.name,)
        held = self.spaces.setdefault(space, self._ids(size if own else len(self.people)))
        if not own:
            return self._pick(held, size)
        held += self._ids(max(0, size - len(held)))
        return held[:size]

    def _domain(self, table: Table, choice: Chosen) -> Sequence[Any]:
        """Values that the released column could hold."""
        column, transform, params = choice.column, choice.transform.name, choice.params
        if choice.is_reason:
            return sorted(set(column.missing.values()))
        if transform in ("generalise", "roll_up"):
            return self._labels(column, transform)
        if transform == "relative_day":
            return range(3650)
        if transform in ("shift_date", "truncate_date") or column.type in ("date", "datetime"):
            return self._dates(column, str(getattr(params, "to", "")))
        if transform == "band":
            low, high, width = (float(getattr(params, name)) for name in ("low", "high", "width"))
            edges = [low + width * i for i in range(int(round((high - low) / width, 6)) + 1)]
            return [f"[{a:g}, {b:g})" for a, b in pairwise(edges)]
        if column.type in ("integer", "number"):
            return self._numbers(column, params)
        if column.type == "boolean":
            return [True, False]
        return _words(column) or ["value A", "value B", "value C"]

    def _labels(self, column: Column, transform: str) -> Sequence[str]:
        words = _words(column)
        if column.role.kind == "code":
            return words or [f"code {letter}" for letter in "ABCDE"]
        spec = hierarchy_spec(self.dictionary, column)
        try:
            raw = _covered(spec, column) or words
            level = max(1, int(getattr(column.role, "min_level", 0)))
            height = hierarchies.fit(spec, raw or [None]).height
            found = hierarchies.preview(spec, min(level, height), raw) if raw else []
        except HierarchyError:
            found = []
        return sorted(set(found)) or words or ["*"]

    def _dates(self, column: Column, to: str) -> Sequence[Any]:
        days = [FIRST + timedelta(days=int(d)) for d in self.chance.integers(0, (LAST - FIRST).days, 500)]
        if to == "year":
            return [day.year for day in days]
        if to == "month":
            return [f"{day:%Y-%m}" for day in days]
        if column.type == "datetime":
            return [datetime(d.year, d.month, d.day, int(d.day) % 24) for d in days]  # noqa: DTZ001 - as released
        return days

    def _numbers(self, column: Column, params: Any) -> Sequence[float | int]:
        low, high = (getattr(params, name, None) for name in ("bottom", "top"))
        low = 0.0 if low is None else float(low)
        high = low + 100 if high is None or float(high) <= low else float(high)
        step = getattr(params, "to", None)
        drawn: npt.NDArray[np.float64] = self.chance.uniform(low, high, 500)
        if isinstance(step, float | int) and step > 0:
            drawn = np.clip(np.round(drawn / step) * step, low, high)
        return [int(x) for x in drawn] if column.type == "integer" else [round(float(x), 2) for x in drawn]

    def _pick(self, values: Sequence[Any], size: int) -> list[Any]:
        return [values[i] for i in self.chance.integers(0, len(values), size).tolist()]


def _words(column: Column) -> list[str]:
    return [value for value in column.labels if value not in column.missing]


def _covered(spec: Mapping[str, Any], column: Column) -> list[Any]:
    """Raw values that a hierarchy covers by its own parameters."""
    kind, bounds = spec.get("kind"), list(spec.get("bounds") or [])
    if kind == "table":
        return [row[0] for row in spec["levels"]]
    if kind == "flat":
        return [member for members in (spec.get("groups") or {}).values() for member in members]
    if kind == "interval":
        low, high = (float(bound) for bound in (bounds or [0, 120]))
        return [low + (high - low) * i / 64 for i in range(64)]
    if kind == "date":
        return [(FIRST + timedelta(days=45 * i)).isoformat() for i in range(80)]
    if kind == "region":
        return [f"{place}51000" for place in ("11110", "11140", "26110", "26140", "41110", "41130")]
    if kind in ("prefix", "icd") and not column.labels:
        return [f"{letter}{i:02}.0" for letter in "ABCDE" for i in range(0, 60, 20)]
    return []
