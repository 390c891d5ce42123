"""The prosecutor counts the people of every table, with or without a participant table, however far away they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from app.deid.attacks.extract import Extract, Leaf, Sheet
from app.deid.attacks.people import prosecutor

LEAVES = {
    "pid": Leaf("pid", "participant_id", "pseudonymise", {}),
    "sex": Leaf("sex", "quasi_identifier", "generalise", {}),
    **{name: Leaf(name, "attribute", "keep", {}) for name in ("what", "p", "r")},
    **{
        name: Leaf(name, "record_id", "keyed_id", {"space": f"record:{name}"})
        for name in ("visit", "claim", "doctor")
    },
}
THREE = [("a", "v1"), ("b", "v2"), ("c", "v3")]
FOUR = [("v1", "c1", "d"), ("v2", "c2", "d"), ("v2", "c3", "d"), ("v3", "c4", "e")]


def _extract(folder: Path, k: int, **tables: tuple[str, Sequence[tuple[str, ...]]]) -> Extract:
    """Each table is the names of its columns and its rows; `person` is the participant table."""
    con, sheets = duckdb.connect(), []
    for name, (columns, rows) in tables.items():
        path = folder / f"{name}.parquet"
        con.execute(f"CREATE TABLE {name} ({', '.join(f'{c} VARCHAR' for c in columns.split())})")
        if rows:
            con.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        con.execute(f"COPY {name} TO '{path}' (FORMAT parquet)")
        leaves = tuple(LEAVES[c] for c in columns.split())
        kind = "participant" if name == "person" else "event"
        sheets.append(Sheet(name, kind, leaves, (path,), ("",)))
    return Extract(tuple(sheets), k, {}, con, "x")


@pytest.mark.parametrize(("k", "verdict"), [(3, "held"), (11, "broken")])
def test_an_extract_without_a_participant_table_is_judged(tmp_path: Path, k: int, verdict: str) -> None:
    found = prosecutor(_extract(tmp_path, k, visits=("pid visit", THREE)))
    assert found.verdict == verdict
    assert found.figures["max_risk"] == pytest.approx(1 / 3)
    assert found.figures["people_below_k"] == (3 if k > 3 else 0)


def test_events_of_people_who_are_in_no_participant_table_are_judged(tmp_path: Path) -> None:
    found = prosecutor(_extract(tmp_path, 11, person=("pid sex", []), visits=("pid visit", THREE)))
    assert (found.verdict, found.figures["people_below_k"]) == ("broken", 3)


def test_nobody_is_at_no_risk(tmp_path: Path) -> None:
    found = prosecutor(_extract(tmp_path, 11, person=("pid sex", [])))
    assert (found.verdict, found.figures["max_risk"]) == ("held", 0.0)


def test_rows_reach_their_people_through_two_tables(tmp_path: Path) -> None:
    # Two people share a doctor, who stands in all three tables and leads to nobody.
    claims = ("doctor visit claim", [(d, v, c) for v, c, d in FOUR])
    lines = ("doctor claim what", [(d, c, "x") for _, c, d in FOUR[:3]])
    visits = ("pid visit doctor", [(*row, "d") for row in THREE])
    extract = _extract(tmp_path, 3, lines=lines, claims=claims, visits=visits)
    found = prosecutor(extract)
    assert found.figures["smallest_class_by_table"] == {"lines": 2, "claims": 3, "visits": 3}
    assert (found.figures["untraced"], found.verdict) == ([], "broken")
    owners = extract.owners(extract.sheets[0])
    assert extract.rowset(f"SELECT p, r FROM {owners} ORDER BY r") == [
        {"p": "a", "r": 1}, {"p": "b", "r": 2}, {"p": "b", "r": 3}
    ]  # fmt: skip


def test_a_table_whose_people_are_not_found_is_told_and_never_held(tmp_path: Path) -> None:
    lines = ("claim what", [(c, "x") for _, c, _ in FOUR])
    found = prosecutor(_extract(tmp_path, 3, visits=("pid visit", THREE), lines=lines))
    assert (found.figures["untraced"], found.verdict) == (["lines"], "measured")
    assert found.figures["smallest_class_by_table"] == {"visits": 3}


def test_columns_may_be_named_like_ours(tmp_path: Path) -> None:
    extract = _extract(tmp_path, 3, visits=("r p pid visit", [("0", "z", *row) for row in THREE]))
    assert extract.rowset(f"SELECT p, r FROM {extract.owners(extract.sheets[0])} ORDER BY r LIMIT 1") == [
        {"p": "a", "r": 1}
    ]
