"""Rows of two versions are compared whatever became of their types, their key or the kind of their table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from app.engines.intake.connection import Connection
from app.engines.intake.differences import Moved, TableChange, changes
from app.engines.intake.parents import Before, Parent
from app.schemas.dictionary import Dictionary

KEYED = {"kind": "event", "primary_key": ["n"]}
OPEN = {"kind": "event"}
LINK = {"kind": "link", "participant": ["mother", "child"]}
FREE = {"kind": "reference"}
TEXTS = "FROM (VALUES (1, 7::BIGINT, 'C50.1'), (1, 8, '5'), (2, 9, NULL)) t(__participant, n, v)"
WHOLE = "FROM (VALUES (1, 7::BIGINT, 4::BIGINT), (1, 8, 5), (2, 9, NULL)) t(__participant, n, v)"
HALVES = "FROM (VALUES (1, 7::BIGINT, 4::DOUBLE), (1, 8, 5.5), (2, 9, NULL)) t(__participant, n, v)"
DAYS = "FROM (VALUES (1, 7::BIGINT, DATE '2026-03-01'), (1, 8, NULL), (2, 9, NULL)) t(__participant, n, v)"
NAMED = "FROM (VALUES (1, '7', 4::BIGINT), (1, 'x', 5)) t(__participant, n, v)"
PAIRS = "FROM (VALUES (1, 2, 7::BIGINT), (3, 4, 8)) t(__participant_1, __participant_2, n)"


def compared(folder: Path, old: tuple[dict[str, Any], str], new: tuple[dict[str, Any], str]) -> TableChange:
    """What differs between two tables, each as its dictionary says and as a query gives it."""
    said, files = list[Dictionary](), list[dict[str, tuple[Path, ...]]]()
    for name, (table, query) in {"old": old, "new": new}.items():
        path = folder / f"{name}.parquet"
        duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        people = (
            ["mother", "child"] if table["kind"] == "link" else ["who"] if table["kind"] == "event" else []
        )
        fields = [{"name": one, "role": {"kind": "participant_id"}} for one in people]
        fields += [{"name": one, "role": {"kind": "attribute"}} for one in ("n", "v")]
        made = {"name": "t", "fields": fields, **table}
        said.append(Dictionary.model_validate({"tables": [made]}))
        files.append({"t": (path,)})
    before = Before(said[0], {"t": Parent(("old",))})
    con = Connection(folder, "256MB", 1, [one for held in files for one in held["t"]])
    try:
        (found,) = changes(said[1], {"t": Parent(("new",))}, files[1], before, files[0], con)
        return found
    finally:
        con.close()


@pytest.mark.parametrize(
    ("old", "new", "rows", "people"),
    [
        # What was a text is a number: it is the same where it is written alike, and what was no number changed.
        ((KEYED, TEXTS), (KEYED, WHOLE), Moved(0, 0, 1), Moved(0, 0, 1)),
        ((OPEN, TEXTS), (OPEN, WHOLE), Moved(1, 1), Moved(0, 0, 1)),
        ((OPEN, DAYS), (OPEN, WHOLE), Moved(2, 2), Moved(0, 0, 1)),
        # Whole numbers are numbers still.
        ((KEYED, WHOLE), (KEYED, HALVES), Moved(0, 0, 1), Moved(0, 0, 1)),
        # The key itself is a text from now on.
        ((KEYED, WHOLE), (KEYED, NAMED), Moved(1, 2, 0), Moved(0, 1, 1)),
        # Rows of one person are rows of two: none is one that was there.
        ((KEYED, WHOLE), (LINK, PAIRS), Moved(2, 3), Moved(2, 0, 2)),
        ((FREE, "FROM (VALUES (1), (2)) t(v)"), (FREE, "FROM (VALUES (1), (2), (3)) t(w)"), Moved(3, 2), Moved()),
    ],
)  # fmt: skip
def test_rows_are_compared_whatever_they_were(
    tmp_path: Path,
    old: tuple[dict[str, Any], str],
    new: tuple[dict[str, Any], str],
    rows: Moved,
    people: Moved,
) -> None:
    assert compared(tmp_path, old, new) == TableChange("t", rows, people)
