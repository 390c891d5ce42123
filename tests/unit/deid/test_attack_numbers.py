"""Resident numbers are found in numbers of every type; whole numbers of ten digits are not taken for them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from app.deid.attacks.extract import Extract, Leaf, Sheet
from app.deid.attacks.values import identifiers

LEAVES = (Leaf("what", "attribute", "keep", {}),)
ONE = "SELECT CASE n WHEN 5 THEN 8001011234567 ELSE n END FROM range(10) r(n)"
RANDOM = "SELECT 1e9 + hash(n) % 8000000000 FROM range(1000) r(n)"
# Of people born in 2001 and 2009: three and two zeros are lost.
SHORT = "SELECT 1e6 * 10 * (10101 + n % 9 * 10000 + n % 28) + 3e6 + n FROM range(100) r(n)"


@pytest.mark.parametrize(
    ("kind", "values", "cells"),
    [
        ("BIGINT", ONE, 1),
        ("DOUBLE", ONE, 1),
        ("DECIMAL(18, 0)", ONE, 1),
        ("DECIMAL(18, 2)", ONE, 1),
        ("BIGINT", RANDOM, 0),
        ("DOUBLE", RANDOM, 0),
        ("DOUBLE", f"{RANDOM} UNION ALL {ONE}", 1),
        ("BIGINT", SHORT, 100),
        (
            "DOUBLE",
            f"{SHORT} UNION ALL SELECT unnest(['nan', 'inf', '1e300', '-1e300', NULL]::DOUBLE[])",
            100,
        ),
        ("DOUBLE", "SELECT 8001011234567.5", 0),
        ("INTEGER", "SELECT 2000000000", 0),
        ("DATE", "SELECT DATE '2020-01-01'", 0),
    ],
)
def test_numbers_of_every_type(tmp_path: Path, kind: str, values: str, cells: int) -> None:
    con, path = duckdb.connect(), tmp_path / "x"
    con.execute(f"COPY (SELECT x::{kind} AS what FROM ({values}) v(x)) TO '{path}' (FORMAT parquet)")
    sheet = Sheet("numbers", "event", LEAVES, (path,), ("",))
    found = identifiers(Extract((sheet,), 5, {}, con, "x"))
    assert found.figures["cells"] == cells
    assert found.verdict == ("broken" if cells else "held")
