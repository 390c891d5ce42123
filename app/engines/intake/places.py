"""From rows of a table back to lines of the file that was uploaded: people mend files by line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from app.engines.intake.arrival import Arrival
from app.engines.intake.lines import records
from app.schemas.dictionary import Table


@dataclass
class Places:
    """Reads the file again, up to the last line asked for: quoted values may hold line ends, so rows are not lines.

    `rejected` are the records (1-based, the header is the first, blank lines count) that could not be read as rows.
    """

    arrival: Arrival
    table: Table
    rejected: set[int] = field(default_factory=set)

    def rows(self, rows: Sequence[int] | None) -> tuple[int, ...]:
        """The lines on which these rows (1-based, counted among those that could be read) begin.

        A Parquet file has no lines: there the row's own number is told.
        """
        if self.arrival.kind == "parquet":
            return tuple(rows or ())
        return self._walk(rows or (), accepted=True)

    def records(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """The lines on which these records begin."""
        return self._walk(numbers, accepted=False)

    def _walk(self, wanted: Sequence[int], *, accepted: bool) -> tuple[int, ...]:
        looked_for = set(wanted)
        if not looked_for:
            return ()
        found: list[int] = []
        row, begin, wide = 0, 1, len(self.arrival.names) > 1
        with self.arrival.path.open(encoding="utf-8", newline="") as file, suppress(csv.Error):
            reader = records(file, self.table)
            for number, record in enumerate(reader, 1):
                # The engine passes over blank lines where there is more than one column.
                counted = number > 1 and number not in self.rejected and (bool(record) or not wide)
                row += counted
                if (counted and row in looked_for) if accepted else number in looked_for:
                    found.append(begin)
                    if len(found) == len(looked_for):
                        break
                begin = reader.line_num + 1
        return tuple(found)
