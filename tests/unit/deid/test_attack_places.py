"""Two participant tables agree at the same places by chance only, of whatever size they are."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from app.deid.attacks.extract import Extract, Leaf, Sheet
from app.deid.attacks.second import positions

LEAVES = (
    Leaf("pid", "participant_id", "pseudonymise", {}),
    Leaf("age", "quasi_identifier", "generalise", {}),
)
CHANCE = np.random.default_rng(5)
AGES = CHANCE.integers(0, 10, 4000)


def _extract(path: Path, ages: npt.NDArray[np.int64]) -> Extract:
    con = duckdb.connect()
    con.register("people", pa.table({"pid": np.arange(len(ages)).astype(str), "age": ages.astype(str)}))
    con.execute(f"COPY people TO '{path}' (FORMAT parquet)")
    sheet = Sheet("person", "participant", LEAVES, (path,), ("",))
    return Extract((sheet,), 5, {"project_id": path.name}, con, path.name)


@pytest.mark.parametrize(
    ("ages", "verdict"),
    [
        (CHANCE.integers(0, 10, 2000), "held"),
        (CHANCE.integers(0, 10, 3600), "held"),
        (CHANCE.integers(0, 10, 1), "held"),
        (CHANCE.integers(0, 10, 0), "held"),
        (CHANCE.permutation(AGES[::2]), "held"),
        (AGES[::2], "broken"),  # half of the people, both in the order of the source
        (np.delete(AGES, np.s_[9::10]), "broken"),
    ],
    ids=["half", "most", "one", "nobody", "half of them in another order", "half of them", "most of them"],
)
def test_tables_of_two_sizes(tmp_path: Path, ages: npt.NDArray[np.int64], verdict: str) -> None:
    one, other = _extract(tmp_path / "one", AGES), _extract(tmp_path / "other", ages)
    found = positions(one, other), positions(other, one)
    assert [each.verdict for each in found] == [verdict] * 2
    assert found[0].figures["pairs"] == found[1].figures["pairs"] == len(ages)
    if verdict == "held" and len(ages) > 1:
        assert found[0].figures["agreeing"] == pytest.approx(found[0].figures["by_chance"], abs=0.03)
