"""What the reader of a CSV could not take, told by line: one bad row can be told of twice, so distinct lines count.

Of very many only the first are remembered: the file is refused anyhow, and memory is bounded.
"""

from __future__ import annotations

from app.engines.intake.connection import Connection
from app.engines.intake.lines import LINES
from app.engines.intake.places import Places
from app.engines.intake.reading import MOST_REJECTS
from app.errors import Finding

_REJECTED = {
    "MISSING COLUMNS": ("ragged_row", "rows have fewer fields than the first line"),
    "TOO MANY COLUMNS": ("ragged_row", "rows have more fields than the first line"),
    "UNQUOTED VALUE": ("bad_quotes", "quotes are not closed, or stand in the middle of a value"),
    "LINE SIZE OVER MAXIMUM": ("line_too_long", "rows are longer than a row may be"),
    "INVALID ENCODING": ("wrong_encoding", "rows are not UTF-8"),
}


def rejects(db: Connection, places: Places, table: str | None) -> list[Finding]:
    """The rows that were not read, after a reading that stored them; `places` knows of them from here on."""
    where = "SELECT DISTINCT line, error_type FROM reject_errors"
    places.rejected = {int(row[0]) for row in db.ask(f"SELECT line FROM ({where})")}
    more = len(places.rejected) >= MOST_REJECTS // 2
    hint = "these are the first of very many; the rest of the file was not counted" if more else None
    by: dict[tuple[str, str], set[int]] = {}
    for line, kind in db.ask(where):
        told = _REJECTED.get(str(kind), ("unreadable", "rows cannot be read"))
        by.setdefault(told, set()).add(int(line))
    return [
        Finding(code, detail, table, lines=places.records(sorted(rows)[:LINES]), count=len(rows), hint=hint)
        for (code, detail), rows in sorted(by.items())
    ]
