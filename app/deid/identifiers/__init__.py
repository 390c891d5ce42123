"""Finds what looks like an identifier of a person in values that are declared harmless; tells where, never what.

`look` marks every cell of a relation by SQL, `judge` says what the marks of a column mean, `looks_like` judges one text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.deid.identifiers.columns import Verdict, bare_is_hit, judge
from app.deid.identifiers.headings import said_by
from app.deid.identifiers.numbers import corporate_digit_holds, resident_digit_holds
from app.deid.identifiers.patterns import BARE, BARE_NUMBER, CONNECTING, LONG, LONG_NUMBER
from app.deid.identifiers.patterns import PATTERNS as _PATTERNS
from app.deid.identifiers.scan import MARKS, Ask, Seen, Source, look, mark_of, text_mark
from app.schemas.dictionary import Column

__all__ = [
    "BARE", "BARE_NUMBER", "LONG", "LONG_NUMBER", "MARKS", "PATTERNS", "Ask", "Scan", "Seen", "Source", "Verdict",
    "bare_is_hit", "corporate_digit_holds", "judge", "look", "looks_like", "mark_of", "resident_digit_holds", "said_by",
    "scan_of", "text_mark",
]  # fmt: skip

PATTERNS = CONNECTING | _PATTERNS
"""Of these kinds one cell is enough."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a column is scanned with, by kind of identifier; `long` counts what `bare` is a share of."""

    marked: dict[str, str]
    bare: str
    long: str


def scan_of(column: Column) -> Scan | None:
    """How to scan a column's own values; None where it is declared to hold identifiers or cannot hold one."""
    if column.role.kind in ("direct_identifier", "free_text") or column.type in (
        "boolean",
        "date",
        "datetime",
    ):
        return None
    if column.type in ("integer", "number"):
        return Scan({}, BARE_NUMBER, LONG_NUMBER)
    return Scan(PATTERNS, BARE, LONG)


def looks_like(text: str) -> str | None:
    """The kind of identifier that one text holds for certain, or None; the same rules as the scan of a column."""
    for kind, pattern in {**PATTERNS, "resident_number ": BARE}.items():
        if re.search(pattern, text):
            return kind.strip()
    return None
