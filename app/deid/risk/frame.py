"""One row a person, raw and released, of the same features: what the utility analyses are run on.

A released label stands for its values in equal parts: of `20-29` the indicator of 25 is 1/10 and the age is the mean of
the ten. That is what an analyst without further knowledge does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import SupportsFloat, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.deid import hierarchies
from app.deid.fitting import hierarchy_spec
from app.deid.hierarchies import Fitted
from app.deid.risk.ground import Floats, Ground, Leaf, day, quoted, text
from app.schemas.dictionary import Table

_COMMON = 3  # values of a category that are studied
_CODES = 5  # codes of a table that are studied
_NUMERIC = ("integer", "number", "date", "datetime")
_CODED = ("ancestors", "icd", "prefix", "region")
_EDGE = re.compile(r"-?\d+(?:\.\d+)?")  # of a band, which is written without exponents


@dataclass
class Frame:
    """Features by name, each float64 (people,), NaN where missing. `survival` is (days, observed 0 or 1)."""

    people: int
    shares: dict[str, Floats] = field(default_factory=dict)
    codes: dict[str, Floats] = field(default_factory=dict)
    numbers: dict[str, Floats] = field(default_factory=dict)
    counts: dict[str, Floats] = field(default_factory=dict)
    gaps: dict[str, Floats] = field(default_factory=dict)
    survival: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)

    @property
    def indicators(self) -> dict[str, Floats]:
        """Everything that a person has or has not."""
        return {**self.codes, **self.shares}


def frames(ground: Ground) -> tuple[Frame, Frame]:
    """The raw and the released frame of a sample of the people, drawn by the seed; who is suppressed is in the raw
    frame only. Which values, codes and outcomes are studied is told by the raw side: the commonest."""
    people = ground.arrow("SELECT p FROM person ORDER BY p")["p"].to_numpy()
    chance = np.random.default_rng(ground.bounds.seed)
    drawn = np.sort(chance.choice(people, min(len(people), ground.bounds.studied), replace=False))
    ground.load("drawn", pa.table({"p": pa.array(drawn, pa.int32())}))
    out = ground.arrow("SELECT p FROM drawn SEMI JOIN out USING (p) ORDER BY p")["p"].to_numpy()
    return _Builder(ground, drawn, out).build()


class _Builder:
    def __init__(self, ground: Ground, drawn: npt.NDArray[np.int32], out: npt.NDArray[np.int32]) -> None:
        self.ground, self.sides = ground, (drawn, out)
        self.both = (Frame(len(drawn)), Frame(len(out)))

    def build(self) -> tuple[Frame, Frame]:
        roster = self.ground.roster
        if roster is not None:
            for leaf in self.ground.leaves:
                if leaf.table is roster:
                    self._of_people(leaf)
        for table in self.ground.tables:
            if table.kind == "event":
                self._of_events(table)
        self._survival()
        return self.both

    def _of_people(self, leaf: Leaf) -> None:
        spec = (
            hierarchy_spec(self.ground.dictionary, leaf.choice.column)
            if leaf.transform == "generalise"
            else {}
        )
        # Whole numbers that are codes have no mean.
        numeric = leaf.choice.column.type in _NUMERIC and spec.get("kind") not in _CODED
        if leaf.transform == "generalise":
            self._label(leaf, numeric)
        elif leaf.role == "number" or (
            leaf.role in ("attribute", "sensitive") and leaf.choice.column.type == "number"
        ):
            for frame, values in zip(self.both, self._values(leaf, as_text=False), strict=True):
                frame.numbers[leaf.name] = _numbers(values)
        elif leaf.role in ("attribute", "sensitive", "code"):
            raw, released = self._values(leaf)
            for value in _commonest([v for v in raw if v is not None], _COMMON):
                for frame, values in zip(self.both, (raw, released), strict=True):
                    frame.shares[f"{leaf.name} = {value}"] = np.array(
                        [np.nan if v is None else float(v == value) for v in values]
                    )

    def _label(self, leaf: Leaf, numeric: bool) -> None:
        raw, labels = self._values(leaf, as_text=False)
        distinct = list(dict.fromkeys(raw))
        if not distinct:
            return
        fitted = hierarchies.fit(
            hierarchy_spec(self.ground.dictionary, leaf.choice.column), distinct, leaf.name
        )
        under = _leaves(fitted)
        if numeric:
            known: dict[object, float] = {v: _number(v) for v in distinct if v is not None}
            mid = {label: _mean([known[v] for v in vs if v in known]) for label, vs in under.items()}
            self.both[0].numbers[leaf.name] = np.array([np.nan if v is None else known[v] for v in raw])
            self.both[1].numbers[leaf.name] = np.array(
                [mid.get(str(label or ""), np.nan) for label in labels]
            )
            return
        for value in _commonest([v for v in raw if v is not None], _COMMON):
            part = {label: (value in vs) / len(vs) for label, vs in under.items()}
            name = f"{leaf.name} = {value}"
            self.both[0].shares[name] = np.array([float(v == value) for v in raw])
            self.both[1].shares[name] = np.array([part.get(str(label or ""), np.nan) for label in labels])

    def _of_events(self, table: Table) -> None:
        self._fill(table, ("count(*)::DOUBLE",) * 2, "counts", table.name, 0.0)
        codes, dates = self.ground.of(table, "code"), self.ground.of(table, "date")
        if dates:
            spans = _span(dates[0], False), _span(dates[0], True)
            self._fill(table, spans, "gaps", table.name, np.nan)
        if not codes:
            return
        code = f"CAST({quoted(codes[0].name)} AS VARCHAR)"
        for value in self._common_codes(table, code):
            # Whose codes are all missing has none of them.
            has = f"coalesce(max(({code} = {text(value)})::INT), 0)::DOUBLE"
            self._fill(table, (has, has), "codes", f"{table.name}: {value}", 0.0)
        for number in self.ground.of(table, "number"):
            of = self._code_with(table, code, number)
            if of is not None and number.transform != "band":
                mean = f"avg({quoted(number.name)}::DOUBLE) FILTER ({code} = {text(of)})"
                self._fill(table, (mean, mean), "numbers", f"{table.name}.{number.name} of {of}", np.nan)

    def _common_codes(self, table: Table, code: str) -> list[str]:
        rows = self.ground.rows(
            f"SELECT {code} AS v, count(DISTINCT p) AS n FROM {self.ground.before(table)} WHERE {code} IS NOT NULL "
            f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_CODES}"
        )
        return [row["v"] for row in rows if row["n"] >= self.ground.plan.privacy.min_cell]

    def _code_with(self, table: Table, code: str, number: Leaf) -> str | None:
        rows = self.ground.rows(
            f"SELECT {code} AS v, count(DISTINCT p) AS n FROM {self.ground.before(table)} WHERE {code} IS NOT NULL AND "
            f"{quoted(number.name)} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"
        )
        return rows[0]["v"] if rows and rows[0]["n"] >= self.ground.plan.privacy.min_cell else None

    def _survival(self) -> None:
        """Days from a person's first event in any table to a common code that most people do not have from the
        start, else to their last event."""
        dated = {
            t.name: self.ground.of(t, "date")[0] for t in self.ground.tables if self.ground.of(t, "date")
        }
        chosen = [name for name, x in self.both[0].codes.items() if 0.02 <= float(x.mean()) <= 0.8]
        for name in chosen:
            table, _, value = name.partition(": ")
            if table in dated:
                for side, frame in enumerate(self.both):
                    frame.survival[name] = self._follow_up(dated, table, value, side)
                return

    def _follow_up(self, dated: dict[str, Leaf], table: str, value: str, side: int) -> tuple[Floats, Floats]:
        """(days, observed) of one outcome on one side."""

        def days(leaf: Leaf) -> str:
            return f"{day(leaf, quoted(leaf.name), bool(side))} AS d FROM {self._rows(leaf.table, side)}"

        ends = " UNION ALL ".join(f"SELECT p, {days(f)}" for f in dated.values() if f.table.kind == "event")
        code = f"CAST({quoted(self.ground.of(dated[table].table, 'code')[0].name)} AS VARCHAR)"
        when = f"SELECT p, {days(dated[table])} WHERE {code} = {text(value)}"
        found = self.ground.arrow(
            f"WITH span AS (SELECT p, min(d) AS first, max(d) AS last FROM ({ends}) GROUP BY p), "
            f"outcome AS (SELECT p, min(d) AS d FROM ({when}) GROUP BY p) "
            "SELECT s.p, coalesce(o.d, s.last) - s.first AS days, (o.d IS NOT NULL)::INT AS seen "
            "FROM span s LEFT JOIN outcome o USING (p) WHERE s.first IS NOT NULL ORDER BY s.p"
        )
        return self._place(found, "days", side, np.nan), self._place(found, "seen", side, np.nan)

    def _fill(self, table: Table, expressions: tuple[str, str], kind: str, name: str, empty: float) -> None:
        for side, frame in enumerate(self.both):
            rows = self._rows(table, side)
            found = self.ground.arrow(f"SELECT p, {expressions[side]} AS x FROM {rows} GROUP BY p ORDER BY p")
            getattr(frame, kind)[name] = self._place(found, "x", side, empty)

    def _rows(self, table: Table, side: int) -> str:
        return self._drawn(self.ground.after(table) if side else self.ground.before(table))

    def _drawn(self, rows: str) -> str:
        return f"(FROM {rows} SEMI JOIN drawn USING (p))"

    def _place(self, found: pa.Table, column: str, side: int, empty: float) -> Floats:
        result = np.full(len(self.sides[side]), empty)
        people = found["p"].to_numpy()
        inside = np.isin(people, self.sides[side])
        values = found[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
        result[np.searchsorted(self.sides[side], people[inside])] = values[inside]
        return result

    def _values(self, leaf: Leaf, as_text: bool = True) -> tuple[list[object], list[object]]:
        """A column of the participant table on both sides, in the order of the people."""
        sides = []
        for side in (0, 1):
            name = f"CAST({quoted(leaf.name)} AS VARCHAR)" if as_text else quoted(leaf.name)
            rows = self._drawn(self.ground.one_row_each(leaf.table, released=bool(side)))
            found = self.ground.arrow(f"SELECT p, {name} AS v FROM {rows} ORDER BY p")
            values = found["v"].to_pylist()
            by_person = dict(zip(found["p"].to_pylist(), values, strict=True))
            sides.append([by_person.get(p) for p in self.sides[side].tolist()])
        return sides[0], sides[1]


def _leaves(fitted: Fitted) -> dict[str, set[object]]:
    """The values that each label, of whatever level, can stand for."""
    under: dict[str, set[object]] = {}
    for level, labels in enumerate(fitted.labels):
        for i, value in enumerate(fitted.values):
            under.setdefault(labels[fitted.nodes[i, level]], set()).add(value)
    return under


def _number(value: object) -> float:
    """A number, or a date as a year with its fraction: a birth date is studied as the year it is."""
    if isinstance(value, date):
        return value.year + (value.timetuple().tm_yday - 1) / 365.25
    return float(str(value))


def _span(date: Leaf, released: bool) -> str:
    when = day(date, quoted(date.name), released)
    return f"CASE WHEN count({when}) > 1 THEN (max({when}) - min({when}))::DOUBLE END"


def _commonest(values: Sequence[object], most: int) -> list[object]:
    counts: dict[object, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return sorted(counts, key=lambda v: (-counts[v], str(v)))[:most]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _numbers(values: Sequence[object]) -> Floats:
    """Numbers, and the middle of bands such as `[20, 30)`; of an open band its edge. Infinite ones are missing."""
    found = np.array(
        [
            np.nan if v is None else _middle(v) if isinstance(v, str) else float(cast(SupportsFloat, v))
            for v in values
        ],
        dtype=np.float64,
    )
    return np.where(np.isfinite(found), found, np.nan)


def _middle(band: str) -> float:
    edges = [float(part) for part in _EDGE.findall(band)]
    return _mean(edges[:2] if band.startswith("[") else edges[:1])
