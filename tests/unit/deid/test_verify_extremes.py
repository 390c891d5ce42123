"""Extremes and people of a part as Arrow and NumPy read them are those that DuckDB finds in its rows."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.deid.verify import extremes, keys
from app.deid.verify.extremes import read_extremes
from app.deid.verify.keys import read_keys
from app.deid.verify.reader import DISTRUSTED, bits

NAN = float("nan")
COLUMNS: dict[str, pa.Array] = {
    "text": pa.array(["나", None, "a", "", "Z", "é"]),
    "words": pa.array(["b", "a", None, "b", "a", "b"]),
    "whole": pa.array([3, -7, None, 12, 0, 1], pa.int16()),
    "number": pa.array([0.5, None, -2.0, 3.25, 1e300, -0.0]),
    "odd": pa.array([NAN, 1.0, None, -5.0, NAN, 2.0]),
    "odder": pa.array([None, NAN, NAN, None, NAN, NAN], pa.float32()),
    "none": pa.array([None] * 6, pa.string()),
    "truth": pa.array([True, None, False, True, True, True]),
    "day": pa.array([date(2020, 2, 29), None, date(1850, 1, 1), date(2024, 1, 1), None, None]),
    "moment": pa.array([datetime(2020, 2, 29, 1, 2, 3), None, datetime(1999, 1, 1), None, None, None]),  # noqa: DTZ001
    "zoned": pa.array([datetime(2020, 2, 29, tzinfo=UTC), None, datetime(1999, 1, 1, tzinfo=UTC)] * 2),
    "exact": pa.array([Decimal("1.50"), None, Decimal("-2.25"), None, None, None]),
}


@pytest.mark.parametrize("batch", [2, 131_072])
def test_extremes_are_those_of_the_rows(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extremes, "BATCH", batch)
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table(COLUMNS), path, row_group_size=4)
    found = read_extremes(path, list(COLUMNS))
    con = duckdb.connect()
    con.execute(f"SET TimeZone = 'UTC'; SET disabled_optimizers = '{','.join(DISTRUSTED)}'")
    for name in COLUMNS:
        query = f"SELECT min({name}) AS low, max({name}) AS high FROM read_parquet('{path}')"
        expected = con.sql(query).to_arrow_table().to_pylist()[0]
        assert found is not None
        for end, value in zip(("low", "high"), found[name], strict=True):
            assert value == expected[end] or (math.isnan(value) and math.isnan(expected[end])), name
            assert type(value) is type(expected[end]), name


def test_what_only_a_dictionary_holds_is_no_extreme(tmp_path: Path) -> None:
    hidden = pa.DictionaryArray.from_arrays(pa.array([1, 1, 2]), pa.array(["a", "b", "c", "d"]))
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"v": hidden}), path)
    assert read_extremes(path, ["v"]) == {"v": ("b", "c")}


def test_what_arrow_cannot_read_is_left_to_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"v": [[1], [2]]}), path)
    assert read_extremes(path, ["v"]) is None
    path.write_bytes(path.read_bytes()[:-20])
    assert read_extremes(path, ["v"]) is None


@pytest.mark.parametrize("batch", [3, 131_072])
@pytest.mark.parametrize("in_order", [True, False])
def test_the_people_of_a_part_are_told_once_each(
    tmp_path: Path, batch: int, in_order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BATCH", batch)
    chance = np.random.default_rng(5)
    names = [f"{n:016x}" for n in chance.integers(0, 2**64, 7, dtype=np.uint64)]
    rows = [names[n] for n in chance.integers(0, 7, 40)]
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"p": sorted(rows) if in_order else rows}), path)
    found = read_keys(path, ["p"])
    asked = f"SELECT DISTINCT {bits('p')} AS p FROM read_parquet('{path}') ORDER BY p"
    assert found is not None
    assert found.firsts.dtype == np.uint64
    assert found.firsts.tolist() == [row[0] for row in duckdb.connect().execute(asked).fetchall()]
