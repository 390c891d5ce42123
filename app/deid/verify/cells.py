"""Values of the released cells: identifiers, keyed ids, dates, Safe Harbor, honest statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from app.deid.verify import identifiers
from app.deid.verify.evidence import Expectation, refusal
from app.deid.verify.parts import Part
from app.deid.verify.reader import Reader, name, scan, text
from app.deid.verify.scope import Leaving, Out
from app.deid.verify.survey import Survey
from app.errors import Finding

FIRST_LOOK = 50_000
FEW_ROWS = 200_000
"""Up to so many, to group all texts costs no more than a look at whether they repeat."""
WHOLE = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)
NUMBERS = (*WHOLE, "FLOAT", "DOUBLE", "DECIMAL")
MOMENTS = ("DATE", "TIMESTAMP")
AGE = r"(^|[^a-z])age([^a-z]|$)|나이|연령"
# How a label says "and older".
OPEN = r"\+|≥|>=|이상|older|over|, *(\)|$|inf|∞)"


class Cells:
    """One table's cells, asked column by column; each check yields what it refuses."""

    def __init__(
        self,
        reader: Reader,
        table: Leaving,
        number: int,
        parts: Sequence[Part],
        surveyed: Survey,
        expectation: Expectation,
    ) -> None:
        self.reader, self.table, self.number = reader, table, number
        self.expectation, self.parts, self.surveyed = expectation, parts, surveyed
        self.rows = scan([p.path for p in parts])
        self.types = reader.types(self.rows)
        self.texts: dict[str, dict[str, int]] = {}
        self.safe_harbor = expectation.plan.privacy.preset == "hipaa_safe_harbor" and table.personal

    def check(self) -> Iterator[Finding]:
        """Every finding of the table."""
        extremes = self.surveyed.extremes
        yield from self._statistics(extremes)
        self._read_texts()
        for out in self.table.outs:
            column = [e[out.name] for e in extremes]
            checks = [self._values(out, column), self._dates(out)]
            if self.safe_harbor:
                checks.append(self._safe_harbor(out))
            for code, count in chain(*checks):
                if count:
                    yield refusal(code, table=self.table.name, column=out.name, count=count)

    def _statistics(self, extremes: list[dict[str, tuple[Any, Any]]]) -> Iterator[Finding]:
        """A footer that tells a value beyond the rows tells of rows that are not there."""
        for column in self.table.names:
            lies = sum(
                not _honest(p.told[column], e[column])
                for p, e in zip(self.parts, extremes, strict=True)
                if column in p.told
            )
            if lies:
                yield refusal("statistics_leak", table=self.table.name, column=column, count=lies)

    def _count(self, column: str, condition: str) -> int:
        return self.reader.number(
            f"SELECT count(*) FROM (SELECT {name(column)} AS v FROM {self.rows}) WHERE {condition}"
        )

    def _values(self, out: Out, extremes: list[tuple[Any, Any]]) -> Iterator[tuple[str, int]]:
        kind = self.types[out.name]
        if out.reason:
            reasons = ", ".join(text(reason) for reason in sorted(set(out.column.missing.values()))) or "NULL"
            yield (
                "reason_unknown",
                self._count(out.name, f"v IS NOT NULL AND coalesce(v::VARCHAR NOT IN ({reasons}), true)"),
            )
        elif out.keyed:
            yield "key_not_keyed", self.surveyed.malformed.get(out.name, 0)
        elif kind == "VARCHAR":
            yield from self.texts[out.name].items()
        elif kind.startswith(NUMBERS) and any(_long(e[1]) for e in extremes):
            numbers = f"(SELECT {name(out.name)} AS v FROM {self.rows})"
            yield "identifier_resident", self.reader.number(identifiers.residents(numbers))

    def _read_texts(self) -> None:
        """Per text column the cells that look like identifiers, and that equal a forbidden text: a question for all."""
        outs = [o for o in self.table.outs if not (o.reason or o.keyed) and self.types[o.name] == "VARCHAR"]
        self.texts = {out.name: {} for out in outs}
        if not outs:
            return
        texts = self._every(outs, self._repeating(outs))
        suspect = f"regexp_matches(v, {text(identifiers.SUSPECT)})"
        self.reader.do(f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT * FROM ({texts}) WHERE {suspect}")
        found = {row["c"] for row in self.reader.rows("SELECT DISTINCT c FROM suspects")}
        for patterns in (identifiers.PATTERNS, identifiers.IN_CODES):
            mine = [i for i in found if (outs[i].role == "code") == (patterns is identifiers.IN_CODES)]
            asked = [
                f"sum(n) FILTER (WHERE {' OR '.join(f'regexp_matches(v, {text(p)})' for p in shapes)}) AS {code}"
                for code, shapes in patterns.items()
            ]
            if mine:  # the patterns themselves are dear, and most columns hold nothing that could be one
                listed = ", ".join(map(str, mine))
                self._tell(outs, ", ".join(asked), f"FROM suspects WHERE c IN ({listed})")
        if self.expectation.forbidden:
            self._tell(outs, "sum(n) AS forbidden_value", f"FROM ({texts}) SEMI JOIN forbidden USING (v)")

    def _repeating(self, outs: list[Out]) -> set[str]:
        """The columns whose first rows repeat their texts: each text is then looked at once."""
        if sum(part.rows for part in self.parts) <= FEW_ROWS:
            return {out.name for out in outs}
        asked = ", ".join(
            f"approx_count_distinct({name(o.name)}) * 20 < count(*) AS c{i}" for i, o in enumerate(outs)
        )
        listed = ", ".join(name(o.name) for o in outs)
        found = self.reader.row(f"SELECT {asked} FROM (SELECT {listed} FROM {self.rows} LIMIT {FIRST_LOOK})")
        return {o.name for i, o in enumerate(outs) if found[f"c{i}"]}

    def _every(self, outs: list[Out], few: set[str]) -> str:
        """SQL of (c, v, n): the texts v of the c-th column, each `n` times."""
        each = []
        for i, out in enumerate(outs):
            source = f"SELECT {i} AS c, {name(out.name)} AS v FROM {self.rows}"
            each.append(
                f"SELECT {i} AS c, v, count(*) AS n FROM ({source}) GROUP BY v"
                if out.name in few
                else f"SELECT c, v, 1 AS n FROM ({source})"
            )
        return " UNION ALL ".join(each)

    def _tell(self, outs: list[Out], figures: str, texts: str) -> None:
        for row in self.reader.rows(f"SELECT c, {figures} {texts} GROUP BY c"):
            told = self.texts[outs[row.pop("c")].name]
            told.update({code: int(count or 0) for code, count in row.items()})

    def _dates(self, out: Out) -> Iterator[tuple[str, int]]:
        transform, kind = out.planned.transform, self.types[out.name]
        if transform == "shift_date":
            yield "date_outside_window", self._count(out.name, f"NOT ({self._in_window(out)})")
        if transform == "relative_day" and kind and not kind.startswith(WHOLE):
            yield "not_integer", self._count(out.name, "v IS NOT NULL")
        elif transform == "relative_day":
            yield "date_outside_window", self._count(out.name, f"NOT (v BETWEEN 0 AND {self._longest()})")
        if transform == "truncate_date" and kind:
            yield "date_not_truncated", self._count(out.name, f"NOT ({_truncated(kind, out.precision)})")

    def _in_window(self, out: Out) -> str:
        """SQL: whether the day of v lies in the column's window; without a window none does."""
        window = self.expectation.windows.get((self.table.name, out.name))
        if window is None:
            return "v IS NULL"
        first, last = (text(day.isoformat()) for day in window)
        return f"v::DATE BETWEEN {first}::DATE AND {last}::DATE"

    def _longest(self) -> int:
        """The most days there can be between two dates of a person who is seen by the windows alone."""
        windows = self.expectation.windows.values()
        if not windows:
            return -1
        return (max(last for _, last in windows) - min(first for first, _ in windows)).days

    def _safe_harbor(self, out: Out) -> Iterator[tuple[str, int]]:
        kind = self.types[out.name]
        if kind.startswith(MOMENTS):
            yield "safe_harbor_date", self._count(out.name, "v <> date_trunc('year', v)")
        if self.reader.number(f"SELECT regexp_matches(lower({text(out.name)}), {text(AGE)})::INTEGER"):
            if kind.startswith(NUMBERS):
                yield "safe_harbor_age", self._count(out.name, "v > 90")
            elif kind == "VARCHAR":
                lower = "TRY_CAST(regexp_extract(v, '[0-9]+') AS INTEGER)"
                numbers = "len(regexp_extract_all(v, '[0-9]+'))"
                gathered = f"{lower} = 90 AND {numbers} = 1 AND (v = '90' OR regexp_matches(v, {text(OPEN)}))"
                yield "safe_harbor_age", self._count(out.name, f"{lower} >= 90 AND NOT ({gathered})")


def _truncated(kind: str, precision: str) -> str:
    """SQL: whether v tells no more than the year or the month."""
    if kind.startswith(MOMENTS):
        return f"v = date_trunc('{precision}', v)"
    if kind.startswith(WHOLE):
        return "v BETWEEN 1000 AND 9999" + (
            "" if precision == "year" else " OR (v BETWEEN 100001 AND 999912 AND v % 100 BETWEEN 1 AND 12)"
        )
    month = "-01" if precision == "year" else "-(0[1-9]|1[0-2])"
    return f"regexp_full_match(v::VARCHAR, '[0-9]{{4}}({month}(-01([T ]00:00(:00)?)?)?)?')"


def _honest(told: tuple[Any, Any], real: tuple[Any, Any]) -> bool:
    """Whether the footer's extremes are those of the rows; a long text may be cut short."""
    pairs = list(zip(told, real, strict=True))
    return all(a == b or _both_nan(a, b) or _cut(a, b) for a, b in pairs)


def _long(number: Any) -> bool:
    """Whether a number may be ten digits long; NaN hides what the others are."""
    return number is not None and not float(number) < 1e9


def _both_nan(a: Any, b: Any) -> bool:
    return isinstance(b, float) and math.isnan(b)


def _cut(a: Any, b: Any) -> bool:
    return isinstance(a, str) and isinstance(b, str) and len(a) >= 8 and len(b) > len(a) and b.startswith(a)
