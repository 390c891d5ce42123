"""The SQL of Spark where it says otherwise than DuckDB's; a session of ours makes the rest mean the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.deid.transforms import Rendering
from app.deid.transforms.rendering import keyed_name
from app.schemas.dictionary import FieldType

NOT_A_PLAIN_ID = "an id with a fraction that has no short form"
_EXACT = "9007199254740992"  # 2**53: from here on every double is whole
_ENDS = 2**63
_INFINITE = "CAST('Infinity' AS DOUBLE)"


@dataclass(frozen=True)
class SparkRendering(Rendering):
    """SQL for a session with ANSI rules, double-quoted names and time stamps without a zone (see `session`)."""

    def text(self, value: str) -> str:
        """A text literal; a backslash would begin an escape."""
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def inside(self, schema: str, table: str) -> str:
        """A view of the session: it has no schemas, so the name carries it."""
        return self.name(f"{schema}_{table}")

    def as_text(self, expression: str) -> str:
        """The value as text."""
        return f"CAST({expression} AS STRING)"

    def floor(self, expression: str, most: float = math.inf) -> str:
        """The greatest whole number below, as a double: Spark's own is a 64-bit number, and ends where that ends."""
        below = f"CAST(FLOOR({expression}) AS DOUBLE)"
        if most < _ENDS:
            return below
        return f"CASE WHEN ABS({expression}) < {_EXACT} THEN {below} ELSE {expression} END"

    def finite(self, expression: str) -> str:
        """The number as a double; NULL where it is NaN (the greatest of all here) or infinite."""
        value = f"CAST({expression} AS DOUBLE)"
        return f"CASE WHEN ABS({value}) < {_INFINITE} THEN {value} END"

    def none_of(self, day: str, days: Sequence[str]) -> str:
        """Whether a day is none of these (ISO 8601)."""
        listed = ", ".join(f"DATE '{one}'" for one in days)
        return f"{day} NOT IN ({listed})"

    def add_days(self, expression: str, days: str, kind: FieldType) -> str:
        """A date or time stamp moved by whole days."""
        if kind == "datetime":
            return f"(CAST({expression} AS TIMESTAMP) + make_dt_interval(CAST({days} AS INTEGER)))"
        return super().add_days(expression, days, kind)

    def days_between(self, first: str, last: str) -> str:
        """Whole days of the calendar from `first` to `last`, as an integer."""
        return f"datediff({self.day(last)}, {self.day(first)})"

    def id_text(self, expression: str, kind: FieldType) -> str:
        """An id as DuckDB writes it. Java writes fractions in its own way: they are written from a decimal where they
        have at most four decimals and 15 digits, which tell the one number; of any other the query fails, rather than
        to key it unlike."""
        if kind != "number":
            return f"NULLIF({self.as_text(expression)}, '')"
        value = f"CAST({expression} AS DOUBLE)"
        whole, short = f"CAST({value} AS BIGINT)", f"TRY_CAST({value} AS DECIMAL(15, 4))"
        return (
            f"CASE WHEN ABS({value}) < 1e15 AND {value} = FLOOR({value}) THEN {self.as_text(whole)}"
            f" WHEN ABS({value}) < 1e11 AND CAST({short} AS DOUBLE) = {value}"
            f" THEN TRIM(TRAILING '0' FROM {self.as_text(short)})"
            f" WHEN ABS({value}) < {_INFINITE} THEN raise_error('{NOT_A_PLAIN_ID}') END"
        )

    def keyed(self, expression: str, space: str) -> str:
        """The same id as in DuckDB (`deid.keyed`), by Spark's own AES; `secrets` is a view of a file, so that no plan
        shows a key. Spark adds a block of padding to each, which is cut off."""
        value, size = f"encode({expression}, 'UTF-8')", f"octet_length({expression})"
        short = f"rpad({value}, 15, X'00') || unhex(lpad(hex({size}), 2, '0'))"
        long = f"substr(unhex(sha2({value}, 256)), 1, 15) || X'FF'"
        block = f"CASE WHEN {size} <= 15 THEN {short} ELSE {long} END"
        key = f"(SELECT {keyed_name(space)} FROM secrets)"
        return f"lower(substr(hex(aes_encrypt({block}, {key}, 'ECB')), 1, 16))"
