"""SQL that differs between engines, in one place (DuckDB's here); everything else in transforms is common to all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.schemas.dictionary import FieldType


def keyed_name(space: str) -> str:
    """The name that a space's key goes by in SQL: a function in DuckDB, a column of `secrets` elsewhere."""
    return f"keyed_{hashlib.sha256(space.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Rendering:
    """The SQL of DuckDB, and the SQL under which a row finds its person. Another engine overrides what it says
    otherwise (`engines.spark.dialect`).

    `are_events`: the dates that are asked about were looked at before; what was no event is already NULL.

    `pseudonym` (text), `shift_days` (integer) and `anchor_date` (date) are expressions over the crosswalk row of the
    person; on a link table the engine makes one rendering per participant column. No key ever stands in SQL text.
    """

    pseudonym: str = "crosswalk.pseudonym"
    shift_days: str = "crosswalk.shift_days"
    anchor_date: str = "crosswalk.anchor_date"
    are_events: bool = False

    def name(self, identifier: str) -> str:
        """A quoted identifier."""
        return '"' + identifier.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        """A text literal."""
        return "'" + value.replace("'", "''") + "'"

    def inside(self, schema: str, table: str) -> str:
        """A table of a schema of ours."""
        return f"{schema}.{self.name(table)}"

    def as_text(self, expression: str) -> str:
        """The value as text; of a number with a fraction `id_text` is the one that all engines write alike."""
        return f"CAST({expression} AS VARCHAR)"

    def floor(self, expression: str, most: float = math.inf) -> str:
        """The greatest whole number below, as a double; of a number beyond `most`, either way, nothing is asked."""
        return f"FLOOR({expression})"

    def optional(self, expression: str) -> str:
        """The same value in a column that may be empty for all that the engine can tell. DuckDB would else write a
        column as never empty wherever no value of a part is: parts of one table would have several schemas."""
        return f"CASE WHEN random() < 2 THEN {expression} END"

    def number(self, value: float) -> str:
        """A double literal that means the same on every engine."""
        return f"CAST('{value!r}' AS DOUBLE)"

    def whole(self, value: float) -> str:
        """A 64-bit literal of a number that is whole."""
        return f"CAST({int(value)} AS BIGINT)"

    def finite(self, expression: str) -> str:
        """The number as a double; NULL where it is NaN or infinite: such values sort and compare differently."""
        value = f"CAST({expression} AS DOUBLE)"
        return f"(CASE WHEN isfinite({value}) THEN {value} END)"

    def day(self, expression: str) -> str:
        """The calendar day of a date or time stamp."""
        return f"CAST({expression} AS DATE)"

    def none_of(self, day: str, days: Sequence[str]) -> str:
        """Whether a day is none of these (ISO 8601). Said one by one: DuckDB would make a join of a longer NOT IN."""
        return " AND ".join(f"{day} <> DATE '{one}'" for one in days)

    def add_days(self, expression: str, days: str, kind: FieldType) -> str:
        """A date or time stamp moved by whole days."""
        if kind == "datetime":
            return f"(CAST({expression} AS TIMESTAMP) + to_days(CAST({days} AS INTEGER)))"
        return f"({self.day(expression)} + CAST({days} AS INTEGER))"

    def days_between(self, first: str, last: str) -> str:
        """Whole days of the calendar from `first` to `last`, as an integer."""
        return f"CAST({self.day(last)} - {self.day(first)} AS INTEGER)"

    def id_text(self, expression: str, kind: FieldType) -> str:
        """An id as text, the same whether a table stores 12 as a whole number or as 12.0; no id where it is empty."""
        if kind == "number":
            value = self.finite(expression)
            whole = f"{value} = FLOOR({value}) AND ABS({value}) < 1e15"
            return (
                f"(CASE WHEN {whole} THEN CAST(CAST({value} AS BIGINT) AS VARCHAR)"
                f" ELSE CAST({value} AS VARCHAR) END)"
            )
        return f"NULLIF(CAST({expression} AS VARCHAR), '')"

    def keyed(self, expression: str, space: str) -> str:
        """`deid.keyed.keyed_id` of the text `expression`, NULL of NULL: 16 lower-case hex characters, by a function
        that `deid.keyed.register` made known. 64 bits: among 100 million ids two are alike with a chance of 0.0003."""
        return f"{keyed_name(space)}({expression})"
