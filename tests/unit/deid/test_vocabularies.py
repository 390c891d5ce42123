"""When vocabularies began: what is known, what a dictionary may say, and where the edge it makes is cut."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from app.deid.vocabularies import begins_then, start_of
from app.deid.window import windows
from app.schemas.dictionary import Column

EPOCH = date(1970, 1, 1)


def _column(**role: Any) -> Column:
    return Column.model_validate({"name": "c", "role": {"kind": "code", **role}})


@pytest.mark.parametrize(
    ("role", "day"),
    [
        ({"vocabulary": "KCD", "version": "9"}, date(2026, 1, 1)),
        ({"vocabulary": "kcd", "version": "8"}, date(2021, 1, 1)),
        ({"vocabulary": "KCD"}, None),
        ({"vocabulary": "icd10cm", "version": "2024"}, date(2015, 10, 1)),
        ({"vocabulary": "own"}, None),
        ({"vocabulary": "own", "started": "2021-02-26"}, date(2021, 2, 26)),
        ({"vocabulary": "KCD", "version": "8", "started": "2020-07-01"}, date(2020, 7, 1)),
    ],
)
def test_a_start_is_the_dictionarys_word_or_what_is_known_of_the_version(
    role: dict[str, Any], day: date | None
) -> None:
    assert start_of(_column(**role)) == day


def test_codes_mapped_back_to_earlier_days_have_no_edge() -> None:
    assert begins_then(0, 5000, 11)
    assert begins_then(10, 5000, 11)  # as few as are wild dates elsewhere
    assert not begins_then(26, 5000, 11)
    assert not begins_then(0, 0, 11)


def test_a_window_opens_when_every_shift_is_past_the_start() -> None:
    first, last, start = date(2015, 1, 1), date(2024, 12, 31), date(2021, 1, 1)
    days = np.arange((first - EPOCH).days, (last - EPOCH).days + 1)
    held = {("v", "day"): (days, np.full(len(days), 10)), ("w", "day"): (days, np.full(len(days), 10))}
    usual, found = windows(held, 26, 11), windows(held, 26, 11, {"v": start})
    assert (found["v", "day"].first - start).days == 183
    assert found["v", "day"].last == usual["v", "day"].last
    assert found["w", "day"] == usual["w", "day"]
    assert windows(held, 26, 11, {"v": date(2010, 1, 1)}) == usual  # before anything was observed
