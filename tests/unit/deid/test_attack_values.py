"""Kept values link people whatever order an extract's tables and columns have, and a null stays in its column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from app.deid.attacks.extract import Extract, Leaf, Sheet
from app.deid.attacks.second import values_linked

Row = tuple[str, str | None, str | None]
PEOPLE: list[Row] = [("1", "red", "tall"), ("2", "blue", "tall"), ("3", "red", "small")]
JOBS: list[Row] = [("1", "cook", None), ("2", None, "cook"), ("3", "cook", "cook")]


def _extract(folder: Path, tables: Mapping[str, Sequence[Row]], columns: Sequence[str]) -> Extract:
    con, sheets = duckdb.connect(), []
    folder.mkdir()
    for name, rows in tables.items():
        path = folder / f"{name}.parquet"
        con.execute(f"CREATE TABLE {name} (pid VARCHAR, first VARCHAR, second VARCHAR)")
        con.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", [(folder.name + p, a, b) for p, a, b in rows])
        con.execute(f"COPY (SELECT pid, {', '.join(columns)} FROM {name}) TO '{path}' (FORMAT parquet)")
        leaves = (
            Leaf("pid", "participant_id", "pseudonymise", {}),
            *(Leaf(c, "attribute", "keep", {}) for c in columns),
        )
        sheets.append(Sheet(name, "event", leaves, (path,), ("",)))
    return Extract(tuple(sheets), 5, {"project_id": folder.name}, con, folder.name)


@pytest.mark.parametrize("columns", [("first", "second"), ("second", "first")])
@pytest.mark.parametrize("tables", [("people", "jobs"), ("jobs", "people")])
def test_links_stay_in_any_order(tmp_path: Path, tables: tuple[str, str], columns: tuple[str, str]) -> None:
    rows = {"people": PEOPLE, "jobs": JOBS}
    one = _extract(tmp_path / "a", rows, ("first", "second"))
    other = _extract(tmp_path / "b", {name: rows[name] for name in tables}, columns)
    assert values_linked(one, other).figures == {"people": 3, "claimed_links": 3, "share": 1.0}


def test_a_null_stays_in_its_column_and_a_value_in_its_table(tmp_path: Path) -> None:
    ours: dict[str, list[Row]] = {"people": [("1", None, "x")], "jobs": [("2", "y", "y"), ("3", "z", "z")]}
    theirs: dict[str, list[Row]] = {"people": [("1", "x", None), ("2", "y", "y")], "jobs": [("3", "z", "z")]}
    one, other = (_extract(tmp_path / n, t, ("first", "second")) for n, t in (("a", ours), ("b", theirs)))
    assert values_linked(one, other).figures["claimed_links"] == 1


def test_a_table_whose_people_only_one_side_can_trace_hides_no_link(tmp_path: Path) -> None:
    rows = {"people": PEOPLE, "jobs": JOBS}
    one, other = (_extract(tmp_path / name, rows, ("first", "second")) for name in ("a", "b"))
    people, jobs = other.sheets
    other = replace(other, sheets=(people, replace(jobs, leaves=jobs.leaves[1:])))
    assert (
        values_linked(one, other).figures["claimed_links"]
        == values_linked(other, one).figures["claimed_links"]
        == 3
    )
