"""A file is read once: its rows are numbered as they stand in it, and what is not of its type is there where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from app.engines.intake import checks
from app.engines.intake.arrival import Bounds, receive
from app.engines.intake.connection import Connection
from app.engines.intake.places import Places
from app.engines.intake.staging import stage
from app.schemas.dictionary import Table

ROWS = 260_000  # more than two row groups of the engine
WRONG = 250_001


def table(form: str) -> Table:
    fields: list[dict[str, Any]] = [
        {"name": "n", "type": "integer", "role": {"kind": "attribute"}},
        {
            "name": "steps",
            "type": "integer",
            "role": {"kind": "attribute"},
            "missing": {"refused": "refused"},
        },
        {"name": "word", "role": {"kind": "attribute"}},
    ]
    return Table.model_validate({"name": "t", "kind": "reference", "format": form, "fields": fields})


def staged(folder: Path, form: str, wrong: str | None) -> tuple[Connection, Places, Table]:
    """A file of `ROWS` rows, numbered by their first column; one value of the second is `wrong`."""
    steps = ["refused" if n % 1000 == 0 else str(n % 7) for n in range(1, ROWS + 1)]
    if wrong is not None:
        steps[WRONG - 1] = wrong
    rows = pa.table({"n": range(1, ROWS + 1), "steps": steps, "word": ["a"] * ROWS})
    path = folder / f"rows.{form}"
    if form == "csv":
        pyarrow.csv.write_csv(rows, path)
    else:
        pq.write_table(rows, path, row_group_size=50_000)
    of, bounds = table(form), Bounds(10_000, 2**30)
    arrival = receive(path, folder / "lines.csv", of, bounds)
    db, places = Connection(folder, "512MB", 2, [arrival.path]), Places(arrival, of)
    assert stage(arrival, of, db, places, bounds) == []
    return db, places, of


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_rows_are_numbered_as_they_stand_in_the_file(form: str, tmp_path: Path) -> None:
    db, _places, of = staged(tmp_path, form, None)
    assert db.one(f"SELECT count(*) FROM stage WHERE __row = v0 AND v0 BETWEEN 1 AND {ROWS}") == ROWS
    assert checks.counted(of, db.ask) == (ROWS, {
        "n": checks.Count(0, 0), "steps": checks.Count(ROWS // 1000, 0), "word": checks.Count(0, 0)
    })  # fmt: skip
    assert "x1" not in db.names("cells")  # nothing is not of its type, and nothing is kept of that
    db.close()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_is_not_of_its_type_is_found_where_it_stands(form: str, tmp_path: Path) -> None:
    db, places, of = staged(tmp_path, form, "many")
    _rows, counts = checks.counted(of, db.ask)
    assert counts["steps"] == checks.Count(ROWS // 1000 + 1, 1)
    assert db.ask("SELECT __row, x1, m1, v1 FROM stage WHERE x1 IS NOT NULL") == [(WRONG, "many", None, None)]
    (found,) = checks.column_findings(of, counts, db.ask, places.rows)
    assert (found.code, found.column, found.count) == ("wrong_type", "steps", 1)
    assert found.lines == (WRONG + (form == "csv"),)
    db.close()


def test_a_row_that_cannot_be_read_is_told_once_though_the_file_is_read_again(tmp_path: Path) -> None:
    path, of, bounds = tmp_path / "rows.csv", table("csv"), Bounds(10_000, 2**30)
    path.write_text("n,steps,word\n1,2,a\n2,3\n3,4,b,c\n4,many,d\n5,6,e\n")
    arrival = receive(path, tmp_path / "lines.csv", of, bounds)
    db, places = Connection(tmp_path, "256MB", 1, [arrival.path]), Places(arrival, of)
    (ragged, *more) = stage(arrival, of, db, places, bounds)
    assert (ragged.code, ragged.lines, ragged.count) == ("ragged_row", (3,), 1)
    assert [(one.code, one.lines, one.count) for one in more] == [("ragged_row", (4,), 1)]
    (wrong,) = checks.column_findings(of, checks.counted(of, db.ask)[1], db.ask, places.rows)
    assert (wrong.lines, wrong.count) == ((5,), 1)
    assert db.one("SELECT max(__row) FROM stage") == 3
    db.close()


@pytest.mark.parametrize(("text", "line"), [('"1,2,a\n', 2), ('1,2,a\n"2,3,b\n', 3), ('1,2,"a\n2,3,b\n', 2)])
def test_a_quote_that_is_never_closed_is_told_by_its_line(text: str, line: int, tmp_path: Path) -> None:
    path, of, bounds = tmp_path / "rows.csv", table("csv"), Bounds(10_000, 2**30)
    path.write_text("n,steps,word\n" + text)
    arrival = receive(path, tmp_path / "lines.csv", of, bounds)
    db = Connection(tmp_path, "256MB", 2, [arrival.path])
    (found,) = stage(arrival, of, db, Places(arrival, of), bounds)
    assert (found.code, found.lines) == ("bad_quotes", (line,))
    db.close()
