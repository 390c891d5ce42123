"""An estimate is as sure as what it was learned from."""

from __future__ import annotations

import pytest

from app.requests.quoting import _digits, _range


def test_with_few_builds_the_range_is_wide_and_with_many_it_is_theirs():
    few = _range("minutes", 10.0, [1.0, 1.2])
    assert (few["low"], few["expected"], few["high"]) == (4.0, 12.0, 36.0)
    many = _range("minutes", 10.0, [1 + i / 100 for i in range(101)])
    assert (many["low"], many["expected"], many["high"]) == (10.0, 15.0, 20.0)
    assert _range("rows", 100.0, [])["expected"] == 100.0


def test_bytes_learned_from_the_vault_alone_are_not_taken_for_builds():
    assert _range("bytes", 100.0, [2.0], 0) == {"low": 67.0, "expected": 200.0, "high": 600.0}


@pytest.mark.parametrize(
    ("value", "shown"), [(0, 0), (123456, 120000), (0.01234, 0.012), (7, 7), (99.6, 100)]
)
def test_two_digits_count(value: float, shown: float):
    assert _digits(value) == pytest.approx(shown)
