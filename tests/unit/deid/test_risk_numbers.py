"""Numbers of people are read as numbers, however small or large; only bands are read as text."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.deid.plan import draft
from app.deid.risk import Bounds
from app.deid.risk.frame import frames
from app.deid.risk.ground import stand
from app.deid.roles import check_dictionary
from app.schemas.plan import Privacy
from tests.unit.deid.risk_tables import crosswalk, pseudonym, write

KNOWN = check_dictionary(
    {
        "tables": [
            {
                "name": "people",
                "kind": "participant",
                "fields": [
                    {"name": "id", "role": {"kind": "participant_id"}},
                    {"name": "dose", "type": "number", "role": {"kind": "number"}},
                    {"name": "cells", "type": "number", "role": {"kind": "sensitive"}},
                    {"name": "weight", "type": "number", "role": {"kind": "number"}},
                ],
            }
        ]
    }
)
DOSES = [1e-5, 2e-5, 6e-5, 9e-5, float("nan"), float("inf"), None]
CELLS = [1e16, 2e16, 3e300, -1e-7, 0.5, 7.0, None]
BANDS = ["[-20, -10)", "[0.5, 1)", "<-20", ">=90", "[10, 20)", None, None]


def test_small_and_large_numbers_keep_their_size(tmp_path: Path) -> None:
    number, text = pa.float64(), pa.string()
    rows = [
        {"__participant": n, "id": pseudonym(n), "dose": dose, "cells": cells, "weight": 1.5, "band": band}
        for n, (dose, cells, band) in enumerate(zip(DOSES, CELLS, BANDS, strict=True))
    ]
    numbers = {"dose": number, "cells": number}
    raw = write(tmp_path / "raw", rows, {"__participant": pa.int32(), **numbers, "weight": number})
    banded = [{**row, "weight": row["band"]} for row in rows]
    out = write(tmp_path / "out", banded, {"id": text, **numbers, "weight": text})
    plan = draft(KNOWN, None, (), Privacy(k=2, reserve=0, min_cell=2), "v")
    bounds = Bounds(tmp_path, memory="512MB", threads=1)
    with stand(
        {"people": [raw]}, {"people": [out]}, crosswalk(range(len(rows))), KNOWN, plan, bounds
    ) as ground:
        before, after = frames(ground)
    for frame in (before, after):
        np.testing.assert_array_equal(frame.numbers["dose"], [*DOSES[:4], np.nan, np.nan, np.nan])
        np.testing.assert_array_equal(frame.numbers["cells"], [*CELLS[:6], np.nan])
    assert np.nanmean(before.numbers["dose"]) == pytest.approx(4.5e-5)
    np.testing.assert_array_equal(before.numbers["weight"], [1.5] * 7)
    np.testing.assert_array_equal(after.numbers["weight"], [-15, 0.75, -20, 90, 15, np.nan, np.nan])
