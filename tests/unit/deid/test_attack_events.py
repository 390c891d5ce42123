"""The attack by three known events counts an event of a person once, in however many rows and tables it stands."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from app.deid.attacks.events import events
from app.deid.attacks.extract import Extract, Leaf, Sheet

LEAVES = (
    Leaf("who", "participant_id", "pseudonymise", {}),
    Leaf("code", "code", "roll_up", {}),
    Leaf("day", "date", "shift_date", {}),
)
# Of a, four events that nobody else has; of b and c, the same three; of d, one.
HAPPENED = [("a", c) for c in "PQRS"] + [(p, c) for p in "bc" for c in "XYZ"] + [("d", "X")]


def _extract(folder: Path, tables: int, times: int) -> Extract:
    con, sheets = duckdb.connect(), []
    for n in range(tables):
        path = folder / f"events_{n}.parquet"
        rows = ", ".join(f"('{p}', '{c}', '2020-03-{d + 1:02}')" for p, c in HAPPENED for d in range(times))
        con.execute(f"COPY (FROM (VALUES {rows}) v(who, code, day)) TO '{path}' (FORMAT parquet)")
        sheets.append(Sheet(f"events_{n}", "event", LEAVES, (path,), ("",)))
    return Extract(tuple(sheets), 5, {}, con, "x")


@pytest.mark.parametrize("times", [1, 3], ids=["a row an event", "three rows an event"])
@pytest.mark.parametrize("tables", [1, 2])
def test_an_event_in_many_rows_is_one(tmp_path: Path, tables: int, times: int) -> None:
    found = events(_extract(tmp_path, tables, times)).figures
    # One event is too few for d, in one table; b and c are never told from each other.
    assert found["people_attacked"] == 3
    assert found["unique_share"] == found["unique_share_codes_alone"] == pytest.approx(1 / 3)
