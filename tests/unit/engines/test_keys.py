"""Sets of people's keys: sorted, each once, however the rows lie and in whatever batches they come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines import keys

BATCH = st.lists(st.integers(-5, 5) | st.integers(-(2**31), 2**31 - 1), max_size=12)


@given(st.lists(BATCH, max_size=8), st.integers(1, 20))
def test_batches_are_one_set_whatever_waits(batches: list[list[int]], waiting: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_WAITING", waiting)
        found = keys.gathered(np.array(one, dtype=np.int32) for one in batches)
    assert found.dtype == np.int32
    assert found.tolist() == sorted({key for one in batches for key in one})


def test_a_batch_is_not_changed() -> None:
    batch = np.array([3, 3, 1, 1, 3], dtype=np.int32)
    assert keys.gathered([batch, batch]).tolist() == [1, 3]
    assert keys.each_once(batch).tolist() == [1, 3]
    assert batch.tolist() == [3, 3, 1, 1, 3]
