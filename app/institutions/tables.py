"""Rows as CSV that no spreadsheet takes for formulas (RFC 4180; OWASP on CSV injection)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The heading and one line a row, one by one. Lists are joined by a semicolon, nothing is an empty cell, times are
    ISO 8601."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row[name]) for name in columns])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def cell(value: Any) -> str:
    """A value as text; what a spreadsheet would calculate begins with an apostrophe, also behind blanks."""
    if value is None:
        return ""
    if isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    text = "; ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return (
        f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(_BEGINS) or text.startswith(_BEGINS) else text
    )
