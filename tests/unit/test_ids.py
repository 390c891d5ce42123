"""Ids of one process ascend, whatever the clock shows and however many threads ask."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from app.db import new_id


def test_ids_of_one_millisecond_ascend_and_nobody_guesses_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    at = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: at)
    made = [new_id("job") for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000
    steps = [_number(late) - _number(early) for early, late in pairwise(made)]
    assert min(steps) > 0
    assert max(steps) > 2**60
    assert len(set(steps)) == 999


def test_ids_ascend_where_the_clock_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id("job")
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    assert new_id("job") > first


def test_no_two_threads_get_one_id() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: new_id("ext"), range(4000)))
    assert len(set(made)) == 4000


def _number(id_: str) -> int:
    number = 0
    for letter in id_.partition("_")[2]:
        number = number << 5 | "0123456789abcdefghjkmnpqrstvwxyz".index(letter)
    return number
