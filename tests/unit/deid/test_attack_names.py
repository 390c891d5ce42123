"""Keyed ids of two extracts are compared in the database; a missing id is nobody's, and shared by nobody."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from app.deid.attacks.extract import Extract, Leaf, Sheet
from app.deid.attacks.second import names_shared

LEAVES = (
    Leaf("who", "participant_id", "pseudonymise", {}),
    Leaf("visit", "record_id", "keyed_id", {"space": "record:visit"}),
    Leaf("sex", "quasi_identifier", "generalise", {}),
)


def _extract(path: Path, rows: str, leaves: tuple[Leaf, ...] = LEAVES, project: str = "") -> Extract:
    con = duckdb.connect()
    con.execute(f"COPY (FROM (VALUES {rows}) v(who, visit, sex)) TO '{path}' (FORMAT parquet)")
    sheet = Sheet("visit", "event", leaves, (path,), ("",))
    return Extract((sheet,), 5, {"project_id": project or path.name}, con, path.name)


@pytest.mark.parametrize(
    ("theirs", "shared", "verdict"),
    [
        ("('c', 'v9', 'f'), ('d', NULL, 'm')", 0, "held"),
        ("('c', 'v1', 'f'), ('d', NULL, 'm'), ('c', 'v1', 'f')", 1, "broken"),
        ("('v2', 'b', 'f')", 2, "broken"),  # whatever the column they stand in
    ],
)
def test_ids_in_both_are_counted_once(tmp_path: Path, theirs: str, shared: int, verdict: str) -> None:
    mine = _extract(tmp_path / "one", "('a', 'v1', 'f'), ('b', 'v2', 'f'), ('b', NULL, 'f')")
    found = names_shared(mine, _extract(tmp_path / "two", theirs))
    assert (found.figures["shared"], found.verdict) == (shared, verdict)


def test_an_extract_without_keyed_ids_shares_none(tmp_path: Path) -> None:
    mine = _extract(tmp_path / "one", "('a', 'v1', 'f')", LEAVES[2:])
    assert names_shared(mine, _extract(tmp_path / "two", "('a', 'v1', 'f')")).verdict == "held"
