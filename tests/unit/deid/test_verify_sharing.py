"""People of each value are counted as a set of pairs would count them, wherever batches and row groups end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.deid.verify import keys, sharing
from tests.amounts import first


@pytest.mark.parametrize("seed", first(2, range(6)))
@pytest.mark.parametrize("dictionary", [True, False])
def test_each_person_counts_once_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, dictionary: bool
) -> None:
    drawn = random.Random(seed)
    monkeypatch.setattr(keys, "BATCH", drawn.randint(1, 40))
    people = sorted(f"{drawn.getrandbits(64):016x}" for _ in range(60))
    codes = [f"c{n}" for n in range(drawn.randint(1, 9))]
    rows = [(p, drawn.choice([None, *codes])) for p in people for _ in range(drawn.choice([1, 2, 9, 90]))]
    path = _part(tmp_path, rows, use_dictionary=dictionary, row_group_size=drawn.randint(1, 200))
    found = sharing.people_of_values(path, "pid", "code")
    assert found is not None
    held = {pair for pair in rows if pair[1] is not None}
    expected = {code: sum(v == code for _, v in held) for code in {v for _, v in held}}
    assert dict(zip(found["v"].to_pylist(), found["n"].to_pylist(), strict=True)) == expected
    assert found.schema == pa.schema({"v": pa.string(), "n": pa.int64()})


def test_what_is_no_key_no_text_or_too_much_is_left_to_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = "0123456789abcdef"
    assert sharing.people_of_values(_part(tmp_path, []), "pid", "code") is not None
    for rows in ([("ABCDEFABCDEFABCD", "a")], [(None, "a")], [(one, 5)]):
        assert sharing.people_of_values(_part(tmp_path, rows), "pid", "code") is None
    several = _part(tmp_path, [(one, "a"), (one, "b")])
    assert sharing.people_of_values(several, "pid", "code") is not None
    monkeypatch.setattr(sharing, "MOST", 1)
    assert sharing.people_of_values(several, "pid", "code") is None


def _part(folder: Path, rows: list[tuple[Any, Any]], **how: Any) -> Path:
    pids, values = pa.array([p for p, _ in rows], pa.string()), pa.array([v for _, v in rows])
    table = pa.table({"pid": pids, "code": values if rows else values.cast(pa.string())})
    pq.write_table(table, folder / "part.parquet", **how)
    return folder / "part.parquet"
